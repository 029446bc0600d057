"""All conjunctions that have enough rows: fixed by the columns alone, before anyone looks at what a model says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, prod

import numpy as np

from kit.records import ColumnRecord, Float64Array, Int64Array
from kit.slicing.scan import BoolArray, ColumnSet, blocks_of, scan
from kit.slicing.table import Table, tabulate
from kit.slicing.worst import DEPTH, describe

MOST_SLICES = 2_000_000
"""Conjunctions that are looked at (about 300 MB), by an upper bound that needs no look at the rows."""

MOST_VISITS = 4_000_000_000
"""Rows times passes over them (about 20 s)."""


@dataclass(frozen=True, slots=True)
class Family:
    """Conjunctions of up to `depth` columns. columns: each's set of columns; codes: int64 [depth, slices], 0 beyond its
    columns; sums: float64 [1 + terms, slices], the rows first."""

    table: Table
    depth: int
    sets: tuple[ColumnSet, ...]
    set_of: Int64Array
    codes: Int64Array
    sums: Float64Array

    def __len__(self) -> int:
        return len(self.set_of)

    def where(self, at: int) -> tuple[tuple[str, str], ...]:
        """Column names and values of one."""
        columns = self.sets[self.set_of[at]]
        return describe(self.table, columns, tuple(self.codes[: len(columns), at].tolist()))

    def mask(self, at: int) -> BoolArray:
        """The rows of one, bool [rows]."""
        columns = self.sets[self.set_of[at]]
        first, *rest = columns
        mask = self.table.codes[first] == self.codes[0, at]
        for column, code in zip(rest, self.codes[1:, at], strict=False):
            mask &= self.table.codes[column] == code
        return np.asarray(mask)

    def key(self, number: int) -> tuple[Int64Array, int, Int64Array]:
        """For set `number`: a key of each row [rows], how many keys there are, and the keys of its conjunctions [m]."""
        columns, members = self.sets[number], self.set_of == number
        key = np.zeros(len(self.table.codes[0]), dtype=np.int64)
        wanted = np.zeros(int(members.sum()), dtype=np.int64)
        for place, column in enumerate(columns):
            key = key * self.table.sizes[column] + self.table.codes[column]
            wanted = wanted * self.table.sizes[column] + self.codes[place, members]
        return key, prod(self.table.sizes[column] for column in columns), wanted


def family_of(
    columns: Mapping[str, ColumnRecord], terms: Sequence[Float64Array], minimum_rows: int, depth: int = DEPTH
) -> Family:
    """Every conjunction of up to `depth` columns with at least `minimum_rows` rows, and the sums of `terms` over each.

    The depth is less where the columns are so many that looking would take too long or too much memory; it is at
    least 1.
    """
    table = tabulate(columns, terms, minimum_rows)
    depth = affordable_depth(table, minimum_rows, depth)
    cells = list(scan(table, depth, minimum_rows))
    counts = [each.codes.shape[1] for each in cells]
    codes = [np.pad(each.codes, ((0, depth - len(each.columns)), (0, 0))) for each in cells]
    return Family(
        table=table,
        depth=depth,
        sets=tuple(each.columns for each in cells),
        set_of=np.repeat(np.arange(len(cells)), counts),
        codes=np.concatenate([np.zeros((depth, 0), dtype=np.int64), *codes], axis=1),
        sums=np.concatenate([np.zeros((len(terms) + 1, 0)), *(each.sums for each in cells)], axis=1),
    )


def affordable_depth(table: Table, minimum_rows: int, depth: int) -> int:
    """The most columns of a conjunction, up to `depth`, that can be looked at within the bounds above."""
    rows = len(table.codes[0]) if table.codes else 0
    for tried in range(min(depth, len(table.names)), 1, -1):
        passes = comb(len(blocks_of(table, tried)), tried)
        if rows * passes <= MOST_VISITS and _most_slices(table, minimum_rows, tried) <= MOST_SLICES:
            return tried
    return 1


def _most_slices(table: Table, minimum_rows: int, depth: int) -> float:
    """A bound on the conjunctions: of a set of columns at most rows / minimum rows, and the product of its values.

    The products of all sets of one size are an elementary symmetric polynomial, built up a column at a time.
    """
    rows = len(table.codes[0]) if table.codes else 0
    products = [1.0, *[0.0] * depth]
    for kept in table.kept:
        for size in range(depth, 0, -1):
            products[size] += products[size - 1] * kept
    within = rows / max(1, minimum_rows)
    return sum(min(products[size], comb(len(table.names), size) * within) for size in range(1, depth + 1))
