"""Nodes that a recipe keeps in float stay there at run time.

onnxruntime 1.21 and later quantizes the float weights of a Conv, ConvTranspose or Gemm, one scale a tensor, where a
DequantizeLinear feeds it and its output goes to a QuantizeLinear, through Relu and Clip or directly (its optimizer
`WeightBiasQuantization`, pull requests 22969 and 24537). So a node left in float between quantized ones is in 8 bits on
the device, coarser than if it had been quantized. A Sum of one tensor, which the runtime neither removes nor looks
through, stands in between; it costs a copy and about a hundred bytes.
"""

from collections import Counter

import onnx

_REQUANTIZED = ("Conv", "ConvTranspose", "Gemm")
_SEEN_THROUGH = ("Relu", "Clip")


def keep_in_float(model: onnx.ModelProto) -> None:
    """Put a Sum after every product with float weights that the runtime would quantize on its own."""
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    uses = Counter(name for node in graph.node for name in node.input)
    floats = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and _in_danger(node.input[0], producers, uses, floats):
            through = f"{node.input[0]}_float"
            nodes.append(onnx.helper.make_node("Sum", [node.input[0]], [through], f"{through}_Sum"))
            node.input[0] = through
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(nodes)


def _in_danger(tensor: str, producers: dict[str, onnx.NodeProto], uses: Counter[str], floats: set[str]) -> bool:
    """Whether `tensor` comes, unbranched, from a product of a dequantized tensor with float weights."""
    node = producers.get(tensor)
    while node is not None and node.op_type in _SEEN_THROUGH and uses[tensor] == 1:
        tensor = node.input[0]
        node = producers.get(tensor)
    if node is None or node.op_type not in _REQUANTIZED or uses[tensor] != 1 or node.input[1] not in floats:
        return False
    source = producers.get(node.input[0])
    return source is not None and source.op_type == "DequantizeLinear"
