"""Operators on one value, element by element: activations, rounding, roots, changes of type."""

from collections.abc import Callable

import numpy as np
import onnx

from kit.model.convert.tflite.builder import Builder
from kit.model.convert.tflite.file import Operator
from kit.model.convert.tflite.operators.registry import handles

_UNARY = {
    "ABS": "Abs", "CEIL": "Ceil", "COS": "Cos", "EXP": "Exp", "FLOOR": "Floor", "LOG": "Log", "LOGISTIC": "Sigmoid",
    "NEG": "Neg", "RELU": "Relu", "ROUND": "Round", "SIGN": "Sign", "SIN": "Sin", "SQRT": "Sqrt", "TANH": "Tanh",
    "ELU": "Elu", "HARD_SWISH": "HardSwish",
}  # fmt: skip


def _unary(build: Builder, operator: Operator, apply: Callable[[str], str]) -> None:
    """Apply to the real value, in the layout in which it is at hand."""
    (source, *_), (result,) = operator.inputs, operator.outputs
    layout = build.layout_of(source)
    build.put_real(result, apply(build.real(source, layout)), layout)


@handles(*_UNARY)
def _same_in_onnx(build: Builder, operator: Operator) -> None:
    _unary(build, operator, lambda name: build.one(_UNARY[operator.name], name))


@handles("RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")
def _clipped(build: Builder, operator: Operator) -> None:
    low, high = {"RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1), "RELU_0_TO_1": (0, 1)}[operator.name]
    bounds = build.literal(low, np.float32), build.literal(high, np.float32)
    _unary(build, operator, lambda name: build.one("Clip", name, *bounds))


@handles("LEAKY_RELU")
def _leaky(build: Builder, operator: Operator) -> None:
    _unary(build, operator, lambda name: build.one("LeakyRelu", name, alpha=float(operator.options.alpha)))


@handles("SQUARE")
def _square(build: Builder, operator: Operator) -> None:
    _unary(build, operator, lambda name: build.one("Mul", name, name))


@handles("RSQRT")
def _rsqrt(build: Builder, operator: Operator) -> None:
    _unary(build, operator, lambda name: build.one("Reciprocal", build.one("Sqrt", name)))


@handles("LOGICAL_NOT")
def _not(build: Builder, operator: Operator) -> None:
    build.put(operator.outputs[0], build.one("Not", build.stored(operator.inputs[0])))


@handles("CAST")
def _cast(build: Builder, operator: Operator) -> None:
    (source,), (result,) = operator.inputs, operator.outputs
    wanted = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(build.tensor(result).dtype))
    build.put(result, build.one("Cast", build.stored(source), to=wanted))


@handles("QUANTIZE", "DEQUANTIZE")
def _requantize(build: Builder, operator: Operator) -> None:
    """A change of scale; constants in float16 or 8 bits are folded to float32."""
    (source,), (result,) = operator.inputs, operator.outputs
    if build.constant(source) is not None and build.tensor(result).dtype == "float32":
        build.folded[result] = build.real_values(source)
    else:
        _unary(build, operator, lambda name: name)
