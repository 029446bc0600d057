"""Slices that a profile declares: values of columns, crossings of them, bins of numbers, expressions and scenarios.

A slice is named by its subject: ``sex=F``, ``sex=F & age=above 35 to 50``, or the profile's own name. Everything that
looks at slices (verdicts, gaps of a search, reports) takes its rows from here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kit.errors import SpecError
from kit.records import ColumnRecord, DatasetRecord, Int64Array
from kit.slicing.bins import quantile_bins
from kit.spec.expression import parse_expression
from kit.spec.subjects import JOINED, named_part
from kit.spec.text import nearest, shown
from kit.spec.types import Requirement, SliceSpec
from kit.spec.where import numbers_of, rows_where
from kit.stats.groups import renumbered

BoolArray = NDArray[np.bool_]

MOST_SLICES = 10_000
"""Slices of one requirement: beyond that, none could be told from the multitude, and nobody would read them."""


@dataclass(frozen=True, slots=True)
class Partition:
    """Slices of which no two share a row. codes: int64 [cells], the slice of each cell in `subjects`, -1 for none."""

    subjects: tuple[str, ...]
    codes: Int64Array


@dataclass(frozen=True, slots=True)
class Slices:
    """Slices of a dataset. Rows that are in the same slices are one cell, so that many slices cost cells and not rows.

    cell: int64 [rows], the cell of each row; `partitions` say of each cell which slices it is in.
    """

    cell: Int64Array
    partitions: tuple[Partition, ...]

    def __len__(self) -> int:
        return sum(len(each.subjects) for each in self.partitions)

    def masks(self) -> Iterator[tuple[str, BoolArray]]:
        """Every slice with its rows, bool [rows], in order."""
        for partition in self.partitions:
            codes = partition.codes[self.cell]
            for code, subject in enumerate(partition.subjects):
                yield subject, np.asarray(codes == code)

    def rows_of(self, subject: str) -> BoolArray | None:
        """The rows of a slice, bool [rows]; None where there is no such slice."""
        for partition in self.partitions:
            if subject in partition.subjects:
                return np.asarray((partition.codes == partition.subjects.index(subject))[self.cell])
        return None


def declared(
    asked: Requirement, data: DatasetRecord, specs: Sequence[SliceSpec] = (), bins: Mapping[str, int] | None = None
) -> Slices:
    """The slices of a requirement: of its columns, crossed up to its depth, then those of `specs` that it names.

    Raises:
        SpecError: a column, a value or a row that the data does not have, numbers without bins, or too many slices.
    """
    known = {spec.name: spec for spec in specs}
    named = {name: named_rows(data, known[name]) for name in asked.slices if name in known}
    return sliced(data, asked.by, asked.cross, bins, named)


def sliced(
    data: DatasetRecord,
    columns: tuple[str, ...],
    depth: int = 1,
    bins: Mapping[str, int] | None = None,
    named: Mapping[str, BoolArray] | None = None,
) -> Slices:
    """Every value of every column, values without rows included; their crossings that have rows; and `named` rows.

    `depth`: columns that are crossed, at most. Raises SpecError as `declared` does.
    """
    records = {name: column_of(data, name, bins or {}) for name in columns}
    groups = [
        *((r.codes, len(r.values)) for r in records.values()),
        *((m.astype(np.int64), 2) for m in (named or {}).values()),
    ]
    cell, some_row = _cells(groups, data.rows)
    found: dict[tuple[str, ...], Partition] = {
        (name,): Partition(tuple(named_part(name, value) for value in record.values), record.codes[some_row])
        for name, record in records.items()
    }
    for size in range(2, min(depth, len(columns)) + 1):
        for names in combinations(columns, size):
            found[names] = _crossing(found[names[:-1]], found[names[-1:]])
            _check_number(found.values())
    own = [Partition((name,), np.where(rows[some_row], 0, -1)) for name, rows in (named or {}).items()]
    _check_number([*found.values(), *own])
    _check_names(found.values(), named or {})
    return Slices(cell, (*found.values(), *own))


def _cells(groups: list[tuple[Int64Array, int]], rows: int) -> tuple[Int64Array, Int64Array]:
    """The cell of each row [rows] under several groupings, and some row of each cell [cells]."""
    cell, size = np.zeros(rows, dtype=np.int64), 1
    for codes, values in groups:
        cell, size = renumbered(cell * values + codes, size * values)
    some_row = np.zeros(size if rows else 0, dtype=np.int64)
    some_row[cell] = np.arange(rows)
    return cell, some_row


def _check_number(found: Iterable[Partition]) -> None:
    if sum(len(each.subjects) for each in found) > MOST_SLICES:
        what = f"its columns make more than {MOST_SLICES:,} slices"
        raise SpecError(what, next_step="cross fewer columns, or cut numbers into fewer bins")


def _check_names(found: Iterable[Partition], named: Iterable[str]) -> None:
    """A slice is known by its name alone."""
    for name in named:
        if any(name in each.subjects for each in found):
            what = f'the slice named "{shown(name)}" has the name of a value of a column'
            raise SpecError(what, next_step="give it another name")


def column_of(data: DatasetRecord, name: str, bins: Mapping[str, int]) -> ColumnRecord:
    """A column as it is sliced: its values, or quantile bins of its numbers with edges from these rows."""
    if name not in data.columns and name not in data.numbers:
        known = [*data.columns, *data.numbers]
        raise SpecError(f'the dataset has no column "{shown(name)}"', next_step=nearest(name, known))
    if name not in bins:
        if name in data.columns:
            return data.columns[name]
        what = f"{shown(name)} has numbers, of which each would be a slice"
        raise SpecError(what, next_step=f"cut it into bins: [bins] {shown(name)} = 4")
    numbers = numbers_of(data, name)
    if numbers is None:
        what = f"{shown(name)} has texts, which cannot be cut into bins"
        raise SpecError(what, next_step=f"remove {shown(name)} from [bins]: each of its values is a slice")
    return quantile_bins(numbers, bins[name])


def _crossing(first: Partition, second: Partition) -> Partition:
    """What is in a slice of both; only pairs that cells have."""
    groups = [(first.codes, len(first.subjects)), (second.codes, len(second.subjects))]
    codes, some_cell = _cells(groups, len(first.codes))
    subjects = (
        f"{first.subjects[first.codes[cell]]}{JOINED}{second.subjects[second.codes[cell]]}" for cell in some_cell
    )
    return Partition(tuple(subjects), codes)


def named_rows(data: DatasetRecord, spec: SliceSpec) -> BoolArray:
    """The rows of a slice with a name, bool [rows]: its expression's, or its scenario's. Raises as `declared` does."""
    if spec.where:
        return rows_where(parse_expression(spec.where), data)
    if max(spec.rows) >= data.rows:
        what = f"there is no row {max(spec.rows)}: the test part has {data.rows:,}, numbered from 0"
        raise SpecError(what, next_step="name rows of the test part")
    rows = np.zeros(data.rows, dtype=np.bool_)
    rows[list(spec.rows)] = True
    return rows
