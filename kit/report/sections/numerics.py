"""What quantization flipped, where, and which processor it depends on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.records import DatasetRecord, Evidence, PredictionRecord, SaturationRecord, VariantEvidence
from kit.report.figures import clean, listed, percent
from kit.report.sections.requirements import SIGNS
from kit.report.sections.slices import accuracy
from kit.task.decisions import changed_rows, right_rows
from kit.words import count

TOP_ROWS = 8
TOP_PAIRS = 6
TOP_SLICES = 6
NONE_SO_FAR = "0 so far; can saturate"


@dataclass(frozen=True, slots=True)
class ArithmeticCell:
    """One variant under one arithmetic: accuracy, and decisions that differ from the reference."""

    accuracy: str
    flips: str
    share: float | None


@dataclass(frozen=True, slots=True)
class ProcessorRow:
    """One variant on the device, with exact sums, and with the saturating sums of x86 without VNNI."""

    variant: str
    chosen: bool
    device: ArithmeticCell
    exact: ArithmeticCell
    saturating: ArithmeticCell
    depends: str
    depends_status: str
    depends_sign: str
    proof: str
    proof_detail: str


@dataclass(frozen=True, slots=True)
class FlipRow:
    """A row whose decision changed: number, label, decisions, and how sure the reference was."""

    row: str
    label: str
    reference: str
    variant: str
    confidence: str
    where: str


@dataclass(frozen=True, slots=True)
class FlipsView:
    """Decisions that differ from the reference on one variant under one arithmetic."""

    title: str
    total: str
    table: tuple[tuple[str, str], tuple[str, str]]
    pairs: tuple[tuple[str, int], ...]
    slices: tuple[tuple[str, int, float, str], ...]
    rows: tuple[FlipRow, ...]


@dataclass(frozen=True, slots=True)
class NumericsView:
    """The processor's story in sentences, a row a variant, and the flips of the variants worth looking at."""

    story: tuple[str, ...]
    rows: tuple[ProcessorRow, ...]
    flips: tuple[FlipsView, ...]
    device_name: str


def build_numerics(evidence: Evidence, chosen: str) -> NumericsView:
    """All variants under every arithmetic that was obtained."""
    rows = tuple(_processor_row(v, evidence, chosen) for v in evidence.variants)
    return NumericsView(
        story=tuple(text for v in evidence.variants if (text := story(v, evidence))),
        rows=rows,
        flips=_detailed(evidence, chosen),
        device_name=clean(evidence.device.cpu_model or evidence.device.architecture, 60),
    )


def processor_flips(variant: VariantEvidence, data: DatasetRecord) -> NDArray[np.bool_] | None:
    """Rows whose decision differs between exact and saturating sums; none at all where a proof excludes saturation."""
    found = changed_rows(data, variant.exact_predictions, variant.saturating_predictions)
    if found is None and not variant.variant.saturation.can_saturate and variant.predictions is not None:
        return np.zeros(data.rows, dtype=np.bool_)
    return found


def story(variant: VariantEvidence, evidence: Evidence) -> str:
    """One variant's sentence: how many decisions flipped, how many only because of the processor, and why."""
    name, saturation = clean(variant.variant.recipe.name, 40), variant.variant.saturation
    if not saturation.quantized_nodes:
        return ""
    given = variant.exact_predictions or variant.predictions
    flips = changed_rows(evidence.dataset, evidence.reference_predictions, given)
    changed = "not compared"
    if flips is not None:
        changed = f"{count(int(flips.sum()), 'decision')} of {len(flips):,} differ from the reference"
    depends = processor_flips(variant, evidence.dataset)
    if not saturation.can_saturate:
        safe = f"its largest possible pair sum is {abs(saturation.worst_pair):,}, within {saturation.limit:,}"
        return f"{name}: {changed}; none can depend on the processor, because {safe} (proved from its weights)."
    reach = f"16-bit pair sums can reach {abs(saturation.worst_pair):,}, over {saturation.limit:,}"
    nodes = f"{count(len(saturation.nodes_at_risk), 'operator')} of {saturation.quantized_nodes} at risk"
    if depends is None:
        return f"{name}: {changed}; {reach} ({nodes}), and what that does was not computed."
    number = int(depends.sum())
    if not number:
        so_far = "No decision so far depends on the processor, but one may on other inputs"
        return f"{name}: {changed}. {so_far}: {reach} ({nodes})."
    before, after = (_percent(p, evidence) for p in (variant.exact_predictions, variant.saturating_predictions))
    return (
        f"{name}: {changed}. {count(number, 'decision')} {'depends' if number == 1 else 'depend'} on the processor "
        f"alone: accuracy is {before} with exact sums (ARM, VNNI) and {after} on x86 without VNNI, "
        f"where {reach} ({nodes})."
    )


