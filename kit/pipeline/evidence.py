"""From a run's stored records to what judging looks at: printed and recomputed verdicts take the same way."""

from dataclasses import dataclass
from typing import Any, TypeVar

from kit.errors import StoreError
from kit.records import (
    ColumnRecord,
    ConversionRecord,
    DataRecord,
    DatasetRecord,
    DeviceRecord,
    EnergyRecord,
    Evidence,
    ExplanationRecord,
    LatencyRecord,
    LossRecord,
    MembershipRecord,
    MemoryRecord,
    ModelRecord,
    PredictionRecord,
    SampleRecord,
    VariantEvidence,
    VariantRecord,
)
from kit.spec.types import DeviceSpec, Profile
from kit.store import Run

T = TypeVar("T")

PER_VARIANT: dict[str, type] = {
    "predictions": PredictionRecord,
    "exact_predictions": PredictionRecord,
    "saturating_predictions": PredictionRecord,
    "latency": LatencyRecord,
    "memory": MemoryRecord,
    "energy": EnergyRecord,
}
"""What is obtained of each variant: field of VariantEvidence, and the record's type; the step is ``field/recipe``."""

WHERE_ASKED: dict[str, type] = {
    "sample": SampleRecord,
    "membership": MembershipRecord,
    "explanation": ExplanationRecord,
}
"""What is obtained only where a requirement or a command asks for it."""

LOSSES: type[dict[str, LossRecord]] = dict[str, LossRecord]
COLUMNS: type[dict[str, ColumnRecord]] = dict[str, ColumnRecord]


@dataclass(frozen=True, slots=True)
class Bundle:
    """All that a verdict follows from."""

    evidence: Evidence
    profile: Profile
    device: DeviceSpec


def load_bundle(run: Run) -> Bundle:
    """Read everything back from the run folder. Raises StoreError if a step is missing or an object has changed."""
    evidence = Evidence(
        source=run.get("model/source", ModelRecord),
        conversion=run.get_optional("model/conversion", ConversionRecord),
        reference=run.get("model/reference", ModelRecord),
        reference_predictions=run.get("model/predictions", PredictionRecord),
        dataset=run.get("dataset/test", DatasetRecord),
        device=run.get("device/identity", DeviceRecord),
        variants=tuple(variant for name in run.record.recipes if (variant := _variant(run, name)) is not None),
        not_made={
            name: run.get(f"not-made/{name}", str) for name in run.record.recipes if f"not-made/{name}" in run.steps
        },
        reference_losses=_asked(run, "model/losses", LOSSES) or {},
        reference_membership=_asked(run, "model/membership", MembershipRecord),
        data=_asked(run, "dataset/checks", DataRecord),
        found_columns=_asked(run, "dataset/found_columns", COLUMNS) or {},
    )
    return Bundle(evidence, run.get("plan/profile", Profile), run.get("plan/device", DeviceSpec))


def _variant(run: Run, name: str) -> VariantEvidence | None:
    record = run.get_optional(f"variant/{name}", VariantRecord)
    if record is None:
        return None
    parts: dict[str, Any] = {field: run.get_optional(f"{field}/{name}", kind) for field, kind in PER_VARIANT.items()}
    parts |= {field: _asked(run, f"{field}/{name}", kind) for field, kind in WHERE_ASKED.items()}
    if "--frugal" in run.record.command and parts["sample"] is None:
        what = f"run {run.path.name} stops early (--frugal), and has no sample of {name}"
        raise StoreError(what, where=str(run.path), next_step="go on with it (--resume), or run it again")
    parts["losses"] = _asked(run, f"losses/{name}", LOSSES) or {}
    return VariantEvidence(variant=record, **parts)


def _asked(run: Run, step: str, kind: type[T]) -> T | None:
    """The record of a step that a run may not have had."""
    return run.get_optional(step, kind) if step in run.steps else None
