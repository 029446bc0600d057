"""Questions to a graph, and small edits of it, that quantization and conversion need."""

from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[Any]

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that do a network's arithmetic, and that int8 makes cheaper."""

RECURRENT = ("LSTM", "GRU", "RNN")
"""Products over time."""

_BODY = frozenset(
    ("Add", "Relu", "LeakyRelu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
) | {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Cast", "Dropout"}
"""What may follow the last product and still belong to the network's body; anything else makes scores."""


_FUSED = "/MatMulAddFusion"
"""What onnxruntime's optimizer appends to a MatMul's name when it takes in the Add behind it."""


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own, the user's where there is one: lists of nodes and selectors need it."""
    taken: set[str] = set()
    for node in graph.node:
        node.name = node.name.removesuffix(_FUSED)
    for number, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)


_CONSTANTS_APART = 4
"""Since this version of ONNX's file format, constants need not be listed as inputs."""


def fix_constants(model: onnx.ModelProto) -> None:
    """Take constants off the inputs, where old models list them so that a caller may replace them: none here does."""
    graph = model.graph
    model.ir_version = max(model.ir_version, _CONSTANTS_APART)
    constants = {tensor.name for tensor in graph.initializer}
    free = [value for value in graph.input if value.name not in constants]
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in free]
    del graph.input[:]
    graph.input.extend(copies)


