"""Records of rows and answers that can be what they say they are: a dataset's truth, predictions, losses."""

import numpy as np

from kit.judge.wellformed import check_array, check_within, refuse
from kit.records import (
    DatasetRecord,
    Float32Array,
    Int64Array,
    LossRecord,
    PredictionRecord,
    RaggedRecord,
    SampleRecord,
)
from kit.spec.weights import weight_fault
from kit.task.answers import LISTED
from kit.task.scores import decisions_at

_WIDTHS = {"sequence": 1, "frames": 1, "detection": 5}
"""Numbers of one item of the truth; a predicted box has its score after those."""


def check_dataset(data: DatasetRecord) -> None:
    """Labels, clusters and columns are int64 [rows], each code within what it indexes; numbers are finite."""
    if data.rows <= 0 or (not data.classes and data.task != "embedding"):
        raise refuse(f"{data.rows} rows in {len(data.classes)} classes", data.name)
    has_labels = data.task in ("classification", "anomaly") or (data.task == "embedding" and data.classes)
    for name, array, count in [
        ("labels", data.labels, len(data.classes) if has_labels else 1),
        *((f"column {name}", column.codes, len(column.values)) for name, column in data.columns.items()),
    ]:
        check_array(name, array, np.int64, (data.rows,), data.name)
        check_within(name, array, count, data.name)
    check_array("cluster", data.cluster, np.int64, (data.rows,), data.name)
    if data.cluster_column is None and len(np.unique(data.cluster)) != data.rows:
        raise refuse("rows share a cluster, and no column of clusters is named", data.name)
    for name, numbers in data.numbers.items():
        check_array(f"numbers {name}", numbers, np.float64, (data.rows,), data.name)
        if not np.isfinite(numbers).all():
            raise refuse(f"numbers {name} that are not finite", data.name)
    if data.weights is not None:
        check_array("weights", data.weights, np.float64, (data.rows,), data.name)
        if not (np.isfinite(data.weights) & (data.weights > 0)).all():
            raise refuse("a weight that is not above 0", data.name)
        if fault := weight_fault(data.weights):
            raise refuse(fault, data.name)
    if hidden := [name for name in data.sensitive if name not in data.columns]:
        raise refuse(f"there is no column of the sensitive attribute {hidden[0]}", data.name)
    _check_targets(data)


def _check_targets(data: DatasetRecord) -> None:
    needed = data.task in ("multilabel", "regression", *LISTED)
    if needed != (data.targets is not None):
        raise refuse(f"the task {data.task} {'without' if needed else 'with'} targets", data.name)
    if data.targets is None:
        return
    _check_ragged("targets", data.targets, data.rows, data.name)
    values, width = data.targets.values, _WIDTHS.get(data.task, len(data.classes))
    if values.shape[1] != width and data.task != "regression":
        raise refuse(f"targets of {values.shape[1]} numbers, not {width}", data.name)
    if data.task in ("multilabel", "regression") and (np.diff(data.targets.offsets) != 1).any():
        raise refuse("a row with more or less than one vector of targets", data.name)
    codes = values[:, -1] if data.task in LISTED else values
    low, high = (-1 if data.task == "frames" else 0), 1 if data.task == "multilabel" else len(data.classes) - 1
    if data.task != "regression" and ((codes != np.round(codes)) | (codes < low) | (codes > high)).any():
        raise refuse("a target that is none of the classes", data.name)


def check_predictions(record: PredictionRecord, data: DatasetRecord, where: str) -> None:
    """Answers of the dataset's task: finite scores [rows, outputs], decisions that follow from them, lists a row."""
    if data.task in LISTED:
        _check_listed(record, data, where)
        return
    if record.items is not None:
        raise refuse(f"a list of answers for the task {data.task}", where)
    if record.decisions.ndim == 1 and len(record.decisions) not in (0, data.rows):
        raise refuse(f"{len(record.decisions)} predictions for {data.rows} rows", where)
    width = {"anomaly": 1, "embedding": record.scores.shape[-1]}.get(data.task, len(data.classes))
    if data.task == "regression" and data.targets is not None:
        width = data.targets.values.shape[1]
    _check_scores(record.scores, (data.rows, width), where)
    if data.task == "classification":
        decided = record.scores.argmax(axis=1)
    elif data.task == "anomaly":
        decided = decisions_at(data.scores, record.scores)
    else:
        decided = np.empty(0, np.int64)
    _check_decisions(record.decisions, decided, data, where)


