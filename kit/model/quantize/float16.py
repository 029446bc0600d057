"""Half precision inside, float32 at the interface, by onnxruntime's converter; what half precision cannot hold stays.

A float16 ends at 65504 (IEEE 754-2019, binary16): a value beyond it becomes infinite, and what follows is lost.
"""

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from kit.model.calibrate import Ranges
from kit.model.graph import all_nodes, constants_of, inner_graphs
from kit.model.quantize.base import Prepared, Quantized
from kit.model.quantize.leftovers import attempt, refuse_nothing
from kit.model.quiet import quiet_logging
from kit.records import Recipe

LARGEST = 65504.0
"""Largest finite float16."""

_MARGIN = 2.0
"""Ranges are from some rows; others may go as much further."""

_LITTLE_HEADROOM = 0.25
"""Share of float16's range from which on the note says that little is left: rows differ by such factors."""

_UNSEEN = "so whether values inside go beyond float16's 65504 was not looked at"
_WIDER = "onnxruntime's CPU computes float16 in float32, so an overflow on other rows would not show in its figures"


def make_float16(prepared: Prepared, recipe: Recipe, kept: frozenset[str], ranges: Ranges | None) -> Quantized:
    """Weights and activations in float16, but for `kept` nodes and those whose values float16 cannot hold.

    Args:
        prepared: the float model.
        recipe: not looked at.
        kept: nodes that stay in float32.
        ranges: of every float tensor, where typical rows are at hand.

    Raises:
        ConversionError: nothing in it can be converted, or the converter fails; with its reason.
    """
    del recipe
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST

    beyond = _beyond(prepared.proto.graph, ranges or {})
    blocked = sorted(kept | beyond.keys())
    with quiet_logging():
        converted = attempt("conversion to float16", prepared.where, lambda: _converted(prepared.proto, blocked))
    left = _left(prepared.proto.graph, kept, beyond, frozenset(DEFAULT_OP_BLOCK_LIST))
    if not _holds_float16(converted.graph):
        raise refuse_nothing(prepared, left, "float16")
    return Quantized(converted, left)


def overflow_note(ranges: Ranges | None, rows: int, why: str = "no typical rows are known") -> str:
    """What is known of overflow in what became float16: how far `rows` rows come, or `why` nothing was looked at."""
    if not ranges:
        return f"{why}, {_UNSEEN}; {_WIDER}"
    reach = {name: max(-low, high) for name, (low, high) in ranges.items()}
    name = max((name for name in reach if reach[name] * _MARGIN <= LARGEST), key=reach.__getitem__, default="")
    if not name:
        return f"every value inside goes beyond float16; {_WIDER}"
    share = reach[name] / LARGEST
    warning = "little headroom: " if share > _LITTLE_HEADROOM else ""
    return (
        f"{warning}the largest value in float16 on {rows} calibration rows is {reach[name]:.3g} ({name!r}), "
        f"{share:.2g} of its 65504; {_WIDER}"
    )


def _converted(model: onnx.ModelProto, blocked: list[str]) -> onnx.ModelProto:
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    convert_float_to_float16(copy, keep_io_types=True, disable_shape_infer=True, node_block_list=blocked)
    _without_round_trips(copy.graph)
    ONNXModel(copy).topological_sort()
    return copy


def _without_round_trips(graph: onnx.GraphProto) -> None:
    """Let float32 flow from node to node: the converter sends it through float16 even between nodes that are not."""
    casts = {node.output[0]: node for node in graph.node if node.op_type == "Cast"}
    to = {name: node.attribute[0].i for name, node in casts.items()}
    source = {
        name: casts[node.input[0]].input[0]
        for name, node in casts.items()
        if to[name] == TensorProto.FLOAT and to.get(node.input[0]) == TensorProto.FLOAT16
    }
    source = {name: origin for name, origin in source.items() if origin.endswith("_cast_to_fp16")}
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = source.get(name, name)
    used = {name for node in all_nodes(graph) for name in node.input} | {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:  # the converter also casts a tensor once for each of its users, under one name
        if node.op_type != "Cast" or used.intersection(node.output):
            kept.append(node)
            used.difference_update(node.output if node.op_type == "Cast" else ())
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(copies)


def _holds_float16(graph: onnx.GraphProto) -> bool:
    graphs = [graph, *(inner for node in all_nodes(graph) for inner in inner_graphs(node))]
    return any(held.data_type == TensorProto.FLOAT16 for each in graphs for held in constants_of(each).values())


def float_tensors(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Float32 tensors that nodes make, in the graph's order."""
    known = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    made = (name for node in graph.node for name in node.output)
    return tuple(name for name in made if known.get(name) == TensorProto.FLOAT)


def _beyond(graph: onnx.GraphProto, ranges: Ranges) -> dict[str, str]:
    """By node that makes, takes or holds values that float16 cannot: what they are."""
    far = {name: max(-low, high) for name, (low, high) in ranges.items() if max(-low, high) * _MARGIN > LARGEST}
    far |= {
        tensor.name: float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT and np.abs(numpy_helper.to_array(tensor)).max(initial=0.0) > LARGEST
    }
    return {
        node.name: f"{name!r} reaches {far[name]:.3g}, and float16 ends at {LARGEST:.0f}"
        for node in graph.node
        for name in (*node.input, *node.output)
        if name in far
    }


def _left(
    graph: onnx.GraphProto, kept: frozenset[str], beyond: dict[str, str], unknown: frozenset[str]
) -> tuple[str, ...]:
    left: list[str] = []
    for node in all_nodes(graph):
        why = "the recipe keeps it" if node.name in kept else beyond.get(node.name, "")
        if not why and node.op_type in unknown:
            why = "onnxruntime's converter keeps this operator in float32"
        left += [f"{node.op_type} {node.name}: {why}"] * bool(why)
    return tuple(left)
