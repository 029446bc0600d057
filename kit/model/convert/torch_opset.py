"""Opset 18 brought down to 17 and 16: PyTorch's exporter starts at 18, and many devices run an older onnxruntime."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import numpy_helper

EXPORTED = 18
"""The oldest opset that PyTorch's exporter has operators of."""

_REDUCTIONS = frozenset(
    f"Reduce{name}" for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)


class _NotBelowError(Exception):
    """A node has no form in the older opset."""


def lowered(model: onnx.ModelProto, opset: int) -> str:
    """Bring `model`, of opset 18, down to `opset` in place; the reason if it cannot be, and then it is unchanged.

    Between 17 and 18 the reductions take their axes as an input instead of an attribute, ``Split`` says in how many
    parts, and ``Pad`` and ``Resize`` may name axes (ONNX operator changelog); the rest is the same.
    """
    if opset < EXPORTED - 1:
        return f"PyTorch has no operators of opset {opset}"
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    try:
        for graph in _graphs(changed.graph):
            constants = {tensor.name: tensor for tensor in graph.initializer}
            for node in graph.node:
                _lower_node(node, constants)
    except _NotBelowError as error:
        return str(error)
    for entry in changed.opset_import:
        entry.version = opset if entry.domain in ("", "ai.onnx") else entry.version
    _drop_unused(changed.graph)
    try:
        onnx.checker.check_model(changed)
    except onnx.checker.ValidationError as error:
        return " ".join(str(error).split("==> Context")[0].split())[:200]
    model.CopyFrom(changed)
    return ""


def _graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    inner = [
        each
        for node in graph.node
        for attribute in node.attribute
        if attribute.type == onnx.AttributeProto.GRAPH
        for each in _graphs(attribute.g)
    ]
    return [graph, *inner]


def _lower_node(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    if node.op_type in _REDUCTIONS:
        _axes_to_attribute(node, constants)
    elif node.op_type in _OTHERS:
        _OTHERS[node.op_type](node)


def _axes_to_attribute(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    axes = node.input[1] if len(node.input) > 1 else ""
    if axes and axes not in constants:
        raise _NotBelowError(f"the axes of {node.name or node.op_type!r} are computed, which opset 17 cannot")
    values = numpy_helper.to_array(constants[axes]).astype(np.int64).tolist() if axes else []
    nothing = next((each.i for each in node.attribute if each.name == "noop_with_empty_axes"), 0)
    if not values and nothing:
        raise _NotBelowError(f"{node.name or node.op_type!r} reduces nothing, which opset 17 cannot say")
    _drop(node, "noop_with_empty_axes")
    del node.input[1:]
    if values:
        node.attribute.append(onnx.helper.make_attribute("axes", values))


def _split(node: onnx.NodeProto) -> None:
    """Without sizes opset 17 splits evenly; so does 18 where it goes up, which the checker cannot know."""
    if len(node.input) < 2:
        raise _NotBelowError(f"{node.name or 'Split'!r} splits into a number of parts, which opset 17 cannot")
    _drop(node, "num_outputs")


def _pad(node: onnx.NodeProto) -> None:
    if len(node.input) > 3 and node.input[3]:
        raise _NotBelowError(f"{node.name or 'Pad'!r} pads named axes, which opset 17 cannot")
    mode = next((each.s for each in node.attribute if each.name == "mode"), b"constant")
    if mode == b"wrap":
        raise _NotBelowError(f"{node.name or 'Pad'!r} pads by wrapping, which opset 17 cannot")


def _resize(node: onnx.NodeProto) -> None:
    found = {each.name: each for each in node.attribute}
    policy = found["keep_aspect_ratio_policy"].s if "keep_aspect_ratio_policy" in found else b"stretch"
    if (found["antialias"].i if "antialias" in found else 0) or "axes" in found or policy != b"stretch":
        raise _NotBelowError(f"{node.name or 'Resize'!r} resizes in a way that opset 17 cannot")
    _drop(node, "antialias", "keep_aspect_ratio_policy")


def _scatter(node: onnx.NodeProto) -> None:
    mode = next((each.s for each in node.attribute if each.name == "reduction"), b"none")
    if mode in (b"max", b"min"):
        raise _NotBelowError(f"{node.name or node.op_type!r} scatters maxima or minima, which opset 17 cannot")


def _unknown(node: onnx.NodeProto) -> None:
    raise _NotBelowError(f"the operator {node.op_type} is newer than opset 17")


_OTHERS: dict[str, Callable[[onnx.NodeProto], None]] = {
    "Split": _split,
    "Pad": _pad,
    "Resize": _resize,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    **dict.fromkeys(
        (
            "BitwiseAnd",
            "BitwiseNot",
            "BitwiseOr",
            "BitwiseXor",
            "CenterCropPad",
            "Col2Im",
            "GroupNormalization",
            "Mish",
        ),
        _unknown,
    ),
}


def _drop(node: onnx.NodeProto, *names: str) -> None:
    kept = [each for each in node.attribute if each.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Axes that became attributes are no initializers any more."""
    used = {name for each in _graphs(graph) for node in each.node for name in node.input}
    used |= {output.name for output in graph.output}
    for each in _graphs(graph):
        kept = [tensor for tensor in each.initializer if tensor.name in used]
        del each.initializer[:]
        each.initializer.extend(kept)
