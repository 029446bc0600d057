"""What a reader must know before trusting a figure, each as one sentence from the data."""

import numpy as np

from kit.records import Evidence, Finding, VariantEvidence, VariantJudgement
from kit.report import sentences
from kit.report.figures import clean, listed, percent
from kit.report.sections.slices import ELSEWHERE
from kit.spec.types import DeviceSpec
from kit.task.decisions import changed_rows, right_rows
from kit.words import count

MOST_NOTES = 3
"""Most notes on how the variant was made that are shown."""


def find_warnings(evidence: Evidence, device: DeviceSpec, judged: VariantJudgement | None) -> tuple[str, ...]:
    """All of them, the gravest first. `judged` is the variant that is shown in depth."""
    findings: tuple[Finding, ...] = judged.findings if judged else ()
    shown = next((v for v in evidence.variants if judged and v.variant.recipe.name == judged.variant), None)
    emulated = [] if device.timing_is_real else ["The processor is emulated: its times are no latency of any hardware."]
    return (
        *emulated,
        *_worth_comparing(evidence),
        *_one_answer(evidence, shown),
        *_float_differs(evidence),
        *_estimated(findings),
        *_conversion(evidence),
        *_notes(shown),
        *_not_made(evidence),
        *_untested(findings),
    )


def _worth_comparing(evidence: Evidence) -> list[str]:
    """A reference that is no better than a constant makes every comparison with it empty."""
    labels, rights = evidence.dataset.labels, right_rows(evidence.dataset, evidence.reference_predictions)
    if rights is None or not _has_labels(evidence):
        return []
    weights = evidence.dataset.weights
    right, counts = float(np.average(rights, weights=weights)), np.bincount(labels, weights)
    constant = float(counts.max() / counts.sum())
    if right > constant:
        return []
    return [
        f"The reference is right on {percent(right)} of rows, no more than one answer for all would be "
        f"({percent(constant)}): that a variant equals it says nothing."
    ]


def _has_labels(evidence: Evidence) -> bool:
    """Whether each row has one class as its truth; of other tasks no constant answer is known."""
    return evidence.dataset.task in ("classification", "anomaly")


def _one_answer(evidence: Evidence, shown: VariantEvidence | None) -> list[str]:
    several = _has_labels(evidence) and len(set(evidence.dataset.labels.tolist())) > 1
    if shown is None or shown.predictions is None or not several:
        return []
    answers = set(shown.predictions.decisions.tolist())
    return ["On the device it gives every row the same answer."] if len(answers) == 1 else []


def _float_differs(evidence: Evidence) -> list[str]:
    """The same file should decide alike on host and device; where it does not, more than optimization acts."""
    for variant in evidence.variants:
        predictions = variant.predictions
        same_file = variant.variant.model.digest == evidence.reference.digest
        changed = changed_rows(evidence.dataset, evidence.reference_predictions, predictions) if same_file else None
        if changed is not None:
            differing = int(changed.sum())
            if differing > 0.001 * evidence.dataset.rows:
                rows = count(differing, "row")
                return [f"The float model itself decides {rows} differently on the device than on this machine."]
    return []


def _estimated(findings: tuple[Finding, ...]) -> list[str]:
    names = sorted({sentences.LABELS.get(f.metric, f.metric) for f in findings if f.obtained == "estimated"})
    what = f"Estimated from a declared model, not measured: {listed(names)}."
    return [f"{what} An estimate informs and never passes."] if names else []


def _conversion(evidence: Evidence) -> list[str]:
    record = evidence.conversion
    if record is None:
        return []
    found = []
    if record.row_source == "generated":
        rows = count(record.rows, "generated row")
        found.append(f"The conversion was verified on {rows} only, not on the dataset's.")
    differing = 0 if record.decisions_agree is None else record.rows - record.decisions_agree
    if differing:
        found.append(f"The converted reference decides {count(differing, 'row')} differently from its source.")
    return found


def _notes(shown: VariantEvidence | None) -> list[str]:
    """What was noted when the variant was made."""
    notes = shown.variant.notes if shown else ()
    return [f"{sentences.capitalized(clean(note, 300))}." for note in notes[:MOST_NOTES]]


def _not_made(evidence: Evidence) -> list[str]:
    """One warning a reason: recipes fail together when the model has nothing that they could quantize."""
    reasons: dict[str, list[str]] = {}
    for name, why in evidence.not_made.items():
        reasons.setdefault(why, []).append(clean(name, 40))
    return [f"Not made: {listed(names)}. {clean(why, 300)}." for why, names in reasons.items()]


def _untested(findings: tuple[Finding, ...]) -> list[str]:
    slices = [f for f in findings if not f.metric.startswith(ELSEWHERE)]
    untested = [f for f in slices if sentences.status(f) == sentences.NOT_TESTED]
    not_run = sum("too few were run" in f.reason for f in untested)
    small = len(untested) - not_run
    return [
        *([f"{count(small, 'slice')} had too few rows to be tested."] if small else []),
        *([f"Too few rows of {count(not_run, 'slice')} were run to test them."] if not_run else []),
    ]
