"""Requirements as gaps: what a variant loses on some rows, against what it may lose. Point estimates, no verdict.

A search asks for them many times, so they are counted without intervals; the estimates are those of the judge functions
(a test holds the two together), and only a verdict says with what confidence one holds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np

from kit.judge.rows import BoolArray
from kit.records import DatasetRecord, Finding, Int64Array, SearchGap
from kit.slicing.declared import Slices, column_of, declared
from kit.spec.types import Metric, Requirement, SliceSpec

BY_ROWS: tuple[Metric, ...] = ("accuracy.value", "accuracy.drop", "fairness.gap_change")
"""Metrics that decisions on rows give; the others are of the file or of the device."""

LEAST_ROWS = 10
"""Fewer rows say nothing of a slice: one of them is ten points."""


@dataclass(frozen=True, slots=True)
class Untested:
    """A slice of which these rows say nothing: it has `found` of `unit` (rows, or clusters), and needs `minimum`."""

    requirement: str
    subject: str
    found: int
    minimum: int
    unit: str


class RowGaps:
    """The gaps of decisions on a dataset's rows: every requirement of `BY_ROWS`, as a whole and by slice.

    A slice counts where it has the requirement's `minimum_rows`, in proportion to the rows that are looked at.

    Args:
        requirements: a profile's; others than `BY_ROWS` are left alone.
        data: the rows.
        reference: int64 [rows], the reference's decisions.
        share: what share of the rows that will judge these are; it scales `minimum_rows`.
        slices: the profile's; scenarios are of other rows than these, and left out.
        bins: the profile's.
    """

    def __init__(
        self,
        requirements: Iterable[Requirement],
        data: DatasetRecord,
        reference: Int64Array,
        share: float = 1.0,
        slices: Iterable[SliceSpec] = (),
        bins: Mapping[str, int] | None = None,
    ) -> None:
        self.requirements = tuple(each for each in requirements if _is_by_rows(each))
        self._data, self._share, self._bins = data, share, bins or {}
        self._specs = [spec for spec in slices if spec.where]
        self._slices: dict[Requirement, Slices] = {}
        self._reference_right = reference == data.labels

    def __call__(self, decisions: Int64Array, rows: Int64Array) -> tuple[SearchGap, ...]:
        """Every gap of `decisions` int64 [n] on the rows `rows` int64 [n]; slices too small to tell are left out."""
        before, after = self._reference_right[rows], decisions == self._data.labels[rows]
        return tuple(gap for each in self.requirements for gap in self._gaps(each, before, after, rows))

    def _gaps(self, asked: Requirement, before: BoolArray, after: BoolArray, rows: Int64Array) -> Iterator[SearchGap]:
        if asked.metric == "fairness.gap_change":
            yield from self._fairness(asked, before, after, rows)
        elif not asked.by and not asked.slices:
            whole = (len(rows), int(before.sum()), int(after.sum()), int((before != after).sum()))
            yield _gap(asked, "", *whole)
        else:
            slices = self._declared(asked)
            for partition in slices.partitions:
                codes = partition.codes[slices.cell[rows]]
                counts, sums = _sums(codes, len(partition.subjects), before, after, before != after)
                for code in np.flatnonzero(counts >= self._least(asked, rows)):
                    yield _gap(asked, partition.subjects[code], int(counts[code]), *(int(each[code]) for each in sums))

    def _declared(self, asked: Requirement) -> Slices:
        """The requirement's slices, found once."""
        if asked not in self._slices:
            self._slices[asked] = declared(asked, self._data, self._specs, self._bins)
        return self._slices[asked]

    def _fairness(
        self, asked: Requirement, before: BoolArray, after: BoolArray, rows: Int64Array
    ) -> Iterator[SearchGap]:
        """The gap between the best and the worst group after, less the gap before; None where a group is too small."""
        for column in asked.by:
            record = column_of(self._data, column, self._bins)
            right = before, after, before != after
            counts, (first, second, changed) = _sums(record.codes[rows], len(record.values), *right)
            if len(counts) > 1 and (counts >= self._least(asked, rows)).all():
                change = float(np.ptp(second / counts) - np.ptp(first / counts))
                spread = max(_spread(*each) for each in zip(counts, first - second, changed, strict=True))
                yield SearchGap(asked.id, column, change, asked.limit, "points", 2**0.5 * spread)

    def untested(self) -> tuple[Untested, ...]:
        """The slices and groups of which all these rows together are too few, or from too few clusters, to tell."""
        return tuple(each for asked in self.requirements if asked.by or asked.slices for each in self._untested(asked))

    def _untested(self, asked: Requirement) -> Iterator[Untested]:
        data = self._data
        least = self._least(asked, np.arange(data.rows))
        fewest = max(2, ceil(asked.minimum_clusters * min(1.0, self._share)))
        for subject, mask in self._declared(asked).masks():
            count, clusters = int(mask.sum()), len(np.unique(data.cluster[mask]))
            if count < least:
                yield Untested(asked.id, subject, count, least, "row")
            elif clusters < fewest:
                yield Untested(asked.id, subject, clusters, fewest, data.cluster_column or "row")

    def _least(self, asked: Requirement, rows: Int64Array) -> int:
        looked_at = self._share * len(rows) / self._data.rows
        return max(LEAST_ROWS, ceil(asked.minimum_rows * min(1.0, looked_at)))


def _is_by_rows(asked: Requirement) -> bool:
    """Whether decisions on rows give the figure; a gap of another measure than accuracy needs more than they."""
    plain = asked.measure in ("", "accuracy") and not asked.harm and asked.cross == 1
    return asked.metric in BY_ROWS and (asked.metric != "fairness.gap_change" or plain)


def _sums(codes: Int64Array, slices: int, *right: BoolArray) -> tuple[Int64Array, list[Int64Array]]:
    """Rows of each slice, and how many of them are right, for each of `right`; `codes` int64, -1 for none."""
    return _counted(codes, slices), [_counted(codes[each], slices) for each in right]


def _counted(codes: Int64Array, count: int) -> Int64Array:
    return np.bincount(codes[codes >= 0], minlength=count).astype(np.int64)


def _gap(asked: Requirement, subject: str, rows: int, before: int, after: int, changed: int) -> SearchGap:
    """From whole counts, so that what lies at the limit is within it."""
    if asked.metric == "accuracy.drop":
        spread = _spread(rows, before - after, changed)
        return SearchGap(asked.id, subject, (before - after) / rows, asked.limit, "points", spread)
    wrong = rows - after
    return SearchGap(asked.id, subject, wrong / rows, _rest(asked.limit), "share", _spread(rows, wrong, wrong))


def _spread(rows: int, total: int, changed: int) -> float:
    """Standard error of total / rows, where `changed` of the rows are 1 or -1 and the others 0."""
    return float(np.sqrt(changed - total**2 / rows) / rows)


def _rest(share: float) -> float:
    """1 less a share, without the dust of binary fractions: of 0.9 it is 0.1."""
    return round(1.0 - share, 12)


def gap_of(found: Finding) -> SearchGap | None:
    """A finding's estimate as a gap; None where it has none. A share that must be kept becomes one that may be lost."""
    if found.estimate is None:
        return None
    if found.direction == "at_least":
        return SearchGap(found.requirement, found.subject, _rest(found.estimate), _rest(found.limit), found.unit)
    return SearchGap(found.requirement, found.subject, found.estimate, found.limit, found.unit)
