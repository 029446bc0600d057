"""From what a model gives to what it answers: a table of scores, or tokens, frames and boxes of each row."""

from dataclasses import dataclass

import numpy as np

from kit.errors import EdgeproofError
from kit.records import DatasetRecord, Float32Array, Float64Array, Int64Array, RaggedRecord, TaskName
from kit.spec.types import OutputSpec
from kit.task.scores import decisions_at

LISTED: tuple[TaskName, ...] = ("sequence", "frames", "detection")
"""Tasks whose answers are a list a row; the others' are a table."""

MOST_BOXES = 100
"""Boxes of an image that count, those of the best scores: COCO's."""


class MisfitError(EdgeproofError):
    """A model's outputs are not what the dataset's task takes."""

    exit_code = 2
    slug = "misfit"


@dataclass(frozen=True, slots=True)
class Outputs:
    """One output of each row, flattened: values float32 [sum of counts], counts int64 [rows]."""

    values: Float32Array
    counts: Int64Array

    def rows(self) -> list[Float32Array]:
        """The values of each row."""
        return np.split(self.values, np.cumsum(self.counts)[:-1])


@dataclass(frozen=True, slots=True)
class Answers:
    """As in PredictionRecord: scores, decisions and items."""

    scores: Float32Array
    decisions: Int64Array
    items: RaggedRecord | None = None


def outputs_asked(task: TaskName, name: str | None, spec: OutputSpec) -> tuple[str | None, ...]:
    """Names of the outputs that a task with listed answers needs; None is the only one."""
    return spec.detection if task == "detection" else (name,)


def table_answers(data: DatasetRecord, scores: Float32Array) -> Answers:
    """Answers of a table float32 [rows, outputs]. Raises MisfitError for another number of outputs."""
    wanted = _width(data)
    if wanted is not None and scores.shape[1] != wanted:
        noun = {"regression": "targets", "anomaly": "score a row"}.get(data.task, "classes")
        raise MisfitError(
            f"the model gives {scores.shape[1]} scores a row, the dataset has {wanted} {noun}",
            next_step="does the dataset belong to this model, and is `output` the score output?",
        )
    return Answers(scores, _decisions(data, scores))


def _width(data: DatasetRecord) -> int | None:
    if data.task == "regression":
        assert data.targets is not None
        return int(data.targets.values.shape[1])
    return {"embedding": None, "anomaly": 1}.get(data.task, len(data.classes))


def _decisions(data: DatasetRecord, scores: Float32Array) -> Int64Array:
    """The first of the largest scores; of an anomaly whether its score is at the threshold; else none."""
    if data.task == "classification":
        return np.asarray(scores.argmax(axis=1), np.int64)
    if data.task == "anomaly":
        return decisions_at(data.scores, scores)
    return np.empty(0, np.int64)


def listed_answers(data: DatasetRecord, spec: OutputSpec, outputs: list[Outputs]) -> Answers:
    """Answers of a task with a list a row, from its outputs in the order of `outputs_asked`.

    Raises MisfitError that names the first row which does not fit, or that is not finite.
    """
    for output in outputs:
        if len(output.counts) != data.rows:
            raise MisfitError(f"the outputs are of {len(output.counts)} rows, the dataset has {data.rows}")
        bad = np.flatnonzero(~np.isfinite(output.values))
        if len(bad):
            row = int(np.searchsorted(np.cumsum(output.counts), bad[0], side="right"))
            raise MisfitError("an output is not finite", where=f"row {row}", next_step="look at this row's inputs")
    decode = {"frames": _frames, "sequence": _sequences, "detection": _boxes}[data.task]
    lists = decode(data, spec, outputs)
    offsets = np.cumsum([0, *(len(each) for each in lists)]).astype(np.int64)
    items = RaggedRecord(np.concatenate(lists), offsets)
    return Answers(np.empty((data.rows, 0), np.float32), np.empty(0, np.int64), items)


def _steps(values: Float32Array, width: int, spec: OutputSpec, row: int) -> Float32Array:
    """float32 [steps, width] of one row's flat output."""
    if len(values) % width:
        raise MisfitError(
            f"{len(values)} outputs of a row are no whole number of steps of {width} classes", where=f"row {row}",
            next_step="are `classes`, `decode` and `blank` those of this model?",
        )  # fmt: skip
    return values.reshape(-1, width) if spec.class_axis == "last" else values.reshape(width, -1).T


def _frames(data: DatasetRecord, spec: OutputSpec, outputs: list[Outputs]) -> list[Float64Array]:
    assert data.targets is not None
    lists = []
    for row, (values, frames) in enumerate(zip(outputs[0].rows(), np.diff(data.targets.offsets), strict=True)):
        steps = _steps(values, len(data.classes), spec, row)
        if len(steps) != frames:
            what = f"the model gives {len(steps)} frames, and the dataset has {frames}"
            raise MisfitError(what, where=f"row {row}", next_step="save a label for each frame that the model gives")
        lists.append(steps.argmax(axis=1).astype(np.float64)[:, None])
    return lists


def _sequences(data: DatasetRecord, spec: OutputSpec, outputs: list[Outputs]) -> list[Float64Array]:
    ctc = spec.decode == "ctc"
    width = len(data.classes) + ctc
    blank = 0 if spec.blank == "first" else width - 1
    lists = []
    for row, values in enumerate(outputs[0].rows()):
        best = _steps(values, width, spec, row).argmax(axis=1)
        if ctc:
            best = best[np.flatnonzero(np.diff(best, prepend=-1))]
            best = best[best != blank] - (blank == 0)
        elif spec.end is not None and (best == spec.end).any():
            best = best[: int((best == spec.end).argmax())]
        lists.append(best.astype(np.float64)[:, None])
    return lists


def _boxes(data: DatasetRecord, spec: OutputSpec, outputs: list[Outputs]) -> list[Float64Array]:
    """Left, top, right, bottom, class and score of each box with a score above 0, the best first."""
    lists = []
    for row, (flat, scores, labels) in enumerate(zip(*(each.rows() for each in outputs), strict=True)):
        if not len(flat) == 4 * len(scores) == 4 * len(labels):
            what = f"{len(flat)} values of boxes, {len(scores)} confidences and {len(labels)} labels"
            raise MisfitError(what, where=f"row {row}", next_step="name the outputs in the manifest's [output]")
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] > 0.0][:MOST_BOXES]
        code = np.round(labels[order].astype(np.float64)) - spec.first_class
        if ((code < 0) | (code >= len(data.classes))).any():
            what = f"a box of a class that is none of the {len(data.classes)}"
            raise MisfitError(
                what, where=f"row {row}", next_step="are `classes` and `first_class` those of this model?"
            )
        corners = _corners(flat.reshape(-1, 4)[order].astype(np.float64), spec.box_format)
        lists.append(np.column_stack([corners, code, scores[order].astype(np.float64)]))
    return lists


def _corners(boxes: Float64Array, form: str) -> Float64Array:
    """Left, top, right, bottom, in this order also where a box is turned over."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if form == "ltwh":
        second = first + second
    elif form == "cxcywh":
        first, second = first - second / 2, first + second / 2
    return np.concatenate([first, np.maximum(first, second)], axis=1)
