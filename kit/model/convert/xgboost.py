"""XGBoost's own files (JSON, UBJSON), by onnxmltools. Loading one runs no code of the file's."""

import importlib
import json
from pathlib import Path
from typing import Any

from kit.errors import ConversionError, ModelError
from kit.model.convert.base import Options, Source, library_versions
from kit.model.convert.estimators import estimator_source, forget_names
from kit.model.convert.tabular import SCORES, VALUES
from kit.model.load import read_limited

_LIBRARIES = {"xgboost": "xgboost-cpu|xgboost", "onnxmltools": "onnxmltools", "skl2onnx": "skl2onnx"}
_CLASSIFIES = ("binary:logistic", "multi:softprob")
_REGRESSES = ("reg:", "count:poisson")
_SUFFIXES = (".json", ".ubj", ".xgb", ".model")
_OLD_STARTS = (b"binf", b"bs64")


_TRAIN_TREES = 'train it with booster="gbtree", the default'


class XGBoostConverter:
    """The `Converter` of XGBoost's files."""

    name = "onnxmltools.xgboost"
    reads = "XGBoost models (.json, .ubj)"
    extra = "xgboost"

    def claims(self, path: Path, start: bytes) -> bool:
        """An object with a learner, in JSON or UBJSON; and the old binary format, to say what to do with it."""
        suffix = path.suffix.lower()
        if suffix in _SUFFIXES and start.startswith(b"{"):
            return b"learner" in start
        return start.startswith(_OLD_STARTS) or (suffix == ".xgb" and not path.is_dir())

    def is_pickle(self, path: Path, start: bytes) -> bool:
        """Never: both formats hold numbers and names only."""
        del path, start
        return False

    def version(self) -> str:
        """Versions of xgboost, onnxmltools and skl2onnx."""
        return library_versions(self.extra, "XGBoost models", _LIBRARIES)

    def read(self, path: Path, options: Options) -> Source:
        """A model as `Booster.save_model` or an estimator's `save_model` wrote it."""
        data = read_limited(path)
        if not data.startswith(b"{"):
            raise ModelError(
                "it is of XGBoost's old binary format, which no XGBoost of today reads",
                where=str(path),
                next_step="load it with the XGBoost that wrote it (before 3.1), and save it as .json or .ubj",
            )
        model, objective = _loaded(data, path)
        output = SCORES if objective in _CLASSIFIES else VALUES
        features = int(model.get_booster().num_features())
        return estimator_source(path, data, model, f"XGBoost {objective}", features, output, options.target_opset)


def _loaded(data: bytes, path: Path) -> tuple[Any, str]:
    """The estimator that fits the file's objective, and that objective."""
    xgboost = importlib.import_module("xgboost")
    try:
        booster = xgboost.Booster(model_file=bytearray(data))
        learner = json.loads(booster.save_config())["learner"]
        objective, kind = str(learner["objective"]["name"]), str(learner["learner_train_param"]["booster"])
    except Exception as error:
        reason = " ".join(str(error).split("Stack trace")[0].split())[-200:]
        raise ModelError(
            f"XGBoost cannot load it: {reason}", where=str(path), next_step="check that the file is complete"
        ) from None
    if kind != "gbtree":
        raise ConversionError(
            f"its booster is {kind!r}, and only trees (gbtree) are converted", where=str(path), next_step=_TRAIN_TREES
        )
    if not objective.startswith((*_CLASSIFIES, *_REGRESSES)):
        raise ConversionError(
            f"its objective {objective!r} has no form in ONNX here",
            where=str(path),
            next_step=f"train it with one of {', '.join(_CLASSIFIES)}, reg:..., count:poisson",
        )
    model = (xgboost.XGBClassifier if objective in _CLASSIFIES else xgboost.XGBRegressor)()
    model.load_model(bytearray(data))
    forget_names(model)
    return model, objective
