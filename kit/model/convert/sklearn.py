"""scikit-learn classifiers and pipelines, pickled or saved with joblib, by skl2onnx."""

import io
import json
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from kit.digest import digest_bytes
from kit.errors import ConversionError, MissingExtraError, ModelError
from kit.model.convert.base import Source
from kit.model.graph import drop_unused_domains, keep_output
from kit.model.metadata import PREFIX, serialized, with_properties
from kit.records import ModelRecord, TensorInfo

TARGET_OPSET = {"": 17, "ai.onnx.ml": 3}
"""Old enough for the onnxruntime of most devices (1.13 and later), new enough for every recipe."""

INPUT, OUTPUT = "x", "probabilities"


class SklearnConverter:
    """The `Converter` of scikit-learn."""

    name = "skl2onnx"
    suffixes: tuple[str, ...] = (".joblib", ".pkl", ".pickle")
    pickled = True

    def version(self) -> str:
        """Versions of skl2onnx and scikit-learn."""
        try:
            import skl2onnx
            import sklearn
        except ImportError:
            raise MissingExtraError(
                "scikit-learn models need scikit-learn and skl2onnx", next_step="pip install 'edgeproof[sklearn]'"
            ) from None
        return f"skl2onnx {skl2onnx.__version__}, scikit-learn {sklearn.__version__}"

    def read(self, path: Path, data: bytes) -> Source:
        """Unpickle a classifier: this runs whatever code the file holds."""
        model = _unpickled(path, data)
        features = _features(model, path)
        record = ModelRecord(
            name=path.name,
            digest=digest_bytes(data),
            size_bytes=len(data),
            format=f"scikit-learn {type(model).__name__}",
            inputs=(TensorInfo(INPUT, "float32", ("rows", features)),),
            outputs=(TensorInfo(OUTPUT, "float32", ("rows", len(model.classes_))),),
        )
        return Source(record, lambda rows: _predict(model, rows), lambda: _export(model, features, path))


def _unpickled(path: Path, data: bytes) -> Any:
    import joblib
    from sklearn.exceptions import InconsistentVersionWarning

    try:
        with _output_on_standard_error(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", InconsistentVersionWarning)
            return joblib.load(io.BytesIO(data))
    except KeyboardInterrupt:
        raise
    except InconsistentVersionWarning as warning:
        raise ModelError(
            f"it was saved by scikit-learn {warning.original_sklearn_version}, "
            f"here is {warning.current_sklearn_version}, which may compute something else",
            where=str(path),
            next_step=f"install scikit-learn=={warning.original_sklearn_version}, or save the model again",
        ) from None
    except ModuleNotFoundError as error:
        raise ModelError(
            f"it needs the module {error.name!r}, which is not installed",
            where=str(path),
            next_step=f"install the package that provides {error.name!r}",
        ) from None
    except BaseException as error:  # SystemExit too: its code must not end this command, with 0 at that
        reason = "".join(character if character.isprintable() else " " for character in str(error)).strip()[:200]
        raise ModelError(
            f"it cannot be unpickled: {type(error).__name__}: {reason}",
            where=str(path),
            next_step="check that the file is complete and was written by joblib.dump or pickle.dump",
        ) from None


@contextmanager
def _output_on_standard_error() -> Iterator[None]:
    """Nothing that a model's code prints, in Python or in a process it starts, gets among the command's output."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _features(model: Any, path: Path) -> int:
    """Number of input columns of a fitted classifier with probabilities; else an error that says what is missing."""
    missing = None
    if not hasattr(model, "predict"):
        raise ModelError(
            f"the file holds a {type(model).__name__}, not a scikit-learn model",
            where=str(path),
            next_step="save the fitted model or pipeline itself",
        )
    if not hasattr(model, "classes_"):
        missing = "is no classifier, or is not fitted"
    elif not hasattr(model, "predict_proba"):
        missing = "gives no probabilities (predict_proba)"
    elif not hasattr(model, "n_features_in_"):
        missing = "does not say how many features it takes (n_features_in_)"
    if missing:
        raise ConversionError(
            f"{type(model).__name__} {missing}",
            where=str(path),
            next_step="save a fitted classifier with predict_proba; wrap others in CalibratedClassifierCV",
        )
    return int(model.n_features_in_)


def _predict(model: Any, rows: NDArray[Any]) -> NDArray[np.floating[Any]]:
    with _output_on_standard_error(), warnings.catch_warnings():  # forests with verbose=1 print
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return cast(NDArray[np.floating[Any]], np.asarray(model.predict_proba(rows)))


def _export(model: Any, features: int, path: Path) -> bytes:
    """One float32 input ``x`` [rows, features], one output ``probabilities``; the classes' names as a property."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    try:
        with _output_on_standard_error(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            proto = convert_sklearn(
                model,
                name=path.stem,
                initial_types=[(INPUT, FloatTensorType([None, features]))],
                options={id(model): {"zipmap": False}},
                target_opset=TARGET_OPSET,
                black_op=_lowered(model),
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ConversionError(
            f"skl2onnx cannot convert {type(model).__name__}: {reason}",
            where=str(path),
            next_step="use estimators that skl2onnx supports (its documentation lists them)",
        ) from None
    _tidy(proto)
    with_properties(proto, {f"{PREFIX}classes": json.dumps([str(name) for name in model.classes_])})
    return serialized(proto)


def _lowered(model: Any) -> set[str]:
    """Operators of ai.onnx.ml to do without: shapes are not known behind them, and int8 has no form of them.

    A two-class LinearClassifier is kept: skl2onnx has no other form of it.
    """
    from sklearn.linear_model import LogisticRegression

    last = model.steps[-1][1] if hasattr(model, "steps") else model
    many = isinstance(last, LogisticRegression) and len(last.classes_) > 2
    return {"Scaler", "LinearClassifier"} if many else {"Scaler"}


def _tidy(proto: Any) -> None:
    """Drop the label branch (strings, integers: decisions come from scores) and state opsets and batch deliberately."""
    keep_output(proto, OUTPUT)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "rows"
    del proto.opset_import[:]
    for domain, version in TARGET_OPSET.items():
        proto.opset_import.add(domain=domain, version=version)
    drop_unused_domains(proto)
