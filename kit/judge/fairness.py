"""fairness.gap_change: the gap between the best and the worst group after optimization, less the gap before.

With d_g the drop of group g (paired), the largest accuracy after is at most the largest before less min d, and the
smallest at least the smallest before less max d, so |gap after - gap before| <= max d - min d, whatever the gap was.
The maximum and minimum are not smooth, so no bootstrap: the drops get simultaneous bounds.
"""

import math
from dataclasses import dataclass

import numpy as np

from kit.judge.base import Case, Measured, absent, certifying, explained, finding, undecided
from kit.judge.rows import BoolArray, Outcomes, Sample, more_rows, outcomes, slices, too_small
from kit.judge.sentences import how, interval, percent, quantity, slice_name
from kit.records import Finding, PredictionRecord, Verdict

METHOD = "max less min of paired drops, simultaneous score bounds (Bonferroni)"
TWO_GROUPS = "difference of two paired drops, score bounds joined by MOVER (Zou and Donner 2008)"


@dataclass(frozen=True, slots=True)
class Group:
    """One value of the column: its name, rows, and paired drop."""

    name: str
    mask: BoolArray
    drop: Sample

    @property
    def before(self) -> float:
        """Accuracy of the reference."""
        return self.drop.details["reference_accuracy"]

    @property
    def after(self) -> float:
        """Accuracy of the variant on the device."""
        return self.drop.details["optimized_accuracy"]


def judge_gap_change(case: Case) -> tuple[Finding, ...]:
    """One finding a column of the requirement, in points; a group too small to judge leaves its column undecided."""
    predictions = case.variant.predictions
    if predictions is None or predictions.obtained == "absent":
        return (absent(case, "points", "the device's predictions were not obtained.", "run the dataset on the device"),)
    if not case.requirement.by:
        return (absent(case, "points", "the requirement names no column of groups.", "add `by` to the requirement"),)
    return tuple(_column(case, predictions, column) for column in case.requirement.by)


def _column(case: Case, predictions: PredictionRecord, column: str) -> Finding:
    if column not in case.evidence.dataset.columns:
        reason = f"the dataset has no column {column}."
        return absent(case, "points", reason, "name a column of the dataset", column)
    parts = slices(case.evidence.dataset, (column,))
    if len(parts) < 2:
        reason = f"NOT TESTED: {column} has only one group, so there is no gap."
        return absent(case, "points", reason, "rows of at least two groups", column)
    for name, mask in parts:
        if not mask.any():
            reason = f"NOT TESTED: {slice_name(name)} has no rows, so no gap over {column} is known."
            return absent(case, "points", reason, "rows of every group", column)
    rows = outcomes(case, predictions)
    groups = [Group(name, mask, rows.drop(mask)) for name, mask in parts]
    found = _finding(case, predictions, column, groups, rows)
    for group in groups:
        if small := too_small(case, group.mask):
            reason = f"NOT TESTED: {slice_name(group.name)} has {small}, so the gap over {column} cannot be judged."
            return undecided(found, reason, f"more rows, from more clusters, in {slice_name(group.name)}")
    return certifying(case, found)


def _finding(case: Case, predictions: PredictionRecord, column: str, groups: list[Group], rows: Outcomes) -> Finding:
    before, after = _gap([g.before for g in groups]), _gap([g.after for g in groups])
    lower, upper = change_bounds(groups, rows, case.confidence)
    measured = Measured(
        after - before, lower, upper, "points", TWO_GROUPS if _separate(groups, rows) else METHOD,
        sum(g.drop.rows for g in groups), predictions.obtained, len(np.unique(rows.cluster)),
        case.digests(predictions, case.evidence.reference_predictions),
        {"gap_before": before, "gap_after": after, "groups": float(len(groups))},
    )  # fmt: skip
    found = finding(case, measured, subject=column)
    widest = max(groups, key=lambda group: group.drop.design_effect / group.drop.rows)
    need = f"in each group, as in {slice_name(widest.name)}: {more_rows(case, widest.drop, case.requirement.limit)}"
    return explained(found, _sentence(found), need)


