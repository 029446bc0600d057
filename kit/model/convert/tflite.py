"""TensorFlow Lite files: float, float16, dynamic-range and int8 models, and streaming models with state."""

import importlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from kit.digest import digest_bytes
from kit.errors import ConversionError, ModelError, UsageError
from kit.model.convert.base import Arrays, Options, Source, library_versions
from kit.model.convert.tf_export import layout_notes, named_shape, unique_names
from kit.model.convert.tflite_file import MAGIC, File, Graph, Tensor, parse
from kit.model.convert.tflite_graph import Builder, UnsupportedError, described
from kit.model.convert.tflite_ops import HANDLERS
from kit.model.convert.tflite_state import NEXT, State, rewritten, states_of, without_variables
from kit.model.load import read_limited
from kit.model.metadata import PREFIX, serialized, with_properties
from kit.records import ModelRecord, TensorInfo

OLDEST_OPSET = 13
"""First opset with DequantizeLinear along an axis, and with axes as inputs."""


class TFLiteConverter:
    """The `Converter` of TensorFlow Lite files."""

    name = "edgeproof.tflite"
    reads = "TensorFlow Lite models (.tflite)"
    extra = "tflite"

    def claims(self, path: Path, start: bytes) -> bool:
        """A flatbuffer with the identifier TFL3, or a file called ``.tflite``."""
        return start[4:8] == MAGIC or path.suffix.lower() == ".tflite"

    def is_pickle(self, path: Path, start: bytes) -> bool:  # noqa: ARG002
        """Never: the file holds constants and a list of known operators."""
        return False

    def version(self) -> str:
        """Version of the interpreter."""
        return library_versions(self.extra, "TensorFlow Lite models", {"ai_edge_litert": "ai-edge-litert"})

    def read(self, path: Path, options: Options) -> Source:
        """The model's main graph; its variables become inputs and outputs."""
        if options.opset < OLDEST_OPSET:
            raise UsageError(f"TensorFlow Lite models need opset {OLDEST_OPSET} or newer, not {options.opset}")
        data = read_limited(path)
        found = parse(data)
        try:
            return _source(path, data, found, options)
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, struct.error) as error:
            raise ModelError(
                f"an operator's tensors or options do not fit it ({type(error).__name__}: {error})"[:300],
                next_step="check that the file is complete, or convert the model again",
            ) from None


def _source(path: Path, data: bytes, found: File, options: Options) -> Source:
    states = states_of(found)
    file = without_variables(found, states)
    inputs, outputs = _interface(file)
    proto = _converted(file, inputs, outputs, states, path.stem, options.opset)
    model = _Interpreter(rewritten(data, states) if states else data, inputs, outputs)
    record = ModelRecord(path.name, digest_bytes(data), len(data), "TensorFlow Lite", None, inputs, outputs)
    tolerances = _tolerances(file.main, outputs)
    return Source(record, model.predict, lambda: serialized(proto), _notes(file, inputs, states), tolerances)


def _interface(file: File) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """The main graph's inputs and outputs; names are the signature's, or the tensors' own."""
    main = file.main
    indices = (*main.inputs, *main.outputs)
    names = unique_names([file.names.get(index) or main.tensors[index].name for index in indices])
    infos = [_info(name, main.tensors[index]) for name, index in zip(names, indices, strict=True)]
    return tuple(infos[: len(main.inputs)]), tuple(infos[len(main.inputs) :])


def _info(name: str, tensor: Tensor) -> TensorInfo:
    if tensor.dtype in ("resource", "int4", "uint16", "uint32", "uint64"):
        raise ConversionError(f"the input or output {name!r} is of type {tensor.dtype}", next_step="convert it again")
    return TensorInfo(name, tensor.dtype, named_shape(name, tensor.signature))


def _converted(
    file: File,
    inputs: tuple[TensorInfo, ...],
    outputs: tuple[TensorInfo, ...],
    states: tuple[State, ...],
    name: str,
    opset: int,
) -> onnx.ModelProto:
    """The ONNX model; ConversionError names every operator that has no counterpart."""
    main = file.main
    build = Builder(main, opset)
    for index, info in zip(main.inputs, inputs, strict=True):
        build.put(index, info.name)
    _refuse_unknown(main)
    for operator in main.operators:
        try:
            HANDLERS[operator.name](build, operator)
        except UnsupportedError as error:
            raise _unsupported(f"{described(operator, main)}: {error}") from None
    nodes = _with_outputs(build, main, inputs, outputs)
    graph = helper.make_graph(
        nodes,
        name,
        [_value(info) for info in inputs],
        [_value(info) for info in outputs],
        [*build.initializers.values()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="edgeproof")
    proto.ir_version = min(proto.ir_version, helper.find_min_ir_version_for(list(proto.opset_import)))
    return with_properties(proto, _about_states(states)) if states else proto


def _refuse_unknown(graph: Graph) -> None:
    unknown = sorted({operator.name for operator in graph.operators} - HANDLERS.keys())
    if unknown:
        raise _unsupported(", ".join(unknown))


def _unsupported(what: str) -> ConversionError:
    return ConversionError(
        f"TensorFlow Lite operators without a form in ONNX: {what}",
        next_step="convert the model that this file was made from, if you have it",
    )


def _with_outputs(
    build: Builder, graph: Graph, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]
) -> list[onnx.NodeProto]:
    """The nodes, with the results called as `outputs` are; what is no node's result goes through an Identity."""
    try:
        values = [build.stored(index) for index in graph.outputs]
    except UnsupportedError as error:
        raise ModelError(f"an output is never computed: {error}", next_step="convert the model again") from None
    fixed = {info.name for info in inputs} | {proto.name for proto in build.initializers.values()}
    renamed: dict[str, str] = {}
    for value, info in zip(values, outputs, strict=True):
        if value in fixed or value in renamed:
            build.nodes.append(helper.make_node("Identity", [value], [info.name], f"Identity_{len(build.nodes)}"))
        else:
            renamed[value] = info.name
    for node in build.nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return build.nodes


