"""ONNX models of other opsets, by the ONNX project's version converter."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kit.errors import ConversionError, ModelError
from kit.model.convert.base import Arrays, Options, Source, library_versions
from kit.model.load import LoadedModel, load_onnx
from kit.model.metadata import main_opset, serialized
from kit.model.session import quiet_runtime, reason_of
from kit.records import ModelRecord


class OnnxConverter:
    """The `Converter` of ONNX itself: raises an old opset, and lowers a new one where that can be done."""

    name = "onnx"
    reads = "ONNX models of any opset (.onnx)"
    extra = ""

    def claims(self, path: Path, start: bytes) -> bool:
        """By suffix: what is no ONNX model inside is refused with what it seems to be."""
        del start
        return path.suffix.lower() == ".onnx" and not path.is_dir()

    def is_pickle(self, path: Path, start: bytes) -> bool:
        """Never: protobuf holds no code."""
        del path, start
        return False

    def version(self) -> str:
        """Versions of onnx and onnxruntime."""
        return library_versions("", "ONNX models", {"onnx": "onnx", "onnxruntime": "onnxruntime"})

    def read(self, path: Path, options: Options) -> Source:
        """Check the model as hostile input, and load it into onnxruntime."""
        model = load_onnx(path)
        kept = _cannot_lower(model.proto, options.target_opset)
        if kept and options.opset is not None:
            raise ConversionError(
                f"its opset {model.record.opset} cannot be lowered to {options.opset}, "
                f"says the ONNX project's version converter: {kept}",
                where=str(path),
                next_step=f"leave --opset out, or export the model again with opset {options.opset}",
            )
        return Source(
            _described(model),
            _Session(model.data, str(path)).predict,
            lambda: serialized(model.proto if kept else at_opset(model, options.target_opset, str(path))),
            (_note(model.record.opset, options.target_opset, kept),),
        )


def _described(model: LoadedModel) -> ModelRecord:
    record = model.record
    return ModelRecord(
        name=record.name,
        digest=record.digest,
        size_bytes=record.size_bytes,
        format=f"ONNX opset {record.opset}",
        opset=record.opset,
        inputs=record.inputs,
        outputs=record.outputs,
    )


def _note(have: int | None, opset: int, kept: str) -> str:
    """What happens to the opset, for people; `kept` says why it cannot be lowered."""
    if kept:
        return f"Its opset {have} was kept: it cannot be lowered to {opset} ({kept})."
    if have is None or have == opset:
        return f"Its opset is {have}: nothing was changed but the metadata."
    return f"Its opset was {'raised' if have < opset else 'lowered'} from {have} to {opset}."


def at_opset(model: LoadedModel, opset: int, where: str) -> onnx.ModelProto:
    """The model at that opset.

    Raises:
        ConversionError: an operator cannot be brought to it; with its name, in the version converter's words.
    """
    proto, have = model.proto, model.record.opset
    if have is None or have == opset:
        return proto
    try:
        changed: onnx.ModelProto = onnx.version_converter.convert_version(proto, opset)
    except Exception as error:
        raise ConversionError(
            f"its opset {have} cannot be changed to {opset}: {_words(error)}",
            where=where,
            next_step="export the model again with a newer opset, or ask for one nearer to its own: --opset",
        ) from None
    constants_are_no_inputs(changed)
    return changed


def _cannot_lower(proto: onnx.ModelProto, opset: int) -> str:
    """Why a model of a newer opset cannot be lowered; empty if it can."""
    if (main_opset(proto) or 0) <= opset:
        return ""
    try:
        onnx.version_converter.convert_version(proto, opset)
    except Exception as error:
        return _words(error)
    return ""


def _words(error: Exception) -> str:
    """The version converter's reason without places in its own source."""
    return reason_of(error).rsplit("failed: ", 1)[-1].replace("$", "")


def constants_are_no_inputs(model: onnx.ModelProto) -> None:
    """Take initializers out of the inputs, where models of IR version 3 list them: a caller gives only true inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in constants]
    if len(kept) < len(model.graph.input):
        copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in kept]
        del model.graph.input[:]
        model.graph.input.extend(copies)
    model.ir_version = max(model.ir_version, 4)  # the first whose initializers need not be inputs


class _Session:
    """onnxruntime on what the model takes: as many rows at once as it is given."""

    def __init__(self, data: bytes, where: str) -> None:
        onnxruntime = quiet_runtime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(
                f"onnxruntime {onnxruntime.__version__} cannot load the model: {reason_of(error)}",
                where=where,
                next_step="export it again, with an older opset if the message speaks of one",
            ) from None
        self._names = [value.name for value in self._session.get_outputs()]

    def predict(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Every output by name; ConversionError if the runtime fails."""
        try:
            values = self._session.run(None, dict(feeds))
        except Exception as error:
            raise ConversionError(
                f"the runtime fails on a row: {reason_of(error)}",
                next_step="give rows of the size that it was made for, or export it without what the message names",
            ) from None
        return {name: np.asarray(value) for name, value in zip(self._names, values, strict=True)}
