"""A model in which every rounding of int8 has a switch: any mixed precision and calibration, one session, no quantizer.

The float model, with a round trip to 8 bits and back on each tensor that the quantizer would round, taken or left by a
switch; its step and zero point are inputs too, so that a calibration is a feed. Weights are the quantized model's,
dequantized, and switch with their node; biases are rounded to the steps that the input's and the weights' make. What it
computes is what int8 computes exactly (ARM, VNNI): integer sums are products of whole numbers below 2^24 in float32,
so the two differ where float rounding decides a tie.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kit.errors import ModelError
from kit.model.calibrate.base import Ranges
from kit.model.feeds import Feeds, batch_rows, feed_batches
from kit.model.quantize.base import Prepared
from kit.model.quantize.bias import Dequantized, dequantized_constants, mean_errors
from kit.model.search.rounding import RoundingRules, rounded_tensors, scale_and_zero
from kit.model.session import quiet_runtime, reason_of
from kit.records import Float32Array, Float64Array

_TENSOR_ON, _NODE_ON, _SCALE, _ZERO, _BIAS_ON = (
    f"edgeproof.{each}" for each in ("tensor_on", "node_on", "scale", "zero", "bias_on")
)


_WEIGHT, _BIAS = 1, 2
"""Places of a product's inputs."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One configuration: nodes kept in float, the tensors' ranges, and whether biases are corrected."""

    kept: frozenset[str]
    ranges: Ranges
    correct_bias: bool = False


class Simulation:
    """All mixed precisions of one quantized model.

    Args:
        prepared: the float model that was quantized.
        quantized: its QDQ form, with nothing kept in float beyond what the base recipe keeps.
        kept: nodes that the base recipe keeps.
        feeds: calibration rows, for the correction of biases; none: biases are never corrected.
        output: name of the output with scores.
    """

    def __init__(
        self, prepared: Prepared, quantized: onnx.ModelProto, kept: frozenset[str], feeds: Feeds | None, output: str
    ) -> None:
        self._prepared, self._output = prepared, output
        rounded = rounded_tensors(quantized.graph, prepared)
        self._tensors = tuple(rounded)
        self._dtype = _activation_dtype(quantized.graph, rounded)
        self.rules = RoundingRules(prepared, frozenset(rounded), kept)
        constants = _constants(quantized.graph)
        self._nodes = tuple(dict.fromkeys(node for node, _ in constants))
        biased = {node: constants[node, _WEIGHT].values for node, index in constants if index == _BIAS}
        errors = mean_errors(prepared, biased, feeds) if feeds is not None and biased else {}
        switched = _Switched(prepared.proto, self._tensors, self._nodes, self._dtype)
        self._session = _session(switched.model(constants, errors, output), prepared.where)
        self.rows_run = 0
        """Rows run so far."""

    def scores(self, feeds: Feeds, setting: Setting) -> Float32Array:
        """float32 [rows, classes] of a configuration.

        Raises:
            ModelError: the runtime fails on a row.
        """
        switches = self._switches(setting)
        parts: list[Float32Array] = []
        for batch in feed_batches(feeds, self._prepared.inputs):
            try:
                (scores,) = self._session.run([self._output], {**batch, **switches})
            except Exception as error:
                raise ModelError(f"the simulation fails: {reason_of(error)}", where=self._prepared.where) from None
            rows = batch_rows(batch, self._prepared.inputs)
            parts.append(np.asarray(scores, np.float32).reshape(rows, -1))
            self.rows_run += rows
        return np.concatenate(parts)

    def _switches(self, setting: Setting) -> dict[str, NDArray[np.generic]]:
        ends_of = self.rules.rounded(setting.kept).ends_of
        ranges = self.rules.adjusted(setting.ranges)
        steps = [
            scale_and_zero(*ranges.get(ends_of.get(name, name), (0.0, 1.0)), self._dtype) for name in self._tensors
        ]
        values = {
            _TENSOR_ON: np.array([name in ends_of for name in self._tensors], np.bool_),
            _NODE_ON: np.array([name not in setting.kept for name in self._nodes], np.bool_),
            _SCALE: np.array([scale for scale, _ in steps], np.float32),
            _ZERO: np.array([zero for _, zero in steps], self._dtype),
            _BIAS_ON: np.array([setting.correct_bias]),
        }
        wanted = {each.name for each in self._session.get_inputs()}
        return {name: value for name, value in values.items() if name in wanted}


def _session(proto: onnx.ModelProto, where: str) -> Any:
    """A session on one thread, with the round trips as they stand: none fused into integer products."""
    runtime = quiet_runtime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return runtime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"int8 cannot be simulated: {reason_of(error)}", where=where) from None


def _activation_dtype(graph: onnx.GraphProto, rounded: dict[str, onnx.NodeProto]) -> np.dtype[np.integer]:
    """The 8-bit type of activations."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    first = next(iter(rounded.values()), None)
    return np.dtype(np.uint8) if first is None else numpy_helper.to_array(constants[first.input[2]]).dtype


