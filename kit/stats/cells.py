"""Counts in place of rows: group x label x reference x optimized, counted once; resampling rows is a draw of counts.

What a classifier did to a class against the rest is one of eight cells a group. Every rate, gap and paired change is a
function of those counts, and n rows drawn with replacement are one multinomial draw over the cells (B. Efron and
R. Tibshirani, An Introduction to the Bootstrap, 1993, 6), so that neither costs anything in the number of rows.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kit.records import Float64Array, Int64Array

IntArray = NDArray[np.integer]
BoolArray = NDArray[np.bool_]
Counts = Int64Array | Float64Array

_CHUNK = 1 << 16
"""Rows at a time, so that what is computed of them stays in the processor's cache."""


def cell_counts(
    columns: Sequence[IntArray],
    sizes: Sequence[int],
    label: IntArray,
    reference: IntArray,
    optimized: IntArray,
    positive: int,
) -> Int64Array:
    """Rows of each group by whether label, reference and optimized name the class `positive`: int64 [groups, 2, 2, 2].

    A group is a combination of the columns' values: `columns` are codes [rows], each below its size; groups are in the
    order of `group_codes`. Class codes [rows] may be of any integer type; small ones are faster.
    """  # fmt: skip
    cells = 8 * math.prod(sizes)
    counts = np.zeros(cells, dtype=np.int64)
    for start in range(0, len(label), _CHUNK):
        part = slice(start, start + _CHUNK)
        code = group_codes([column[part] for column in columns], sizes, cells)
        for values in (label, reference, optimized):
            code *= 2
            code += (values[part] == positive).view(np.uint8)
        counts += np.bincount(code, minlength=cells)
    return counts.reshape(-1, 2, 2, 2)


def group_codes(columns: Sequence[IntArray], sizes: Sequence[int], below: int = 0) -> IntArray:
    """One code [rows] for each combination of the columns' codes, the last column's changing fastest (as C order).

    Of the smallest unsigned type that holds every number below `below`, or below the product of `sizes`.
    """
    kind = np.min_scalar_type(max(below, math.prod(sizes), 1) - 1)
    code = columns[0].astype(kind)
    for column, size in zip(columns[1:], sizes[1:], strict=True):
        code *= kind.type(size)
        code += column.astype(kind, copy=False)
    return code


def class_cell_counts(
    group: IntArray, groups: int, label: IntArray, reference: IntArray, optimized: IntArray, classes: int
) -> Int64Array:
    """`cell_counts` of every class against the rest: int64 [classes, groups, 2, 2, 2].

    Seven counts a class and group (each of the three naming it, each two, all three) give all eight cells by inclusion
    and exclusion, so the rows are gone through seven times, however many classes there are.
    """
    same = (label == reference, label == optimized, reference == optimized)
    y, r, o = (_by_class(group, groups, values, None, classes) for values in (label, reference, optimized))
    yr, yo = (_by_class(group, groups, label, mask, classes) for mask in same[:2])
    ro = _by_class(group, groups, reference, same[2], classes)
    yro = _by_class(group, groups, label, same[0] & same[1], classes)
    rows = np.bincount(group, minlength=groups)
    cells = np.empty((classes, groups, 2, 2, 2), dtype=np.int64)
    cells[..., 1, 1, 1] = yro
    cells[..., 1, 1, 0], cells[..., 1, 0, 1], cells[..., 0, 1, 1] = yr - yro, yo - yro, ro - yro
    cells[..., 1, 0, 0], cells[..., 0, 1, 0], cells[..., 0, 0, 1] = (
        y - yr - yo + yro,
        r - yr - ro + yro,
        o - yo - ro + yro,
    )
    cells[..., 0, 0, 0] = rows - y - r - o + yr + yo + ro - yro
    return cells


def _by_class(group: IntArray, groups: int, values: IntArray, mask: BoolArray | None, classes: int) -> Int64Array:
    """Rows of each class and group, of those in `mask`: [classes, groups]."""
    code = values.astype(np.intp) * groups + group
    return np.bincount(code if mask is None else code[mask], minlength=classes * groups).reshape(classes, groups)


def resampled(
    counts: Counts, draws: int, seed: int, method: Literal["multinomial", "poisson"] = "multinomial"
) -> Int64Array:
    """Bootstrap replicates of `counts` [...]: int64 [draws, ...].

    multinomial: as many rows as there are, drawn with replacement. poisson: each cell by itself, which leaves the
    number of rows free (N. Chamandy and others, Estimating Uncertainty for Massive Data Streams, 2012). Rows are taken
    as independent; clustered ones need `resampled_clusters`.
    """
    rng, flat = np.random.default_rng(seed), np.asarray(counts, dtype=np.float64).ravel()
    if method == "poisson":
        drawn = rng.poisson(flat, (draws, len(flat)))
    else:
        total = int(flat.sum())
        drawn = rng.multinomial(total, flat / total, draws) if total else np.zeros((draws, len(flat)), np.int64)
    return np.asarray(drawn, dtype=np.int64).reshape(draws, *np.shape(counts))


def resampled_clusters(counts: Counts, draws: int, seed: int) -> Float64Array:
    """Bootstrap replicates of `counts` [clusters, ...] summed over clusters drawn whole: float64 [draws, ...].

    Source: A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application (1997), 3.8.
    """
    clusters, cells = len(counts), np.shape(counts)[1:]
    if not clusters:
        return np.zeros((draws, *cells))
    times = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1.0 / clusters), draws)
    table = np.asarray(counts, dtype=np.float64).reshape(clusters, -1)
    return np.asarray(times.astype(np.float64) @ table).reshape(draws, *cells)
