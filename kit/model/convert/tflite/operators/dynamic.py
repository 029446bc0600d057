"""Dynamic range: weights are int8, and a float input is rounded to 8 bits as it comes, row by row."""

import numpy as np

from kit.model.convert.tflite.builder import Builder
from kit.model.convert.tflite.file import Operator

_TINY = 1e-30
"""In place of a range of zero, which nothing can be divided by."""


def rounded(build: Builder, operator: Operator, name: str, axes: list[int]) -> str:
    """What a product of float values and int8 weights (dynamic range) makes of its input `name` first.

    TensorFlow Lite rounds the input to 8 bits as it comes, with a range of its own for each row, which spans `axes`:
    from the least to the largest value, zero included (XNNPACK, src/xnnpack/quantization.h,
    xnn_f32_qd8_asymmetric_quantization_params), or symmetric where the operator says so
    (tensorflow/lite/kernels/internal/portable_tensor_utils.cc, SymmetricQuantizeFloats).
    """
    source, weights = operator.inputs[:2]
    quantized = build.constant(weights) is not None and build.quantization(weights) is not None
    if not quantized or build.quantization(source) is not None:
        return name
    if getattr(operator.options, "asymmetricQuantizeInputs", True):
        return _asymmetric(build, name, axes, by_scale=operator.name == "DEPTHWISE_CONV_2D")
    return _symmetric(build, name, axes)


def _symmetric(build: Builder, name: str, axes: list[int]) -> str:
    """To -127..127, zero in the middle."""
    peak = build.one("Max", build.reduced("ReduceMax", build.one("Abs", name), axes), _float(build, _TINY))
    steps = build.one("Div", _float(build, 127.0), peak)
    return build.one("Div", build.one("Round", build.one("Mul", name, steps)), steps)


def _asymmetric(build: Builder, name: str, axes: list[int], *, by_scale: bool) -> str:
    """To -128..127 from the least value to the largest, with TensorFlow Lite's own rounding (`by_scale`) or XNNPACK's.

    The one divides by the scale and rounds halves away from zero, the other multiplies and rounds halves to even.
    """
    lowest, largest, all_steps = (_float(build, value) for value in (-128.0, 127.0, 255.0))
    low = build.one("Min", build.reduced("ReduceMin", name, axes), _float(build, 0.0))
    high = build.one("Max", build.reduced("ReduceMax", name, axes), _float(build, 0.0))
    span = build.one("Max", build.one("Sub", high, low), _float(build, _TINY))
    if by_scale:
        scale = build.one("Div", span, all_steps)
        steps, first = build.one("Reciprocal", scale), build.one("Div", low, scale)
    else:
        steps = build.one("Div", all_steps, span)
        scale, first = build.one("Reciprocal", steps), build.one("Mul", low, steps)
    offset = build.one("Round", build.one("Sub", lowest, first))
    scaled = build.one("Mul", name, steps)
    if by_scale:
        stored = _half_away(build, build.one("Add", scaled, offset))
    else:
        stored = build.one("Add", build.one("Round", scaled), offset)
    return build.one("Mul", build.one("Sub", build.one("Clip", stored, lowest, largest), offset), scale)


def _float(build: Builder, value: float) -> str:
    return build.literal(value, np.float32)


def _half_away(build: Builder, name: str) -> str:
    """Rounded to integers, halves away from zero (C's round), which ONNX's Round takes to even."""
    size = build.one("Floor", build.one("Add", build.one("Abs", name), _float(build, 0.5)))
    return build.one("Mul", build.one("Sign", name), size)