def _value(info: TensorInfo) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(info.name, helper.np_dtype_to_tensor_dtype(np.dtype(info.dtype)), info.shape)


def _about_states(states: tuple[State, ...]) -> dict[str, str]:
    """Property ``edgeproof.state``: each state's output, and its value at the start (one number if all are equal)."""
    about = {
        state.name: {
            "output": state.name + NEXT,
            "initial": state.initial.flat[0].item() if np.ptp(state.initial) == 0 else state.initial.tolist(),
        }
        for state in states
    }
    return {f"{PREFIX}state": json.dumps(about)}


def _tolerances(graph: Graph, outputs: tuple[TensorInfo, ...]) -> dict[str, float]:
    """One step of every quantized output, or of the quantized tensor that a float output dequantizes.

    The interpreter rounds with fixed-point multipliers, ONNX with float ones: a value that lies half way between two
    steps goes either way. Probabilities behind activations that are rounded to 8 bits as they come (dynamic range): one
    step of 255, since there too a value half way goes either way.
    """
    sources = {each.outputs[0]: each.inputs[0] for each in graph.operators if each.name == "DEQUANTIZE"}
    producers = {each.outputs[0]: each.name for each in graph.operators if each.outputs}
    found: dict[str, float] = {}
    for index, info in zip(graph.outputs, outputs, strict=True):
        quantization = graph.tensors[sources.get(index, index)].quantization
        if quantization is not None:
            found[info.name] = float(quantization.scale[0]) * 1.0001 if index in sources else 1.0
        elif _rounds_as_it_runs(graph) and producers.get(index) in ("SOFTMAX", "LOGISTIC"):
            found[info.name] = 1 / 255
    return found


def _rounds_as_it_runs(graph: Graph) -> bool:
    """Whether a product takes float values and integer weights (dynamic range)."""
    products = (each for each in graph.operators if each.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"))
    return any(
        graph.tensors[each.inputs[0]].dtype == "float32" and graph.tensors[each.inputs[1]].dtype in ("int8", "int4")
        for each in products
    )


def _notes(file: File, inputs: tuple[TensorInfo, ...], states: tuple[State, ...]) -> tuple[str, ...]:
    main = file.main
    notes = list(layout_notes(inputs))
    for index, info in zip(main.inputs, inputs, strict=True):
        quantization = main.tensors[index].quantization
        if quantization is not None and index not in {state.read for state in states}:
            scale, zero = quantization.scale[0], quantization.zero_point[0]
            notes.append(f"the input {info.name!r} is {info.dtype}: real = {scale:.6g} * (value - {zero})")
    if _rounds_as_it_runs(main):
        notes.append("its weights are float now; its activations are rounded to 8 bits row by row, as in the source")
    notes += [
        f"the variable {each.name!r} is an input now, and its next value the output {each.name + NEXT!r}"
        for each in states
    ]
    return tuple(notes)


class _Interpreter:
    """TensorFlow Lite's own interpreter on a file's bytes, created at the first row."""

    def __init__(self, data: bytes, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]) -> None:
        self._data, self._inputs, self._outputs = data, inputs, outputs
        self._interpreter: Any = None

    def predict(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name; a dynamic first dimension is taken row by row."""
        if self._interpreter is None:
            self._interpreter = self._opened()
        if not all(info.shape and isinstance(info.shape[0], str) for info in self._inputs):
            rows = [self._run([arrays[info.name] for info in self._inputs])]
        else:
            total = len(arrays[self._inputs[0].name])
            rows = [self._run([arrays[info.name][row : row + 1] for info in self._inputs]) for row in range(total)]
        columns = zip(*rows, strict=True)
        return {
            info.name: np.concatenate(column) if len(column) > 1 else column[0]
            for info, column in zip(self._outputs, columns, strict=True)
        }

    def _opened(self) -> Any:
        module = importlib.import_module("ai_edge_litert.interpreter")
        try:
            interpreter = module.Interpreter(model_content=self._data, num_threads=1)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"the interpreter refuses it: {reason}", next_step="convert the model again") from None
        return interpreter

    def _run(self, values: list[NDArray[Any]]) -> list[NDArray[Any]]:
        interpreter = self._interpreter
        details = interpreter.get_input_details()
        changed = [each for each, value in zip(details, values, strict=True) if tuple(each["shape"]) != value.shape]
        for each, value in zip(details, values, strict=True):
            if changed:
                interpreter.resize_tensor_input(each["index"], value.shape)
        if changed:
            interpreter.allocate_tensors()
        for each, value in zip(details, values, strict=True):
            interpreter.set_tensor(each["index"], np.ascontiguousarray(value))
        interpreter.invoke()
        return [interpreter.get_tensor(each["index"]).copy() for each in interpreter.get_output_details()]
