"""What reference and variant look at, side by side, and what would have flipped the flipped rows back."""

from dataclasses import dataclass

import numpy as np

from kit.records import DatasetRecord, Evidence, ExplanationRecord, FlippedRow, VariantEvidence, VariantJudgement
from kit.report import sentences
from kit.report.figures import clean
from kit.report.sections.requirements import SIGNS
from kit.words import count

MOST_FEATURES, MOST_FLIPS, MOST_CHANGES = 12, 10, 4


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """One feature: rise of log loss (nats) when it is permuted, mean over the repeats, and its ranks from 1."""

    name: str
    before: float
    after: float
    before_text: str
    after_text: str
    ranks: str


@dataclass(frozen=True, slots=True)
class FlipRow:
    """One flipped row and the nearest change found, in words."""

    row: str
    decided: str
    change: str
    distance: str


@dataclass(frozen=True, slots=True)
class ExplanationView:
    """The most important features of the reference first; `hidden` more are not shown."""

    headline: str
    reason: str
    status: str
    sign: str
    features: tuple[FeatureRow, ...]
    hidden: int
    flips: tuple[FlipRow, ...]
    note: str


def build_explanations(
    evidence: Evidence, variant: VariantEvidence, judged: VariantJudgement | None
) -> ExplanationView | None:
    """The explanation of one variant; None where there is none."""
    record = variant.explanation
    if record is None or not len(record.reference_importance):
        return None
    found = next((f for f in judged.findings if f.metric == "explanation.agreement"), None) if judged else None
    flips = tuple(_flip(row, evidence.dataset) for row in record.flipped[:MOST_FLIPS])
    return ExplanationView(
        headline=_headline(record),
        reason="" if found is None else sentences.capitalized(sentences.reason(found)),
        status="" if found is None else found.verdict.value,
        sign="" if found is None else SIGNS[found.verdict.value],
        features=_features(record),
        hidden=max(0, len(record.features) - MOST_FEATURES),
        flips=flips,
        note="The nearest change that a bounded search found; nothing shows that there is no nearer one.",
    )


def _headline(record: ExplanationRecord) -> str:
    repeats = count(len(record.reference_importance), "set of clusters", "sets of clusters")
    back = sum(row.distance is not None for row in record.flipped)
    flips = f" Of {count(len(record.flipped), 'flipped row')} looked at, {back} could be flipped back."
    return f"{count(len(record.features), 'feature')}, each permuted on {repeats}.{flips if record.flipped else ''}"


def _features(record: ExplanationRecord) -> tuple[FeatureRow, ...]:
    before, after = record.reference_importance.mean(axis=0), record.optimized_importance.mean(axis=0)
    ranks = [np.argsort(np.argsort(-values, kind="stable"), kind="stable") + 1 for values in (before, after)]
    order = np.argsort(-before, kind="stable")[:MOST_FEATURES]
    return tuple(
        FeatureRow(
            name=clean(record.features[index], 60),
            before=float(before[index]),
            after=float(after[index]),
            before_text=f"{before[index]:.3g}",
            after_text=f"{after[index]:.3g}",
            ranks=f"{ranks[0][index]} to {ranks[1][index]}" if ranks[0][index] != ranks[1][index] else "same",
        )
        for index in order
    )


def _flip(row: FlippedRow, data: DatasetRecord) -> FlipRow:
    decided = f"{_class(data, row.reference)} became {_class(data, row.optimized)}"
    if row.distance is None:
        return FlipRow(f"{row.row:,}", decided, "none found within the budget", "")
    changes = [
        f"{clean(name, 40)}: {before:.4g} to {after:.4g}"
        for name, before, after in zip(row.features, row.from_values, row.to_values, strict=True)
    ]
    more = f", and {len(changes) - MOST_CHANGES} more" if len(changes) > MOST_CHANGES else ""
    return FlipRow(f"{row.row:,}", decided, ", ".join(changes[:MOST_CHANGES]) + more, f"{row.distance:.3g} SD")


def _class(data: DatasetRecord, index: int) -> str:
    return clean(data.classes[index], 40) if 0 <= index < len(data.classes) else f"class {index}"


def explanation_lines(view: ExplanationView) -> list[str]:
    """The same for a terminal."""
    features = [f"{row.name}: {row.before_text} before, {row.after_text} after" for row in view.features[:5]]
    flips = [f"row {row.row}, {row.decided}: {row.change} {row.distance}".strip() for row in view.flips[:5]]
    return [line for line in (view.headline, view.reason, *features, *flips) if line]
