"""What rows came to, right or wrong, before and after: counted by slice as effective counts.

Rows that are in the same slices and came to the same are counted once, so that thousands of slices of a million rows
cost little more than one. Where the data has weights, shares are weighted, and effective counts keep that share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.records import Float64Array, Int64Array
from kit.stats.clusters import Moments, Units, effect_of, moments
from kit.stats.groups import renumbered
from kit.stats.proportions import Counts, PairedCounts, Successes

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sample:
    """Effective counts of some rows, with the raw figures that they come from."""

    counts: Counts
    rows: int
    clusters: int
    design_effect: float
    details: dict[str, float]


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows that are alike, told once, float64 [units]; `cell` int64 [units] of the slices that they are in.

    `flags`: whether something holds of them, 0 or 1. `cluster`: int64, None where each row is its own.
    """

    cell: Int64Array
    count: Float64Array
    weight: Float64Array
    cluster: Int64Array | None
    flags: tuple[Float64Array, ...]
    icc_floor: float

    def drops(self, codes: Int64Array, slices: int) -> list[Sample | None]:
        """First flag less second, for each slice; `codes` int64 [cells], -1 for none. None: a slice without rows.

        The third flag says of which rows the decision changed.
        """
        group, kept, present = self._groups(codes, slices)
        before, after, changed = (flag[kept] for flag in self.flags)
        of = self._moments(before - after, group, kept, len(present), 0.0)
        effect = effect_of(of, self.icc_floor)
        both = before * after
        wrong, right, same, was, now = (
            self._shares(each, group, kept) for each in (before - both, after - both, changed, before, after)
        )
        effective = of.rows / effect
        found: list[Sample | None] = [None] * slices
        for at, code in enumerate(present):
            counts = PairedCounts(
                wrong.share[at] * effective[at], right.share[at] * effective[at], effective[at], _df(of, at)
            )
            details = {
                "flips_to_wrong": wrong.rows[at],
                "flips_to_right": right.rows[at],
                "decisions_changed": same.rows[at],
                "reference_accuracy": was.share[at],
                "optimized_accuracy": now.share[at],
            }
            found[code] = _sample(counts, of, effect, at, details)
        return found

    def successes(self, codes: Int64Array, slices: int) -> list[Sample | None]:
        """Share of rows with the first flag, for each slice; `codes` and the result as in `drops`."""
        group, kept, present = self._groups(codes, slices)
        values = self.flags[0][kept]
        share = self._shares(values, group, kept)
        of = self._moments(values, group, kept, len(present), (share.share >= 0.5).astype(np.float64))
        effect = effect_of(of, self.icc_floor)
        effective = of.rows / effect
        found: list[Sample | None] = [None] * slices
        for at, code in enumerate(present):
            counts = Successes(share.share[at] * effective[at], effective[at], _df(of, at))
            found[code] = _sample(counts, of, effect, at, {"right": share.rows[at]})
        return found

    def _groups(self, codes: Int64Array, slices: int) -> tuple[Int64Array, BoolArray, Int64Array]:
        """Of the units in a slice: their slice among those with rows; which units they are; and which slices those."""
        group = codes[self.cell]
        kept = group >= 0
        has_rows = np.bincount(group[kept], minlength=slices) > 0
        rank = np.cumsum(has_rows) - 1
        return rank[group[kept]], kept, np.flatnonzero(has_rows)

    def _moments(
        self, value: Float64Array, group: Int64Array, kept: BoolArray, groups: int, usual: Float64Array | float
    ) -> Moments:
        cluster = None if self.cluster is None else self.cluster[kept]
        return moments(Units(self.count[kept], value, self.weight[kept], cluster), group, groups, usual)

    def _shares(self, flag: Float64Array, group: Int64Array, kept: BoolArray) -> "_Shares":
        count = self.count[kept]
        weight = count * self.weight[kept]
        share = np.bincount(group, weight * flag) / np.bincount(group, weight)
        return _Shares(np.bincount(group, count * flag).astype(np.float64), share)


