"""Boosted trees made known to skl2onnx, alone and inside pipelines: XGBoost, LightGBM, histogram gradient boosting."""

import importlib
import importlib.util
from typing import Any

import numpy as np

_OPERATORS = "onnxmltools.convert.{}.operator_converters"


def register_boosters() -> None:
    """Register onnxmltools' converters of those libraries that are installed with it, and mend skl2onnx's own."""
    _mend_histograms()
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


def _mend_histograms() -> None:
    """skl2onnx gives NumPy's integers and truth values to onnx, which since 1.20 takes Python's only."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common._registration import get_converter, get_shape_calculator
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    for kind in (HistGradientBoostingClassifier, HistGradientBoostingRegressor):
        alias = f"Sklearn{kind.__name__}"
        given = get_converter(alias)
        if isinstance(given.get_allowed_options(), dict):
            mended, options = _with_plain_attributes(given), given.get_allowed_options()
            update_registered_converter(kind, alias, get_shape_calculator(alias), mended, options=options)


def _with_plain_attributes(convert: Any) -> Any:
    """The same converter, whose nodes have attributes of Python's own types."""

    def plain(scope: Any, operator: Any, container: Any) -> None:
        add = container.add_node

        def add_plain(kind: Any, inputs: Any, outputs: Any, **more: Any) -> None:
            add(kind, inputs, outputs, **{name: _plain(value) for name, value in more.items()})

        container.add_node = add_plain
        try:
            convert(scope, operator, container)
        finally:
            container.add_node = add

    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, bool) else value
