"""Predictions without a device: the reference on this host, and a variant on a saturating processor, computed."""

import json

import numpy as np
import onnx

from kit.digest import digest_bytes
from kit.errors import ModelError
from kit.model.fused import predict_on_saturating_x86
from kit.model.integer import NotModelledError
from kit.model.metadata import PREFIX, properties
from kit.model.session import HostSession, Progress, score_output
from kit.records import Arithmetic, Float32Array, Obtained, PredictionRecord
from kit.spec.types import Dataset


def predict_on_host(data: bytes, dataset: Dataset, progress: Progress | None = None) -> PredictionRecord:
    """Scores and decisions of a model on the test part, by the runtime's own kernels on this machine."""
    scores = HostSession(data).predict(dataset.test.inputs, dataset.output_name, progress)
    _check_class_names(data, dataset)
    count = len(dataset.classes)
    if scores.shape[1] != count:
        raise ModelError(
            f"the model gives {scores.shape[1]} scores a row, dataset {dataset.name} has {count} classes",
            next_step="does this dataset belong to this model, and is `output` of the manifest the score output?",
        )
    return _record(data, dataset, scores, arithmetic="default", obtained="measured")


def _check_class_names(data: bytes, dataset: Dataset) -> None:
    """Where the model names its classes as the dataset does, the order must be the same: column i is class i."""
    stated = properties(onnx.ModelProto.FromString(data)).get(f"{PREFIX}classes", "[]")
    names = tuple(json.loads(stated))
    if names != dataset.classes and sorted(names) == sorted(dataset.classes):
        raise ModelError(
            f"the model's classes are in another order than dataset {dataset.name}'s: {', '.join(names)}",
            where=dataset.path,
            next_step="put `classes` of the manifest in the model's order",
        )


def predict_saturating(data: bytes, dataset: Dataset) -> PredictionRecord | None:
    """What x86 without VNNI would decide on the test part, computed; None where an operator is not modelled."""
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
    return _record(data, dataset, scores, arithmetic="saturating", obtained="computed")


def _record(
    data: bytes, dataset: Dataset, scores: Float32Array, *, arithmetic: Arithmetic, obtained: Obtained
) -> PredictionRecord:
    return PredictionRecord(
        model_digest=digest_bytes(data),
        data_digest=dataset.test.record.data_digest,
        where="host",
        arithmetic=arithmetic,
        scores=scores,
        decisions=scores.argmax(axis=1).astype(np.int64),
        obtained=obtained,
    )
