"""The converter of TensorFlow Lite files: reads, converts, and says what the interpreter's own rounding explains."""

import struct
from pathlib import Path

from kit.digest import digest_bytes
from kit.errors import ConversionError, ModelError, UsageError
from kit.model.convert.base import Options, Source, library_versions
from kit.model.convert.tf_export import layout_notes, named_shape, unique_names
from kit.model.convert.tflite.file import MAGIC, File, Graph, Tensor
from kit.model.convert.tflite.interpreter import Interpreter
from kit.model.convert.tflite.model import converted
from kit.model.convert.tflite.reader import parse
from kit.model.convert.tflite.state import NEXT, State, rewritten, states_of, without_variables
from kit.model.load import read_limited
from kit.model.metadata import serialized
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
        if options.target_opset < OLDEST_OPSET:
            raise UsageError(
                f"TensorFlow Lite models need opset {OLDEST_OPSET} or newer, not {options.opset}",
                where=str(path),
                next_step=f"give --opset {OLDEST_OPSET} or more, or leave it out",
            )
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
    proto = converted(file, inputs, outputs, states, path.stem, options.target_opset)
    model = Interpreter(rewritten(data, states) if states else data, inputs, outputs)
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
