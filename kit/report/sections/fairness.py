"""Fairness: every group before and after with its interval, the gap and the ratio between groups, and their change."""

from dataclasses import dataclass

import numpy as np

from kit.errors import EdgeproofError
from kit.fairness.bounds import Ends, ends
from kit.fairness.groups import MOST_GROUPS, Groups, grouped
from kit.fairness.parts import Answers, GroupFigures, Part, rate_part
from kit.fairness.rates import PARTS
from kit.records import DatasetRecord, Evidence, Finding, PredictionRecord, VariantEvidence, VariantJudgement
from kit.report import sentences
from kit.report.figures import Scale, clean, percent, points
from kit.report.sections.requirements import SIGNS
from kit.slicing.declared import column_of
from kit.spec.subjects import values_of
from kit.spec.types import Profile, Requirement
from kit.words import percent as confidence_text

MOST_ROWS = 24
"""Groups that are shown, those with the lowest figure first."""

MOST_PARTS = 4
"""Rates of a measure that are shown, those with the widest gap first."""

_PERCENT, _PP = Scale(1e-2, "%", 1), Scale(1e-2, "pp", 1, signed=True)
_METRICS = ("fairness.gap", "fairness.ratio", "fairness.gap_change")
_OF_RIGHT = ("accuracy", "error-rate")


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group's figure before (reference) and after (variant), as shares and as texts with intervals."""

    name: str
    before: float
    after: float
    rows: int
    before_text: str
    after_text: str
    change_text: str
    note: str


@dataclass(frozen=True, slots=True)
class PartView:
    """A rate of every group; `gap_text` is its gap and ratio, before and after."""

    name: str
    column: str
    sentence: str
    gap_text: str
    groups: tuple[GroupRow, ...]
    hidden: int


@dataclass(frozen=True, slots=True)
class FairnessView:
    """A finding about groups, in the judge's sentence, and the rates that it compares."""

    column: str
    sentence: str
    reason: str
    status: str
    sign: str
    confidence: str
    parts: tuple[PartView, ...]


def build_fairness(
    evidence: Evidence, variant: VariantEvidence, judged: VariantJudgement | None, profile: Profile
) -> tuple[FairnessView, ...]:
    """One view for each judged fairness finding whose columns the data has."""
    if judged is None or variant.predictions is None:
        return ()
    asked = {each.id: each for each in profile.requirements}
    return tuple(
        _view(evidence, variant.predictions, finding, asked[finding.requirement], profile)
        for finding in judged.findings
        if finding.metric in _METRICS and finding.requirement in asked and finding.subject
    )


def _view(
    evidence: Evidence, after: PredictionRecord, finding: Finding, asked: Requirement, profile: Profile
) -> FairnessView:
    over, _, measure = finding.subject.partition(": ")
    word = sentences.status(finding)
    sentence = sentences.sentence(finding)
    parts = _parts(evidence, after, over, measure or "accuracy", asked, profile)
    views = sorted((_part(part, groups, over, sentence, asked, finding) for part, groups in parts), key=_widest_first)
    return FairnessView(
        column=clean(f"{over} in {measure.replace('-', ' ')}" if measure else over, 60),
        sentence=sentence,
        reason=sentences.capitalized(sentences.reason(finding)),
        status=word,
        sign=SIGNS[word],
        confidence=confidence_text(finding.confidence),
        parts=tuple(view for view in views if view.groups)[:MOST_PARTS],
    )


def _widest_first(view: PartView) -> float:
    values = [group.after for group in view.groups]
    return min(values) - max(values) if values else 1.0


def _parts(
    evidence: Evidence, after: PredictionRecord, over: str, measure: str, asked: Requirement, profile: Profile
) -> list[tuple[Part, Groups]]:
    """What rates show of the finding; none where the task has no class a row, or the measure is no rate."""
    data, before = evidence.dataset, evidence.reference_predictions
    if measure not in PARTS or len(before.decisions) != data.rows or len(after.decisions) != data.rows:
        return []
    try:
        columns = {name: column_of(data, name, profile.bins) for name in over.split(" & ")}
    except EdgeproofError:
        return []
    groups = grouped(columns)
    if len(groups.names) > MOST_GROUPS:
        return []
    cluster = None if data.cluster_column is None else data.cluster
    answers = Answers(data.labels, before.decisions, after.decisions, cluster, data.weights, profile.icc_floor)
    return [
        (rate_part(answers, groups, rate, index, clean(data.classes[index], 28)), groups)
        for index in _classes(data, measure, asked.positive)
        for rate in PARTS[measure]
    ]


def _classes(data: DatasetRecord, measure: str, positive: str) -> list[int]:
    """Classes that are each told from the rest, as judging takes them (`kit.task.scores.looked_for`)."""
    if measure in _OF_RIGHT or len(data.classes) < 2:
        return [0]
    if positive:
        return [data.classes.index(positive)] if positive in data.classes else []
    return [1] if len(data.classes) == 2 else list(range(len(data.classes)))


def _part(part: Part, groups: Groups, over: str, sentence: str, asked: Requirement, finding: Finding) -> PartView:
    known = [(name, found) for name, found in zip(groups.names, part.groups, strict=True) if found is not None]
    if not known:
        return PartView(part.name, clean(over, 40), sentence, "", (), 0)
    alpha = 1.0 - finding.confidence
    sides = [ends([getattr(found, side) for _, found in known], alpha) for side in ("before", "after", "change")]
    rows = [_row(name, found, k, sides, asked) for k, (name, found) in enumerate(known)]
    rows.sort(key=lambda row: (row.after, row.name))
    return PartView(
        sentences.capitalized(part.name), clean(over, 40), sentence, _gap_text(sides),
        tuple(rows[:MOST_ROWS]), len(rows[MOST_ROWS:]),
    )  # fmt: skip


def _row(name: str, found: GroupFigures, place: int, sides: list[Ends], asked: Requirement) -> GroupRow:
    before, after, change = (
        scale.interval(float(side.lower[place]), float(side.upper[place]))
        for side, scale in zip(sides, (_PERCENT, _PERCENT, _PP), strict=True)
    )
    small = found.rows < max(1, asked.minimum_rows) or found.clusters < max(2, asked.minimum_clusters)
    return GroupRow(
        name=clean(values_of(name), 28),
        before=found.before.estimate,
        after=found.after.estimate,
        rows=found.rows,
        before_text=f"{percent(found.before.estimate)} {before}",
        after_text=f"{percent(found.after.estimate)} {after}",
        change_text=f"{points(found.change.estimate)} {change}",
        note="not tested: too few" if small else "",
    )


def _gap_text(sides: list[Ends]) -> str:
    gaps = [points(float(np.ptp(side.estimate))).lstrip("+") for side in sides[:2]]
    ratios = [_ratio(side.estimate) for side in sides[:2]]
    return (
        f"Gap between the highest and the lowest: {gaps[0]} before, {gaps[1]} after. "
        f"Ratio: {ratios[0]} before, {ratios[1]} after."
    )


def _ratio(values: np.ndarray) -> str:
    return f"{values.min() / values.max():.2f}" if values.max() > 0 else "not defined"
