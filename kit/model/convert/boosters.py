"""XGBoost's and LightGBM's estimators known to skl2onnx, so that they convert alone and inside pipelines."""

import importlib
import importlib.util
from typing import Any

_OPERATORS = "onnxmltools.convert.{}.operator_converters"


def register_boosters() -> None:
    """Register onnxmltools' converters of those libraries that are installed with it."""
    if importlib.util.find_spec("onnxmltools") is None:
        return
    for module, register in (("xgboost", _register_xgboost), ("lightgbm", _register_lightgbm)):
        if importlib.util.find_spec(module):
            register()


def _register_xgboost() -> None:
    xgboost = importlib.import_module("xgboost")
    convert_xgboost = importlib.import_module(f"{_OPERATORS.format('xgboost')}.XGBoost").convert_xgboost
    for name in ("XGBClassifier", "XGBRFClassifier"):
        _classifier(getattr(xgboost, name), f"XGBoost{name}", convert_xgboost)
    for name in ("XGBRegressor", "XGBRFRegressor"):
        _regressor(getattr(xgboost, name), f"XGBoost{name}", convert_xgboost)


def _register_lightgbm() -> None:
    lightgbm = importlib.import_module("lightgbm")
    convert_lightgbm = importlib.import_module(f"{_OPERATORS.format('lightgbm')}.LightGbm").convert_lightgbm

    def convert(scope: Any, operator: Any, container: Any) -> None:
        operator.split = None  # one node: sums in float32, as everywhere else
        convert_lightgbm(scope, operator, container)

    _classifier(lightgbm.LGBMClassifier, "LightGbmLGBMClassifier", convert)
    _regressor(lightgbm.LGBMRegressor, "LightGbmLGBMRegressor", convert)


def _classifier(kind: type, alias: str, convert: Any) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes as shapes

    options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    update_registered_converter(kind, alias, shapes, convert, options=options)


def _regressor(kind: type, alias: str, convert: Any) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes as shapes

    update_registered_converter(kind, alias, shapes, convert)
