"""Fitted estimators of scikit-learn's kind, XGBoost's and LightGBM's among them: run, and converted by skl2onnx."""

import importlib.util
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.errors import ConversionError, MissingExtraError
from kit.model.convert.base import Source
from kit.model.convert.boosters import register_boosters
from kit.model.convert.tabular import INPUT, ML_OPSET, SCORES, tabular_source, tidy
from kit.model.metadata import PREFIX, serialized, with_properties
from kit.records import ModelRecord

_BOOSTED = ("xgboost", "lightgbm")


def steps_of(model: Any) -> Iterator[Any]:
    """The model, and the steps of a pipeline."""
    yield model
    yield from (step for _, step in getattr(model, "steps", ()))


def refuse_without_extra(model: Any) -> None:
    """Raise MissingExtraError for a boosted model where the library that converts it is not installed."""
    libraries = {type(step).__module__.split(".")[0] for step in steps_of(model)}
    needing = sorted(libraries.intersection(_BOOSTED))
    if needing and importlib.util.find_spec("onnxmltools") is None:
        raise MissingExtraError(
            f"{needing[0]} models need onnxmltools", next_step=f"pip install 'edgeproof[{needing[0]}]'"
        )


def forget_names(model: Any) -> None:
    """Take the names of features out of XGBoost's models: rows here are arrays, and only f0, f1, ... convert."""
    for step in steps_of(model):
        if type(step).__module__.split(".")[0] == "xgboost" and hasattr(step, "get_booster"):
            step.get_booster().feature_names = None


def predict_estimator(model: Any, rows: NDArray[Any], output: str) -> NDArray[Any]:
    """Probabilities [rows, classes], or values [rows, targets]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = model.predict_proba(rows) if output == SCORES else model.predict(rows)
    return np.asarray(values).reshape(len(rows), -1)


def estimator_source(
    path: Path,
    data: bytes,
    model: Any,
    described: str,
    features: int,
    output: str,
    opset: int,
    notes: tuple[str, ...] = (),
) -> Source:
    """The source that a fitted estimator, read from `data`, is."""
    return tabular_source(
        path,
        data,
        described,
        features,
        output,
        lambda rows: predict_estimator(model, rows, output),
        lambda record: export_estimator(model, record, opset, path),
        notes,
    )


def export_estimator(model: Any, record: ModelRecord, opset: int, path: Path) -> bytes:
    """One float32 input ``x`` [rows, features] and one output; the classes' names as a property."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    register_boosters()
    features, output = record.inputs[0].shape[1], record.outputs[0]
    is_classifier = output.name == SCORES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            proto = convert_sklearn(
                model,
                name=path.stem,
                initial_types=[(INPUT, FloatTensorType([None, features]))],
                options={id(model): {"zipmap": False}} if is_classifier else None,
                target_opset={"": opset, "ai.onnx.ml": ML_OPSET},
                black_op=_lowered(model),
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ConversionError(
            f"skl2onnx cannot convert {type(model).__name__}: {reason}",
            where=str(path),
            next_step="use estimators that skl2onnx supports (its documentation lists them)",
        ) from None
    tidy(proto, output.name, int(output.shape[1]), opset)
    if is_classifier:
        with_properties(proto, {f"{PREFIX}classes": json.dumps([str(name) for name in model.classes_])})
    return serialized(proto)


def _lowered(model: Any) -> set[str]:
    """Operators of ai.onnx.ml to do without: shapes are not known behind them, and int8 has no form of them.

    A two-class LinearClassifier is kept: skl2onnx has no other form of it.
    """
    from sklearn.linear_model import LogisticRegression

    last = list(steps_of(model))[-1]
    many = isinstance(last, LogisticRegression) and len(last.classes_) > 2
    return {"Scaler", "LinearClassifier"} if many else {"Scaler"}
