"""Operators along dimensions: sums, extremes, indices of extremes, normalization."""

import numpy as np

from kit.model.convert.tflite.builder import Builder
from kit.model.convert.tflite.file import Operator
from kit.model.convert.tflite.operators.registry import handles
from kit.model.convert.tflite.operators.shared import as_stored

_REDUCE = {
    "MEAN": "ReduceMean", "SUM": "ReduceSum", "REDUCE_MAX": "ReduceMax", "REDUCE_MIN": "ReduceMin",
    "REDUCE_PROD": "ReduceProd",
}  # fmt: skip


@handles(*_REDUCE)
def _reduce(build: Builder, operator: Operator) -> None:
    source, axes = operator.inputs
    (result,), kind, keep = operator.outputs, _REDUCE[operator.name], bool(operator.options.keepDims)
    rank = len(build.tensor(source).shape)
    numbers = sorted({axis % rank for axis in build.numbers(axes)}) if rank else []
    order_is_kept = keep or numbers in ([1, 2], [1, 2, 3])  # what is left of channels first is in the file's order
    layout = build.layout_of(source) if order_is_kept else ()
    moved = [layout.index(axis) for axis in numbers] if layout else numbers
    name = build.reduced(kind, build.real(source, layout), moved, keep=keep)
    build.put_real(result, name, layout if keep else ())


@handles("ARG_MAX", "ARG_MIN")
def _arg(build: Builder, operator: Operator) -> None:
    (source, axis), (result,) = operator.inputs, operator.outputs
    kind = "ArgMax" if operator.name == "ARG_MAX" else "ArgMin"
    name = build.one(kind, build.real(source), axis=build.numbers(axis)[0], keepdims=0)
    build.put(result, as_stored(build, name, result))


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