def _percent(predictions: PredictionRecord | None, evidence: Evidence) -> str:
    return percent(accuracy(predictions, evidence.dataset)) if predictions else "unknown"


def _processor_row(variant: VariantEvidence, evidence: Evidence, chosen: str) -> ProcessorRow:
    depends = processor_flips(variant, evidence.dataset)
    saturation = variant.variant.saturation
    word, told = _depends(depends, saturation)
    proof, detail = _proof(saturation)
    missing = "not obtained"
    if not saturation.can_saturate:
        missing = "equal, by proof" if saturation.quantized_nodes else "no int8"
    return ProcessorRow(
        variant=clean(variant.variant.recipe.name, 40),
        chosen=variant.variant.recipe.name == chosen,
        device=_cell(variant.predictions, evidence, "not obtained"),
        exact=_cell(variant.exact_predictions, evidence, missing),
        saturating=_cell(variant.saturating_predictions, evidence, missing),
        depends=told,
        depends_status=word,
        depends_sign=SIGNS[word],
        proof=proof,
        proof_detail=detail,
    )


def _depends(depends: NDArray[np.bool_] | None, saturation: SaturationRecord) -> tuple[str, str]:
    """Verdict's word and text: no flip on record passes only where a proof says that there can be none."""
    if depends is None:
        return ("INCONCLUSIVE", "not computed") if saturation.can_saturate else ("PASS", "none, by proof")
    if depends.any():
        return "FAIL", f"{int(depends.sum()):,}"
    return ("INCONCLUSIVE", NONE_SO_FAR) if saturation.can_saturate else ("PASS", "0")


def _proof(saturation: SaturationRecord) -> tuple[str, str]:
    if not saturation.quantized_nodes:
        return "no int8", "nothing is quantized"
    relation = ">" if saturation.can_saturate else "≤"
    detail = f"worst pair {abs(saturation.worst_pair):,} {relation} {saturation.limit:,}"
    return ("can saturate" if saturation.can_saturate else "cannot saturate"), detail


def _cell(predictions: PredictionRecord | None, evidence: Evidence, missing: str) -> ArithmeticCell:
    flips = changed_rows(evidence.dataset, evidence.reference_predictions, predictions)
    if predictions is None or flips is None:
        return ArithmeticCell(missing if predictions is None else "no decisions", "", None)
    share = accuracy(predictions, evidence.dataset)
    return ArithmeticCell(percent(share), f"{int(flips.sum()):,}", share)


def _detailed(evidence: Evidence, chosen: str) -> tuple[FlipsView, ...]:
    """The chosen variant on the device; then the variant that the processor changes most, where one does."""
    views = []
    mine = next((v for v in evidence.variants if v.variant.recipe.name == chosen), None)
    if mine is not None and mine.predictions is not None:
        name = clean(chosen, 40)
        title = f"{name} on this device, against the reference"
        views.append(_flips(title, evidence.reference_predictions, mine.predictions, evidence))
    counts = [
        (0 if (found := processor_flips(v, evidence.dataset)) is None else int(found.sum()), v)
        for v in evidence.variants
    ]
    most, worst = max(counts, key=lambda pair: pair[0], default=(0, None))
    if most and worst is not None and worst.exact_predictions and worst.saturating_predictions:
        title = f"{clean(worst.variant.recipe.name, 40)} on x86 without VNNI, against the same file with exact sums"
        views.append(_flips(title, worst.exact_predictions, worst.saturating_predictions, evidence))
    return tuple(view for view in views if view is not None)


