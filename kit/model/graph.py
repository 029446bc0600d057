"""Questions to a graph, and small edits of it, that quantization and conversion need."""

from collections import Counter, deque
from itertools import chain

import onnx

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that do a network's arithmetic, and that int8 makes cheaper."""

_RECURRENT = ("LSTM", "GRU", "RNN")
_BODY = frozenset(
    ("Add", "Relu", "LeakyRelu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")
) | {"Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Cast", "Dropout"}
"""What may follow the last product and still belong to the network's body; anything else makes scores."""

_PLUMBING = frozenset(("QuantizeLinear", "DequantizeLinear", "Constant", "Identity", "Cast", "Shape", "Dropout"))
_WHY_HEAD = "it turns the last sums into scores, and scores in 8 bits would tie"
_WHY_UNKNOWN = "the quantizer has no int8 form of this operator"


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a name of its own, which the quantizer's lists of nodes need."""
    taken: set[str] = set()
    for number, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{number}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)


def flatten_biases(graph: onnx.GraphProto) -> None:
    """Store Gemm biases of shape [1, N] as [N], which broadcast alike: per-channel quantization takes only these."""
    users = Counter(name for node in graph.node for name in node.input)
    biases = {node.input[2] for node in graph.node if node.op_type == "Gemm" and len(node.input) > 2}
    for tensor in graph.initializer:
        if tensor.name in biases and users[tensor.name] == 1 and len(tensor.dims) == 2 and tensor.dims[0] == 1:
            del tensor.dims[0]


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
    pending = deque(node for node in graph.node if node.op_type in (*PRODUCTS, *_RECURRENT))
    found: set[str] = set()
    while pending:
        node = pending.popleft()
        if node.name not in found:
            found.add(node.name)
            pending.extend(producer[name] for name in node.input if name in producer)
    return found


def floats_left(
    graph: onnx.GraphProto, head: frozenset[str], quantizable: frozenset[str]
) -> tuple[tuple[str, ...], int]:
    """What stayed in float, each as ``operator name: why``, and how many products became int8.

    `quantizable` are the operators that the quantizer knows.
    """
    dequantized = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    left: list[str] = []
    converted = 0
    for node in graph.node:
        why = ""
        if node.name in head:
            why = _WHY_HEAD if node.op_type in quantizable else ""
        elif node.op_type in PRODUCTS and dequantized.issuperset(node.input[:2]):
            converted += 1
        elif node.op_type in PRODUCTS:
            why = _why(node, graph)
        elif node.op_type not in quantizable | _PLUMBING:
            why = _WHY_UNKNOWN
        left += [f"{node.op_type} {node.name}: {why}"] * bool(why) + _inside(node)
    return tuple(left), converted


def _why(node: onnx.NodeProto, graph: onnx.GraphProto) -> str:
    weights = {tensor.name: tensor for tensor in graph.initializer}
    constants = [weights[name] for name in node.input if name in weights]
    if any(tensor.data_type != onnx.TensorProto.FLOAT for tensor in constants):
        return "its weights are not float32"
    typed = {value.name for value in (*graph.value_info, *graph.input)} | weights.keys()
    if not typed.issuperset(node.input):
        return "the shape of its input is not known, since an operator before it has none"
    return "the quantizer left it, without a reason"


def _inside(node: onnx.NodeProto) -> list[str]:
    """Products inside the graphs of a node (If, Loop, Scan), which the quantizer does not enter."""
    graphs = chain.from_iterable((a.g, *a.graphs) if a.HasField("g") else a.graphs for a in node.attribute)
    found: list[str] = []
    for inner in chain.from_iterable(graph.node for graph in graphs):
        if inner.op_type in (*PRODUCTS, *_RECURRENT):
            found.append(f"{inner.op_type} {inner.name or inner.output[0]}: it is inside {node.op_type} {node.name}")
        found += _inside(inner)
    return found


def drop_unused_domains(model: onnx.ModelProto) -> None:
    """Forget operator sets that no node uses: the optimizer adds a dozen."""
    used = {node.domain for node in model.graph.node} | {"", "ai.onnx"}
    if any(a.HasField("g") or a.graphs for node in model.graph.node for a in node.attribute):
        return
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
