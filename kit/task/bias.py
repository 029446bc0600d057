"""Figures that are not only uncertain but too high or too low on average in small samples: by how much."""

import numpy as np

from kit.records import Int64Array
from kit.task.base import BoolArray, Measure, Rows, UndefinedError

HALVINGS = 8
SEED = 20240607
AT_MOST = 1.0 / (2.0**0.5 - 1.0)
"""How many times what halving shows the bias can be."""


def bias(measure: Measure, rows: Rows, cluster: Int64Array) -> float:
    """By how much the figure is too high on average; see `bias_range`, whose lower end it is."""
    return bias_range(measure, rows, cluster)[0]


def bias_range(measure: Measure, rows: Rows, cluster: Int64Array) -> tuple[float, float]:
    """By how much the figure is too high on average: that of half the clusters less that of all.

    A bias of c / n is 2 c / n on half the rows (M. H. Quenouille, Biometrika 43, 1956), so the mean over both halves,
    less the whole, is c / n; one of c / sqrt(n), as of |gaps| that are 0 in truth, is `AT_MOST` times that, and so is
    the second number, with the standard deviation between halvings, by which this may be off. Several halvings, always
    the same ones; 0 where no half has a figure.
    """
    _, codes = np.unique(cluster, return_inverse=True)
    codes, rng, found = codes.reshape(-1), np.random.default_rng(SEED), list[float]()
    for _ in range(HALVINGS):
        order = rng.permutation(int(codes.max()) + 1)
        first = (order < len(order) // 2)[codes]
        both = [value for half in (first, ~first) if (value := _figure(measure, rows, half)) is not None]
        found += [float(np.mean(both))] if both else []
    if not found:
        return 0.0, 0.0
    off, spread = float(np.mean(found)) - measure.of(rows).estimate, float(np.std(found))
    return off, AT_MOST * (off + np.copysign(spread, off))


def bias_of_difference(measure: Measure, after: Rows, before: Rows, cluster: Int64Array) -> float:
    """By how much after less before may be too low on average (negative), or else too high.

    Each bias is somewhere in its `bias_range`: the most that they do to the difference counts.
    """
    one, other = (bias_range(measure, each, cluster) for each in (after, before))
    low, high = min(one) - max(other), max(one) - min(other)
    return low if low < 0.0 else max(0.0, high)


def _figure(measure: Measure, rows: Rows, mask: BoolArray) -> float | None:
    try:
        return measure.of(rows.take(mask)).estimate
    except UndefinedError:
        return None