def change_bounds(groups: list[Group], rows: Outcomes, confidence: float) -> tuple[float, float]:
    """Lower and upper bound, each one-sided at `confidence`, of gap after less gap before.

    Upper: the certificate above. Lower: its mirror image; or, where the best and the worst group of the reference are
    known (half of the error is spent on that), the difference of those two groups' drops. Gaps lie in [0, 1], so their
    change lies in [-1, 1], whatever the sum of two bounds.
    """
    reach = min(1.0, max(_spread(groups, rows, 1.0 - confidence)))
    lower = -reach
    known = _known_extremes(groups, rows, (1.0 - confidence) / 2)
    if known is not None:
        best, worst = known
        lower = max(-reach, -_difference_upper(best, worst, _separate([best, worst], rows), (1.0 - confidence) / 2))
        lower = min(1.0, lower)
    return lower, reach


def _spread(groups: list[Group], rows: Outcomes, alpha: float) -> list[float]:
    """Upper bounds that together cover max d - min d with error at most `alpha`."""
    if _separate(groups, rows):
        one, two = groups
        return [_difference_upper(one, two, True, alpha / 2), _difference_upper(two, one, True, alpha / 2)]
    each = [group.drop.counts.bounds(1.0 - alpha / (2 * len(groups))) for group in groups]
    return [max(upper for _, upper in each) - min(lower for lower, _ in each)]


def _difference_upper(one: Group, two: Group, separate: bool, alpha: float) -> float:
    """Upper bound at 1 - `alpha` of d_one - d_two.

    Groups without a common cluster: MOVER, est + sqrt((u1 - d1)^2 + (d2 - l2)^2) (G. Y. Zou and A. Donner, Statistics
    in Medicine 27, 2008). Otherwise u1 - l2 at half of alpha each, which holds under any dependence.
    """
    share = alpha if separate else alpha / 2
    _, upper = one.drop.counts.bounds(1.0 - share)
    lower, _ = two.drop.counts.bounds(1.0 - share)
    first, second = one.drop.counts.estimate, two.drop.counts.estimate
    if not separate:
        return upper - lower
    return first - second + math.hypot(upper - first, second - lower)


def _separate(groups: list[Group], rows: Outcomes) -> bool:
    """Whether there are two groups and no cluster has rows of both."""
    if len(groups) != 2:
        return False
    return not np.intersect1d(rows.cluster[groups[0].mask], rows.cluster[groups[1].mask]).size


def _known_extremes(groups: list[Group], rows: Outcomes, alpha: float) -> tuple[Group, Group] | None:
    """The best and the worst group of the reference, if simultaneous bounds at `alpha` set them apart from the rest."""
    level = 1.0 - alpha / (2 * len(groups))
    bounds = [rows.accuracy(rows.reference_right, group.mask).counts.bounds(level) for group in groups]
    best = max(range(len(groups)), key=lambda index: bounds[index][0])
    worst = min(range(len(groups)), key=lambda index: bounds[index][1])
    above = all(bounds[best][0] > upper for index, (_, upper) in enumerate(bounds) if index != best)
    below = all(bounds[worst][1] < lower for index, (lower, _) in enumerate(bounds) if index != worst)
    return (groups[best], groups[worst]) if above and below and best != worst else None


def _gap(values: list[float]) -> float:
    return max(values) - min(values)


def _sentence(found: Finding) -> str:
    assert found.estimate is not None
    gap = (
        f"the gap over {found.subject} went from {quantity(found.details['gap_before'], 'points')} to "
        f"{quantity(found.details['gap_after'], 'points')}{how(found.obtained)}"
    )
    allowed = f"allowed {quantity(found.limit, 'points')}"
    if found.verdict is Verdict.PASS and found.upper is not None:
        end = f"(upper end, {percent(found.confidence)} confidence)"
        return f"{gap}; it grows by at most {quantity(found.upper, 'points')} {end}; {allowed}."
    change = quantity(found.estimate, "points")
    return f"{gap}, a change of {change} {interval(found.lower, found.upper, 'points')}; {allowed}."
