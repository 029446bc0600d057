"""Thresholds by group as a mitigation: each criterion's gap and accuracy, before and after."""

from dataclasses import dataclass, replace

import numpy as np

from kit.fairness.paired import CRITERIA, BoolArray, Rows
from kit.fairness.thresholds import THRESHOLD_CRITERIA, Criterion, Thresholds, fit_thresholds
from kit.judge.front import criterion_of, rows_by
from kit.judge.mitigation_base import (
    Change,
    Given,
    Mitigation,
    accuracy_of,
    asked_of_groups,
    column_of_groups,
    gap_of,
    not_tried,
    tried,
)
from kit.records import Float64Array, Int64Array

MINIMUM_ROWS = 30
"""Of each class in each half, where no requirement says how many a group must have."""

LAW = (
    "It uses people's groups when it decides: in some places and fields that is unlawful even where it narrows a gap. "
    "People with the same score are decided differently by their group."
)
LOTS = "It draws lots: two people of one group with the same score may be decided differently."


@dataclass(frozen=True, slots=True)
class _Groups:
    """Rows of the groups that are large enough, and what is known of each: score, decisions, and which are fitted on.

    names: of these groups; small: of those left out, whose rows are not among these.
    """

    rows: Rows
    score: Float64Array
    decisions: Int64Array
    fitting: BoolArray
    names: tuple[str, ...]
    small: tuple[str, ...]


def thresholds(given: Given) -> tuple[Mitigation, ...]:
    """One mitigation for each criterion; none where there are no groups, or not two classes with a score each.

    A group with fewer rows of either class in either half than the requirement's minimum (30) keeps its decisions as
    they are and is left out, by name.
    """
    data, column = given.evidence.dataset, column_of_groups(given)
    if column is None or len(data.classes) != 2 or given.found.scores.shape != (data.rows, 2):
        return ()
    groups = _groups(given, column)
    return tuple(_threshold(given, groups, f"thresholds by {column} for {each}", each) for each in THRESHOLD_CRITERIA)


def _groups(given: Given, column: str) -> _Groups:
    record, asked = given.evidence.dataset.columns[column], asked_of_groups(given.profile)
    rows = rows_by(given.evidence, given.profile, record, asked)
    names = [record.values[code] for code in np.unique(record.codes)]
    cells = np.zeros((rows.groups, 2, 2), dtype=np.int64)
    np.add.at(cells, (rows.group, (rows.labels == rows.positive).astype(int), given.fitting.astype(int)), 1)
    large = cells.min(axis=(1, 2)) >= (MINIMUM_ROWS if asked is None else asked.minimum_rows)
    mask, scores = large[rows.group], given.found.scores.astype(np.float64)
    number = np.cumsum(large) - 1
    return _Groups(
        rows=replace(rows.taken(mask), group=number[rows.group[mask]], groups=int(large.sum())),
        score=(scores[:, rows.positive] - scores[:, 1 - rows.positive])[mask],
        decisions=given.found.decisions[mask],
        fitting=given.fitting[mask],
        names=tuple(name for name, is_large in zip(names, large, strict=True) if is_large),
        small=tuple(name for name, is_large in zip(names, large, strict=True) if not is_large),
    )


def _threshold(given: Given, of: _Groups, name: str, criterion: Criterion) -> Mitigation:
    left = f"left out for too few rows of a class: {', '.join(of.small)}" if of.small else ""
    why = "scores are not all finite" if not np.isfinite(of.score).all() else ""
    if of.rows.groups < 2 or why:
        few = "fewer than two groups have rows enough of both classes in both halves"
        return not_tried(given, "thresholds", name, f"{name} cannot be tried: {why or few}.", LAW)
    half, kept = of.fitting, ~of.fitting
    wanted = (of.rows.labels == of.rows.positive).astype(np.int64)
    fitted = fit_thresholds(of.score[half], wanted[half], of.rows.group[half], of.rows.groups, criterion)
    chosen = fitted.decide(of.score[kept], of.rows.group[kept], given.seed)
    after = np.where(chosen == 1, of.rows.positive, 1 - of.rows.positive)
    judged, before = of.rows.taken(kept), of.decisions[kept]
    changes = [gap_of(judged, criterion, before, after), *_own_gap(given, judged, criterion, before, after)]
    changes.append(accuracy_of(judged, before, after))
    cautions = [
        LAW,
        *([LOTS] if any(rule.draws_lots for rule in fitted.rules) else []),
        *([f"{left}."] if left else []),
    ]
    caution = " ".join(each[:1].upper() + each[1:] for each in cautions)
    return tried(
        given, "thresholds", name, changes, _told(fitted, of.names), caution, (int(half.sum()), int(kept.sum()))
    )


def _told(fitted: Thresholds, names: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Each group's thresholds of the score difference; infinite ones, which take none or all, are left out."""
    told = list[tuple[str, float]]()
    for name, rule in zip(names, fitted.rules, strict=True):
        parts = {"above": rule.high if rule.mix == 0.0 else rule.low}
        if rule.draws_lots:
            parts = {"surely above": rule.high, "perhaps above": rule.low, "chance": rule.mix, "by lot": rule.by_lot}
        told += [(f"{name}: {what}", value) for what, value in parts.items() if np.isfinite(value)]
    return tuple(told)


def _own_gap(given: Given, rows: Rows, criterion: str, before: Int64Array, after: Int64Array) -> list[Change]:
    """The gap that the profile asks about, where that is another one."""
    own = criterion_of(asked_of_groups(given.profile))
    return [gap_of(rows, own, before, after)] if own != criterion and own in CRITERIA else []
