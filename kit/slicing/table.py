"""Rows as a search sees them: codes of columns, and what is summed over the rows of a slice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kit.records import ColumnRecord, Float64Array, Int64Array

MOST_STATES = 32
"""Rows with one of so few outcomes are counted by outcome; with more of them their terms are summed."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with their columns and outcomes.

    codes: of each column int64 [rows]; in column c those below `kept[c]` are the values `values[c]`, and `kept[c]`
    itself stands for all values with too few rows to be a slice. state: int64 [rows], the outcome that a row has, and
    terms: float64 [terms, states], what each outcome adds to a sum; the first term is 1, a row. If outcomes are too
    many, `state` is None and terms are float64 [terms, rows].
    """

    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    kept: tuple[int, ...]
    codes: tuple[Int64Array, ...]
    state: Int64Array | None
    terms: Float64Array

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many codes each column has."""
        return tuple(kept + 1 for kept in self.kept)

    def sums(self, key: Int64Array, cells: int, at: Int64Array | None = None) -> Float64Array:
        """Sums [cells, states or terms] by `key` int64 [n] of the rows `at` [n] (None: all); `finish` makes terms."""
        if self.state is not None:
            key = key * self.terms.shape[1] + (self.state if at is None else self.state[at])
        return self.counted(key, cells, at)

    def counted(self, key: Int64Array, cells: int, at: Int64Array | slice | None = None) -> Float64Array:
        """`sums` of a key that has the state in it, as its last digit, if there are states."""
        if self.state is not None:
            states = self.terms.shape[1]
            return np.asarray(np.bincount(key, minlength=cells * states).reshape(cells, states), dtype=np.float64)
        terms = self.terms if at is None else self.terms[:, at]
        return np.stack([np.bincount(key, each, cells) for each in terms], axis=-1)

    def finish(self, sums: Float64Array) -> Float64Array:
        """From sums [cells, states or terms] to [terms, cells]."""
        return np.ascontiguousarray(sums.T) if self.state is None else np.asarray(self.terms @ sums.T)


def tabulate(columns: Mapping[str, ColumnRecord], terms: Sequence[Float64Array], minimum_rows: int) -> Table:
    """A table of some columns, whose rows add `terms` (float64 [rows] each, at least one) beside their count.

    Columns with a single value, or with none that has `minimum_rows` rows, are left out: they slice nothing.
    """
    kept = [(name, *_frequent(record, minimum_rows)) for name, record in columns.items()]
    used = [(name, values, codes) for name, values, codes in kept if len(values) > 1 or (values and codes.any())]
    state, by_state = outcomes(terms)
    return Table(
        names=tuple(name for name, *_ in used),
        values=tuple(values for _, values, _ in used),
        kept=tuple(len(values) for _, values, _ in used),
        codes=tuple(codes for *_, codes in used),
        state=state,
        terms=by_state,
    )


def _frequent(record: ColumnRecord, minimum_rows: int) -> tuple[tuple[str, ...], Int64Array]:
    """Values with at least `minimum_rows` rows, and codes [rows] into them; all others share the code after them."""
    frequent = np.bincount(record.codes, minlength=len(record.values)) >= max(1, minimum_rows)
    values = tuple(value for value, keep in zip(record.values, frequent, strict=True) if keep)
    if frequent.all():
        return values, record.codes
    new = np.where(frequent, np.cumsum(frequent) - 1, len(values))
    return values, new[record.codes]


def outcomes(terms: Sequence[Float64Array]) -> tuple[Int64Array | None, Float64Array]:
    """`Table.state` and `Table.terms`: outcomes are the distinct columns of `terms`, if they are few."""
    rows = len(terms[0])
    state, size, some_row = np.zeros(rows, dtype=np.int64), min(rows, 1), np.zeros(min(rows, 1), dtype=np.int64)
    for each in terms:
        if np.array_equal(each[some_row][state], each):
            continue
        distinct = _distinct(each)
        if distinct is None or size * len(distinct) > MOST_STATES:
            return None, np.array([np.ones(rows), *terms])
        state, size = _without_gaps(state * len(distinct) + _ranks(each, distinct), size * len(distinct))
        some_row = np.zeros(size, dtype=np.int64)
        some_row[state] = np.arange(rows)
    return state, np.array([np.ones(size), *(each[some_row] for each in terms)])


def _distinct(values: Float64Array) -> Float64Array | None:
    """The distinct values, rising; None if they are more than `MOST_STATES`, or NaN is among them."""
    distinct, rest = values[:0], values
    while len(rest):
        distinct = np.union1d(distinct, rest[:1000])
        if len(distinct) > MOST_STATES or np.isnan(distinct).any():
            return None
        rest = rest[distinct[np.minimum(_ranks(rest, distinct), len(distinct) - 1)] != rest]
    return distinct


def _ranks(values: Float64Array, distinct: Float64Array) -> Int64Array:
    """How many of `distinct` are below each value; a few are faster compared than searched."""
    if len(distinct) > 8:
        return np.searchsorted(distinct, values).astype(np.int64, copy=False)
    ranks = np.zeros(len(values), dtype=np.int64)
    for each in distinct:
        ranks += values > each
    return ranks


def _without_gaps(key: Int64Array, size: int) -> tuple[Int64Array, int]:
    """Keys [n] in 0 .. size - 1 renumbered in their order from 0 without gaps, and how many differ."""
    present = np.zeros(size, dtype=np.bool_)
    present[key] = True
    ranks = np.cumsum(present) - 1
    return ranks[key], int(present.sum())
