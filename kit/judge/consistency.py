"""Records that belong together: a verdict never mixes models, datasets or row counts."""

from kit.errors import MeasurementError
from kit.records import DatasetRecord, Evidence, PredictionRecord, VariantEvidence

_NEXT = "run it again: a record does not belong to this run"


def check_consistent(evidence: Evidence) -> None:
    """Raise MeasurementError unless every record names the variant and the data that it is filed under."""
    if not evidence.variants:
        raise MeasurementError("no variant was measured", next_step="name at least one recipe in the profile")
    names = [variant.variant.recipe.name for variant in evidence.variants]
    if len(set(names)) != len(names):
        raise MeasurementError(f"two variants have the same name: {', '.join(names)}", next_step=_NEXT)
    _check_dataset(evidence.dataset)
    _check_predictions("reference", evidence.reference.digest, evidence.reference_predictions, evidence.dataset)
    for variant in evidence.variants:
        _check_variant(variant, evidence.dataset)


def _check_dataset(data: DatasetRecord) -> None:
    arrays = {"labels": data.labels, "cluster": data.cluster}
    arrays |= {f"column {name}": column.codes for name, column in data.columns.items()}
    for name, array in arrays.items():
        if array.shape != (data.rows,) or data.rows == 0:
            what = f"{name} has shape {array.shape} for {data.rows} rows"
            raise MeasurementError(what, where=data.name, next_step=_NEXT)


def _check_variant(variant: VariantEvidence, data: DatasetRecord) -> None:
    name, digest = variant.variant.recipe.name, variant.variant.model.digest
    for record in (variant.latency, variant.memory, variant.energy):
        if record is not None and record.variant_digest != digest:
            raise MeasurementError(f"{type(record).__name__} is of another model", where=name, next_step=_NEXT)
    for predictions in (variant.predictions, variant.exact_predictions, variant.saturating_predictions):
        if predictions is not None:
            _check_predictions(name, digest, predictions, data)


def _check_predictions(name: str, digest: str, predictions: PredictionRecord, data: DatasetRecord) -> None:
    if predictions.model_digest != digest:
        raise MeasurementError("predictions are of another model", where=name, next_step=_NEXT)
    if predictions.data_digest != data.data_digest:
        raise MeasurementError("predictions are of other data", where=name, next_step=_NEXT)
    if predictions.decisions.shape != (data.rows,):
        what = f"{len(predictions.decisions)} predictions for {data.rows} rows"
        raise MeasurementError(what, where=name, next_step=_NEXT)
