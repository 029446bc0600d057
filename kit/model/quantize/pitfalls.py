"""What onnxruntime's static quantizer would make another function of, and how it is kept from that."""

import onnx

from kit.model.graph import names_read_inside

_RECTIFIERS = ("Relu", "Clip")
"""What the quantizer takes out, since a range that starts at zero does the same."""


def rectifiers_read_inside(graph: onnx.GraphProto) -> frozenset[str]:
    """Rectifiers before or after which the graphs inside a node (If, Loop, Scan) read: those get the float tensor.

    The quantizer would drop the node and give its name to the tensor before it.
    """
    inside = {name for node in graph.node for name in names_read_inside(node)}
    return frozenset(
        node.name
        for node in graph.node
        if node.op_type in _RECTIFIERS and inside.intersection((*node.input, *node.output))
    )
