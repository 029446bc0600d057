"""Bounds of a figure that is no mean, such as a calibration error: leave a group of clusters out at a time."""

import math
from collections.abc import Callable

import numpy as np

from kit.fairness.paired import Figure
from kit.records import Float64Array, Int64Array
from kit.stats.special import student_t_quantile

GROUPS = 50


def jackknife(
    parts: Float64Array, cluster: Int64Array, figure: Callable[[Float64Array], float], confidence: float, seed: int
) -> Figure:
    """`figure` of the summed `parts` float64 [n, k], with Student t bounds, each one-sided at `confidence`.

    Whole clusters go at random into 50 groups, or as many as there are clusters; the variance is (J - 1) / J times the
    sum of squares of the figures without each (P. S. Kott, J. of Official Statistics 17, 2001). Infinite bounds for a
    single cluster, of which nothing is known.
    """
    _, code = np.unique(cluster, return_inverse=True)
    clusters = int(code.max()) + 1
    groups = min(GROUPS, clusters)
    place = (np.random.default_rng(seed).permutation(clusters) % groups)[code]
    sums = np.stack([np.bincount(place, weights=column, minlength=groups) for column in parts.T], axis=1)
    whole = sums.sum(axis=0)
    estimate = figure(whole)
    if groups < 2:
        return Figure(estimate, -math.inf, math.inf)
    without = np.array([figure(whole - each) for each in sums])
    error = math.sqrt((groups - 1) / groups * float(((without - without.mean()) ** 2).sum()))
    half = student_t_quantile(confidence, groups - 1.0) * error
    return Figure(estimate, estimate - half, estimate + half)
