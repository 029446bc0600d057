"""Requirements: one row each, the worst slice speaking for a requirement on many slices."""

from collections.abc import Sequence
from dataclasses import dataclass

from kit.records import Finding, Judgement, VariantJudgement, Verdict
from kit.report import sentences
from kit.report.figures import clean
from kit.spec.measures import MEASURES
from kit.spec.types import Profile, Requirement
from kit.words import count

SIGNS = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?", sentences.NOT_TESTED: "–"}
_NOUNS = {"data": "look", "fairness": "comparison", "explanation": "figure", "privacy": "attack"}
"""What several findings of one requirement are, by the first word of its metric; of all others they are slices."""

_ORDER = {"FAIL": 0, "INCONCLUSIVE": 1, sentences.NOT_TESTED: 2, "PASS": 3}


@dataclass(frozen=True, slots=True)
class Dot:
    """A figure and its interval against the limit, as multiples of the limit: right is better, 0 is the limit."""

    at: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class RequirementRow:
    """One requirement of the profile as judged on one variant."""

    id: str
    label: str
    subject: str
    status: str
    sign: str
    limit: str
    estimate: str
    interval: str
    obtained: str
    confidence: str
    method: str
    basis: str
    sentence: str
    reason: str
    next_step: str
    why: str
    slices: str
    dot: Dot | None


def variant_of(judgement: Judgement, name: str) -> VariantJudgement | None:
    """The judgement of one variant, by name."""
    return next((v for v in judgement.variants if v.variant == name), None)


def findings_of(judged: VariantJudgement, requirement: str) -> list[Finding]:
    """A requirement's findings, worst first."""
    return sorted((f for f in judged.findings if f.requirement == requirement), key=sentences.worst_first)


def group_status(findings: Sequence[Finding]) -> str:
    """A requirement's word over all its findings: FAIL, then INCONCLUSIVE, then PASS, as the judge ranks them."""
    words = [sentences.status(f) for f in findings]
    return min(words, key=_ORDER.__getitem__, default="INCONCLUSIVE")


def requirement_ids(judged: VariantJudgement, profile: Profile) -> list[str]:
    """Requirement ids in the profile's order, then any that only the judge knows."""
    known = [r.id for r in profile.requirements]
    return list(dict.fromkeys([*known, *(f.requirement for f in judged.findings)]))


def build_requirements(judgement: Judgement, profile: Profile, variant: str) -> tuple[RequirementRow, ...]:
    """A row for each requirement, broken ones first, then undecided, untested and met, else in the profile's order."""
    judged = variant_of(judgement, variant)
    if judged is None:
        return ()
    asked = {r.id: r for r in profile.requirements}
    rows = [_row(asked.get(i), findings_of(judged, i), judgement, variant) for i in requirement_ids(judged, profile)]
    return tuple(sorted((row for row in rows if row), key=lambda row: _ORDER[row.status]))


def _row(
    asked: Requirement | None, findings: list[Finding], judgement: Judgement, variant: str
) -> RequirementRow | None:
    if not findings:
        return None
    worst = findings[0]
    scale = sentences.finding_scale(worst)
    word = group_status(findings)
    return RequirementRow(
        id=worst.requirement,
        label=label_of(worst, len(findings), asked),
        subject=subject_of(worst),
        status=word,
        sign=SIGNS[word],
        limit=sentences.limit_text(worst),
        estimate=scale.text(worst.estimate),
        interval=sentences.interval_text(worst),
        obtained=worst.obtained,
        confidence=sentences.sureness(worst),
        method=clean(worst.method, 240),
        basis=sentences.rows_text(worst),
        sentence=sentences.sentence(worst),
        reason=sentences.capitalized(sentences.reason(worst)),
        next_step=sentences.next_step(worst, _others_passing(judgement, variant, worst)),
        why=clean(asked.why, 300) if asked else "",
        slices=slices_text(findings),
        dot=_dot(worst),
    )


def label_of(finding: Finding, findings: int, asked: Requirement | None) -> str:
    """What is required, in a few words; the measure is named where the requirement names one."""
    label = sentences.LABELS.get(finding.metric, clean(finding.metric))
    by_slice = findings > 1 or not sentences.is_whole(finding)
    if asked is not None and asked.measure:
        told = _with_measure(finding.metric, label, asked.measure)
        return f"worst slice, {told}" if by_slice and finding.metric.startswith("quality.") else told
    return "worst slice" if by_slice and finding.metric == "accuracy.drop" else label


def _with_measure(metric: str, label: str, measure: str) -> str:
    """``auc lost``, ``log-loss increase``, ``ratio of groups, error-rate``; a function of the user's by its name."""
    name = clean(measure.rpartition(":")[2], 40)
    if metric == "quality.value":
        return name
    if metric == "quality.loss":
        known = MEASURES.get(measure)
        return f"{name} {'lost' if known is not None and known.better == 'higher' else 'increase'}"
    return label if measure == "accuracy" else f"{label}, {name}"


def subject_of(finding: Finding) -> str:
    """What a figure is of, in words; looks at the data that found nothing have no worst one."""
    nothing = finding.metric.startswith("data.") and finding.estimate == 0
    return "" if nothing else sentences.subject_text(finding)


def slices_text(findings: Sequence[Finding]) -> str:
    """``11 of 13 slices pass, 2 not tested``, ``4 of 4 looks pass``; nothing for a single finding."""
    if len(findings) < 2:
        return ""
    words = [sentences.status(f) for f in findings]
    passing = sum(word == Verdict.PASS for word in words)
    untested = sum(word == sentences.NOT_TESTED for word in words)
    rest = f", {untested} not tested" if untested else ""
    noun = _NOUNS.get(findings[0].metric.partition(".")[0], "slice")
    return f"{passing} of {count(len(findings), noun)} pass{rest}"


def _dot(finding: Finding) -> Dot | None:
    if finding.estimate is None:
        return None
    at = sentences.margin(finding, finding.estimate)
    ends = [sentences.margin(finding, end) for end in (finding.lower, finding.upper) if end is not None]
    return Dot(at, min([at, *ends]), max([at, *ends]))


def _others_passing(judgement: Judgement, variant: str, finding: Finding) -> list[str]:
    def passes(other: VariantJudgement) -> bool:
        same = [f for f in other.findings if f.requirement == finding.requirement]
        return bool(same) and all(f.verdict is Verdict.PASS for f in same)

    return [v.variant for v in judgement.variants if v.variant != variant and passes(v)]
