"""Run only the rows that verdicts need: in random order, until nothing is undecided or no row is left; or the rest."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kit.device.base import Device, Progress
from kit.errors import MeasurementError
from kit.measure.obtained import obtained_on
from kit.records import Float32Array, Int64Array, PredictionRecord, SampleRecord
from kit.spec.types import DatasetPart, DeviceSpec
from kit.stats.orders import next_look, random_order

Wanted = Callable[[SampleRecord], NDArray[np.bool_]]
"""Which rows [rows] of the part are still needed, given those that came; none of them once all is decided."""

DECIDED, SPENT, UNDER_WAY = "what rows can decide is decided", "all rows spent", "under way"
"""What `SampleRecord.stopped` says."""


def sample_part(
    device: Device,
    digest: str,
    part: DatasetPart,
    *,
    output: str | None,
    spec: DeviceSpec,
    seed: int,
    wanted: Wanted,
    twin: PredictionRecord | None = None,
    so_far: SampleRecord | None = None,
    keep: Callable[[SampleRecord], None] | None = None,
    progress: Progress | None = None,
) -> SampleRecord:
    """Run rows of a part on a device, in the random order of `seed`, for as long as `wanted` asks for any.

    Batches grow with the rows that came: from 16 to a sixteenth more each time, which is when verdicts are looked at.

    Args:
        device: opened, with the model deployed as `digest`.
        wanted: see `kit.judge.follow.Follow`.
        twin: what the host says of every row; it goes into the record.
        so_far: a sample that was cut short, to go on with. Its rows are not run again.
        keep: called with the sample after every batch, so that killing the run loses one batch at most.
        progress: called with (rows done, rows of the part).

    Raises:
        MeasurementError: scores that are not finite or of other classes, or `so_far` is of other rows or another model.
        DeviceError, LinkError: from the device.
    """
    order, emulated = random_order(len(part.inputs), seed), obtained_on(device.identify().emulated)
    sample = so_far or SampleRecord(
        model_digest=digest, data_digest=part.record.data_digest, where=spec.name, seed=seed,
        order=np.empty(0, np.int64), scores=np.empty((0, len(part.record.classes)), np.float32),
        decisions=np.empty(0, np.int64), obtained=emulated, twin=twin, stopped=UNDER_WAY,
    )  # fmt: skip
    position = _resumed(sample, digest, part, seed, order)
    sample = replace(sample, twin=twin)
    while len(rows := _batch(order, position, wanted(sample), len(sample.order))):
        scores = _scores(device, digest, part, rows, output, spec)
        sample = replace(
            sample,
            order=np.concatenate([sample.order, rows]),
            scores=np.concatenate([sample.scores, scores]),
            decisions=np.concatenate([sample.decisions, scores.argmax(axis=1).astype(np.int64)]),
        )
        position = int(np.flatnonzero(order == rows[-1])[0]) + 1
        if keep is not None:
            keep(sample)
        if progress is not None:
            progress(len(sample.order), len(order))
    return replace(sample, stopped=SPENT if wanted(sample).any() or len(sample.order) == len(order) else DECIDED)


def run_rest(
    device: Device,
    digest: str,
    part: DatasetPart,
    sample: SampleRecord,
    *,
    output: str | None,
    spec: DeviceSpec,
    progress: Progress | None = None,
) -> PredictionRecord:
    """Predictions of all rows of a part: those of `sample`, and the device's of every row that it lacks.

    Raises MeasurementError, DeviceError and LinkError as `sample_part` does.
    """
    rows = len(part.inputs)
    scores = np.empty((rows, sample.scores.shape[1]), np.float32)
    scores[sample.order] = sample.scores
    left = np.setdiff1d(np.arange(rows), sample.order)
    if len(left):
        scores[left] = _scores(device, digest, part, left, output, spec, progress)
    return PredictionRecord(
        digest, part.record.data_digest, spec.name, "default", scores, scores.argmax(axis=1).astype(np.int64),
        sample.obtained,
    )  # fmt: skip


def _batch(order: Int64Array, position: int, wanted: NDArray[np.bool_], done: int) -> Int64Array:
    """The next wanted rows in order, as many as there are until the next look."""
    if not wanted.any():
        return np.empty(0, np.int64)
    rest = order[position:]
    return np.asarray(rest[wanted[rest]][: next_look(done) - done])


def _scores(
    device: Device, digest: str, part: DatasetPart, rows: Int64Array, output: str | None, spec: DeviceSpec,
    progress: Progress | None = None,
) -> Float32Array:  # fmt: skip
    scores = device.predict(digest, part.inputs[rows], output=output, exact=False, progress=progress)
    where, classes = f"device {spec.name}", len(part.record.classes)
    finite = np.isfinite(scores).all(axis=1)
    if not finite.all():
        raise MeasurementError(
            "scores are not finite", where=f"{where}, row {rows[int(np.argmin(finite))]}",
            next_step="look at that row of the dataset and at the model's ranges",
        )  # fmt: skip
    if scores.shape != (len(rows), classes):
        raise MeasurementError(
            f"the model gives scores {list(scores.shape)} for {len(rows)} rows and {classes} classes", where=where,
            next_step="does the dataset belong to this model, and is `output` the score output?",
        )  # fmt: skip
    return scores


def _resumed(sample: SampleRecord, digest: str, part: DatasetPart, seed: int, order: Int64Array) -> int:
    """Where in `order` to go on."""
    same = (sample.model_digest, sample.data_digest, sample.seed) == (digest, part.record.data_digest, seed)
    rank = np.full(len(order), -1)
    rank[order] = np.arange(len(order))
    fits = same and len(sample.order) <= len(order) and bool(((sample.order >= 0) & (sample.order < len(order))).all())
    ranks = rank[sample.order] if fits else np.empty(0, np.int64)
    if not fits or bool((np.diff(ranks) <= 0).any()) or len(sample.scores) != len(sample.order):
        raise MeasurementError(
            "the sample to go on with is of another model, of other rows or in another order",
            where=f"device {sample.where}",
            next_step="run the rows from the start",
        )
    return int(ranks[-1]) + 1 if len(ranks) else 0
