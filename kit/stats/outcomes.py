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

    cluster: int64, None where each row is its own. flags: whether something holds of a unit, 0 or 1. rows: float64
    [flags, cells], rows of which it holds; weights: the same by weight, and last of all rows.
    """

    cell: Int64Array
    count: Float64Array
    weight: Float64Array
    cluster: Int64Array | None
    flags: tuple[Float64Array, ...]
    rows: Float64Array
    weights: Float64Array
    icc_floor: float

    def drops(self, codes: Int64Array, slices: int) -> list[Sample | None]:
        """Share right before less share right after, for each slice; `codes` int64 [cells], -1 for none.

        The flags are those of `Outcomes.drops_by`. None: a slice without rows.
        """
        present, rows, share = self._shares(codes, slices)
        of = self._moments(self.flags[0] - self.flags[1], codes, present, 0.0)
        effect = effect_of(of, self.icc_floor)
        effective = of.rows / effect
        wrong, right = (share[0] - share[3]) * effective, (share[1] - share[3]) * effective
        found: list[Sample | None] = [None] * slices
        for at, code in enumerate(present):
            counts = PairedCounts(float(wrong[at]), float(right[at]), float(effective[at]), _df(of, at))
            details = {
                "flips_to_wrong": rows[0, at] - rows[3, at],
                "flips_to_right": rows[1, at] - rows[3, at],
                "decisions_changed": rows[2, at],
                "reference_accuracy": share[0, at],
                "optimized_accuracy": share[1, at],
            }
            found[code] = _sample(counts, of, effect, at, details)
        return found

    def successes(self, codes: Int64Array, slices: int) -> list[Sample | None]:
        """Share of rows with the first flag, for each slice; `codes` and the result as in `drops`."""
        present, rows, share = self._shares(codes, slices)
        of = self._moments(self.flags[0], codes, present, (share[0] >= 0.5).astype(np.float64))
        effect = effect_of(of, self.icc_floor)
        effective = of.rows / effect
        found: list[Sample | None] = [None] * slices
        for at, code in enumerate(present):
            counts = Successes(float(share[0, at] * effective[at]), float(effective[at]), _df(of, at))
            found[code] = _sample(counts, of, effect, at, {"right": rows[0, at]})
        return found

    def _shares(self, codes: Int64Array, slices: int) -> tuple[Int64Array, Float64Array, Float64Array]:
        """The slices with rows [present]; of each flag its rows and its share by weight, float64 [flags, present]."""
        codes = codes[: self.rows.shape[1]]  # cells after the last one with rows have none
        kept = codes >= 0
        rows = np.array([np.bincount(codes[kept], each[kept], slices) for each in self.rows])
        weights = np.array([np.bincount(codes[kept], each[kept], slices) for each in self.weights])
        present = np.flatnonzero(weights[-1] > 0)
        return present, rows[:, present], weights[:-1, present] / weights[-1, present]

    def _moments(
        self, value: Float64Array, codes: Int64Array, present: Int64Array, usual: Float64Array | float
    ) -> Moments:
        """Moments of the slices `present`, of a value of each unit."""
        rank = np.full(int(codes.max(initial=-1)) + 2, -1, dtype=np.int64)
        rank[present] = np.arange(len(present))
        group = rank[codes][self.cell]
        if (group >= 0).all():
            return moments(Units(self.count, value, self.weight, self.cluster), group, len(present), usual)
        kept = group >= 0
        cluster = None if self.cluster is None else self.cluster[kept]
        units = Units(self.count[kept], value[kept], self.weight[kept], cluster)
        return moments(units, group[kept], len(present), usual)


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
        """The rows of `mask` by their cell int64 [rows], for `Tally.drops`: right before, after, changed, both."""
        before, after = self.reference_right, self.optimized_right
        return self._tally(cell, mask, (before, after, self.decision_changed, before & after))

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
    count = weight = np.ones(len(cell))
    if weights is not None:
        weight = weights
    else:
        key, size = cell, int(cell.max(initial=-1)) + 1
        groups = [] if cluster is None else [(cluster, int(cluster.max(initial=-1)) + 1)]
        for codes, values in [*groups, *((flag, 2) for flag in flags)]:
            key, size = renumbered(key * values + codes.astype(np.int64), size * values)
        row = np.zeros(size, dtype=np.int64)
        row[key] = np.arange(len(key))
        count, weight = np.bincount(key, minlength=size).astype(np.float64), np.ones(size)
        cell, cluster, flags = cell[row], None if cluster is None else cluster[row], [flag[row] for flag in flags]
    held = tuple(flag.astype(np.float64) for flag in flags)
    rows = np.array([np.bincount(cell, count * flag) for flag in held])
    by_weight = np.array([np.bincount(cell, count * weight * flag) for flag in (*held, np.ones(len(cell)))])
    return Tally(cell, count, weight, cluster, held, rows, by_weight, icc_floor)
