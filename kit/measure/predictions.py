"""Answers of a deployed model on a dataset part: scores and decisions, or tokens, frames and boxes."""

import numpy as np

from kit.device.base import Device, Progress
from kit.errors import MeasurementError
from kit.measure.obtained import obtained_on
from kit.records import PredictionRecord
from kit.spec.types import DatasetPart, DeviceSpec, OutputSpec
from kit.task.answers import LISTED, Answers, MisfitError, Outputs, listed_answers, outputs_asked, table_answers

PLAIN = OutputSpec()


def predict_part(
    device: Device,
    digest: str,
    part: DatasetPart,
    *,
    output: str | None,
    exact: bool,
    spec: DeviceSpec,
    progress: Progress | None = None,
    reading: OutputSpec = PLAIN,
) -> PredictionRecord:
    """The device's answers to every row, in order; `reading` is the dataset's, for tasks whose answers are lists.

    Raises MeasurementError naming the first row whose scores are not finite, or if the outputs do not fit the task.
    """
    try:
        if part.record.task in LISTED:
            answers = _listed(device, digest, part, output, exact, progress, reading)
        else:
            answers = _table(device, digest, part, output, exact, spec, progress)
    except MisfitError as error:
        where = f"device {spec.name}" + (f", {error.where}" if error.where else "")
        raise MeasurementError(error.what, where=where, next_step=error.next_step) from None
    return PredictionRecord(
        model_digest=digest,
        data_digest=part.record.data_digest,
        where=spec.name,
        arithmetic="exact" if exact else "default",
        scores=answers.scores,
        decisions=answers.decisions,
        obtained=obtained_on(device.identify().emulated),
        items=answers.items,
    )


def _table(
    device: Device, digest: str, part: DatasetPart, output: str | None, exact: bool, spec: DeviceSpec,
    progress: Progress | None,
) -> Answers:  # fmt: skip
    scores = device.predict(digest, part.inputs, output=output, exact=exact, progress=progress)
    bad_rows = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad_rows):
        raise MeasurementError(
            f"{len(bad_rows)} rows have scores that are not finite, first row {bad_rows[0]}",
            where=f"device {spec.name}",
            next_step="look at that row of the dataset and at the model's ranges; if it is finite on another device, "
            f"this one computes wrongly: edgeproof devices check {spec.name}",
        )
    return table_answers(part.record, scores)


def _listed(
    device: Device, digest: str, part: DatasetPart, output: str | None, exact: bool, progress: Progress | None,
    reading: OutputSpec,
) -> Answers:  # fmt: skip
    names = outputs_asked(part.record.task, output, reading)
    found = [device.outputs(digest, part.inputs, output=name, exact=exact, progress=progress) for name in names]
    return listed_answers(part.record, reading, [Outputs(*each) for each in found])