def _flips(title: str, before: PredictionRecord, after: PredictionRecord, evidence: Evidence) -> FlipsView | None:
    data = evidence.dataset
    flips, was, now = changed_rows(data, before, after), right_rows(data, before), right_rows(data, after)
    if flips is None or was is None or now is None:
        return None
    named = len(before.decisions) == data.rows  # each row has one class; lists and sets of classes are only counted
    cells = [[int((a & b).sum()) for b in (now, ~now)] for a in (was, ~was)]
    where = _where(flips, data)
    most = f" Most in {listed(name for name, *_ in where[:2])}." if where and flips.any() else ""
    share = percent(float(flips.mean()), 2)
    return FlipsView(
        title=title,
        total=f"{count(int(flips.sum()), 'decision')} of {len(flips):,} flipped ({share}).{most}",
        table=((f"{cells[0][0]:,}", f"{cells[0][1]:,}"), (f"{cells[1][0]:,}", f"{cells[1][1]:,}")),
        pairs=_pairs(flips, before, after, data) if named else (),
        slices=where,
        rows=_rows(flips, before, after, data) if named else (),
    )


def _class(data: DatasetRecord, code: int) -> str:
    return clean(data.classes[code], 32) if 0 <= code < len(data.classes) else f"class {code}"


def _pairs(
    flips: NDArray[np.bool_], before: PredictionRecord, after: PredictionRecord, data: DatasetRecord
) -> tuple[tuple[str, int], ...]:
    pairs, counts = np.unique(np.c_[before.decisions[flips], after.decisions[flips]], axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:TOP_PAIRS]
    return tuple(
        (f"{_class(data, int(pairs[i][0]))} → {_class(data, int(pairs[i][1]))}", int(counts[i])) for i in order
    )


def _where(flips: NDArray[np.bool_], data: DatasetRecord) -> tuple[tuple[str, int, float, str], ...]:
    """Slices by share of flipped rows: (name, flips, share, share as text), the highest first; none without flips."""
    found = []
    for column, record in data.columns.items():
        if len(record.values) > 200:
            continue
        totals = np.bincount(record.codes, minlength=len(record.values))
        hits = np.bincount(record.codes[flips], minlength=len(record.values))
        found += [
            (
                clean(f"{column}: {value}", 48),
                int(hits[i]),
                float(hits[i] / totals[i]),
                percent(float(hits[i] / totals[i])),
            )
            for i, value in enumerate(record.values)
            if totals[i] >= 20 and hits[i]
        ]
    return tuple(sorted(found, key=lambda f: (-f[2], f[0]))[:TOP_SLICES])


def _rows(
    flips: NDArray[np.bool_], before: PredictionRecord, after: PredictionRecord, data: DatasetRecord
) -> tuple[FlipRow, ...]:
    """The flipped rows of which `before` was surest: those are the surprising ones."""
    numbers = np.flatnonzero(flips)
    ordered = np.sort(before.scores[numbers], axis=1) if len(numbers) else np.zeros((0, 2), dtype=np.float32)
    lead = ordered[:, -1] - ordered[:, -2] if ordered.shape[1] > 1 else np.zeros(len(numbers), dtype=np.float32)
    top = numbers[np.argsort(-lead, kind="stable")[:TOP_ROWS]]
    leads = dict(zip(numbers.tolist(), lead.tolist(), strict=True))
    return tuple(
        FlipRow(
            row=f"{int(i):,}",
            label=_class(data, int(data.labels[i])),
            reference=_class(data, int(before.decisions[i])),
            variant=_class(data, int(after.decisions[i])),
            confidence=f"{leads[int(i)]:.3f}",
            where=", ".join(clean(f"{k}: {c.values[int(c.codes[i])]}", 32) for k, c in list(data.columns.items())[:3]),
        )
        for i in top
    )
