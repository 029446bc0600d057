"""Membership audits of a run: rows that were trained on against test rows, by the reference and by each variant."""

from dataclasses import replace

import numpy as np

from kit.device.base import Device, Progress
from kit.errors import UsageError
from kit.model.rehearse import predict_limited
from kit.quality.membership import Answers, audit
from kit.quality.parts import drawn
from kit.records import Float32Array, MembershipRecord, PredictionRecord
from kit.spec.types import Dataset, DatasetPart
from kit.task.base import Rows, taken
from kit.task.scores import probabilities

MOST_MEMBERS = 5000
"""Rows of the train part that cross the link, at most; and no more than there are test rows."""


def members_of(dataset: Dataset, seed: int) -> DatasetPart | None:
    """Rows drawn of the train part; None where there is none, or the task has no probabilities.

    Raises:
        UsageError: the train part has other classes or inputs than the test part.
    """
    part = dataset.train
    if part is None or dataset.task != "classification":
        return None
    if part.record.classes != dataset.classes or part.inputs.shape[1:] != dataset.test.inputs.shape[1:]:
        raise UsageError("the train part has other classes or inputs than the test part", where=dataset.path)
    rows = drawn(len(part.inputs), min(MOST_MEMBERS, len(dataset.test.inputs)), np.random.default_rng(seed))
    return _rows_of(part, rows)


def _rows_of(part: DatasetPart, rows: np.ndarray) -> DatasetPart:
    mask = np.zeros(part.record.rows, dtype=np.bool_)
    mask[rows] = True
    data = part.record
    columns = {name: replace(column, codes=column.codes[mask]) for name, column in data.columns.items()}
    record = replace(
        data, rows=int(mask.sum()), labels=data.labels[mask], cluster=data.cluster[mask], columns=columns,
        targets=taken(data.targets, mask), numbers={name: values[mask] for name, values in data.numbers.items()},
        weights=None if data.weights is None else data.weights[mask],
    )  # fmt: skip
    return DatasetPart(part.role, part.inputs[mask], record)


def host_scores(data: bytes, part: DatasetPart, output: str | None, progress: Progress | None = None) -> Float32Array:
    """Scores of the reference on the rows of `part`, on this host in a limited process. Raises ModelError."""
    return predict_limited(data, part.inputs, output, progress=progress)


def device_scores(
    device: Device, digest: str, part: DatasetPart, output: str | None, progress: Progress | None = None
) -> Float32Array:
    """Scores of a deployed variant on the rows of `part`. Raises DeviceError."""
    return device.predict(digest, part.inputs, output=output, exact=False, progress=progress)


def membership(
    dataset: Dataset,
    members: DatasetPart,
    member_scores: Float32Array,
    predictions: PredictionRecord,
    seed: int,
    reference: tuple[Float32Array, PredictionRecord] | None = None,
) -> MembershipRecord | None:
    """The audit of one model by its scores on `members` and its predictions on the test part.

    `reference` has those of the reference: an attacker may have both models. None where there are too few clusters.
    """
    ours = _answers(members, member_scores), _answers(dataset.test, predictions.scores)
    if min(len(np.unique(answers.cluster)) for answers in ours) < 2:
        return None
    before = None
    if reference is not None:
        before = _answers(members, reference[0]), _answers(dataset.test, reference[1].scores)
    return audit(
        *ours,
        model_digest=predictions.model_digest,
        data_digest=predictions.data_digest,
        seed=seed,
        reference=before,
    )


def _answers(part: DatasetPart, scores: Float32Array) -> Answers:
    data = part.record
    rows = Rows(
        task=data.task, classes=data.classes, labels=data.labels, targets=None, weights=np.ones(data.rows),
        rule=data.scores, scores=scores, decisions=np.empty(0, np.int64), items=None, reference_scores=scores,
    )  # fmt: skip
    return Answers(probabilities(rows), data.labels, data.cluster)
