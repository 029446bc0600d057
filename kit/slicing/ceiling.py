"""How much any conjunction may lose at most, said of all of them at once.

Which conjunctions are looked at follows from the columns alone, so their number is fixed before a model is, and by
Bonferroni's inequality an upper end at confidence 1 - alpha / number holds for all of them together with 1 - alpha. So
it does for any of them that are picked afterwards, such as all those of at least so many rows.
"""

import math
from dataclasses import dataclass

import numpy as np

from kit.records import Float64Array, Int64Array
from kit.slicing.differences import Differences, Samples
from kit.slicing.family import Family
from kit.slicing.scan import BoolArray
from kit.stats.proportions import paired_bounds, paired_score
from kit.stats.special import bisect, student_t_quantile

LARGE_DF = 10_000.0


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Simultaneous upper ends of the conjunctions that have enough clusters.

    number: int64 [slices], of each in the family; uppers: float64 [slices]; confidence: of each by itself.
    """

    number: Int64Array
    samples: Samples
    uppers: Float64Array
    confidence: float

    def __len__(self) -> int:
        return len(self.uppers)

    @property
    def highest(self) -> int:
        """Where the highest upper end is; of equal ones the first."""
        return int(np.argmax(self.uppers))

    def within(self, limit: float) -> BoolArray:
        """Whether each is surely at most the limit."""
        return np.asarray(self.uppers <= limit)

    def least_rows(self, limit: float) -> int | None:
        """The least rows from which on all are surely at most the limit; None if the largest is not."""
        beyond = ~self.within(limit)
        least = int(self.samples.rows[beyond].max(initial=0)) + 1
        return least if least <= self.samples.rows.max(initial=0) else None


def ceiling(family: Family, differences: Differences, minimum_clusters: int, confidence: float) -> Ceiling:
    """Upper ends of all conjunctions of a search's family that have `minimum_clusters` clusters, together."""
    samples = _samples(family, differences)
    number = np.flatnonzero(samples.clusters >= max(2, minimum_clusters))
    kept = samples.take(number)
    each = 1.0 - (1.0 - confidence) / max(1, len(number))
    return Ceiling(number, kept, upper_ends(kept, each), each)


def _samples(family: Family, differences: Differences) -> Samples:
    """Every conjunction of the family as effective counts: from sums, or a set of columns at a time."""
    if differences.cluster is None and differences.weights is None:
        rows, values, squares = family.sums[0], family.sums[-2], family.sums[-1]
        return Samples(rows, rows, rows, values / rows, squares / rows, differences.are_flips, differences.reach)
    nothing = np.zeros(0, dtype=np.int64)
    parts = [_of_set(family, differences, number) for number in range(len(family.sets))]
    return Samples.joined([differences.samples(nothing, nothing, 0), *parts])


def _of_set(family: Family, differences: Differences, number: int) -> Samples:
    """No row is in two conjunctions of one set."""
    key, size, wanted = family.key(number)
    if size <= max(1 << 22, 4 * len(key)):
        group = np.full(size, -1, dtype=np.int64)
        group[wanted] = np.arange(len(wanted))
        group = group[key]
    else:
        at = np.minimum(np.searchsorted(wanted, key), len(wanted) - 1)
        group = np.where(wanted[at] == key, at, -1)
    rows = np.flatnonzero(group >= 0)
    return differences.samples(rows, group[rows], len(wanted))


def upper_ends(samples: Samples, confidence: float) -> Float64Array:
    """Upper end of each mean difference, one-sided at `confidence`; infinite where nothing bounds it.

    Of decisions, the paired score bound. Of losses that are no counts, Student's t bound or the empirical Bernstein
    bound (A. Maurer and M. Pontil, COLT 2009, theorem 4), whichever is higher: so far out in its tail t alone would
    trust a few rows that happen to be alike.
    """
    critical = critical_values(samples.clusters, confidence)
    if samples.are_flips:
        return paired_bounds(samples.to_wrong, samples.to_right, samples.effective, critical)[1]
    if samples.reach is None:
        return np.full(len(samples.rows), np.inf)
    rows = np.maximum(samples.effective, 1.0 + 1e-9)
    variance = np.maximum(samples.second - samples.mean**2, 0.0) * rows / (rows - 1)
    log = math.log(2 / (1 - confidence))
    bernstein = np.sqrt(2 * variance * log / rows) + 7 * samples.reach * log / (3 * (rows - 1))
    return np.asarray(samples.mean + np.maximum(critical * np.sqrt(variance / rows), bernstein))


def critical_values(clusters: Float64Array, confidence: float) -> Float64Array:
    """Student's t quantile for each number of clusters less 1, rounded down to two digits: none is too small."""
    df = np.clip(clusters - 1, 1.0, LARGE_DF)
    step = 10.0 ** np.maximum(np.floor(np.log10(df)) - 1, 0)
    distinct, at = np.unique(np.floor(df / step) * step, return_inverse=True)
    return np.array([student_t_quantile(confidence, float(each)) for each in distinct])[at]


def rows_that_decide(to_wrong: float, to_right: float, limit: float, critical: float) -> float | None:
    """Rows of a slice that flips like this (shares of its rows) whose upper end reaches the limit; None if none do."""
    if to_wrong - to_right >= limit:
        return None

    def undecided(log_rows: float) -> bool:
        rows = math.exp(log_rows)
        return float(paired_score(to_wrong * rows, to_right * rows, rows, limit)) > -critical

    most = math.log(1e9)
    return None if undecided(most) else math.exp(bisect(undecided, 0.0, most, 50))
