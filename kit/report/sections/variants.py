"""Variants side by side: cost against accuracy, and every requirement's verdict as a matrix."""

from dataclasses import dataclass

from kit.records import Evidence, Finding, Judgement, Recipe, VariantEvidence, VariantJudgement, Verdict
from kit.report import sentences
from kit.report.figures import Scale, clean, percent, points, quantity, scale_for
from kit.report.sections.numerics import NONE_SO_FAR
from kit.report.sections.requirements import (
    SIGNS,
    findings_of,
    group_status,
    label_of,
    requirement_ids,
    slices_text,
    subject_of,
)
from kit.report.sections.slices import accuracy
from kit.spec.types import Profile
from kit.words import count

MOST_REASONS = 3
"""A variant's broken slices beyond these are only counted."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One requirement on one variant."""

    status: str
    sign: str
    text: str
    subject: str
    sentence: str


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One variant: what it is, what it costs, how it fares. `cost` is SI; changes are shares (negative is worse)."""

    name: str
    chosen: bool
    status: str
    sign: str
    made: str
    digest: str
    size: str
    cost: float
    cost_text: str
    accuracy: str
    change: float | None
    change_low: float | None
    change_high: float | None
    change_text: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class OtherView:
    """Why a variant that was not chosen does not pass: its first broken requirement, else its first undecided one."""

    name: str
    status: str
    sign: str
    label: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VariantsView:
    """Rows in order of cost; `columns` are the requirements' labels, one a cell."""

    headline: str
    why_chosen: str
    tag: str
    columns: tuple[str, ...]
    limits: tuple[str, ...]
    rows: tuple[VariantRow, ...]
    cost_name: str
    cost_scale: Scale
    allowed: float | None
    chart_note: str
    others: tuple[OtherView, ...]


def build_variants(evidence: Evidence, judgement: Judgement, profile: Profile) -> VariantsView:
    """Every judged variant, cheapest first."""
    ordered = sorted(judgement.variants, key=lambda v: (v.cost, v.variant))
    known = {v.variant.recipe.name: v for v in evidence.variants}
    ids = list(dict.fromkeys(i for v in ordered for i in requirement_ids(v, profile)))
    passing = sum(v.verdict == "PASS" for v in ordered)
    limits = [_limit(i, ordered) for i in ids]
    whole = next(
        (f for v in ordered for f in v.findings if f.metric == "accuracy.drop" and sentences.is_whole(f)), None
    )
    return VariantsView(
        headline=f"{passing} of {count(len(ordered), 'variant')} meet{'s' * (passing == 1)} every requirement.",
        why_chosen=_why_chosen(judgement),
        tag=tag_of(judgement),
        columns=tuple(_column(i, ordered, profile) for i in ids),
        limits=tuple(limits),
        rows=tuple(_row(v, known.get(v.variant), evidence, judgement.chosen, ids) for v in ordered),
        cost_name={"B": "size", "s": "latency", "J": "energy"}.get(ordered[0].cost_unit if ordered else "", "cost"),
        cost_scale=scale_for([v.cost for v in ordered], ordered[0].cost_unit if ordered else "1"),
        allowed=None if whole is None else -whole.limit,
        chart_note=_chart_note(whole),
        others=_others(ordered, judgement.chosen, profile),
    )


def _chart_note(whole: Finding | None) -> str:
    """What the drawing shows: intervals and the limit only where accuracy lost was required of all rows."""
    more = "" if whole is None else ", with its interval; right of the dashed line is allowed"
    return f"Left: change of accuracy against the reference{more}. Right: what it costs."


def _others(ordered: list[VariantJudgement], chosen: str, profile: Profile) -> tuple[OtherView, ...]:
    open_ = [v for v in ordered if v.variant != chosen and v.verdict is not Verdict.PASS and v.findings]
    return tuple(_other(v, profile) for v in open_)


def _other(judged: VariantJudgement, profile: Profile) -> OtherView:
    ids = requirement_ids(judged, profile)
    groups = [found for i in ids if (found := findings_of(judged, i))]
    words = [group_status(found) for found in groups]
    wanted = next(word for word in ("FAIL", "INCONCLUSIVE", sentences.NOT_TESTED) if word in words)
    findings = groups[words.index(wanted)]
    open_ = [f for f in findings if sentences.status(f) == wanted]
    reasons = [sentences.capitalized(sentences.reason(f)) for f in open_[:MOST_REASONS]]
    if len(open_) > MOST_REASONS:
        reasons.append(f"And {count(len(open_) - MOST_REASONS, 'more slice')}.")
    asked = {each.id: each for each in profile.requirements}.get(findings[0].requirement)
    label = label_of(findings[0], len(findings), asked)
    return OtherView(clean(judged.variant, 40), wanted, SIGNS[wanted], label, tuple(reasons))


