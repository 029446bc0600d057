"""Whether int8 pair sums can saturate on x86 without VNNI: a bound from the weights alone.

What `saturation_bound` calls safe is safe for every input. For what happens on given rows, see
`predict_on_saturating_x86` (`kit.model.fused`), and `kit.model.integer` for the arithmetic.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from kit.errors import ModelError
from kit.model.fused import HARMLESS, SaturationPrediction, kind, predict_on_saturating_x86
from kit.model.integer import ACTIVATION_MAX, PAIR_MAX, PAIR_MIN, Array, NodePairs, NotModelledError
from kit.records import SaturationRecord

__all__ = [
    "NodePairs",
    "NodeSaturation",
    "NotModelledError",
    "SaturationPrediction",
    "predict_on_saturating_x86",
    "saturation_bound",
    "saturation_record",
    "worst_pairs",
]

_DEQUANTIZED = ("Conv", "Gemm", "MatMul")
"""Float operators that onnxruntime fuses to int8 where DequantizeLinear feeds them."""

_WEIGHT_INPUT = {
    "Conv": 1, "Gemm": 1, "MatMul": 1, "MatMulInteger": 1, "ConvInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3,
    "QGemm": 3, "MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1,
}  # fmt: skip
"""Where each operator keeps its weights."""

_SAME_VALUES = ("Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze", "Flatten")
"""Operators that move weights about and leave their values."""

_INT8_LEVEL = 4
"""`accuracy_level` at which MatMulNBits makes activations int8; they stay float without it (its operator schema)."""


@dataclass(frozen=True, slots=True)
class NodeSaturation:
    """What the int8 weights of one node allow, over all inputs and all ways to pair them.

    `worst_pair` is the pair sum furthest from zero; it saturates past 32767 or -32768. `channels_at_risk`
    counts output channels with a pair that could. `known_weights` is False where the weights cannot be seen in
    the file; then every weight might be -128, and `channels` is 0. `exact_kernel` marks unsigned weights and
    convolutions with one filter per channel: onnxruntime's kernels for them widen to 16 or 32 bits before they
    add, so no 16-bit pair is formed and `worst_pair` is 0. So it is where weights in blocks meet float activations.
    """

    name: str
    op_type: str
    can_saturate: bool
    worst_pair: int
    channels_at_risk: int
    channels: int
    known_weights: bool = True
    exact_kernel: bool = False


def worst_pairs(weights: Array) -> NDArray[np.int64]:
    """(N, K) int8 weights to (N,) pair sums furthest from zero: the two largest or two smallest weights at 255.

    An activation of 0 drops a weight of the other sign, so no pair of a channel, however it is paired, is worse.
    """
    extremes = np.zeros((len(weights), weights.shape[1] + 2), np.int64)
    extremes[:, 2:] = weights
    extremes.sort(axis=1)
    high = ACTIVATION_MAX * np.maximum(extremes[:, -2:], 0).sum(axis=1)
    low = ACTIVATION_MAX * np.minimum(extremes[:, :2], 0).sum(axis=1)
    return cast(NDArray[np.int64], np.where(high >= -low, high, low))


def saturation_bound(model: onnx.ModelProto) -> list[NodeSaturation]:
    """Prove from the weights which int8 nodes can saturate; what is not listed multiplies no 8-bit weights.

    Sound for every input and for every order in which a kernel pairs the weights: False means that no
    difference of this kind can arise, True that it might.

    Raises:
        ModelError: the weights of a node cannot be read, for example because they lie outside the file.
    """
    return list(_Weights(model.graph, {}).bounds())


def saturation_record(model: onnx.ModelProto) -> SaturationRecord:
    """`saturation_bound` over the whole model, as a variant's record keeps it.

    Raises:
        ModelError: the weights of a node cannot be read.
    """
    nodes = saturation_bound(model)
    worst = max((node.worst_pair for node in nodes), key=abs, default=0)
    at_risk = tuple(node.name for node in nodes if node.can_saturate)
    return SaturationRecord(bool(at_risk), worst, PAIR_MAX, at_risk, len(nodes))


class _Weights:
    """Finds the int8 weights of a graph's nodes, through whatever dequantizes or moves them."""

    def __init__(self, graph: onnx.GraphProto, outer: dict[str, TensorProto]) -> None:
        self.graph = graph
        self.tensors = outer | {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.tensors[node.output[0]] = node.attribute[0].t
        self.producers = {name: node for node in graph.node for name in node.output if name}

    def bounds(self) -> Iterator[NodeSaturation]:
        """The bound of every int8 product of this graph and of the graphs inside it."""
        for node in self.graph.node:
            for attribute in node.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    yield from _Weights(inner, self.tensors).bounds()
            judged = self._node(node)
            if judged is not None:
                yield judged

    def _node(self, node: onnx.NodeProto) -> NodeSaturation | None:
        domain, op_type = kind(node)
        if (domain, op_type) == ("com.microsoft", "MatMulNBits"):
            return _in_blocks(node)
        if op_type not in _WEIGHT_INPUT:
            known = domain in ("", "ai.onnx.ml") or (domain == "com.microsoft" and op_type in HARMLESS)
            return None if known else _unknown(node)
        index = _WEIGHT_INPUT[op_type]
        if index >= len(node.input):
            return None
        if op_type not in _DEQUANTIZED:
            return self._judge(node, node.input[index], moved=False)
        judged = self._through_dequantize(node, node.input[index], left=False)
        if judged is None and op_type != "Conv":
            judged = self._through_dequantize(node, node.input[0], left=True)
        return judged

    def _through_dequantize(self, node: onnx.NodeProto, source: str, *, left: bool) -> NodeSaturation | None:
        producer = self._unmoved(source)
        if producer is None or producer.op_type != "DequantizeLinear":
            return None
        if left and producer.input[0] not in self.tensors:
            return None  # ordinary activations
        return self._judge(node, producer.input[0], moved=left or source not in producer.output, scheme=producer)

    def _unmoved(self, source: str) -> onnx.NodeProto | None:
        """The node that made the values of `source`, before others moved them about."""
        producer = self.producers.get(source)
        for _ in range(len(self.producers)):
            if producer is None or producer.op_type not in _SAME_VALUES:
                break
            producer = self.producers.get(producer.input[0])
        return producer

    def _judge(
        self, node: onnx.NodeProto, source: str, *, moved: bool, scheme: onnx.NodeProto | None = None
    ) -> NodeSaturation | None:
        tensor = self.tensors.get(source)
        if tensor is None:
            return _exact(node, 0) if scheme is not None and self._is_unsigned(scheme) else _unknown(node)
        if tensor.data_type == TensorProto.UINT8:
            return _exact(node, 0)
        if tensor.data_type != TensorProto.INT8:
            return None
        weights = _read(tensor, _name(node))
        if "Conv" in node.op_type and node.op_type != "ConvInteger" and _one_filter_per_channel(node, weights):
            return _exact(node, len(weights))
        pairs = worst_pairs(weights.reshape(1, -1) if moved else _by_channel(node, weights))
        at_risk = int(np.count_nonzero((pairs > PAIR_MAX) | (pairs < PAIR_MIN)))
        worst = int(pairs[np.argmax(np.abs(pairs))]) if len(pairs) else 0
        return NodeSaturation(_name(node), node.op_type, at_risk > 0, worst, at_risk, len(pairs))

    def _is_unsigned(self, dequantize: onnx.NodeProto) -> bool:
        zero_point = self.tensors.get(dequantize.input[2]) if len(dequantize.input) > 2 else None
        return zero_point is not None and zero_point.data_type == TensorProto.UINT8


def _name(node: onnx.NodeProto) -> str:
    return node.name or (node.output[0] if node.output else node.op_type)


def _unknown(node: onnx.NodeProto) -> NodeSaturation:
    worst = 2 * -128 * ACTIVATION_MAX
    return NodeSaturation(_name(node), node.op_type, True, worst, 0, 0, known_weights=False)


def _exact(node: onnx.NodeProto, channels: int) -> NodeSaturation:
    return NodeSaturation(_name(node), node.op_type, False, 0, 0, channels, exact_kernel=True)


def _in_blocks(node: onnx.NodeProto) -> NodeSaturation:
    """Weights of a few bits in blocks: a float product unless the node asks for int8, where 4 bits make small pairs."""
    asked = {attribute.name: attribute.i for attribute in node.attribute}
    if asked.get("accuracy_level", 0) != _INT8_LEVEL:
        return _exact(node, asked.get("N", 0))
    worst = 2 * ACTIVATION_MAX * (2 ** asked.get("bits", 4) - 1)
    if worst > PAIR_MAX:
        return _unknown(node)
    return NodeSaturation(_name(node), node.op_type, False, worst, 0, asked.get("N", 0))


def _one_filter_per_channel(node: onnx.NodeProto, weights: Array) -> bool:
    """Whether onnxruntime takes its depthwise kernel: one input and one output channel per group."""
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return weights.ndim > 2 and weights.shape[0] == groups and weights.shape[1] == 1


def _read(tensor: TensorProto, node: str) -> Array:
    next_step = "save the model again as one file"
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ModelError(f"weights {tensor.name!r} lie outside the file", where=f"node {node!r}", next_step=next_step)
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        what = f"weights {tensor.name!r} cannot be read: {error}"
        raise ModelError(what, where=f"node {node!r}", next_step=next_step) from error


def _by_channel(node: onnx.NodeProto, weights: Array) -> Array:
    """Weights as (output channels, K)."""
    if weights.ndim < 2:
        return weights.reshape(1, -1)
    if "Conv" in node.op_type:
        return weights.reshape(len(weights), -1)
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    by_output = weights if transposed else np.swapaxes(weights, -1, -2)
    return by_output.reshape(-1, by_output.shape[-1])
