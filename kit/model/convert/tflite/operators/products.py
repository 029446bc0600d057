"""Convolutions and dense layers: constant weights in ONNX's order, integers where the values are integers too.

Weights are symmetric, with a scale for each output channel or one for all, and biases are int32 with the product of
the scales of input and weights (TensorFlow Lite's 8-bit quantization specification).
"""

import numpy as np

from kit.model.convert.tflite.builder import FIRST, Builder, UnsupportedError
from kit.model.convert.tflite.file import Operator
from kit.model.convert.tflite.operators.dynamic import rounded
from kit.model.convert.tflite.operators.registry import handles
from kit.model.convert.tflite.operators.shared import explicit_pads, open_sizes


def _parameter(build: Builder, operator: Operator, position: int, order: tuple[int, ...] = ()) -> list[str]:
    """Constant weights or biases, their dimensions in `order`; none if absent.

    Integers stay integers behind a DequantizeLinear where the operator's values are quantized too; where those are
    float (dynamic range), the weights become float.
    """
    if position >= len(operator.inputs) or operator.inputs[position] < 0:
        return []
    index = operator.inputs[position]
    values, quantization = build.constant(index), build.quantization(index)
    if values is None:
        raise UnsupportedError("its weights are computed, not constant")
    order = order or tuple(range(values.ndim))
    if quantization is None or build.quantization(operator.outputs[0]) is None or values.dtype == np.int64:
        return [build.literal(np.transpose(build.real_values(index), order), np.float32)]
    dtype = "int8" if build.tensor(index).dtype == "int4" else build.tensor(index).dtype
    axis = 0 if quantization.per_tensor else order.index(quantization.axis)
    return [build.dequantize(build.literal(np.transpose(values, order), dtype), dtype, quantization, axis)]


@handles("CONV_2D", "DEPTHWISE_CONV_2D")
def _convolution(build: Builder, operator: Operator) -> None:
    source, weights = operator.inputs[:2]
    shape, options = build.tensor(weights).shape, operator.options
    depthwise = operator.name == "DEPTHWISE_CONV_2D"
    channels = build.tensor(source).shape[3]
    group = channels if depthwise else channels // shape[3]
    name = build.one(
        "Conv",
        rounded(build, operator, build.real(source, FIRST), [1, 2, 3]),
        *_parameter(build, operator, 1, (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)),
        *_parameter(build, operator, 2),
        kernel_shape=shape[1:3],
        strides=[options.strideH, options.strideW],
        dilations=[options.dilationHFactor, options.dilationWFactor],
        pads=explicit_pads(build, operator, (shape[1], shape[2])),
        group=group,
    )
    build.put_real(operator.outputs[0], name, FIRST, int(options.fusedActivationFunction))


@handles("TRANSPOSE_CONV")
def _transposed_convolution(build: Builder, operator: Operator) -> None:
    _, weights, source = operator.inputs[:3]
    (result,), options = operator.outputs, operator.options
    shape, strides = build.tensor(weights).shape, (options.strideH, options.strideW)
    given, wanted = build.tensor(source).signature[1:3], build.tensor(result).signature[1:3]
    if min(*given, *wanted) < 0:
        raise UnsupportedError("it works on images of a size that is not known beforehand")
    extra = [
        (size - 1) * stride + length - target
        for size, stride, length, target in zip(given, strides, shape[1:3], wanted, strict=True)
    ]
    before = [max(each, 0) // 2 for each in extra]
    name = build.one(
        "ConvTranspose",
        build.real(source, FIRST),
        *_parameter(build, operator, 1, (3, 0, 1, 2)),
        *_parameter(build, operator, 3),
        kernel_shape=shape[1:3],
        strides=strides,
        pads=before + [max(each, 0) - first for each, first in zip(extra, before, strict=True)],
        output_padding=[max(-each, 0) for each in extra],
    )
    build.put_real(result, name, FIRST, int(getattr(options, "fusedActivationFunction", 0)))


@handles("FULLY_CONNECTED")
def _dense(build: Builder, operator: Operator) -> None:
    (source, weights, *_), (result,) = operator.inputs, operator.outputs
    options = operator.options
    if int(options.weightsFormat):
        raise UnsupportedError("its weights are shuffled for one processor")
    columns = build.tensor(weights).shape[1]
    shape = build.tensor(source).shape
    name = build.stored(source)
    if len(shape) != 2 or shape[1] != columns:
        name = build.one("Reshape", name, build.literal([-1, columns], np.int64))
    quantization = build.quantization(source)
    if quantization is not None:
        name = build.dequantize(name, build.tensor(source).dtype, quantization, 0)
    name = rounded(build, operator, name, [1])
    given = [build.real(weights)] if build.constant(weights) is None else _parameter(build, operator, 1)
    name = build.one("Gemm", name, *given, *_parameter(build, operator, 2), transB=1)
    name = build.quantize(build.activated(name, int(options.fusedActivationFunction)), result)
    if len(build.tensor(result).shape) != 2:
        name = build.one("Reshape", name, build.literal(open_sizes(build, result), np.int64))
    build.put(result, name)
