"""What the optimization cost each row, as a search, a confirmation and a bound look at it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kit.records import Float64Array, Int64Array
from kit.slicing.scan import BoolArray
from kit.stats.clusters import Units, effect_of, moments
from kit.stats.proportions import Counts, PairedCounts, paired_score
from kit.stats.special import student_t_quantile


@dataclass(frozen=True)
class Differences:
    """Loss of the optimized model less that of the reference, on the same rows.

    values: float64 [rows]; of decisions 1 (turned wrong), 0 or -1 (turned right). weights: float64 [rows], positive,
    None where all rows count alike. cluster: int64 [rows], None where each row is its own. reach: how far a value can
    lie from another, None where nothing bounds it.
    """

    values: Float64Array
    weights: Float64Array | None = None
    cluster: Int64Array | None = None
    icc_floor: float = 0.05
    reach: float | None = 2.0

    @cached_property
    def are_flips(self) -> bool:
        """Whether every value is -1, 0 or 1, so that rows are counted."""
        return bool(np.isin(self.values, (-1.0, 0.0, 1.0)).all())

    @cached_property
    def weight(self) -> Float64Array:
        """float64 [rows], 1 on average."""
        if self.weights is None:
            return np.ones(len(self.values))
        return np.asarray(self.weights / self.weights.mean())

    def clusters(self, mask: BoolArray) -> int:
        """Clusters that the rows of `mask` are in."""
        return int(mask.sum()) if self.cluster is None else len(np.unique(self.cluster[mask]))

    def samples(self, rows: Int64Array, group: Int64Array, groups: int) -> "Samples":
        """Of each group, where `group` [n] from 0 is that of the rows numbered `rows` [n]; every group has a row."""
        cluster = None if self.cluster is None else self.cluster[rows]
        of = moments(Units(np.ones(len(rows)), self.values[rows], self.weight[rows], cluster), group, groups)
        effect = effect_of(of, self.icc_floor)
        return Samples(of.rows, of.clusters, of.rows / effect, of.mean, of.second, self.are_flips, self.reach)

    def sample(self, mask: BoolArray) -> Counts:
        """Of the rows of `mask` (at least one), as effective counts."""
        rows = np.flatnonzero(mask)
        return self.samples(rows, np.zeros(len(rows), dtype=np.int64), 1).counts(0)


@dataclass(frozen=True, slots=True)
class Samples:
    """Slices as effective counts. All arrays: float64 [slices]; mean and second: of the values and their squares."""

    rows: Float64Array
    clusters: Float64Array
    effective: Float64Array
    mean: Float64Array
    second: Float64Array
    are_flips: bool
    reach: float | None

    @classmethod
    def joined(cls, parts: Sequence["Samples"]) -> "Samples":
        """All of several, at least one, in their order."""
        arrays = [np.concatenate([each.arrays[place] for each in parts]) for place in range(5)]
        rows, clusters, effective, mean, second = arrays
        return cls(rows, clusters, effective, mean, second, parts[0].are_flips, parts[0].reach)

    def take(self, at: Int64Array) -> "Samples":
        """Some of them."""
        rows, clusters, effective, mean, second = (each[at] for each in self.arrays)
        return Samples(rows, clusters, effective, mean, second, self.are_flips, self.reach)

    @property
    def arrays(self) -> tuple[Float64Array, ...]:
        """All that it has of each."""
        return self.rows, self.clusters, self.effective, self.mean, self.second

    @property
    def to_wrong(self) -> Float64Array:
        """Effective rows that turned wrong."""
        return np.asarray(self.effective * (self.second + self.mean) / 2)

    @property
    def to_right(self) -> Float64Array:
        """Effective rows that turned right."""
        return np.asarray(self.effective * (self.second - self.mean) / 2)

    def counts(self, at: int) -> Counts:
        """One of them, with its bounds."""
        df, effective = float(max(1.0, self.clusters[at] - 1)), float(self.effective[at])
        if self.are_flips:
            return PairedCounts(float(self.to_wrong[at]), float(self.to_right[at]), effective, df)
        return MeanDifference(float(self.mean[at]), float(self.second[at]), effective, df)

    def score(self, value: float) -> Float64Array:
        """Statistic [slices] of H0: mean difference = value; its sign is that of mean - value."""
        if self.are_flips:
            return paired_score(self.to_wrong, self.to_right, self.effective, value)
        return _mean_score(self.mean, self.second, self.effective, value)


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """A mean of differences that are no counts, by its second moment and `rows` as effective rows."""

    estimate: float
    second: float
    rows: float
    df: float

    def score(self, value: float) -> float:
        """Statistic of H0: mean = value, over the second moment about it: never larger than Student's t."""
        return float(_mean_score(np.asarray(self.estimate), np.asarray(self.second), np.asarray(self.rows), value))

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Lower and upper bound, each one-sided at `confidence`; infinite where rows are too few for one."""
        critical = student_t_quantile(confidence, self.df)
        if self.rows <= critical**2:
            return -np.inf, np.inf
        spread = max(self.second - self.estimate**2, 0.0)
        half = critical * float(np.sqrt(spread / (self.rows - critical**2)))
        return self.estimate - half, self.estimate + half


def _mean_score(mean: Float64Array, second: Float64Array, rows: Float64Array, value: float) -> Float64Array:
    about = np.maximum(second - 2 * value * mean + value**2, 1e-300)
    return np.asarray(np.sqrt(rows) * (mean - value) / np.sqrt(about))
