"""What the TensorFlow converters share: TensorFlow itself, held quiet, and a traced function turned into ONNX."""

import importlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kit.errors import ConversionError, MissingExtraError, ModelError
from kit.model.convert.base import Arrays, Source, library_versions
from kit.model.graph import drop_unused_domains
from kit.model.metadata import serialized
from kit.records import ModelRecord, TensorInfo

BATCH_ROWS = 64
"""Rows that a source of dynamic batch predicts at once."""

_QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # reordered sums: the comparison would measure oneDNN, not the conversion
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "KERAS_HOME": "/nonexistent",
    "GRPC_VERBOSITY": "NONE",
}
LAYOUT_NOTE = "the input {name!r} keeps the source's layout, channels last (NHWC)"


def tensorflow(what: str) -> Any:
    """The module ``tensorflow``, on the CPU and without its log; `what` needs it. MissingExtraError if it is absent."""
    os.environ.update({name: value for name, value in _QUIET.items() if name not in os.environ})
    os.environ["KERAS_BACKEND"] = "tensorflow"
    try:
        importlib.import_module("tf2onnx")
        module = importlib.import_module("tensorflow")
    except ImportError:
        raise MissingExtraError(
            f"{what} need TensorFlow and tf2onnx", next_step="pip install 'edgeproof[tensorflow]'"
        ) from None
    module.get_logger().setLevel("ERROR")
    return module


class TensorFlowConverter:
    """What the converters of TensorFlow's files have in common."""

    name = "tf2onnx"
    extra = "tensorflow"

    def is_pickle(self, path: Path, start: bytes) -> bool:  # noqa: ARG002
        """Never: a graph runs no Python code, and files that hold code or touch files are refused, trusted or not."""
        return False

    def version(self) -> str:
        """Versions of TensorFlow, Keras and tf2onnx, none of them imported; raises MissingExtraError."""
        libraries = {"tensorflow": "tensorflow-cpu|tensorflow|tensorflow-intel|tensorflow-macos", "keras": "keras"}
        return library_versions(self.extra, "TensorFlow models", libraries | {"tf2onnx": "tf2onnx"})


