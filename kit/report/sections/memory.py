"""Memory that each variant adds to its process, one dot a fresh session."""

from dataclasses import dataclass

import numpy as np

from kit.records import Judgement, MemoryRecord, VariantEvidence
from kit.report.figures import Scale, clean, quantity, scale_for
from kit.words import count


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """One variant's peaks and steady values (B), one a session."""

    variant: str
    chosen: bool
    peaks: tuple[float, ...]
    steady: tuple[float, ...]
    text: str
    short_text: str


@dataclass(frozen=True, slots=True)
class MemoryView:
    """Rows of all variants that were measured, and the limit (B) where the profile sets one."""

    headline: str
    note: str
    rows: tuple[MemoryRow, ...]
    limit_bytes: float | None
    limit_text: str
    scale: Scale
    obtained: str


def build_memory(variants: tuple[VariantEvidence, ...], judgement: Judgement) -> MemoryView | None:
    """Memory of every variant; None where none was obtained."""
    measured = [
        (v.variant.recipe.name, v.memory) for v in variants if v.memory is not None and len(v.memory.peak_bytes)
    ]
    if not measured:
        return None
    name, record = next((m for m in measured if m[0] == judgement.chosen), measured[0])
    limit = next((f.limit for v in judgement.variants for f in v.findings if f.metric == "memory.peak"), None)
    scale = scale_for([float(max(r.peak_bytes.max() for _, r in measured)), limit], "B")
    return MemoryView(
        headline=f"{clean(name)} adds at most {scale.text(float(record.peak_bytes.max()))} to the process.",
        note=_note(record),
        rows=tuple(_row(n, r, judgement.chosen, scale) for n, r in measured),
        limit_bytes=limit,
        limit_text="" if limit is None else f"limit {scale.tick(limit)} {scale.suffix}",
        scale=scale,
        obtained=record.obtained,
    )


def _row(name: str, record: MemoryRecord, chosen: str, scale: Scale) -> MemoryRow:
    peaks = tuple(float(v) for v in record.peak_bytes)
    steady = tuple(float(v) for v in record.steady_bytes)
    short_text = text = f"peak {scale.text(max(peaks))}"
    if steady:
        text = f"peak {scale.number(max(peaks))}, steady {scale.text(float(np.median(steady)))}"
    return MemoryRow(clean(name, 40), name == chosen, peaks, steady, text, short_text)


def _note(record: MemoryRecord) -> str:
    sessions = count(len(record.peak_bytes), "fresh session")
    above = quantity(record.baseline_bytes, "B")
    return f"{sessions} a variant, above the runtime's {above}. Method: {clean(record.method, 400)}."
