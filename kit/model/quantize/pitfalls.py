"""What onnxruntime's static quantizer would make another function of, and how it is kept from that."""

from typing import Any

import onnx

from kit.model.graph import PRODUCTS, attribute, copied, names_of, names_read_inside

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


def sums_it_would_change(graph: onnx.GraphProto) -> dict[str, str]:
    """By Gemm whose addend the quantizer or the runtime's int8 kernel would take for another: why it stays in float."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, str] = {}
    for node in graph.node:
        if node.op_type != "Gemm" or len(node.input) < 3 or not node.input[2]:
            continue
        addend = constants.get(node.input[2])
        if addend is not None and len(addend.dims) > 1:
            found[node.name] = "what it adds differs by row, and int8 sums have one value a channel"
        elif addend is None and attribute(node, "beta", 1.0) != 1.0:
            found[node.name] = "what it adds is made at run time and has a factor, which int8 sums have not"
    return found


def unshare_axes(graph: onnx.GraphProto) -> None:
    """Give a constant a copy for each way in which products take its channels, or none: scales are along one axis."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    taken, names = names_of(graph), dict[tuple[str, int | None], str]()
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name not in constants or (node.op_type in PRODUCTS and index > 1):
                continue
            way = (name, _axis(node, index, len(constants[name].dims)))
            if way not in names:
                first = all(other != name for other, _ in names)
                names[way] = name if first else copied(graph, constants[name], taken)
            node.input[index] = names[way]


def one_scale(graph: onnx.GraphProto, dtype: Any) -> dict[str, list[dict[str, Any]]]:
    """The quantizer's overrides for weights that its per-channel form would cut along a wrong axis, or that the
    runtime has no kernel for: a MatMul's constant on the left or of more than two axes, a ConvTranspose in groups."""
    constants = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    found = {
        name
        for node in graph.node
        if node.op_type in ("MatMul", "ConvTranspose")
        for index, name in enumerate(node.input[:2])
        if name in constants and _axis(node, index, constants[name]) is None
    }
    return {name: [{"quant_type": dtype}] for name in sorted(found)}


def _axis(node: onnx.NodeProto, index: int, rank: int) -> int | None:
    """Axis of a constant input's output channels, along which scales may be; None where there is one scale."""
    if index != 1:
        return None
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    if node.op_type == "ConvTranspose":
        return 1 if attribute(node, "group", 1) == 1 else None
    return {"Conv": 0, "MatMul": 1 if rank == 2 else None}.get(node.op_type)