@dataclass(frozen=True, slots=True)
class _Shares:
    """Of each slice: rows with a flag, and their share by weight."""

    rows: Float64Array
    share: Float64Array


def _df(of: Moments, at: int) -> float:
    return max(1.0, float(of.clusters[at]) - 1.0)


def _sample(counts: Counts, of: Moments, effect: Float64Array, at: int, details: dict[str, float]) -> Sample:
    more = {"design_effect": float(effect[at]), "effective_rows": float(counts.rows)}
    numbers = {name: float(value) for name, value in {**details, **more}.items()}
    return Sample(counts, int(of.rows[at]), int(of.clusters[at]), float(effect[at]), numbers)


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What each row of the dataset came to. All arrays: [rows]. weights: None where all rows count alike."""

    cluster: Int64Array
    reference_right: BoolArray
    optimized_right: BoolArray
    decision_changed: BoolArray
    icc_floor: float
    weights: Float64Array | None = None

    def drop(self, mask: BoolArray | slice = slice(None)) -> Sample:
        """Reference right less optimized right over the rows of `mask` (at least one), as paired effective counts."""
        return _only(self.drops_by(np.zeros(len(self.cluster), dtype=np.int64), mask).drops(_ALL, 1))

    def drops_by(self, cell: Int64Array, mask: BoolArray | slice = slice(None)) -> Tally:
        """The rows of `mask` by their cell int64 [rows], for `Tally.drops`."""
        return self._tally(cell, mask, (self.reference_right, self.optimized_right, self.decision_changed))

    def accuracy(self, right: BoolArray, mask: BoolArray | slice = slice(None)) -> Sample:
        """Share of `right` [rows] over the rows of `mask` (at least one), as effective counts."""
        return _only(self.shares_by(right, np.zeros(len(self.cluster), dtype=np.int64), mask).successes(_ALL, 1))

    def shares_by(self, right: BoolArray, cell: Int64Array, mask: BoolArray | slice = slice(None)) -> Tally:
        """The rows of `mask` by their cell int64 [rows], for `Tally.successes` of `right`."""
        return self._tally(cell, mask, (right,))

    def _tally(self, cell: Int64Array, mask: BoolArray | slice, flags: Sequence[BoolArray]) -> Tally:
        own = np.array_equal(self.cluster, np.arange(len(self.cluster)))
        cluster = None if own else np.unique(self.cluster[mask], return_inverse=True)[1].astype(np.int64)
        weights = None if self.weights is None else self.weights[mask]
        return _told_once(cell[mask], cluster, weights, [flag[mask] for flag in flags], self.icc_floor)


_ALL = np.zeros(1, dtype=np.int64)


def _only(samples: list[Sample | None]) -> Sample:
    (sample,) = samples
    assert sample is not None
    return sample


def _told_once(
    cell: Int64Array,
    cluster: Int64Array | None,
    weights: Float64Array | None,
    flags: Sequence[BoolArray],
    icc_floor: float,
) -> Tally:
    """Rows with the same cell, cluster and flags as one unit; rows with weights are each their own."""
    if weights is not None:
        return Tally(cell, np.ones(len(cell)), weights, cluster, tuple(f.astype(np.float64) for f in flags), icc_floor)
    key, size = cell, int(cell.max(initial=-1)) + 1
    for codes, values in ([] if cluster is None else [(cluster, int(cluster.max(initial=-1)) + 1)]) + [
        (f, 2) for f in flags
    ]:
        key, size = renumbered(key * values + codes, size * values)
    row = np.zeros(size, dtype=np.int64)
    row[key] = np.arange(len(key))
    once = tuple(flag[row].astype(np.float64) for flag in flags)
    count = np.bincount(key, minlength=size).astype(np.float64)
    return Tally(cell[row], count, np.ones(size), None if cluster is None else cluster[row], once, icc_floor)
