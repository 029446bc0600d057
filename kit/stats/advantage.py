"""Bounds of an attack's advantage, of its change on the same rows, and of its area under the ROC curve; by cluster."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.records import Float64Array, Int64Array
from kit.stats.auc import placements
from kit.stats.clusters import cluster_sums, design_effect
from kit.stats.proportions import Counts, PairedCounts, Successes
from kit.stats.special import student_t_quantile

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bounded:
    """An estimate with its bounds, each one-sided at the confidence asked for."""

    estimate: float
    lower: float
    upper: float


def _effect(values: Float64Array, cluster: Int64Array, usual: float, icc_floor: float) -> tuple[float, float]:
    sums = cluster_sums(values, cluster, usual)
    return float(design_effect(sums, icc_floor)), float(max(1, len(sums.sizes) - 1))


def _share(guess: BoolArray, cluster: Int64Array, icc_floor: float) -> Successes:
    values = guess.astype(np.float64)
    effect, df = _effect(values, cluster, float(values.mean() >= 0.5), icc_floor)
    return Successes(float(values.sum()) / effect, len(values) / effect, df)


def _gain(after: BoolArray, before: BoolArray, cluster: Int64Array, icc_floor: float) -> PairedCounts:
    """How many more are guessed to be members after than before, as a paired difference."""
    difference = after.astype(np.float64) - before
    effect, df = _effect(difference, cluster, 0.0, icc_floor)
    more, fewer = float((difference > 0).sum()), float((difference < 0).sum())
    return PairedCounts(more / effect, fewer / effect, len(difference) / effect, df)


def _difference(one: Counts, two: Counts, confidence: float, reach: float) -> Bounded:
    """One less two, independent of each other: MOVER of their score bounds, within -reach to reach.

    Source: G. Y. Zou and A. Donner, Statistics in Medicine 27 (2008) 1693-1702.
    """
    (low_one, high_one), (low_two, high_two) = one.bounds(confidence), two.bounds(confidence)
    estimate = one.estimate - two.estimate
    down = math.hypot(one.estimate - low_one, high_two - two.estimate)
    up = math.hypot(high_one - one.estimate, two.estimate - low_two)
    return Bounded(estimate, max(-reach, estimate - down), min(reach, estimate + up))


def advantage(
    members: BoolArray,
    others: BoolArray,
    member_cluster: Int64Array,
    other_cluster: Int64Array,
    icc_floor: float,
    confidence: float,
) -> Bounded:
    """Share of members [m] guessed to be members less that of others [n], -1 to 1."""
    one, two = _share(members, member_cluster, icc_floor), _share(others, other_cluster, icc_floor)
    return _difference(one, two, confidence, 1.0)


def advantage_change(
    after: tuple[BoolArray, BoolArray],
    before: tuple[BoolArray, BoolArray],
    member_cluster: Int64Array,
    other_cluster: Int64Array,
    icc_floor: float,
    confidence: float,
) -> Bounded:
    """Advantage after less before, guesses (members [m], others [n]) of two models on the same rows; -2 to 2."""
    gained = _gain(after[0], before[0], member_cluster, icc_floor)
    cost = _gain(after[1], before[1], other_cluster, icc_floor)
    return _difference(gained, cost, confidence, 2.0)


def area(
    members: Float64Array,
    others: Float64Array,
    member_cluster: Int64Array,
    other_cluster: Int64Array,
    confidence: float,
) -> Bounded:
    """Area under the ROC curve of scores [m] and [n], by placements summed over clusters, on the logit scale.

    Source: E. R. DeLong and others, Biometrics 44 (1988); clusters: N. A. Obuchowski, Biometrics 53 (1997). At an area
    of 0 or 1, and where no placement varies, the bounds are those of a proportion at the smaller number of clusters.
    """
    above = placements(members, others, np.ones(len(others)))
    below = 1.0 - placements(others, members, np.ones(len(members)))
    estimate = float(above.mean())
    parts = [_mean_variance(above, member_cluster), _mean_variance(below, other_cluster)]
    variance, clusters = parts[0][0] + parts[1][0], min(parts[0][1], parts[1][1])
    if not 0.0 < estimate < 1.0 or variance <= 0.0:
        return Bounded(estimate, *Successes(estimate * clusters, clusters, max(1, clusters - 1)).bounds(confidence))
    half = student_t_quantile(confidence, max(1, clusters - 1)) * math.sqrt(variance) / (estimate * (1 - estimate))
    middle = math.log(estimate / (1 - estimate))
    return Bounded(estimate, _logistic(middle - half), _logistic(middle + half))


def _mean_variance(values: Float64Array, cluster: Int64Array) -> tuple[float, int]:
    """Cluster-robust variance of the mean of `values`, and how many clusters there are."""
    _, code = np.unique(cluster, return_inverse=True)
    residual = np.bincount(code.reshape(-1), weights=values - values.mean())
    count = len(residual)
    return (float(residual @ residual) / len(values) ** 2 * count / (count - 1), count) if count > 1 else (0.0, 1)


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value > -700 else 0.0
