"""Membership audits of a run: rows that were trained on against test rows, by the reference and by each variant."""

from dataclasses import replace

import numpy as np

from kit.device.base import Device, Progress
from kit.errors import UsageError
from kit.model.rehearse import predict_limited
from kit.quality.copies import copied_from
from kit.quality.membership import Answers, audit
from kit.quality.parts import BoolArray, drawn
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

    `reference` has those of the reference: an attacker may have both models. Test rows with the inputs of a row of the
    train part are left out. None where there are too few clusters anyhow.
    """
    mine, others = members.record.cluster, _others(dataset)
    if min(len(np.unique(each)) for each in (mine, dataset.test.record.cluster)) < 2:
        return None
    digests, left_out = (predictions.model_digest, predictions.data_digest), int((~others).sum())
    if len(np.unique(dataset.test.record.cluster[others])) < 2:
        none, nobody = np.zeros(0, np.float64), np.zeros(0, np.int64)
        return MembershipRecord(*digests, "none", none, none, nobody, nobody, left_out)

    def both(scores: Float32Array, said: PredictionRecord) -> tuple[Answers, Answers]:
        return _answers(members, scores), _answers(dataset.test, said.scores).of(others)

    before = None if reference is None else both(*reference)
    ours = both(member_scores, predictions)
    record = audit(*ours, model_digest=digests[0], data_digest=digests[1], seed=seed, reference=before)
    return replace(record, others_left_out=left_out)


def _others(dataset: Dataset) -> BoolArray:
    """Test rows whose inputs are not those of a row of the train part: the model did not meet them."""
    test, train = dataset.test.inputs, dataset.train
    return np.ones(len(test), dtype=np.bool_) if train is None else ~copied_from(test, train.inputs)


def _answers(part: DatasetPart, scores: Float32Array) -> Answers:
    data = part.record
    rows = Rows(
        task=data.task, classes=data.classes, labels=data.labels, targets=None, weights=np.ones(data.rows),
        rule=data.scores, scores=scores, decisions=np.empty(0, np.int64), items=None, reference_scores=scores,
    )  # fmt: skip
    return Answers(probabilities(rows), data.labels, data.cluster)
