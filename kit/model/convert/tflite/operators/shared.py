"""What operators of several kinds need: moves of stored values, explicit padding, integers as ONNX takes them."""

from collections.abc import Callable

import numpy as np
import onnx

from kit.model.convert.tflite.builder import Builder, UnsupportedError
from kit.model.convert.tflite.file import Operator

LARGEST = np.iinfo(np.int64).max
"""What a Slice of ONNX takes for "to the end"."""

_VALID = 1
"""The schema's number of the padding scheme without padding (enum Padding)."""


def quantized_alike(build: Builder, operator: Operator, *sources: int) -> bool:
    """Whether sources and results have one scale and zero point, so that stored values can move as they are."""
    found = [build.quantization(index) for index in (*sources, *operator.outputs)]
    return all(each == found[0] for each in found)


def moved(build: Builder, operator: Operator, source: int, apply: Callable[[str], str]) -> None:
    """Apply a movement to what is stored; to real values where the result is quantized otherwise."""
    result = operator.outputs[0]
    if quantized_alike(build, operator, source):
        build.put(result, apply(build.stored(source)))
    else:
        build.put_real(result, apply(build.real(source)))


def as_int64(build: Builder, index: int) -> str:
    """Name of a list of integers as int64, constant or computed."""
    if build.constant(index) is not None:
        return build.literal(build.numbers(index), np.int64)
    return build.one("Cast", build.stored(index), to=onnx.TensorProto.INT64)


def as_stored(build: Builder, name: str, index: int) -> str:
    """An int64 value as the integers of the tensor `index`."""
    dtype = build.tensor(index).dtype
    if dtype == "int64":
        return name
    return build.one("Cast", name, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def open_sizes(build: Builder, index: int) -> list[int]:
    """A tensor's sizes for a Reshape, at most one of them open (-1)."""
    signature = list(build.tensor(index).signature)
    if signature.count(-1) > 1:
        raise UnsupportedError("its result has more than one dynamic dimension")
    return signature


def explicit_pads(build: Builder, operator: Operator, kernel: tuple[int, int]) -> list[int]:
    """Padding [top, left, bottom, right] of a convolution or pooling.

    SAME gives ceil(size / stride) results and puts the odd one at the end (tensorflow/lite/kernels/padding.h).
    """
    options = operator.options
    if int(options.padding) == _VALID:
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
