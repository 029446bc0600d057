"""The conjunctions where an optimization hurts most: exact, pruned by rows and by what a part of them could still show.

The statistic of a slice is sum(x) / sqrt(sum(x^2)) over its rows, x = weight x (loss difference - limit): the score
statistic of "the mean difference is at most the limit", which rises with Student's t (t = s sqrt((n - 1) / (n - s^2))).
By the inequality of Cauchy and Schwarz no part of a slice exceeds the square root of how many of its x are positive.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kit.records import ColumnRecord, Float64Array
from kit.slicing.scan import BoolArray, Cells, scan
from kit.slicing.table import Table, tabulate

DEPTH = 3
ROUNDING = 1 + 1e-9


@dataclass(frozen=True, slots=True)
class Slice:
    """A conjunction of column = value, its rows, its statistic and its mean difference."""

    where: tuple[tuple[str, str], ...]
    rows: int
    statistic: float
    mean: float


def worst(
    columns: Mapping[str, ColumnRecord],
    differences: Float64Array,
    *,
    count: int = 10,
    minimum_rows: int = 30,
    limit: float = 0.0,
    depth: int = DEPTH,
    weights: Float64Array | None = None,
) -> tuple[Slice, ...]:
    """The `count` conjunctions of up to `depth` columns with the largest statistic against `limit`, largest first.

    Of equal ones, fewer columns come first, then the columns' and the values' order. Nothing is said here of chance:
    see `kit.slicing.confirm`.

    Args:
        columns: by name, codes int64 [rows].
        differences: float64 [rows], the optimized model's loss less the reference's; finite.
        weights: float64 [rows], positive; None where all rows count alike.
    """
    weight = np.ones(len(differences)) if weights is None else weights
    x = weight * (differences - limit)
    terms = [x, x * x, (x > 0).astype(np.float64), *([] if weights is None else [weight])]
    table = tabulate(columns, terms, minimum_rows)
    best = _Best(table, count, limit)
    for cells in scan(table, depth, minimum_rows, best.promising):
        best.add(cells)
    return best.slices()


def statistic(x: Float64Array, squares: Float64Array) -> Float64Array:
    """sum(x) / sqrt(sum(x^2)), 0 where every x is 0."""
    return np.asarray(x / np.sqrt(np.where(squares > 0, squares, 1.0)))


class _Best:
    """The best slices seen, and what a part must be able to reach to join them."""

    def __init__(self, table: Table, count: int, limit: float) -> None:
        self._table, self._count, self._limit = table, count, limit
        self._kept: list[tuple[float, int, tuple[int, ...], tuple[int, ...], int, float]] = []

    @property
    def _floor(self) -> float:
        return -self._kept[-1][0] if len(self._kept) >= self._count else -np.inf

    def promising(self, sums: Float64Array) -> BoolArray:
        """Whether a part of each cell could still be among the best."""
        return np.asarray(np.sqrt(sums[3]) * ROUNDING >= self._floor)

    def add(self, cells: Cells) -> None:
        """Keep those that are among the best."""
        rows, x, squares, *_ = cells.sums
        of = statistic(x, squares)
        chosen = _largest(of, self._count, self._floor)
        for at in chosen:
            codes = tuple(cells.codes[:, at].tolist())
            size = len(cells.columns)
            mean = self._limit + float(x[at]) / float(cells.sums[4 if len(cells.sums) > 4 else 0, at])
            self._kept.append((-float(of[at]), size, cells.columns, codes, int(rows[at]), mean))
        if chosen:
            self._kept = sorted(self._kept)[: self._count]

    def slices(self) -> tuple[Slice, ...]:
        """The best, largest statistic first."""
        return tuple(
            Slice(describe(self._table, columns, codes), rows, -negative, mean)
            for negative, _, columns, codes, rows, mean in self._kept
        )


def _largest(of: Float64Array, count: int, floor: float) -> list[int]:
    """Where the `count` largest are that reach `floor`, ties at the end included."""
    at = np.flatnonzero(of >= floor)
    if len(at) > count:
        reached = of[at]
        at = at[reached >= np.partition(reached, -count)[-count]]
    return [int(each) for each in at]


def describe(table: Table, columns: tuple[int, ...], codes: tuple[int, ...]) -> tuple[tuple[str, str], ...]:
    """Column names and values of a conjunction."""
    return tuple((table.names[c], table.values[c][v]) for c, v in zip(columns, codes, strict=True))
