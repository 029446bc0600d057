"""A shorter quantized file: names of inner tensors weigh as much as a small net's weights."""

import string
from collections.abc import Iterator
from itertools import chain

import onnx
from onnx import numpy_helper

from kit.model.graph import inner_graphs

_PLUMBING = ("QuantizeLinear", "DequantizeLinear")
_LETTERS = string.ascii_letters


def compact(model: onnx.ModelProto) -> None:
    """Shorten `model` in place; it computes the same.

    Inner tensors and constants get names of a letter or two, the quantizer's own nodes lose theirs (the model's nodes
    keep theirs, which selectors and reports speak of), shapes that the runtime infers again go, and so do the zero
    points of int32 biases, which are zero by definition (ONNX, DequantizeLinear: zero when not given). Graphs with
    control flow keep their names, since the graphs inside refer to them.
    """
    graph = model.graph
    del graph.value_info[:]
    _drop_bias_zero_points(graph)
    for node in graph.node:
        if node.op_type in _PLUMBING:
            node.name = ""
    if not any(True for node in graph.node for _ in inner_graphs(node)) and not model.functions:
        _rename(graph)


def _drop_bias_zero_points(graph: onnx.GraphProto) -> None:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and len(node.input) > 2 and node.input[0] in constants:
            values, zero = constants[node.input[0]], constants.get(node.input[2])
            is_bias = values.data_type == onnx.TensorProto.INT32
            if is_bias and zero is not None and not numpy_helper.to_array(zero).any():
                del node.input[2]
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    inner = {name for node in graph.node for inner in inner_graphs(node) for name in _names(inner)}
    kept = [tensor for tensor in graph.initializer if tensor.name in used | inner]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name that a graph inside a node reads, at any depth."""
    for node in graph.node:
        yield from node.input
        for inner in inner_graphs(node):
            yield from _names(inner)
    yield from (value.name for value in graph.output)


def _rename(graph: onnx.GraphProto) -> None:
    fixed = {value.name for value in chain(graph.input, graph.output)}
    short = _short_names(fixed)
    names: dict[str, str] = {name: name for name in (*fixed, "")}

    def of(name: str) -> str:
        if name not in names:
            names[name] = next(short)
        return names[name]

    for node in graph.node:
        node.input[:] = [of(name) for name in node.input]
        node.output[:] = [of(name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = of(tensor.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = of(sparse.values.name)
    del graph.quantization_annotation[:]


def _short_names(taken: set[str]) -> Iterator[str]:
    """a, b, ... Z, aa, ba, ...: none of those taken."""
    number = 0
    while True:
        rest, name = number, ""
        while not name or rest:
            rest, digit = divmod(rest, len(_LETTERS)) if not name else divmod(rest - 1, len(_LETTERS))
            name += _LETTERS[digit]
        number += 1
        if name not in taken:
            yield name
