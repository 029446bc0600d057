"""Scores and decisions of a deployed model on a dataset part."""

import numpy as np

from kit.device.base import Device, Progress
from kit.errors import MeasurementError
from kit.measure.obtained import obtained_on
from kit.records import PredictionRecord
from kit.spec.types import DatasetPart, DeviceSpec


def predict_part(
    device: Device,
    digest: str,
    part: DatasetPart,
    *,
    output: str | None,
    exact: bool,
    spec: DeviceSpec,
    progress: Progress | None = None,
) -> PredictionRecord:
    """Scores float32 [rows, classes] and decisions (the first of the largest scores) on every row, in order.

    Raises MeasurementError naming the first row whose scores are not finite, or if the classes do not match.
    """
    scores = device.predict(digest, part.inputs, output=output, exact=exact, progress=progress)
    where = f"device {spec.name}"
    bad_rows = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad_rows):
        raise MeasurementError(
            f"{len(bad_rows)} rows have scores that are not finite, first row {bad_rows[0]}",
            where=where,
            next_step="look at that row of the dataset and at the model's ranges; if it is finite on another device, "
            f"this one computes wrongly: edgeproof devices check {spec.name}",
        )
    classes = len(part.record.classes)
    if scores.shape[1] != classes:
        raise MeasurementError(
            f"the model gives {scores.shape[1]} scores a row, the dataset has {classes} classes",
            where=where,
            next_step="does the dataset belong to this model, and is `output` the score output?",
        )
    return PredictionRecord(
        model_digest=digest,
        data_digest=part.record.data_digest,
        where=spec.name,
        arithmetic="exact" if exact else "default",
        scores=scores,
        decisions=scores.argmax(axis=1).astype(np.int64),
        obtained=obtained_on(device.identify().emulated),
    )