@dataclass(frozen=True, slots=True)
class Traced:
    """A function of tensors with its interface: positional inputs, a flat list of outputs.

    function: a ``tf.function`` with a fixed input signature. inputs, outputs: name, dtype and shape of each, in order.
    owner: what holds the variables, which a function does not keep alive.
    """

    function: Any
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    owner: Any

    def predict(self, arrays: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name for rows by name, in batches, or one by one where the batch is fixed."""
        total = len(arrays[self.inputs[0].name])
        step = BATCH_ROWS if isinstance(self.inputs[0].shape[0], str) else 1
        parts = [self._outputs(arrays, start, start + step) for start in range(0, total, step)]
        columns = zip(*parts, strict=True)
        return {info.name: np.concatenate(part) for info, part in zip(self.outputs, columns, strict=True)}

    def _outputs(self, arrays: Arrays, start: int, stop: int) -> list[NDArray[Any]]:
        values = self.function(*(arrays[info.name][start:stop] for info in self.inputs))
        return [np.asarray(value) for value in values]


def traced(
    owner: Any, call: Callable[..., Sequence[Any]], specs: Sequence[tuple[str, Any]], output_names: Sequence[str]
) -> Traced:
    """Trace `call` once, on positional tensors.

    Args:
        owner: the loaded model.
        call: takes one tensor an input and gives a flat sequence of tensors.
        specs: name and ``tf.TensorSpec`` of every input. output_names: a name for each output.

    Raises:
        ConversionError: an input or output is no dense tensor of numbers.
    """
    tf = importlib.import_module("tensorflow")
    signature = [tf.TensorSpec(spec.shape, spec.dtype, name=f"x{number}") for number, (_, spec) in enumerate(specs)]
    function = tf.function(lambda *xs: [tf.identity(y) for y in call(*xs)], input_signature=signature)
    results = function.get_concrete_function().outputs
    names = unique_names([name for name, _ in specs] + list(output_names))
    inputs = tuple(_info(name, spec) for name, (_, spec) in zip(names, specs, strict=False))
    outputs = tuple(_info(name, spec) for name, spec in zip(names[len(specs) :], results, strict=True))
    return Traced(function, inputs, outputs, owner)


def source_of(function: Traced, name: str, digest: str, size_bytes: int, format_name: str, opset: int) -> Source:
    """A traced model as a source; the ONNX model is called as the file is, less its suffix."""
    record = ModelRecord(name, digest, size_bytes, format_name, None, function.inputs, function.outputs)
    notes = layout_notes(function.inputs)
    return Source(record, function.predict, lambda: export(function, Path(name).stem, opset), notes)


def unique_names(wanted: Sequence[str]) -> list[str]:
    """Names as people gave them, in characters that every tool takes, each once."""
    taken: list[str] = []
    for number, name in enumerate(wanted):
        clean = re.sub(r"[^\w./-]", "_", name.removesuffix(":0"), flags=re.ASCII) or f"tensor_{number}"
        taken.append(clean if clean not in taken else f"{clean}_{number}")
    return taken


def _info(name: str, spec: Any) -> TensorInfo:
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    if dtype.kind not in "fiub" or spec.shape.rank is None:
        what = "of no fixed rank" if spec.shape.rank is None else f"of dtype {spec.dtype.name}, not numbers"
        raise ConversionError(
            f"the tensor {name!r} is {what}",
            next_step="save the model without its text or ragged preprocessing, with shapes stated",
        )
    return TensorInfo(name, dtype.name, named_shape(name, spec.shape.as_list()))


def named_shape(name: str, sizes: Sequence[int | None]) -> tuple[int | str, ...]:
    """A shape whose unknown first size is ``rows`` and whose other unknown sizes carry the tensor's name."""
    return tuple(
        size if size is not None and size >= 0 else "rows" if axis == 0 else f"{name}_dim{axis}"
        for axis, size in enumerate(sizes)
    )


def layout_notes(inputs: Sequence[TensorInfo]) -> tuple[str, ...]:
    """A sentence for every input that looks like images with channels last."""
    return tuple(
        LAYOUT_NOTE.format(name=info.name)
        for info in inputs
        if len(info.shape) == 4 and isinstance(info.shape[3], int) and info.shape[3] in (1, 3, 4)
    )


def export(source: Traced, name: str, opset: int) -> bytes:
    """The ONNX model of `source`: variables as constants, constants folded, names and dynamic sizes as recorded.

    Raises:
        ConversionError: tf2onnx cannot convert it; the message names the operators.
    """
    convert, loader = importlib.import_module("tf2onnx.convert"), importlib.import_module("tf2onnx.tf_loader")
    concrete = source.function.get_concrete_function()
    sources = [tensor.name for tensor in concrete.inputs[: len(source.inputs)]]  # captured variables come after
    results = [tensor.name for tensor in concrete.outputs]
    renamed = dict(zip(sources + results, (info.name for info in source.inputs + source.outputs), strict=True))
    try:
        frozen = loader.from_function(concrete, sources, results)
        proto, _ = convert.from_graph_def(
            frozen, name=name, input_names=sources, output_names=results, opset=opset, tensors_to_rename=renamed
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ConversionError(
            f"tf2onnx cannot convert it: {type(error).__name__}: {reason}",
            next_step="try another opset, or save the model without the part that the message names",
        ) from None
    _refuse_unconverted(proto)
    return serialized(_tidy(proto, source, name))


def _refuse_unconverted(proto: onnx.ModelProto) -> None:
    """tf2onnx leaves an operator that it does not know as it is, and goes on."""
    left = sorted({node.op_type for node in proto.graph.node if not _is_onnx(node)})
    if left:
        raise ConversionError(
            f"ONNX has no form of these TensorFlow operators: {', '.join(left)}",
            next_step="save the model without them (preprocessing belongs outside the model)",
        )


def _is_onnx(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx", "ai.onnx.ml") and onnx.defs.has(node.op_type, node.domain or "")


def _tidy(proto: onnx.ModelProto, source: Traced, name: str) -> onnx.ModelProto:
    """State shapes as in `source`, and leave out what changes from run to run."""
    for value, info in zip((*proto.graph.input, *proto.graph.output), source.inputs + source.outputs, strict=True):
        element = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(info.dtype))
        value.CopyFrom(onnx.helper.make_tensor_value_info(info.name, element, info.shape))
    proto.graph.name, proto.graph.doc_string, proto.doc_string = name, "", ""
    drop_unused_domains(proto)
    return proto


def damaged(what: str, error: BaseException, path: Path) -> ModelError:
    """What a library said of a file that it cannot read, as our error on one line."""
    text = "".join(character if character.isprintable() else " " for character in str(error))
    reason = " ".join(text.split())[:300] or type(error).__name__
    return ModelError(
        f"{what}: {reason}", where=str(path), next_step="check that the file is complete, or save the model again"
    )