def plain_biases(graph: onnx.GraphProto) -> None:
    """Store what a Gemm adds as [N], its factor beta in it: per-channel quantization takes only these.

    A single value, or [1, N], broadcasts alike; values by row stay as they are.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    users = Counter(name for node in all_nodes(graph) for name in node.input)
    taken = names_of(graph)
    for node in graph.node:
        biases = constants.get(node.input[2]) if node.op_type == "Gemm" and len(node.input) > 2 else None
        if biases is None:
            continue
        values = _plain_bias(node, numpy_helper.to_array(biases), constants.get(node.input[1]))
        if values is not None:
            if users[biases.name] > 1:
                users[biases.name] -= 1
                node.input[2] = copied(graph, biases, taken)
                biases = graph.initializer[-1]
            biases.CopyFrom(numpy_helper.from_array(values, biases.name))


def _plain_bias(node: onnx.NodeProto, values: Array, weights: onnx.TensorProto | None) -> Array | None:
    """The values times beta, which is then 1, in the shape [N] where that adds the same; None if they are so."""
    beta, transposed = attribute(node, "beta", 1.0), attribute(node, "transB", 0)
    plain = values * values.dtype.type(beta)
    if plain.ndim == 2 and len(plain) == 1:
        plain = plain[0]
    if plain.size == 1 and weights is not None:
        plain = np.full(weights.dims[0 if transposed else 1], plain.item(), plain.dtype)
    kept = [each for each in node.attribute if each.name != "beta"]
    if len(kept) < len(node.attribute):
        copies = [onnx.AttributeProto.FromString(each.SerializeToString()) for each in kept]
        del node.attribute[:]
        node.attribute.extend(copies)
    return None if plain.shape == values.shape and beta == 1.0 else plain


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Value of a node's attribute, or `default`."""
    found = next((each for each in node.attribute if each.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)


def unshare_biases(graph: onnx.GraphProto) -> None:
    """Give every product a bias of its own, under a name that is free."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    users = Counter(name for node in all_nodes(graph) for name in node.input)
    taken = names_of(graph)
    for node in graph.node:
        bias = node.input[2] if node.op_type in PRODUCTS and len(node.input) > 2 else ""
        if bias in constants and users[bias] > 1:
            users[bias] -= 1
            node.input[2] = copied(graph, constants[bias], taken)


def unshare_weights(graph: onnx.GraphProto) -> None:
    """Give every product int8 weights of its own, where two take those of one DequantizeLinear."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    dequantizers = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    users = Counter(name for node in all_nodes(graph) for name in node.input)
    taken = names_of(graph)
    added: list[onnx.NodeProto] = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            source = dequantizers.get(name)
            if source is None or source.input[0] not in constants or users[name] < 2:
                continue
            users[name] -= 1
            copy = onnx.NodeProto()
            copy.CopyFrom(source)
            for at, part in enumerate(source.input):  # values, scale and zero point
                copy.input[at] = copied(graph, constants[part], taken) if part in constants else part
            copy.name, copy.output[0] = untaken(source.name, taken), untaken(name, taken)
            node.input[index] = copy.output[0]
            added.append(copy)
    nodes = [*added, *(onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node)]
    del graph.node[:]
    graph.node.extend(nodes)


def copied(graph: onnx.GraphProto, tensor: onnx.TensorProto, taken: set[str]) -> str:
    """Add a copy of the constant under a name that is free; that name."""
    copy = graph.initializer.add()
    copy.CopyFrom(tensor)
    name = untaken(tensor.name, taken)
    copy.name = name
    return name


def names_of(graph: onnx.GraphProto) -> set[str]:
    """All names of nodes and tensors."""
    nodes = {name for node in all_nodes(graph) for name in (node.name, *node.input, *node.output)}
    return nodes | {tensor.name for tensor in graph.initializer}


def untaken(name: str, taken: set[str]) -> str:
    """`name` with a number, as no other has; it is then taken."""
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    taken.add(f"{name}_{number}")
    return f"{name}_{number}"


def score_head(graph: onnx.GraphProto) -> frozenset[str]:
    """Names of the nodes that make scores of the body's last sums: no product comes after them."""
    feeds = _before_products(graph)
    head: set[str] = set()
    tensors: set[str] = set()
    for node in graph.node:  # in topological order
        if node.name not in feeds and (node.op_type not in _BODY or tensors.intersection(node.input)):
            head.add(node.name)
            tensors.update(node.output)
    return frozenset(head)


def _before_products(graph: onnx.GraphProto) -> set[str]:
    """Names of the products and of every node that one of them depends on."""
    producer = {name: node for node in graph.node for name in node.output if name}
    pending = deque(node for node in graph.node if node.op_type in (*PRODUCTS, *RECURRENT))
    found: set[str] = set()
    while pending:
        node = pending.popleft()
        if node.name not in found:
            found.add(node.name)
            pending.extend(producer[name] for name in node.input if name in producer)
    return found


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The graph's nodes, and those of the graphs inside them (If, Loop, Scan)."""
    pending = [graph]
    while pending:
        for node in pending.pop().node:
            yield node
            pending += inner_graphs(node)


def inner_graphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Graphs that a node holds."""
    return [
        inner
        for attribute in node.attribute
        for inner in ([attribute.g] if attribute.HasField("g") else attribute.graphs)
    ]


def names_read(graph: onnx.GraphProto) -> Iterator[str]:
    """Name of every tensor that a node of the graph, or of a graph inside it, reads."""
    for node in graph.node:
        yield from node.input
        yield from names_read_inside(node)


def names_read_inside(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the graphs inside a node read or give out."""
    for inner in inner_graphs(node):
        yield from names_read(inner)
        yield from (value.name for value in inner.output)


def constants_of(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Constant tensors of the graph by name: initializers, and what Constant nodes hold."""
    held = {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    return held | {tensor.name: tensor for tensor in graph.initializer}


def typed_tensors(graph: onnx.GraphProto) -> set[str]:
    """Names of tensors whose type is known."""
    known = {value.name for value in (*graph.value_info, *graph.input, *graph.output) if value.type.WhichOneof("value")}
    return known | constants_of(graph).keys()


def untyped(graph: onnx.GraphProto) -> set[str]:
    """Names of tensors that nodes make and of which no type is known."""
    return {name for node in graph.node for name in node.output if name} - typed_tensors(graph)


def drop_unused_domains(model: onnx.ModelProto) -> None:
    """Forget operator sets that no node uses: the optimizer adds a dozen."""
    if model.functions:
        return
    used = {node.domain for node in all_nodes(model.graph)} | {"", "ai.onnx"}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def keep_output(model: onnx.ModelProto, output: str) -> None:
    """Keep one output, and of the nodes and constants only what it depends on (no control flow inside)."""
    graph = model.graph
    needed = {output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    outputs = [value for value in graph.output if value.name == output]
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    for field, items in ((graph.node, kept[::-1]), (graph.output, outputs), (graph.initializer, constants)):
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del field[:]
        field.extend(copies)
