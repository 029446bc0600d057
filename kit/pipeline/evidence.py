"""From a run's stored records to what judging looks at: printed and recomputed verdicts take the same way."""

from dataclasses import dataclass

from kit.records import (
    ConversionRecord,
    DatasetRecord,
    DeviceRecord,
    EnergyRecord,
    Evidence,
    LatencyRecord,
    MemoryRecord,
    ModelRecord,
    PredictionRecord,
    VariantEvidence,
    VariantRecord,
)
from kit.spec.types import DeviceSpec, Profile
from kit.store import Run

PER_VARIANT: dict[str, type] = {
    "predictions": PredictionRecord,
    "exact_predictions": PredictionRecord,
    "saturating_predictions": PredictionRecord,
    "latency": LatencyRecord,
    "memory": MemoryRecord,
    "energy": EnergyRecord,
}
"""What is obtained of each variant: field of VariantEvidence, and the record's type; the step is ``field/recipe``."""


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
    )
    return Bundle(evidence, run.get("plan/profile", Profile), run.get("plan/device", DeviceSpec))


def _variant(run: Run, name: str) -> VariantEvidence | None:
    record = run.get_optional(f"variant/{name}", VariantRecord)
    if record is None:
        return None
    parts = {field: run.get_optional(f"{field}/{name}", kind) for field, kind in PER_VARIANT.items()}
    return VariantEvidence(variant=record, **parts)
