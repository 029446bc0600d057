"""Operators that change a shape or repeat values; what is stored moves as it is, so nothing rounds."""

import numpy as np

from kit.model.convert.tflite.builder import Builder
from kit.model.convert.tflite.file import Operator
from kit.model.convert.tflite.operators.registry import handles
from kit.model.convert.tflite.operators.shared import as_int64, as_stored, moved, open_sizes


@handles("RESHAPE")
def _reshape(build: Builder, operator: Operator) -> None:
    source, *wanted = operator.inputs
    # the list that the file states comes first: the result's signature may miss a dynamic batch
    sizes = as_int64(build, wanted[0]) if wanted else _sizes_of_result(build, operator)
    moved(build, operator, source, lambda name: build.one("Reshape", name, sizes))


@handles("SQUEEZE", "EXPAND_DIMS")
def _of_size_one(build: Builder, operator: Operator) -> None:
    sizes = _sizes_of_result(build, operator)
    moved(build, operator, operator.inputs[0], lambda name: build.one("Reshape", name, sizes))


def _sizes_of_result(build: Builder, operator: Operator) -> str:
    return build.literal(open_sizes(build, operator.outputs[0]), np.int64)


@handles("TRANSPOSE")
def _transpose(build: Builder, operator: Operator) -> None:
    source, order = operator.inputs
    moved(build, operator, source, lambda name: build.one("Transpose", name, perm=build.numbers(order)))


@handles("SHAPE")
def _shape(build: Builder, operator: Operator) -> None:
    name = build.one("Shape", build.stored(operator.inputs[0]))
    build.put(operator.outputs[0], as_stored(build, name, operator.outputs[0]))


@handles("TILE")
def _tile(build: Builder, operator: Operator) -> None:
    source, counts = operator.inputs
    moved(build, operator, source, lambda name: build.one("Tile", name, as_int64(build, counts)))


@handles("BROADCAST_TO")
def _broadcast(build: Builder, operator: Operator) -> None:
    source, sizes = operator.inputs
    moved(build, operator, source, lambda name: build.one("Expand", name, as_int64(build, sizes)))


@handles("FILL")
def _fill(build: Builder, operator: Operator) -> None:
    sizes, value = operator.inputs
    moved(build, operator, value, lambda name: build.one("Expand", name, as_int64(build, sizes)))
