"""Predictions without a device: the reference on this host, and a variant on a saturating processor, computed."""

import json
import re

import numpy as np
import onnx

from kit.digest import digest_bytes
from kit.errors import ModelError
from kit.model.fused import predict_on_saturating_x86
from kit.model.integer import NotModelledError
from kit.model.metadata import PREFIX, properties
from kit.model.rehearse import outputs_limited, predict_limited
from kit.model.session import Array, HostSession, Progress, score_output
from kit.records import Arithmetic, Obtained, PredictionRecord
from kit.spec.types import Dataset
from kit.task.answers import LISTED, Answers, MisfitError, Outputs, listed_answers, outputs_asked, table_answers


def predict_on_host(data: bytes, dataset: Dataset, progress: Progress | None = None) -> PredictionRecord:
    """Answers of a model to the test part, by the runtime's own kernels on this machine, row by row.

    It runs in a limited process, the calibration rows too: later they are run in this one, to quantize.

    Raises:
        ModelError: classes or shapes do not fit, or the model takes too much, fails, or is not deterministic.
    """
    if dataset.task in ("classification", "multilabel"):
        _check_class_names(data, dataset)
    try:
        answers = _answers(data, dataset, progress)
    except MisfitError as error:
        raise ModelError(error.what, where=error.where, next_step=error.next_step) from None
    if dataset.calibration is not None:
        _run_calibration(data, dataset)
    return _record(data, dataset, answers, arithmetic="default", obtained="measured")


def _answers(data: bytes, dataset: Dataset, progress: Progress | None) -> Answers:
    record, inputs = dataset.test.record, dataset.test.inputs
    if record.task not in LISTED:
        return table_answers(record, predict_limited(data, inputs, dataset.output_name, progress=progress))
    names = outputs_asked(record.task, dataset.output_name, dataset.output)
    found = [outputs_limited(data, inputs, name, progress=progress) for name in names]
    return listed_answers(record, dataset.output, [Outputs(*each) for each in found])


def run_limited(data: bytes, dataset: Dataset, inputs: Array) -> None:
    """Run a model on `inputs` [rows, *shape] of the dataset's kind, in a limited process. Raises ModelError."""
    if dataset.task in LISTED:
        outputs_limited(data, inputs, outputs_asked(dataset.task, dataset.output_name, dataset.output)[0])
    else:
        predict_limited(data, inputs, dataset.output_name)


def _run_calibration(data: bytes, dataset: Dataset) -> None:
    assert dataset.calibration is not None
    try:
        run_limited(data, dataset, dataset.calibration.inputs)
    except ModelError as error:
        raise ModelError(error.what, where=f"calibration {error.where}".strip(), next_step=error.next_step) from None


def _check_class_names(data: bytes, dataset: Dataset) -> None:
    """Column i of the scores is class i: what the model calls its classes must not say otherwise.

    Indices ("0", "1") as names say nothing of a dataset that names its classes by words.
    """
    stated = properties(onnx.ModelProto.FromString(data)).get(f"{PREFIX}classes", "[]")
    names = tuple(json.loads(stated))
    only_indices = all(_INTEGER.fullmatch(name) for name in names)
    numbered = any(_INTEGER.fullmatch(name) for name in dataset.classes)
    if not names or names == dataset.classes or (only_indices and not numbered):
        return
    same = sorted(names) == sorted(dataset.classes)
    difference = "in another order than" if same else f"{_shown(names)}, and not"
    listed = f": {_shown(names)}" if same else f": {_shown(dataset.classes)}"
    raise ModelError(
        f"the model's classes are {difference} dataset {dataset.name}'s{listed}",
        where=dataset.path,
        next_step="put `classes` of the manifest in the model's order" if same else _OTHER_CLASSES,
    )


_INTEGER = re.compile(r"[+-]?[0-9]{1,18}(?:\.0)?")
_OTHER_CLASSES = "use the dataset that this model was made for, or write its classes in the manifest as the model does"


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name)[1:-1] for name in names[:12]) + (", ..." if len(names) > 12 else "")


def predict_saturating(data: bytes, dataset: Dataset) -> PredictionRecord | None:
    """What x86 without VNNI would decide on the test part, computed; None where an operator is not modelled.

    Nor is it computed for tasks whose answers are lists.
    """
    if dataset.task in LISTED:
        return None
    session = HostSession(data)
    only_scores = onnx.ModelProto.FromString(data)
    name = score_output(session.outputs, dataset.output_name)
    kept = [output for output in only_scores.graph.output if output.name == name]
    del only_scores.graph.output[:]
    only_scores.graph.output.extend(kept)
    try:
        prediction = predict_on_saturating_x86(only_scores, dataset.test.inputs)
    except NotModelledError:
        return None
    scores = np.asarray(prediction.outputs, dtype=np.float32)
    answers = table_answers(dataset.test.record, scores)
    return _record(data, dataset, answers, arithmetic="saturating", obtained="computed")


def _record(
    data: bytes, dataset: Dataset, answers: Answers, *, arithmetic: Arithmetic, obtained: Obtained
) -> PredictionRecord:
    return PredictionRecord(
        model_digest=digest_bytes(data),
        data_digest=dataset.test.record.data_digest,
        where="host",
        arithmetic=arithmetic,
        scores=answers.scores,
        decisions=answers.decisions,
        obtained=obtained,
        items=answers.items,
    )
