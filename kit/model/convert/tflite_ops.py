"""TensorFlow Lite's operators as ONNX's: a function each, by the schema's name."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from kit.model.convert.tflite_file import Operator
from kit.model.convert.tflite_graph import FIRST, Builder, UnsupportedError

Handler = Callable[[Builder, Operator], None]

HANDLERS: dict[str, Handler] = {}
"""Every operator that can be converted; a new one is a function with `@handles`."""

_LARGEST = np.iinfo(np.int64).max


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register a function for operators of these names."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


# --- one value in, one out -------------------------------------------------------------------------------------------

_UNARY = {
    "ABS": "Abs", "CEIL": "Ceil", "COS": "Cos", "EXP": "Exp", "FLOOR": "Floor", "LOG": "Log", "LOGISTIC": "Sigmoid",
    "NEG": "Neg", "RELU": "Relu", "ROUND": "Round", "SIGN": "Sign", "SIN": "Sin", "SQRT": "Sqrt", "TANH": "Tanh",
    "HARD_SWISH": "HardSwish",
}  # fmt: skip


def _unary(build: Builder, operator: Operator, apply: Callable[[str], str]) -> None:
    (source, *_), (result,) = operator.inputs, operator.outputs
    layout = build.layout_of(source)
    build.put_real(result, apply(build.real(source, layout)), layout)


@handles(*_UNARY)
def _named(build: Builder, operator: Operator) -> None:
    _unary(build, operator, lambda name: build.one(_UNARY[operator.name], name))


@handles("RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")
def _clipped(build: Builder, operator: Operator) -> None:
    low, high = {"RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1), "RELU_0_TO_1": (0, 1)}[operator.name]
    bounds = build.literal(low, np.float32), build.literal(high, np.float32)
    _unary(build, operator, lambda name: build.one("Clip", name, *bounds))


@handles("LEAKY_RELU", "ELU")
def _slope(build: Builder, operator: Operator) -> None:
    if operator.name == "ELU":
        _unary(build, operator, lambda name: build.one("Elu", name))
    else:
        _unary(build, operator, lambda name: build.one("LeakyRelu", name, alpha=float(operator.options.alpha)))


@handles("SQUARE")
def _square(build: Builder, operator: Operator) -> None:
    _unary(build, operator, lambda name: build.one("Mul", name, name))


@handles("RSQRT")
def _rsqrt(build: Builder, operator: Operator) -> None:
    _unary(build, operator, lambda name: build.one("Reciprocal", build.one("Sqrt", name)))


@handles("SOFTMAX", "LOG_SOFTMAX")
def _softmax(build: Builder, operator: Operator) -> None:
    (source,), (result,) = operator.inputs, operator.outputs
    name, beta = build.real(source), float(getattr(operator.options, "beta", 1.0))
    if beta != 1.0:
        name = build.one("Mul", name, build.literal(beta, np.float32))
    build.put_real(result, build.one("Softmax" if operator.name == "SOFTMAX" else "LogSoftmax", name, axis=-1))


@handles("L2_NORMALIZATION")
def _normalized(build: Builder, operator: Operator) -> None:
    (source,), (result,) = operator.inputs, operator.outputs
    build.put_real(result, build.one("LpNormalization", build.real(source), axis=-1, p=2))


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
    (source,), (result,) = operator.inputs, operator.outputs
    if build.constant(source) is not None and build.tensor(result).dtype == "float32":
        build.folded[result] = build.real_values(source)
    else:
        _unary(build, operator, lambda name: name)


# --- two values ------------------------------------------------------------------------------------------------------

_BINARY = {
    "ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "POW": "Pow", "MAXIMUM": "Max", "MINIMUM": "Min",
    "EQUAL": "Equal", "NOT_EQUAL": "Equal", "LESS": "Less", "LESS_EQUAL": "LessOrEqual", "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterOrEqual", "PRELU": "PRelu",
}  # fmt: skip


def _pair(build: Builder, operator: Operator) -> tuple[str, str, tuple[int, ...]]:
    """Names of both real values, in channels first where both are at hand so (constants are moved)."""
    left, right = operator.inputs[:2]
    layout = build.layout_of(left, right)
    ranks = {len(build.tensor(index).shape) for index in (left, right)}
    if layout and not ranks <= {0, 4}:
        layout = ()
    names = [build.real(index, layout if len(build.tensor(index).shape) == 4 else ()) for index in (left, right)]
    return names[0], names[1], layout


@handles(*_BINARY)
def _binary(build: Builder, operator: Operator) -> None:
    left, right, layout = _pair(build, operator)
    result = operator.outputs[0]
    if operator.name == "DIV" and build.tensor(result).dtype.startswith("int"):
        raise UnsupportedError("it divides integers, which round towards zero")
    name = build.one(_BINARY[operator.name], left, right)
    if operator.name == "NOT_EQUAL":
        name = build.one("Not", name)
    build.put_real(result, name, layout, int(getattr(operator.options, "fusedActivationFunction", 0)))


@handles("SQUARED_DIFFERENCE")
def _squared_difference(build: Builder, operator: Operator) -> None:
    left, right, layout = _pair(build, operator)
    difference = build.one("Sub", left, right)
    build.put_real(operator.outputs[0], build.one("Mul", difference, difference), layout)


@handles("LOGICAL_AND", "LOGICAL_OR")
def _logical(build: Builder, operator: Operator) -> None:
    kind = {"LOGICAL_AND": "And", "LOGICAL_OR": "Or"}[operator.name]
    build.put(operator.outputs[0], build.one(kind, *(build.stored(index) for index in operator.inputs)))


@handles("SELECT", "SELECT_V2")
def _select(build: Builder, operator: Operator) -> None:
    condition, yes, no = operator.inputs
    shape = build.tensor(condition).shape
    if operator.name == "SELECT" and shape != build.tensor(yes).shape and shape not in ((), (1,)):
        raise UnsupportedError("its condition chooses whole rows")
    build.put_real(operator.outputs[0], build.one("Where", build.stored(condition), build.real(yes), build.real(no)))


@handles("BATCH_MATMUL")
def _matmul(build: Builder, operator: Operator) -> None:
    left, right = (_swapped(build, index, bool(swap)) for index, swap in zip(
        operator.inputs, (operator.options.adjX, operator.options.adjY), strict=True
    ))  # fmt: skip
    build.put_real(operator.outputs[0], build.one("MatMul", left, right))


def _swapped(build: Builder, index: int, swap: bool) -> str:
    """The real value, its last two dimensions swapped on request."""
    rank = len(build.tensor(index).shape)
    order = [*range(rank - 2), rank - 1, rank - 2]
    return build.one("Transpose", build.real(index), perm=order) if swap else build.real(index)


# --- products --------------------------------------------------------------------------------------------------------


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


def _rounded(build: Builder, operator: Operator, name: str, axes: list[int]) -> str:
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
    zero, tiny = build.literal(0.0, np.float32), build.literal(1e-30, np.float32)
    lowest, largest = build.literal(-128.0, np.float32), build.literal(127.0, np.float32)
    if not getattr(operator.options, "asymmetricQuantizeInputs", True):
        peak = build.one("Max", build.reduced("ReduceMax", build.one("Abs", name), axes), tiny)
        steps = build.one("Div", largest, peak)
        return build.one("Div", build.one("Round", build.one("Mul", name, steps)), steps)
    low = build.one("Min", build.reduced("ReduceMin", name, axes), zero)
    high = build.one("Max", build.reduced("ReduceMax", name, axes), zero)
    span, all_steps = build.one("Max", build.one("Sub", high, low), tiny), build.literal(255.0, np.float32)
    if operator.name == "DEPTHWISE_CONV_2D":  # TensorFlow Lite's own kernel; the others are XNNPACK's
        scale = build.one("Div", span, all_steps)
        steps = build.one("Reciprocal", scale)
        offset = build.one("Round", build.one("Sub", lowest, build.one("Div", low, scale)))
        stored = _half_away(build, build.one("Add", build.one("Mul", name, steps), offset))
    else:
        steps = build.one("Div", all_steps, span)
        scale = build.one("Reciprocal", steps)
        offset = build.one("Round", build.one("Sub", lowest, build.one("Mul", low, steps)))
        stored = build.one("Add", build.one("Round", build.one("Mul", name, steps)), offset)
    return build.one("Mul", build.one("Sub", build.one("Clip", stored, lowest, largest), offset), scale)


def _half_away(build: Builder, name: str) -> str:
    """Rounded to integers, halves away from zero (C's round), which ONNX's Round takes to even."""
    size = build.one("Floor", build.one("Add", build.one("Abs", name), build.literal(0.5, np.float32)))
    return build.one("Mul", build.one("Sign", name), size)


def _pads(build: Builder, operator: Operator, kernel: tuple[int, int]) -> list[int]:
    """Explicit padding [top, left, bottom, right]; the scheme SAME puts the odd one at the end."""
    options = operator.options
    if int(options.padding) == 1:
        return [0, 0, 0, 0]
    height_width = build.tensor(operator.inputs[0]).signature[1:3]
    if min(height_width) < 0:
        raise UnsupportedError("it pads images of a size that is not known beforehand")
    strides = options.strideH, options.strideW
    dilations = getattr(options, "dilationHFactor", 1), getattr(options, "dilationWFactor", 1)
    before, after = [], []
    for size, length, stride, dilation in zip(height_width, kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (length - 1) * dilation + 1 - size, 0)
        before.append(total // 2)
        after.append(total - total // 2)
    return before + after


@handles("CONV_2D", "DEPTHWISE_CONV_2D")
def _convolution(build: Builder, operator: Operator) -> None:
    source, weights = operator.inputs[:2]
    shape, options = build.tensor(weights).shape, operator.options
    depthwise = operator.name == "DEPTHWISE_CONV_2D"
    channels = build.tensor(source).shape[3]
    group = channels if depthwise else channels // shape[3]
    name = build.one(
        "Conv",
        _rounded(build, operator, build.real(source, FIRST), [1, 2, 3]),
        *_parameter(build, operator, 1, (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)),
        *_parameter(build, operator, 2),
        kernel_shape=shape[1:3],
        strides=[options.strideH, options.strideW],
        dilations=[options.dilationHFactor, options.dilationWFactor],
        pads=_pads(build, operator, (shape[1], shape[2])),
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
    name = _rounded(build, operator, name, [1])
    given = [build.real(weights)] if build.constant(weights) is None else _parameter(build, operator, 1)
    name = build.one("Gemm", name, *given, *_parameter(build, operator, 2), transB=1)
    name = build.quantize(build.activated(name, int(options.fusedActivationFunction)), result)
    if len(build.tensor(result).shape) != 2:
        name = build.one("Reshape", name, build.literal(_sizes(build, result), np.int64))
    build.put(result, name)


def _sizes(build: Builder, index: int) -> list[int]:
    """A tensor's sizes for a Reshape, at most one of them open."""
    signature = list(build.tensor(index).signature)
    if signature.count(-1) > 1:
        raise UnsupportedError("its result has more than one dynamic dimension")
    return signature


# --- pooling, resizing, reducing -------------------------------------------------------------------------------------


@handles("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(build: Builder, operator: Operator) -> None:
    (source,), (result,), options = operator.inputs, operator.outputs, operator.options
    kernel = options.filterHeight, options.filterWidth
    settings: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": [options.strideH, options.strideW],
        "pads": _pads(build, operator, kernel),
    }
    if operator.name == "AVERAGE_POOL_2D":
        settings["count_include_pad"] = 0  # TensorFlow averages over what lies inside
    kind = "MaxPool" if operator.name == "MAX_POOL_2D" else "AveragePool"
    name = build.one(kind, build.real(source, FIRST), **settings)
    build.put_real(result, name, FIRST, int(options.fusedActivationFunction))


@handles("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(build: Builder, operator: Operator) -> None:
    source, size = operator.inputs
    options = operator.options
    mode = "half_pixel" if options.halfPixelCenters else "align_corners" if options.alignCorners else "asymmetric"
    linear = operator.name == "RESIZE_BILINEAR"
    given, wanted = build.tensor(source).signature[1:3], build.numbers(size)
    if min(given) < 0:
        raise UnsupportedError("it resizes images of a size that is not known beforehand")
    scales = [1.0, 1.0, wanted[0] / given[0], wanted[1] / given[1]]
    nearest = "round_prefer_ceil" if mode == "align_corners" else "floor"
    how = {"mode": "linear"} if linear else {"mode": "nearest", "nearest_mode": nearest}
    name = build.one(
        "Resize",
        build.real(source, FIRST),
        "",
        build.literal(scales, np.float32),
        coordinate_transformation_mode=mode if linear or mode != "half_pixel" else "tf_half_pixel_for_nn",
        **how,
    )
    build.put_real(operator.outputs[0], name, FIRST)


_REDUCE = {
    "MEAN": "ReduceMean", "SUM": "ReduceSum", "REDUCE_MAX": "ReduceMax", "REDUCE_MIN": "ReduceMin",
    "REDUCE_PROD": "ReduceProd",
}  # fmt: skip


@handles(*_REDUCE)
def _reduce(build: Builder, operator: Operator) -> None:
    source, axes = operator.inputs
    (result,), kind, keep = operator.outputs, _REDUCE[operator.name], bool(operator.options.keepDims)
    rank = len(build.tensor(source).shape)
    layout = build.layout_of(source)
    numbers = sorted({axis % rank for axis in build.numbers(axes)}) if rank else []
    gone_but_order_kept = keep or numbers in ([1, 2], [1, 2, 3])
    if not gone_but_order_kept:
        layout = ()
    moved = [layout.index(axis) for axis in numbers] if layout else numbers
    name = build.reduced(kind, build.real(source, layout), moved, keep=keep)
    build.put_real(result, name, layout if keep else ())


@handles("ARG_MAX", "ARG_MIN")
def _arg(build: Builder, operator: Operator) -> None:
    (source, axis), (result,) = operator.inputs, operator.outputs
    kind = "ArgMax" if operator.name == "ARG_MAX" else "ArgMin"
    name = build.one(kind, build.real(source), axis=build.numbers(axis)[0], keepdims=0)
    build.put(result, _as_stored(build, name, result))


def _as_stored(build: Builder, name: str, index: int) -> str:
    """An int64 value as the integers of the tensor `index`."""
    dtype = build.tensor(index).dtype
    return (
        name if dtype == "int64" else build.one("Cast", name, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    )


# --- moving values about: what is stored moves as it is, so nothing rounds -------------------------------------------


def _same(build: Builder, operator: Operator, *sources: int) -> bool:
    """Whether sources and results are quantized alike, so that stored values can move as they are."""
    found = [build.quantization(index) for index in (*sources, *operator.outputs)]
    return all(each == found[0] for each in found)


def _moved(build: Builder, operator: Operator, source: int, apply: Callable[[str], str]) -> None:
    """Apply a movement to what is stored; to real values where the result is quantized otherwise."""
    result = operator.outputs[0]
    if _same(build, operator, source):
        build.put(result, apply(build.stored(source)))
    else:
        build.put_real(result, apply(build.real(source)))


@handles("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _reshape(build: Builder, operator: Operator) -> None:
    source, result = operator.inputs[0], operator.outputs[0]
    if build.tensor(result).signature.count(-1) <= 1 and (operator.name != "RESHAPE" or _is_known(build, operator)):
        sizes = build.literal(_target(build, operator), np.int64)
    elif operator.name == "RESHAPE":
        sizes = _as_int64(build, operator.inputs[1])
    else:
        raise UnsupportedError("its result has more than one dynamic dimension")
    _moved(build, operator, source, lambda name: build.one("Reshape", name, sizes))


def _is_known(build: Builder, operator: Operator) -> bool:
    return len(operator.inputs) < 2 or build.constant(operator.inputs[1]) is not None


def _target(build: Builder, operator: Operator) -> list[int]:
    """Sizes of a reshaped tensor: the file's own where it states them, since a signature may miss a dynamic batch."""
    if operator.name == "RESHAPE" and len(operator.inputs) > 1:
        return build.numbers(operator.inputs[1])
    return _sizes(build, operator.outputs[0])


def _as_int64(build: Builder, index: int) -> str:
    values = build.constant(index)
    if values is not None:
        return build.literal(values, np.int64)
    return build.one("Cast", build.stored(index), to=onnx.TensorProto.INT64)


@handles("TRANSPOSE")
def _transpose(build: Builder, operator: Operator) -> None:
    source, order = operator.inputs
    _moved(build, operator, source, lambda name: build.one("Transpose", name, perm=build.numbers(order)))


@handles("SHAPE")
def _shape(build: Builder, operator: Operator) -> None:
    name = build.one("Shape", build.stored(operator.inputs[0]))
    build.put(operator.outputs[0], _as_stored(build, name, operator.outputs[0]))


@handles("CONCATENATION")
def _concatenate(build: Builder, operator: Operator) -> None:
    (result,), rank = operator.outputs, len(build.tensor(operator.outputs[0]).shape)
    layout = build.layout_of(*operator.inputs)
    axis = operator.options.axis % rank
    moved = layout.index(axis) if layout else axis
    same = _same(build, operator, *operator.inputs)
    names = [build.stored(index, layout) if same else build.real(index, layout) for index in operator.inputs]
    name = build.one("Concat", *names, axis=moved)
    activation = int(operator.options.fusedActivationFunction)
    if same and not activation:
        build.put(result, name, layout)
    elif same and build.quantization(result) is not None:
        raise UnsupportedError("it has a fused activation on quantized values")
    else:
        build.put_real(result, name, layout, activation)


@handles("PACK")
def _pack(build: Builder, operator: Operator) -> None:
    (result,), axis = operator.outputs, operator.options.axis
    same = _same(build, operator, *operator.inputs)
    axes = build.literal([axis], np.int64)
    names = [
        build.one("Unsqueeze", build.stored(index) if same else build.real(index), axes) for index in operator.inputs
    ]
    name = build.one("Concat", *names, axis=axis)
    if same:
        build.put(result, name)
    else:
        build.put_real(result, name)


@handles("UNPACK")
def _unpack(build: Builder, operator: Operator) -> None:
    axis = operator.options.axis
    names = _split(build, operator, operator.inputs[0], axis, [1] * len(operator.outputs))
    axes = build.literal([axis], np.int64)
    for index, name in zip(operator.outputs, names, strict=True):
        build.put(index, build.one("Squeeze", name, axes))


def _split(build: Builder, operator: Operator, source: int, axis: int, sizes: list[int]) -> list[str]:
    if not _same(build, operator, source):
        raise UnsupportedError("its parts are quantized otherwise than the whole")
    inputs = [build.stored(source), build.literal(sizes, np.int64)]
    return build.emit("Split", inputs, outputs=len(sizes), axis=axis)


@handles("SPLIT", "SPLIT_V")
def _split_sizes(build: Builder, operator: Operator) -> None:
    if operator.name == "SPLIT":
        axis, source = operator.inputs
    else:
        source, _, axis = operator.inputs
    (number,) = build.numbers(axis)
    sizes = [build.tensor(index).signature[number] for index in operator.outputs]
    if min(sizes) < 0:
        raise UnsupportedError("it splits along a dynamic dimension")
    for index, name in zip(operator.outputs, _split(build, operator, source, number, sizes), strict=True):
        build.put(index, name)


@handles("SLICE")
def _slice(build: Builder, operator: Operator) -> None:
    source, begin, size = operator.inputs
    starts, sizes = build.numbers(begin), build.numbers(size)
    ends = [start + length if length >= 0 else _LARGEST for start, length in zip(starts, sizes, strict=True)]
    _moved(build, operator, source, lambda name: _cut(build, name, starts, ends, [1] * len(starts)))


@handles("STRIDED_SLICE")
def _strided_slice(build: Builder, operator: Operator) -> None:
    source, *arguments = operator.inputs
    begin, end, step = (build.numbers(index) for index in arguments)
    options = operator.options
    if options.ellipsisMask or options.newAxisMask or options.offset:
        raise UnsupportedError("it has an ellipsis, a new axis or offsets")
    shrunk = [axis for axis in range(len(begin)) if options.shrinkAxisMask >> axis & 1]
    for axis in range(len(begin)):
        if axis in shrunk:
            step[axis] = 1
            end[axis] = begin[axis] + 1 if begin[axis] != -1 else _LARGEST
            continue
        if options.beginMask >> axis & 1:
            begin[axis] = 0 if step[axis] > 0 else _LARGEST
        if options.endMask >> axis & 1:
            end[axis] = _LARGEST if step[axis] > 0 else -_LARGEST

    def cut(name: str) -> str:
        name = _cut(build, name, begin, end, step)
        return build.one("Squeeze", name, build.literal(shrunk, np.int64)) if shrunk else name

    _moved(build, operator, source, cut)


def _cut(build: Builder, name: str, starts: list[int], ends: list[int], steps: list[int]) -> str:
    lists = [starts, ends, list(range(len(starts))), steps]
    return build.one("Slice", name, *(build.literal(each, np.int64) for each in lists))


@handles("GATHER")
def _gather(build: Builder, operator: Operator) -> None:
    source, indices = operator.inputs
    if operator.options.batchDims:
        raise UnsupportedError("it gathers for each row of a batch")
    axis = operator.options.axis
    _moved(build, operator, source, lambda name: build.one("Gather", name, build.stored(indices), axis=axis))


@handles("TILE")
def _tile(build: Builder, operator: Operator) -> None:
    source, counts = operator.inputs
    _moved(build, operator, source, lambda name: build.one("Tile", name, _as_int64(build, counts)))


@handles("BROADCAST_TO")
def _broadcast(build: Builder, operator: Operator) -> None:
    source, sizes = operator.inputs
    _moved(build, operator, source, lambda name: build.one("Expand", name, _as_int64(build, sizes)))


@handles("FILL")
def _fill(build: Builder, operator: Operator) -> None:
    sizes, value = operator.inputs
    _moved(build, operator, value, lambda name: build.one("Expand", name, _as_int64(build, sizes)))


@handles("PAD", "PADV2", "MIRROR_PAD")
def _pad(build: Builder, operator: Operator) -> None:
    source, paddings = operator.inputs[:2]
    pairs = np.reshape(build.numbers(paddings), (-1, 2))
    layout = build.layout_of(source) if len(pairs) == 4 else ()
    if layout:
        pairs = pairs[list(layout)]
    amounts = build.literal(np.concatenate([pairs[:, 0], pairs[:, 1]]), np.int64)
    result = operator.outputs[0]
    if operator.name == "MIRROR_PAD":
        if int(operator.options.mode):
            raise UnsupportedError("it repeats the border (SYMMETRIC)")
        build.put_real(result, build.one("Pad", build.real(source, layout), amounts, mode="reflect"), layout)
        return
    values = build.constant(operator.inputs[2]) if operator.name == "PADV2" else np.zeros(1)
    quantization = build.quantization(source)
    if values is None or (operator.name == "PADV2" and quantization is not None):
        raise UnsupportedError("it pads with a value that is computed or quantized")
    if quantization is None:
        value = build.literal(values.reshape(-1)[0], build.tensor(source).dtype)
        build.put_real(result, build.one("Pad", build.stored(source, layout), amounts, value), layout)
    else:
        zero = build.literal(0.0, np.float32)
        build.put_real(result, build.one("Pad", build.real(source, layout), amounts, zero), layout)


@handles("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def _blocks(build: Builder, operator: Operator) -> None:
    (source,), (result,) = operator.inputs, operator.outputs
    if not _same(build, operator, source):
        raise UnsupportedError("its result is quantized otherwise")
    kind = "DepthToSpace" if operator.name == "DEPTH_TO_SPACE" else "SpaceToDepth"
    name = build.one(kind, build.stored(source, FIRST), blocksize=operator.options.blockSize)
    build.put(result, name, FIRST)
