"""LightGBM's own text files, by onnxmltools. Loading one runs no code of the file's."""

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.errors import ConversionError, ModelError
from kit.model.convert.base import Options, Source, library_versions
from kit.model.convert.tabular import INPUT, SCORES, VALUES, tabular_source, tidy
from kit.model.load import read_limited
from kit.model.metadata import PREFIX, serialized, with_properties
from kit.records import ModelRecord

_LIBRARIES = {"lightgbm": "lightgbm", "onnxmltools": "onnxmltools", "skl2onnx": "skl2onnx"}
_CLASSIFIES = ("binary", "multiclass")
_REGRESSES = ("regression", "quantile", "huber", "poisson", "gamma", "tweedie")


class LightGBMConverter:
    """The `Converter` of LightGBM's text files."""

    name = "onnxmltools.lightgbm"
    reads = "LightGBM models (.txt, .lgb)"
    extra = "lightgbm"

    def claims(self, path: Path, start: bytes) -> bool:
        """By its first word, whatever the suffix."""
        del path
        return start.startswith((b"tree\n", b"tree\r\n"))

    def is_pickle(self, path: Path, start: bytes) -> bool:
        """Never: it is text."""
        del path, start
        return False

    def version(self) -> str:
        """Versions of lightgbm, onnxmltools and skl2onnx."""
        return library_versions(self.extra, "LightGBM models", _LIBRARIES)

    def read(self, path: Path, options: Options) -> Source:
        """A model as `Booster.save_model` wrote it."""
        data = read_limited(path)
        booster, objective = _loaded(data, path)
        output = SCORES if objective in _CLASSIFIES else VALUES
        return tabular_source(
            path,
            data,
            f"LightGBM {objective}",
            int(booster.num_feature()),
            output,
            lambda rows: _predict(booster, rows, output),
            lambda record: _export(booster, record, options.target_opset, path),
        )


def _loaded(data: bytes, path: Path) -> tuple[Any, str]:
    """The booster, and the first word of its objective."""
    if b"\nend of trees" not in data:
        raise ModelError("it is cut: its trees do not end", where=str(path), next_step="save or download it again")
    lightgbm = importlib.import_module("lightgbm")
    try:
        booster = lightgbm.Booster(model_str=data.decode())
        objective = str(booster.dump_model(num_iteration=1).get("objective", "none")).split()[0]
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"LightGBM cannot load it: {reason}", where=str(path), next_step="check that the file is complete"
        ) from None
    if objective not in _CLASSIFIES and not objective.startswith(_REGRESSES):
        raise ConversionError(
            f"its objective {objective!r} has no form in ONNX here",
            where=str(path),
            next_step=f"train it with one of {', '.join((*_CLASSIFIES, *_REGRESSES))}",
        )
    return booster, objective


def _predict(booster: Any, rows: NDArray[Any], output: str) -> NDArray[Any]:
    """Probabilities [rows, classes], or values [rows, 1]."""
    values = np.asarray(booster.predict(rows)).reshape(len(rows), -1)
    return np.hstack([1 - values, values]) if output == SCORES and values.shape[1] == 1 else values


def _export(booster: Any, record: ModelRecord, opset: int, path: Path) -> bytes:
    onnxmltools = importlib.import_module("onnxmltools")
    types = importlib.import_module("onnxmltools.convert.common.data_types")
    features, output = record.inputs[0].shape[1], record.outputs[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            proto = onnxmltools.convert_lightgbm(
                booster,
                initial_types=[(INPUT, types.FloatTensorType([None, features]))],
                target_opset=min(opset, _NEWEST_OPSET),
                zipmap=False,
            )
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ConversionError(
            f"onnxmltools cannot convert it: {reason}",
            where=str(path),
            next_step="train it without what the message names",
        ) from None
    tidy(proto, output.name, int(output.shape[1]), opset)
    if output.name == SCORES:
        names = [str(index) for index in range(int(output.shape[1]))]
        with_properties(proto, {f"{PREFIX}classes": json.dumps(names)})
    return serialized(proto)


_NEWEST_OPSET = 15
"""What onnxmltools writes; its trees and the few operators around them mean the same in every later one."""
