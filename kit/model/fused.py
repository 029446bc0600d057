"""The graph that onnxruntime runs, evaluated as an x86 processor without VNNI evaluates it.

onnxruntime fuses quantize and dequantize nodes around a Conv, Gemm or MatMul into one int8 operator. The
fused graph is taken from onnxruntime itself; its int8 products are evaluated by `kit.model.integer`, and
every other node is run by onnxruntime, one node at a time.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from kit.errors import ModelError, UsageError
from kit.model.integer import MODELLED, Array, NodePairs, NotModelledError, Operator, QuantizedNode

HARMLESS = frozenset({
    "QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearAveragePool", "QLinearGlobalAveragePool",
    "QLinearSoftmax", "QLinearConcat", "QLinearReduceMean", "QuantizeLinear", "DequantizeLinear",
    "FusedConv", "FusedGemm", "FusedMatMul", "Gelu", "BiasGelu", "FastGelu", "QuickGelu",
})  # fmt: skip
"""com.microsoft operators that hold no int8 matrix product; any other one might."""


@dataclass(frozen=True, slots=True)
class SaturationPrediction:
    """Predicted values of one output, all rows along axis 0, and the pair sums behind them.

    Rows that repeat the last one to fill a fixed batch are counted in the pairs, and left out of `outputs`.
    """

    outputs: Array
    saturated_pairs: int
    total_pairs: int
    by_node: tuple[NodePairs, ...]


def predict_on_saturating_x86(
    model: bytes | onnx.ModelProto, inputs: Array, *, saturate: bool = True, batch_rows: int = 64
) -> SaturationPrediction:
    """Evaluate rows as an x86 processor without VNNI does: int8 pair sums clipped to 16 bits.

    Args:
        model: an ONNX model with one input, in QDQ or operator form, whole in one file.
        inputs: (rows, ...) of the input's dtype.
        saturate: False gives exact sums: what ARM, VNNI or `session.x64quantprecision=1` compute.
        batch_rows: rows evaluated at once; a fixed batch size in the model overrides it.

    Returns:
        The model's first output for all rows, and counts of the pair sums that saturated.

    Raises:
        NotModelledError: the fused graph holds an operator whose saturating arithmetic is not known here.
        ModelError: the model cannot be loaded or run on these rows.
        UsageError: there are no rows, or `batch_rows` is not positive.
    """
    if len(inputs) == 0 or batch_rows < 1:
        raise UsageError("a prediction needs at least one row and one row a batch")
    graph = _FusedGraph(model if isinstance(model, bytes) else model.SerializeToString(), saturate=saturate)
    step = graph.fixed_batch or batch_rows
    outputs = [graph.run(_padded(inputs[at : at + step], graph.fixed_batch)) for at in range(0, len(inputs), step)]
    pairs = graph.pairs()
    return SaturationPrediction(
        np.concatenate(outputs)[: len(inputs)],
        sum(node.saturated_pairs for node in pairs),
        sum(node.total_pairs for node in pairs),
        pairs,
    )


def _padded(rows: Array, fixed_batch: int) -> Array:
    """Repeat the last row up to a fixed batch size."""
    missing = max(0, fixed_batch - len(rows))
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing else rows


class _FusedGraph:
    """The graph as onnxruntime fuses it, run node by node: int8 products here, all else by onnxruntime."""

    def __init__(self, model: bytes, *, saturate: bool) -> None:
        fused = _fuse(model)
        self.header = fused
        graph = fused.graph
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        free = [value for value in graph.input if value.name not in self.constants]
        if len(free) != 1 or not graph.output:
            raise NotModelledError(f"{len(free)} inputs are not modelled, only one is", where="graph")
        self.input, self.output = free[0].name, graph.output[0].name
        shape = free[0].type.tensor_type.shape.dim
        self.fixed_batch = shape[0].dim_value if shape and shape[0].HasField("dim_value") else 0
        self.nodes = [QuantizedNode(node, self.constants, saturate) for node in graph.node]
        self.sessions: dict[int, Any] = {}
        for node in self.nodes:
            _check(node)

    def run(self, rows: Array) -> Array:
        """The first output for one batch of rows."""
        values: dict[str, Array] = {self.input: rows}
        for number, node in enumerate(self.nodes):
            arguments = [values.get(name) for name in node.proto.input]
            modelled = MODELLED.get(kind(node.proto))
            if modelled is None:
                values.update(zip(node.proto.output, self._delegate(number, node, values), strict=True))
            elif arguments[0] is None:
                raise node.refuse("constant activations")
            else:
                values[node.proto.output[0]] = _evaluate(modelled, node, arguments[0])
        return values[self.output] if self.output in values else self.constants[self.output]

    def pairs(self) -> tuple[NodePairs, ...]:
        """Counts of every node evaluated here that adds pairs."""
        return tuple(
            NodePairs(node.label, node.proto.op_type, node.saturated, node.total) for node in self.nodes if node.total
        )

    def _delegate(self, number: int, node: QuantizedNode, values: dict[str, Array]) -> list[Array]:
        feeds = {name: values[name] for name in node.proto.input if name in values}
        if number not in self.sessions:
            self.sessions[number] = self._session(node.proto, feeds)
        try:
            results = self.sessions[number].run([name for name in node.proto.output if name], feeds)
        except Exception as error:
            raise ModelError(f"onnxruntime cannot run it: {error}", where=f"node {node.label!r}") from error
        if not all(isinstance(result, np.ndarray) for result in results):
            raise node.refuse("values that are not tensors")
        by_name = dict(zip((name for name in node.proto.output if name), results, strict=True))
        return [by_name.get(name, np.empty(0)) for name in node.proto.output]

    def _session(self, proto: onnx.NodeProto, feeds: dict[str, Array]) -> Any:
        """One node as a model of its own, its constants inside."""
        helper = onnx.helper
        constants = [numpy_helper.from_array(self.constants[n], n) for n in set(proto.input) if n in self.constants]
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), None)
            for name, value in feeds.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
        graph = helper.make_graph([proto], "node", inputs, outputs, constants)
        model = helper.make_model(graph, opset_imports=self.header.opset_import, ir_version=self.header.ir_version)
        return _start(model.SerializeToString(), "ORT_DISABLE_ALL")


def _evaluate(operator: Operator, node: QuantizedNode, activations: Array) -> Array:
    try:
        return operator(node, activations)
    except (ValueError, IndexError, OverflowError, MemoryError) as error:
        raise ModelError(f"cannot be evaluated on these rows: {error}", where=f"node {node.label!r}") from error


def kind(node: onnx.NodeProto) -> tuple[str, str]:
    """Domain, empty for ONNX's own, and type of a node."""
    return ("" if node.domain == "ai.onnx" else node.domain, node.op_type)


def _check(node: QuantizedNode) -> None:
    """Refuse an operator that might multiply int8 matrices in a way that is not known here."""
    domain, op_type = kind(node.proto)
    if (domain, op_type) in MODELLED:
        return
    if any(attribute.HasField("g") or attribute.graphs for attribute in node.proto.attribute):
        raise node.refuse("a graph inside a node")
    if (domain == "" and op_type != "ConvInteger") or domain == "ai.onnx.ml":
        return
    if domain != "com.microsoft" or op_type not in HARMLESS:
        raise node.refuse(f"this operator of {domain or 'ai.onnx'}")


def _start(model: bytes, level: str, save_to: str = "") -> Any:
    """A session on one thread with the processor's default int8 kernels."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.x64quantprecision", "0")
    if save_to:
        options.optimized_model_filepath = save_to
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"onnxruntime cannot load it: {error}", where="model") from error


def _fuse(model: bytes) -> onnx.ModelProto:
    """The graph that onnxruntime runs, before it changes the memory layout."""
    with TemporaryDirectory(prefix="edgeproof-") as folder:
        path = Path(folder) / "fused.onnx"
        _start(model, "ORT_ENABLE_EXTENDED", str(path))
        return onnx.load(path)