def tag_of(judgement: Judgement) -> str:
    """What the variant in depth is called: one that passes was chosen, another is only the nearest."""
    return "chosen" if judgement.verdict is Verdict.PASS else "nearest"


def _why_chosen(judgement: Judgement) -> str:
    why = sentences.capitalized(clean(judgement.why_chosen, 400))
    end = "" if why.endswith(".") or not why else "."
    return f"{tag_of(judgement).capitalize()}: {clean(judgement.chosen, 40)}. {why}{end}".strip()


def _first(requirement: str, variants: list[VariantJudgement]) -> list[Finding]:
    return next((found for v in variants if (found := findings_of(v, requirement))), [])


def _column(requirement: str, variants: list[VariantJudgement], profile: Profile) -> str:
    found = _first(requirement, variants)
    asked = next((each for each in profile.requirements if each.id == requirement), None)
    return label_of(found[0], len(found), asked) if found else clean(requirement, 40)


def _limit(requirement: str, variants: list[VariantJudgement]) -> str:
    found = _first(requirement, variants)
    return sentences.limit_text(found[0]) if found else ""


def _row(
    judged: VariantJudgement, known: VariantEvidence | None, evidence: Evidence, chosen: str, ids: list[str]
) -> VariantRow:
    whole = next((f for f in judged.findings if f.metric == "accuracy.drop" and sentences.is_whole(f)), None)
    share = accuracy(known.predictions, evidence.dataset) if known and known.predictions else None
    drop = whole.estimate if share is None and whole is not None else None
    before = accuracy(evidence.reference_predictions, evidence.dataset)
    change = share - before if share is not None and before is not None else None
    about = ""
    if drop is not None and before is not None:
        share, change, about = before - drop, -drop, "≈ "
    return VariantRow(
        name=clean(judged.variant, 40),
        chosen=judged.variant == chosen,
        status=judged.verdict.value,
        sign=SIGNS[judged.verdict.value],
        made=made_of(known) if known else "",
        digest=judged.digest,
        size=quantity(known.variant.model.size_bytes, "B") if known else "",
        cost=judged.cost,
        cost_text=quantity(judged.cost, judged.cost_unit),
        accuracy=about + percent(share),
        change=change,
        change_low=-whole.upper if whole and whole.upper is not None else None,
        change_high=-whole.lower if whole and whole.lower is not None else None,
        change_text=about + points(change),
        cells=tuple(_cell(findings_of(judged, i), known) for i in ids),
    )


def made_of(known: VariantEvidence) -> str:
    """A recipe in words: ``int8, per channel, reduced range``."""
    recipe = known.variant.recipe
    words = _static_words(recipe) if recipe.precision == "int8" else [_PRECISION_WORDS[recipe.precision]]
    if recipe.block_size is not None:
        words.append(f"blocks of {recipe.block_size}")
    if recipe.keep_float:
        words.append(f"{count(len(recipe.keep_float), 'selector')} of nodes kept in float")
    return ", ".join(words)


_PRECISION_WORDS = {
    "fp32": "fp32",
    "fp16": "fp16 inside, float32 at the interface",
    "int8-dynamic": "int8 weights, ranges of activations found at run time",
    "int8-weights": "int8 weights of matrix products",
    "int4-weights": "int4 weights of matrix products",
    "given": "a file that was made elsewhere",
}


def _static_words(recipe: Recipe) -> list[str]:
    signs = "".join(dtype[0] + "8" for dtype in (recipe.activation_dtype, recipe.weight_dtype) if dtype)
    share = f" {recipe.percentile:g}" if recipe.percentile is not None else ""
    said = (
        ("reduced range", recipe.reduce_range),
        ({"i8i8": "signed activations", "u8u8": "unsigned weights"}.get(signs, ""), signs in ("i8i8", "u8u8")),
        (f"ranges by {recipe.calibration}{share}", recipe.calibration not in ("", "minmax")),
        ("equalized", recipe.equalize),
        ("biases corrected", recipe.correct_bias),
    )
    return ["int8", "per channel" if recipe.per_channel else "per tensor", *(words for words, holds in said if holds)]


def _cell(findings: list[Finding], known: VariantEvidence | None) -> Cell:
    if not findings:
        return Cell("INCONCLUSIVE", SIGNS["INCONCLUSIVE"], "not judged", "", "Not judged.")
    word = group_status(findings)
    worst = findings[0]
    text = sentences.finding_scale(worst).text(worst.estimate)
    subject = subject_of(worst) if len(findings) > 1 else ""
    if worst.metric == "numerics.processor_flips" and word == "INCONCLUSIVE" and worst.estimate == 0:
        subject = NONE_SO_FAR if known is not None and known.variant.saturation.can_saturate else ""
    note = slices_text(findings)
    return Cell(word, SIGNS[word], text, subject, f"{sentences.sentence(worst)} {note}".strip())
