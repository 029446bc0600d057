"""Slices: reference and optimized accuracy on the same rows, worst first; and the gap between groups."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.records import (
    ColumnRecord,
    DatasetRecord,
    Evidence,
    Finding,
    PredictionRecord,
    VariantEvidence,
    VariantJudgement,
)
from kit.report import sentences
from kit.report.figures import Scale, clean, percent, points
from kit.report.sections.requirements import SIGNS
from kit.spec.types import Profile

_PP = Scale(1e-2, "pp", 1, signed=True)


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One slice: accuracies (%) and change (points) as text; change and interval as shares, negative is worse."""

    status: str
    sign: str
    name: str
    reference: str
    optimized: str
    change: str
    interval: str
    at: float | None
    low: float | None
    high: float | None
    allowed: float
    rows: str
    clusters: str
    sentence: str
    reason: str
    drop: str
    whole: bool


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group's accuracy before (reference) and after (variant)."""

    name: str
    before: float
    after: float
    rows: int


@dataclass(frozen=True, slots=True)
class FairnessView:
    """Groups of one column, the gap before and after, and the judge's sentence."""

    column: str
    sentence: str
    reason: str
    status: str
    sign: str
    gap_text: str
    groups: tuple[GroupRow, ...]


@dataclass(frozen=True, slots=True)
class SlicesView:
    """All slices, worst first, with the axis they share (shares: low, high)."""

    headline: str
    rows: tuple[SliceRow, ...]
    axis: tuple[float, float]
    cluster_name: str


def rows_of(data: DatasetRecord, subject: str) -> NDArray[np.bool_] | None:
    """The rows of a slice ``column=value``; several may be joined by `` & ``; None where the data has no such slice."""
    chosen = np.ones(data.rows, dtype=np.bool_)
    for part in subject.split(" & "):
        column, _, value = part.partition("=")
        record = data.columns.get(column)
        if record is None or value not in record.values:
            return None
        chosen &= record.codes == record.values.index(value)
    return chosen


def accuracy(predictions: PredictionRecord, data: DatasetRecord, rows: NDArray[np.bool_] | None = None) -> float | None:
    """Share of rows decided right; None where there is no row."""
    right = predictions.decisions == data.labels
    chosen = right if rows is None else right[rows]
    return float(chosen.mean()) if len(chosen) else None


def build_slices(evidence: Evidence, variant: VariantEvidence, judged: VariantJudgement | None) -> SlicesView | None:
    """Every slice that was judged on this variant, with all rows among them; None where none was."""
    findings = [f for f in judged.findings if f.metric == "accuracy.drop"] if judged else []
    if not any(not sentences.is_whole(f) for f in findings):
        return None
    rows = tuple(_row(f, evidence, variant) for f in sorted(findings, key=_order))
    slices = [r for r in rows if not r.whole]
    return SlicesView(
        headline=_headline(slices),
        rows=rows,
        axis=_axis(rows),
        cluster_name=clean(evidence.dataset.cluster_column or "", 16),
    )


def _headline(slices: list[SliceRow]) -> str:
    """How many pass, how many are broken or undecided, and the worst."""
    names = {"PASS": "pass", "FAIL": "broken", "INCONCLUSIVE": "undecided", sentences.NOT_TESTED: "not tested"}
    numbers = {word: sum(row.status == word for row in slices) for word in names}
    parts = ", ".join(f"{number} {names[word]}" for word, number in numbers.items() if number)
    worst = next((row for row in slices if row.at is not None and row.status != sentences.NOT_TESTED), None)
    rest = "" if worst is None else f" The worst is {worst.name}: {worst.drop}."
    return f"{len(slices)} slices: {parts}.{rest}"


def _order(finding: Finding) -> tuple[bool, tuple[int, int, float]]:
    return not sentences.is_whole(finding), sentences.worst_first(finding)


def _row(finding: Finding, evidence: Evidence, variant: VariantEvidence) -> SliceRow:
    data, whole = evidence.dataset, sentences.is_whole(finding)
    mask = np.ones(data.rows, dtype=np.bool_) if whole else rows_of(data, finding.subject)
    before = None if mask is None else accuracy(evidence.reference_predictions, data, mask)
    after = None if mask is None or variant.predictions is None else accuracy(variant.predictions, data, mask)
    change, low, high = (None if v is None else -v for v in (finding.estimate, finding.upper, finding.lower))
    word = sentences.status(finding)
    return SliceRow(
        status=word,
        sign=SIGNS[word],
        name="all rows" if whole else sentences.subject_text(finding),
        reference=percent(before).removesuffix(" %"),
        optimized=percent(after).removesuffix(" %"),
        change=points(change).removesuffix(" pp"),
        interval=_PP.interval(low, high),
        at=change,
        low=low,
        high=high,
        allowed=-finding.limit,
        rows=f"{finding.rows:,}",
        clusters="" if finding.clusters is None else f"{finding.clusters:,}",
        sentence=sentences.sentence(finding),
        reason=sentences.capitalized(sentences.reason(finding)),
        drop=sentences.drop_text(finding),
        whole=whole,
    )


def _axis(rows: tuple[SliceRow, ...]) -> tuple[float, float]:
    """Wide enough for every limit and for most intervals; what is far out is cut with an arrow."""
    allowed = max(abs(row.allowed) for row in rows) or 0.01
    ends = [v for row in rows for v in (row.at, row.low, row.high) if v is not None]
    low = min([-1.5 * allowed, *(max(v, -6 * allowed) for v in ends)])
    high = max([0.5 * allowed, *(min(v, 3 * allowed) for v in ends)])
    pad = 0.04 * (high - low)
    return low - pad, high + pad


def build_fairness(
    evidence: Evidence, variant: VariantEvidence, judged: VariantJudgement | None, profile: Profile
) -> tuple[FairnessView, ...]:
    """One view for each judged fairness finding whose column the data has."""
    if judged is None or variant.predictions is None:
        return ()
    by = {r.id: r.by for r in profile.requirements}
    views = []
    for finding in judged.findings:
        if finding.metric != "fairness.gap_change":
            continue
        names = [finding.subject.split("=")[0], *by.get(finding.requirement, ())]
        column = next((n for n in names if n in evidence.dataset.columns), None)
        if column is not None:
            views.append(_fairness(column, evidence, variant.predictions, finding))
    return tuple(views)


def _fairness(column: str, evidence: Evidence, after: PredictionRecord, finding: Finding) -> FairnessView:
    groups = _groups(evidence.dataset.columns[column], evidence, after)
    word = sentences.status(finding)
    gaps = [_gap([g.before for g in groups]), _gap([g.after for g in groups])]
    return FairnessView(
        column=clean(column, 40),
        sentence=sentences.sentence(finding),
        reason=sentences.capitalized(sentences.reason(finding)),
        status=word,
        sign=SIGNS[word],
        gap_text="Gap between best and worst: " + " before, ".join(points(g).lstrip("+") for g in gaps) + " after.",
        groups=groups,
    )


def _groups(column: ColumnRecord, evidence: Evidence, after: PredictionRecord) -> tuple[GroupRow, ...]:
    rows = []
    for code, value in enumerate(column.values):
        mask = column.codes == code
        before_share = accuracy(evidence.reference_predictions, evidence.dataset, mask)
        after_share = accuracy(after, evidence.dataset, mask)
        if before_share is not None and after_share is not None:
            rows.append(GroupRow(clean(value, 28), before_share, after_share, int(mask.sum())))
    return tuple(sorted(rows, key=lambda g: (g.after, g.name)))[:24]


def _gap(shares: list[float]) -> float:
    return max(shares) - min(shares) if shares else 0.0