def _constants(graph: onnx.GraphProto) -> dict[tuple[str, int], Dequantized]:
    """By node and place of its input: the constants that a quantized graph holds in integers."""
    known = dequantized_constants(graph)
    return {
        (node.name, place): known[name] for node in graph.node for place, name in enumerate(node.input) if name in known
    }


class _Switched:
    """Builds the model with switches from the float one."""

    def __init__(
        self,
        prepared: onnx.ModelProto,
        tensors: tuple[str, ...],
        nodes: tuple[str, ...],
        dtype: np.dtype[np.integer],
    ) -> None:
        self._proto: onnx.ModelProto = onnx.ModelProto.FromString(prepared.SerializeToString())
        self._graph = self._proto.graph
        self._tensors = {name: number for number, name in enumerate(tensors)}
        self._nodes = {name: number for number, name in enumerate(nodes)}
        self._dtype = dtype
        self._new: list[onnx.NodeProto] = []

    def model(
        self, constants: dict[tuple[str, int], Dequantized], errors: dict[str, Float64Array], output: str
    ) -> onnx.ModelProto:
        """The model, with `output` alone."""
        originals = list(self._graph.node)
        for node in originals:
            for place in range(len(node.input)):
                self._switch_constant(node, place, constants, errors.get(node.name))
        self._round_tensors(originals)
        self._graph.node.extend(self._new)
        kept = [value for value in self._graph.output if value.name == output]
        del self._graph.output[:]
        self._graph.output.extend(kept)
        self._declare_switches()
        return self._proto

    def _declare_switches(self) -> None:
        integer = helper.np_dtype_to_tensor_dtype(self._dtype)
        kinds = {_TENSOR_ON: TensorProto.BOOL, _NODE_ON: TensorProto.BOOL, _SCALE: TensorProto.FLOAT, _ZERO: integer}
        for name, kind in {**kinds, _BIAS_ON: TensorProto.BOOL}.items():
            self._graph.input.append(helper.make_tensor_value_info(name, kind, [None]))

    def _emit(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """A new node; the name of its output."""
        output = f"edgeproof.{len(self._new)}"
        self._new.append(helper.make_node(op_type, inputs, [output], **attributes))
        return output

    def _constant(self, values: NDArray[Any]) -> str:
        name = f"edgeproof.c{len(self._graph.initializer)}"
        self._graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def _entry(self, switches: str, number: int) -> str:
        """One switch, a scalar."""
        return self._emit("Gather", switches, self._constant(np.asarray(number, np.int64)))

    def _round_tensors(self, originals: list[onnx.NodeProto]) -> None:
        outputs = {value.name for value in self._graph.output}
        makers = {name: (node, place) for node in originals for place, name in enumerate(node.output)}
        for tensor, number in self._tensors.items():
            if tensor in outputs and tensor in makers:
                node, place = makers[tensor]
                node.output[place] = f"{tensor}.float"
                self._round_trip(node.output[place], number)
                self._new[-1].output[0] = tensor
                continue
            rounded = self._round_trip(tensor, number)
            for node in originals:
                for place, name in enumerate(node.input):
                    if name == tensor:
                        node.input[place] = rounded

    def _round_trip(self, tensor: str, number: int) -> str:
        scale, zero = self._entry(_SCALE, number), self._entry(_ZERO, number)
        whole = self._emit("QuantizeLinear", tensor, scale, zero)
        back = self._emit("DequantizeLinear", whole, scale, zero)
        return self._emit("Where", self._entry(_TENSOR_ON, number), back, tensor)

    def _switch_constant(
        self,
        node: onnx.NodeProto,
        place: int,
        constants: dict[tuple[str, int], Dequantized],
        error: Float64Array | None,
    ) -> None:
        found = constants.get((node.name, place))
        if found is None:
            return
        if place == _BIAS and node.input[0] in self._tensors:
            integer = self._bias(node, constants[node.name, _WEIGHT], error)
        else:
            integer = self._constant(found.values)
        node.input[place] = self._emit(
            "Where", self._entry(_NODE_ON, self._nodes[node.name]), integer, node.input[place]
        )

    def _bias(self, node: onnx.NodeProto, weight: Dequantized, error: Float64Array | None) -> str:
        """The bias, corrected or not, in whole steps of input times weights."""
        bias = numpy_helper.to_array(next(each for each in self._graph.initializer if each.name == node.input[_BIAS]))
        exact = self._constant(bias.astype(np.float64))
        if error is not None:
            corrected = self._constant(bias - error.reshape(bias.shape))
            exact = self._emit("Where", _BIAS_ON, corrected, exact)
        step = self._emit("Mul", self._entry(_SCALE, self._tensors[node.input[0]]), self._constant(weight.scale))
        whole = self._emit("Round", self._emit("Div", exact, self._emit("Cast", step, to=TensorProto.DOUBLE)))
        return self._emit("Mul", self._emit("Cast", whole, to=TensorProto.FLOAT), step)
