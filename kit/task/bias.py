"""Figures that are not only uncertain but too high or too low on average in small samples: by how much."""

import numpy as np

from kit.records import Int64Array
from kit.task.base import BoolArray, Measure, Rows, UndefinedError

HALVINGS = 8
SEED = 20240607


def bias(measure: Measure, rows: Rows, cluster: Int64Array) -> float:
    """By how much the figure is too high on average: that of half the clusters less that of all.

    A bias of c / n is 2 c / n on half the rows (M. H. Quenouille, Biometrika 43, 1956), so the mean over both halves,
    less the whole, is c / n. Several halvings, always the same ones; 0 where no half has a figure.
    """
    _, codes = np.unique(cluster, return_inverse=True)
    codes, rng, found = codes.reshape(-1), np.random.default_rng(SEED), list[float]()
    for _ in range(HALVINGS):
        order = rng.permutation(int(codes.max()) + 1)
        first = (order < len(order) // 2)[codes]
        found += [value for half in (first, ~first) if (value := _figure(measure, rows, half)) is not None]
    return float(np.mean(found)) - measure.of(rows).estimate if found else 0.0


def _figure(measure: Measure, rows: Rows, mask: BoolArray) -> float | None:
    try:
        return measure.of(rows.take(mask)).estimate
    except UndefinedError:
        return None
