"""Operators that cut values into parts or join them; what is stored moves as it is, so nothing rounds."""

import numpy as np

from kit.model.convert.tflite.builder import Builder, UnsupportedError
from kit.model.convert.tflite.file import Operator
from kit.model.convert.tflite.operators.registry import handles
from kit.model.convert.tflite.operators.shared import LARGEST, moved, quantized_alike


@handles("CONCATENATION")
def _concatenate(build: Builder, operator: Operator) -> None:
    (result,), rank = operator.outputs, len(build.tensor(operator.outputs[0]).shape)
    layout = build.layout_of(*operator.inputs)
    axis = operator.options.axis % rank
    same = quantized_alike(build, operator, *operator.inputs)
    names = [build.stored(index, layout) if same else build.real(index, layout) for index in operator.inputs]
    name = build.one("Concat", *names, axis=layout.index(axis) if layout else axis)
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
    same = quantized_alike(build, operator, *operator.inputs)
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
    if not quantized_alike(build, operator, source):
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
    ends = [start + length if length >= 0 else LARGEST for start, length in zip(starts, sizes, strict=True)]
    moved(build, operator, source, lambda name: _cut(build, name, starts, ends, [1] * len(starts)))


@handles("STRIDED_SLICE")
def _strided_slice(build: Builder, operator: Operator) -> None:
    source, *arguments = operator.inputs
    begin, end, step = (build.numbers(index) for index in arguments)
    options = operator.options
    if options.ellipsisMask or options.newAxisMask or options.offset:
        raise UnsupportedError("it has an ellipsis, a new axis or offsets")
    shrunk = [axis for axis in range(len(begin)) if _bit(options.shrinkAxisMask, axis)]
    for axis in range(len(begin)):
        if axis in shrunk:  # one index, and the dimension is gone
            step[axis], end[axis] = 1, begin[axis] + 1 if begin[axis] != -1 else LARGEST
        else:
            forward = step[axis] > 0
            begin[axis] = (0 if forward else LARGEST) if _bit(options.beginMask, axis) else begin[axis]
            end[axis] = (LARGEST if forward else -LARGEST) if _bit(options.endMask, axis) else end[axis]

    def cut(name: str) -> str:
        name = _cut(build, name, begin, end, step)
        return build.one("Squeeze", name, build.literal(shrunk, np.int64)) if shrunk else name

    moved(build, operator, source, cut)


def _bit(mask: int, axis: int) -> bool:
    return bool(mask >> axis & 1)


def _cut(build: Builder, name: str, starts: list[int], ends: list[int], steps: list[int]) -> str:
    lists = [starts, ends, list(range(len(starts))), steps]
    return build.one("Slice", name, *(build.literal(each, np.int64) for each in lists))


@handles("GATHER")
def _gather(build: Builder, operator: Operator) -> None:
    source, indices = operator.inputs
    if operator.options.batchDims:
        raise UnsupportedError("it gathers for each row of a batch")
    axis = operator.options.axis
    moved(build, operator, source, lambda name: build.one("Gather", name, build.stored(indices), axis=axis))
