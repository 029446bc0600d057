"""Records that belong together: a verdict never mixes models, datasets, row counts or origins."""

import numpy as np

from kit.errors import MeasurementError
from kit.judge import wellformed, wellformed_answers
from kit.judge.wellformed import NEXT, refuse
from kit.records import (
    Arithmetic,
    DatasetRecord,
    Evidence,
    LossRecord,
    ModelRecord,
    PredictionRecord,
    SampleRecord,
    VariantEvidence,
)
from kit.spec.types import DeviceSpec


def check_consistent(evidence: Evidence, device: DeviceSpec) -> None:
    """Raise MeasurementError unless every record can be what it says, of the variant and data it is filed under."""
    if not evidence.variants:
        raise MeasurementError("no variant was measured", next_step="name at least one recipe in the profile")
    names = [variant.variant.recipe.name for variant in evidence.variants]
    if len(set(names)) != len(names):
        raise MeasurementError(f"two variants have the same name: {', '.join(names)}", next_step=NEXT)
    if hidden := sorted(set(device.emulated) - set(evidence.device.emulated)):
        raise refuse(f"the device's record does not say that {', '.join(hidden)[:200]} is emulated", device.name)
    wellformed_answers.check_dataset(evidence.dataset)
    reference = evidence.reference_predictions
    if reference.obtained not in ("measured", "computed"):
        raise refuse(f"the reference's predictions are {reference.obtained}", "reference")
    _check_predictions("reference", evidence.reference.digest, reference, "default", evidence.dataset)
    _check_losses("reference", evidence.reference.digest, evidence.reference_losses, evidence.dataset)
    for variant in evidence.variants:
        _check_lineage(variant, evidence.reference)
        _check_variant(variant, evidence.dataset, reference)


def _check_lineage(variant: VariantEvidence, reference: ModelRecord) -> None:
    """fp32 is the reference's own file; any other recipe makes another one, from the reference."""
    made, name = variant.variant, variant.variant.recipe.name
    same = made.model.digest == reference.digest
    if same != (made.recipe.precision == "fp32"):
        raise refuse(f"a {made.recipe.precision} variant {'is' if same else 'is not'} the reference's file", name)
    if made.parent_digest != reference.digest:
        raise refuse("the variant was made from another model", name)
    if made.model.size_bytes <= 0 or (same and made.model.size_bytes != reference.size_bytes):
        raise refuse(f"a model file of {made.model.size_bytes} bytes", name)
    wellformed.check_saturation(made.saturation, name)


def _check_variant(variant: VariantEvidence, data: DatasetRecord, reference: PredictionRecord) -> None:
    name, digest = variant.variant.recipe.name, variant.variant.model.digest
    for record in (variant.latency, variant.memory, variant.energy):
        if record is not None and record.variant_digest != digest:
            raise refuse(f"{type(record).__name__} is of another model", name)
    if variant.latency is not None:
        wellformed.check_latency(variant.latency, name)
    if variant.memory is not None:
        wellformed.check_memory(variant.memory, name)
    if variant.energy is not None:
        wellformed.check_energy(variant.energy, name)
    arithmetics: tuple[tuple[PredictionRecord | None, Arithmetic], ...] = (
        (variant.predictions, "default"),
        (variant.exact_predictions, "exact"),
        (variant.saturating_predictions, "saturating"),
    )
    for predictions, arithmetic in arithmetics:
        if predictions is not None:
            _check_predictions(name, digest, predictions, arithmetic, data)
            _check_width(name, predictions, reference)
    _check_losses(name, digest, variant.losses, data)
    if variant.sample is not None:
        _check_sample(name, digest, variant.sample, data)
        if variant.predictions is not None:
            _check_same_rows(name, variant.sample, variant.predictions)


def _check_sample(name: str, digest: str, sample: SampleRecord, data: DatasetRecord) -> None:
    if sample.model_digest != digest or sample.data_digest != data.data_digest:
        raise refuse("the sample of rows is of another model or other data", name)
    if sample.obtained not in ("measured", "emulated", "absent"):
        raise refuse(f"a sample is measured on the device, this one is {sample.obtained}", name)
    wellformed_answers.check_sample(sample, data, name)
    if (twin := sample.twin) is not None:
        if twin.model_digest != digest or twin.data_digest != data.data_digest or twin.obtained != "computed":
            raise refuse("the twin is another model, of other data, or was not computed", name)
        wellformed_answers.check_predictions(twin, data, name)


def _check_same_rows(name: str, sample: SampleRecord, predictions: PredictionRecord) -> None:
    """Where the rest of the rows was run, the rows of the sample are as they came."""
    scores, decisions = predictions.scores[sample.order], predictions.decisions[sample.order]
    if not (np.array_equal(scores, sample.scores) and np.array_equal(decisions, sample.decisions)):
        raise refuse("the predictions are not those of the sample on its rows", name)
    if predictions.obtained != sample.obtained:
        raise refuse(f"the predictions are {predictions.obtained}, and the sample is {sample.obtained}", name)


def _check_width(name: str, predictions: PredictionRecord, reference: PredictionRecord) -> None:
    """Embeddings have any width, but all the same."""
    if predictions.scores.shape != reference.scores.shape:
        what = f"scores {list(predictions.scores.shape)}, and the reference's are {list(reference.scores.shape)}"
        raise refuse(what, name)


def _check_losses(name: str, digest: str, losses: dict[str, LossRecord], data: DatasetRecord) -> None:
    for measure, record in losses.items():
        if record.measure != measure:
            raise refuse(f"losses by {record.measure[:200]} are filed under {measure[:200]}", name)
        if record.model_digest != digest or record.data_digest != data.data_digest:
            raise refuse(f"losses by {measure[:200]} are of another model or other data", name)
        wellformed_answers.check_losses(record, data, name)


def _check_predictions(
    name: str, digest: str, predictions: PredictionRecord, arithmetic: Arithmetic, data: DatasetRecord
) -> None:
    if predictions.model_digest != digest:
        raise refuse("predictions are of another model", name)
    if predictions.data_digest != data.data_digest:
        raise refuse("predictions are of other data", name)
    if predictions.arithmetic != arithmetic:
        raise refuse(f"predictions are by {predictions.arithmetic} arithmetic, not {arithmetic}", name)
    if arithmetic == "saturating" and predictions.obtained != "computed":
        raise refuse(f"saturating predictions are computed, these are {predictions.obtained}", name)
    if arithmetic == "exact" and predictions.obtained not in ("measured", "emulated", "absent"):
        raise refuse(f"exact predictions are measured on the device, these are {predictions.obtained}", name)
    wellformed_answers.check_predictions(predictions, data, name)
