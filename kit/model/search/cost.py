"""What a mixed precision will cost, from one quantized file: bytes that quantizing adds and saves, and work."""

from math import prod

import onnx

from kit.model.graph import PRODUCTS
from kit.model.quantize.base import Prepared
from kit.model.search.rounding import Rounding, rounded_tensors

_SUM_BYTES = 24
"""Of the Sum that keeps a product in float at run time."""


_NAME_BYTES = 2
"""Of an inner name in the finished file (`kit.model.quantize.compact`)."""


def _bytes(message: onnx.NodeProto | onnx.TensorProto) -> int:
    """Bytes in the finished file, where inner names are short and what rounds has none."""
    if isinstance(message, onnx.TensorProto):
        names, unnamed = [message.name], 0
    else:
        names = [*message.input, *message.output]
        unnamed = len(message.name) + 2 if message.op_type in ("QuantizeLinear", "DequantizeLinear") else 0
    size = int(message.ByteSize()) - unnamed - sum(max(0, len(name) - _NAME_BYTES) for name in names)
    return size + (2 if size < 128 else 3)


def _stored(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> list[str]:
    """Constants of a DequantizeLinear in the finished file, where biases have no zero point."""
    is_bias = constants[node.input[0]].data_type == onnx.TensorProto.INT32
    return list(node.input[:2] if is_bias else node.input)


def _compact(message: onnx.NodeProto | onnx.TensorProto, *names: str) -> int:
    """Bytes with names of two letters, which tensors have in a quantized file."""
    return _bytes(message) - sum(max(0, len(name.encode()) - 2) for name in names)


def _multiplications(graph: onnx.GraphProto) -> dict[str, int]:
    """By product with constant weights: its multiplications a row, places that are not known counted once."""
    sizes = {tensor.name: prod(tensor.dims) for tensor in graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    found = {}
    for node in graph.node:
        if node.op_type in PRODUCTS and node.input[1] in sizes:
            shape = shapes.get(node.output[0], [])
            places = shape[2:] if "Conv" in node.op_type else shape[1:-1]
            found[node.name] = sizes[node.input[1]] * prod(max(1, size) for size in places)
    return found


FLOAT_WORK = 4.0
"""Work of a multiplication in float, in int8 ones: as many fit a register. It only orders what is to be tried."""


class CostModel:
    """Predicts file sizes, exact to a few hundred bytes, and the order of costs on a device.

    Args:
        prepared: the float model.
        quantized: its QDQ form with nothing kept in float.
        size_bytes: of that file.
    """

    def __init__(self, prepared: Prepared, quantized: onnx.ModelProto, size_bytes: int) -> None:
        self._full = size_bytes
        graph = quantized.graph
        constants = {tensor.name: tensor for tensor in graph.initializer}
        floats = {tensor.name: _compact(tensor, tensor.name) for tensor in prepared.proto.graph.initializer}
        inputs = {node.name: list(node.input) for node in prepared.proto.graph.node}
        present = {node.name for node in graph.node}
        dequantize = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
        self._rounding = self._roundings(graph, prepared, constants)
        self._constants: dict[str, int] = {}
        for node in graph.node:
            for place, name in enumerate(node.input):
                found = dequantize.get(name)
                if found is not None and found.input[0] in constants and node.name in inputs:
                    integer = _bytes(found) + sum(_bytes(constants[each]) for each in _stored(found, constants))
                    saved = floats.get(inputs[node.name][place], 0) - integer
                    self._constants[node.name] = self._constants.get(node.name, 0) + saved
        self._removed = {node.output[0]: _bytes(node) for node in prepared.proto.graph.node if node.name not in present}
        self._makers = {
            node.output[0]: node.input[0] for node in prepared.proto.graph.node if node.output and node.input
        }
        self._products = {node.name: node.output[0] for node in prepared.proto.graph.node if node.output}

        self._macs = _multiplications(prepared.proto.graph)

    def _roundings(
        self, graph: onnx.GraphProto, prepared: Prepared, constants: dict[str, onnx.TensorProto]
    ) -> dict[str, int]:
        """Bytes by tensor of its two nodes, and of the step and zero point where they are its own."""
        after = {node.input[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
        counted: set[str] = set()
        found = {}
        for name, node in rounded_tensors(graph, prepared).items():
            own = set(node.input[1:]) - counted
            counted |= own
            nodes = [node, *([after[node.output[0]]] if node.output[0] in after else [])]
            found[name] = sum(map(_bytes, nodes)) + sum(_bytes(constants[each]) for each in own)
        return found

    def work(self, kept: frozenset[str]) -> float:
        """Multiplications of all products, those in float counted `FLOAT_WORK` times."""
        return sum(macs * (FLOAT_WORK if name in kept else 1.0) for name, macs in self._macs.items())

    def size_bytes(self, rounding: Rounding, kept: frozenset[str]) -> int:
        """Bytes of the file where `kept` nodes stay in float and `rounding` says what is rounded."""
        size = self._full + sum(self._constants.get(name, 0) for name in kept)
        size -= sum(each for name, each in self._rounding.items() if name not in rounding.ends_of)
        size += sum(len(name) + 12 for name in kept)  # the selectors, in the file's own recipe
        kept_outputs = {self._products[name] for name in kept if name in self._products}
        size += sum(each for name, each in self._removed.items() if self._makers.get(name) in kept_outputs)
        return size + _SUM_BYTES * sum(name in self._constants for name in kept)