def check_sample(record: SampleRecord, data: DatasetRecord, where: str) -> None:
    """Some rows, each once, with finite scores and the decisions that follow from them."""
    if data.task != "classification":
        raise refuse(f"a sample of rows for the task {data.task}", where)
    rows = len(record.order)
    check_array("order", record.order, np.int64, (rows,), where)
    check_within("order", record.order, data.rows, where)
    if len(np.unique(record.order)) != rows:
        raise refuse("a sample that names a row twice", where)
    if rows or record.scores.size:
        _check_scores(record.scores, (rows, len(data.classes)), where)
        _check_decisions(record.decisions, record.scores.argmax(axis=1), data, where)


def _check_scores(scores: Float32Array, shape: tuple[int, ...], where: str) -> None:
    check_array("scores", scores, np.float32, shape, where)
    if not np.isfinite(scores).all():
        raise refuse("scores that are no finite numbers", where)


def _check_decisions(decisions: Int64Array, decided: Int64Array, data: DatasetRecord, where: str) -> None:
    """`decided` is what follows from the scores."""
    check_array("decisions", decisions, np.int64, decided.shape, where)
    check_within("decisions", decisions, max(1, len(data.classes)), where)
    other = np.flatnonzero(decided != decisions)
    if len(other):
        raise refuse(f"the decision of row {other[0]} is not the largest of its scores", where)


def _check_listed(record: PredictionRecord, data: DatasetRecord, where: str) -> None:
    """Items whose numbers are finite, of a known class, and for frames as many as there are in truth."""
    if record.items is None or record.scores.shape != (data.rows, 0) or len(record.decisions):
        raise refuse(f"no list of answers for the task {data.task}", where)
    _check_ragged("answers", record.items, data.rows, where)
    width = _WIDTHS[data.task] + (data.task == "detection")
    values = record.items.values
    if values.shape[1] != width:
        raise refuse(f"answers of {values.shape[1]} numbers, not {width}", where)
    codes = values[:, 4] if data.task == "detection" else values[:, 0]
    if ((codes != np.round(codes)) | (codes < 0) | (codes >= len(data.classes))).any():
        raise refuse("an answer that is none of the classes", where)
    if data.task == "frames" and data.targets is not None and (record.items.offsets != data.targets.offsets).any():
        raise refuse("another number of frames than in truth", where)


def check_losses(record: LossRecord, data: DatasetRecord, where: str) -> None:
    """Finite losses float64 [rows] within their bounds, and sizes that are not negative."""
    check_array("losses", record.losses, np.float64, (data.rows,), where)
    if not np.isfinite(record.losses).all():
        raise refuse(f"losses by {record.measure} that are not finite", where)
    low, high = -np.inf if record.low is None else record.low, np.inf if record.high is None else record.high
    if record.losses.min() < low - 1e-9 or record.losses.max() > high + 1e-9:
        raise refuse(f"losses by {record.measure} beyond their bounds", where)
    if record.sizes is not None:
        check_array("sizes", record.sizes, np.float64, (data.rows,), where)
        if not (np.isfinite(record.sizes) & (record.sizes >= 0)).all():
            raise refuse(f"sizes of {record.measure} that are negative or no numbers", where)


def _check_ragged(name: str, of: RaggedRecord, rows: int, where: str) -> None:
    """float64 [items, width], finite; offsets int64 [rows + 1] from 0 to the items, never falling."""
    check_array(f"offsets of {name}", of.offsets, np.int64, (rows + 1,), where)
    if of.values.ndim != 2 or of.values.dtype != np.float64 or not np.isfinite(of.values).all():
        raise refuse(f"{name} that are no finite numbers [items, width]", where)
    if of.offsets[0] != 0 or of.offsets[-1] != len(of.values) or (np.diff(of.offsets) < 0).any():
        raise refuse(f"offsets of {name} that do not rise from 0 to {len(of.values)}", where)
