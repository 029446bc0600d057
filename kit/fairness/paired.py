"""Two deciders on the same rows: a rate before and after, and the gap of groups before and after, with bounds.

Every rate here is the mean of a yes or no over rows that no decider chooses (all rows, those of the positive class,
those of the others), so that its change is a paired difference of shares. A gap is the greatest rate less the smallest:
neither is smooth, so gaps get simultaneous bounds of their groups' rates and no bootstrap.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kit.records import Float64Array, Int64Array
from kit.stats.outcomes import Outcomes, Sample

BoolArray = NDArray[np.bool_]

CRITERIA: dict[str, tuple[tuple[str, str], ...]] = {
    "accuracy": (("all", "right"),),
    "error-rate": (("all", "right"),),
    "demographic-parity": (("all", "positive"),),
    "equal-opportunity": (("positives", "positive"),),
    "false-negative-rate": (("positives", "positive"),),
    "false-positive-rate": (("others", "positive"),),
    "equalized-odds": (("positives", "positive"), ("others", "positive")),
}
"""Rates that a measure of `kit.spec.measures.FAIRNESS_MEASURES` compares: over which rows, of what share. A share and
the rest of it have the same gap. Precision and calibration are over rows that the decider chooses: not here."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with bounds, each one-sided at the confidence that was asked for."""

    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to compare deciders on: labels, cluster int64 [n]; group int64 [n] from 0 to groups - 1; positive: a class.

    icc_floor: the least correlation assumed between rows of one cluster. weights: float64 [n], None where all rows
    count alike.
    """

    labels: Int64Array
    cluster: Int64Array
    group: Int64Array
    groups: int
    positive: int
    icc_floor: float
    weights: Float64Array | None = None

    def taken(self, mask: BoolArray) -> "Rows":
        """The rows of `mask` bool [n]; groups keep their numbers."""
        return replace(
            self, labels=self.labels[mask], cluster=self.cluster[mask], group=self.group[mask],
            weights=None if self.weights is None else self.weights[mask],
        )  # fmt: skip

    def outcomes(self, before: BoolArray, after: BoolArray) -> Outcomes:
        """What each row came to under two deciders, bool [n] each."""
        return Outcomes(self.cluster, before, after, before != after, self.icc_floor, self.weights)

    def over(self, which: str) -> BoolArray:
        """Rows of a rate: "all", those of the class that is wanted ("positives"), or the others: bool [n]."""
        if which == "all":
            return np.ones(len(self.labels), dtype=np.bool_)
        return np.asarray((self.labels == self.positive) == (which == "positives"))

    def shown(self, what: str, decisions: Int64Array) -> BoolArray:
        """What is counted of decisions int64 [n]: "right", or decided "positive": bool [n]."""
        return np.asarray(decisions == (self.labels if what == "right" else self.positive))


def change_of_share(rows: Rows, before: BoolArray, after: BoolArray, confidence: float) -> Figure:
    """Share of `after` less share of `before`, bool [n >= 1] each on the same rows."""
    return _figure(rows.outcomes(after, before).drop(), confidence)


def share(rows: Rows, shown: BoolArray, confidence: float) -> Figure:
    """Share of `shown`, bool [n >= 1]."""
    return _figure(rows.outcomes(shown, shown).accuracy(shown), confidence)


def gap(rows: Rows, criterion: str, decisions: Int64Array, confidence: float) -> Figure | None:
    """The gap of groups in a row of `CRITERIA` (the largest of its rates' gaps); None where a group has no such row.

    Each group's rate is bounded at 1 - alpha / (2 x groups x rates), so that all hold at once (Bonferroni).
    """
    parts = CRITERIA[criterion]
    each, level = [], _level(confidence, rows.groups * len(parts))
    for which, what in parts:
        found = _rates(rows, which, rows.shown(what, decisions), level)
        if found is None:
            return None
        rates = [figure.estimate for figure in found]
        lower = max(figure.lower for figure in found) - min(figure.upper for figure in found)
        upper = max(figure.upper for figure in found) - min(figure.lower for figure in found)
        each.append(Figure(max(rates) - min(rates), max(0.0, lower), min(1.0, upper)))
    return Figure(*(max(getattr(one, name) for one in each) for name in ("estimate", "lower", "upper")))


def gap_change(rows: Rows, criterion: str, before: Int64Array, after: Int64Array, confidence: float) -> Figure | None:
    """The gap of `after` less that of `before`, decisions int64 [n] each; None where a group has no row of a rate.

    With d_g the change of group g's rate, |gap after - gap before| <= max d - min d, whatever the gaps; and the gaps'
    own bounds hold it too. A third of the error goes to each of the three.
    """
    third = 1.0 - (1.0 - confidence) / 3
    first, second = gap(rows, criterion, before, third), gap(rows, criterion, after, third)
    if first is None or second is None:
        return None
    parts = CRITERIA[criterion]
    level, reach = _level(third, rows.groups * len(parts)), 0.0
    for which, what in parts:
        changes = _changes(rows, which, rows.shown(what, before), rows.shown(what, after), level)
        assert changes is not None  # the gaps have the same rows
        reach = max(reach, max(each.upper for each in changes) - min(each.lower for each in changes))
    lower, upper = second.lower - first.upper, second.upper - first.lower
    return Figure(second.estimate - first.estimate, max(lower, -reach), min(upper, reach))


def _level(confidence: float, claims: int) -> float:
    return 1.0 - (1.0 - confidence) / (2 * claims)


def _rates(rows: Rows, which: str, shown: BoolArray, level: float) -> list[Figure] | None:
    """Each group's rate; None where a group has no row of it."""
    tally = rows.outcomes(shown, shown).shares_by(shown, rows.group, rows.over(which))
    return _figures(tally.successes(np.arange(rows.groups), rows.groups), level)


def _changes(rows: Rows, which: str, before: BoolArray, after: BoolArray, level: float) -> list[Figure] | None:
    """By how much each group's rate grew."""
    tally = rows.outcomes(after, before).drops_by(rows.group, rows.over(which))
    return _figures(tally.drops(np.arange(rows.groups), rows.groups), level)


def _figures(samples: Iterable[Sample | None], level: float) -> list[Figure] | None:
    found = [None if each is None else _figure(each, level) for each in samples]
    known = [each for each in found if each is not None]
    return known if len(known) == len(found) else None


def _figure(of: Sample, confidence: float) -> Figure:
    return Figure(float(of.counts.estimate), *of.counts.bounds(confidence))
