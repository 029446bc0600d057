"""Which tensors a quantized model rounds to 8 bits, and between which ends: the rules of onnxruntime's quantizer.

`static_int8` puts a QuantizeLinear and a DequantizeLinear around every tensor that a node it quantizes reads or makes
(onnxruntime 1.31, `QDQQuantizer`). These rules say which those are for any set of nodes kept in float, without
quantizing again; `tests/model/test_search_simulate.py` holds them against the quantizer.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from kit.model.calibrate.base import Ranges
from kit.model.graph import PRODUCTS
from kit.model.quantize.base import Prepared
from kit.model.quantize.static_int8 import quantizable_types

_ONE_INPUT = ("Conv", "ConvTranspose", "Gemm")
"""Products of one tensor; their weights and biases are constants."""

_RECTIFIERS = ("Relu", "Clip")
"""They are in 8 bits where what they read is, with ends of their own."""

_MOVERS = frozenset(
    ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Resize", "MaxPool", "AveragePool", "Slice", "Pad")
) | {"TopK", "Gather", "GatherElements"}
"""They are in 8 bits where what they read is, with its ends."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """By tensor that is rounded: the tensor whose range its ends come from."""

    ends_of: dict[str, str]


class RoundingRules:
    """The rules for one prepared model and one maker's choice of tensors.

    Args:
        prepared: the float model.
        tensors: those that are rounded where every node is quantized.
        kept: nodes that the base recipe keeps in float already.
    """

    def __init__(self, prepared: Prepared, tensors: frozenset[str], kept: frozenset[str] = frozenset()) -> None:
        known = quantizable_types()
        self._tensors = tensors
        self._constants = {tensor.name for tensor in prepared.proto.graph.initializer}
        self._nodes = [
            node
            for node in prepared.proto.graph.node
            if node.op_type in known and node.name not in prepared.head and node.name not in kept
        ]
        self._uses = Counter(name for node in prepared.proto.graph.node for name in node.input)
        by_name = {name: node for node in self._nodes for name in node.output}
        self._producers = by_name

    @property
    def units(self) -> tuple[str, ...]:
        """Names of the nodes that put tensors into 8 bits; the others only pass on what they are given."""
        return tuple(node.name for node in self._nodes if node.op_type not in (*_RECTIFIERS, *_MOVERS))

    def rounded(self, kept: frozenset[str]) -> Rounding:
        """What is rounded where `kept` nodes stay in float."""
        ends: dict[str, str] = {}
        for node in self._nodes:
            if node.name not in kept:
                self._visit(node, ends)
        return Rounding({name: source for name, source in ends.items() if name in self._tensors})

    def _visit(self, node: onnx.NodeProto, ends: dict[str, str]) -> None:
        source = node.input[0] if node.input else ""
        if node.op_type in _RECTIFIERS:
            if source in ends:
                ends.setdefault(node.output[0], node.output[0])
        elif node.op_type in _MOVERS and source not in self._constants:
            if source in ends:
                ends[node.output[0]] = ends[source]
        else:
            inputs = node.input[:1] if node.op_type in _ONE_INPUT else node.input
            for name in (*inputs, *node.output):
                ends.setdefault(name, name)

    def adjusted(self, ranges: Ranges) -> dict[str, tuple[float, float]]:
        """Ranges as the quantizer takes them: a rectifier's input has its output's, a softmax goes from 0 to 1."""
        found = dict(ranges)
        for node in self._nodes:
            if node.op_type == "Softmax" and node.output[0] in found:
                found[node.output[0]] = (0.0, 1.0)
            elif node.op_type in _RECTIFIERS and self._uses[node.input[0]] == 1 and node.output[0] in found:
                found[node.input[0]] = found[node.output[0]]
        return found


def rounded_tensors(quantized: onnx.GraphProto, prepared: Prepared) -> dict[str, onnx.NodeProto]:
    """By tensor of the float model that `quantized` rounds: the QuantizeLinear that does it.

    Tensors of a quantized file have names of their own, so they are known by the nodes that make them. A rectifier that
    the quantizer took out, since rounding does its work, leaves its output to the node before it.
    """
    constants = {tensor.name for tensor in quantized.initializer}
    present = {node.name for node in quantized.node}
    makers = {name: (node, place) for node in quantized.node for place, name in enumerate(node.output)}
    floats = {node.name: node for node in prepared.proto.graph.node}
    taken_out = {
        node.input[0]: node.output[0]
        for node in prepared.proto.graph.node
        if node.op_type in _RECTIFIERS and node.name not in present
    }
    found: dict[str, onnx.NodeProto] = {}
    for node in quantized.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in constants:
            continue
        name = node.input[0]
        maker, place = makers.get(name, (None, 0))
        if maker is not None and maker.op_type == "Sum" and maker.name not in floats:
            maker, place = makers[maker.input[0]]
        if maker is not None:
            name = floats[maker.name].output[place]
        while name in taken_out:
            name = taken_out[name]
        found[name] = node
    return found


def scale_and_zero(low: float, high: float, dtype: np.dtype[np.integer]) -> tuple[np.float32, NDArray[np.integer]]:
    """Step and zero point of 8-bit values between `low` and `high`, both moved to include 0; as the quantizer does."""
    from onnxruntime.quantization.quant_utils import compute_scale_zp

    limits = np.iinfo(dtype)
    ends = (np.array(limits.min, dtype), np.array(limits.max, dtype))
    zero, scale = compute_scale_zp(np.float32(low), np.float32(high), *ends)
    return np.float32(scale), np.asarray(zero, dtype)


def products_of(prepared: Prepared, units: tuple[str, ...]) -> frozenset[str]:
    """Those of `units` that multiply."""
    return frozenset(
        node.name for node in prepared.proto.graph.node if node.op_type in PRODUCTS and node.name in set(units)
    )
