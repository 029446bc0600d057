"""Read an ONNX file that nobody vouches for: its size, what it really is, its structure, its interface."""

from dataclasses import dataclass, field
from pathlib import Path

import onnx

from kit.errors import EdgeproofError, ModelError
from kit.model.external import take_in
from kit.model.inspect import check_structure
from kit.model.metadata import record_of, serialized
from kit.records import ModelRecord

MAX_MODEL_BYTES = 512 << 20
"""Largest model file that is read: it is held in memory whole, several times while it is quantized."""

_EXPORT = "export the model to ONNX"
_LOOKS_LIKE = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file it points to", "fetch it: git lfs pull"),
    (0, b"PK\x03\x04", "a zip archive (PyTorch, Keras and NumPy files are such)", _EXPORT),
    (0, b"\x89HDF\r\n", "an HDF5 file (an older Keras model?)", _EXPORT),
    (4, b"TFL3", "a TensorFlow Lite model", _EXPORT),
    (4, b"ORTM", "an onnxruntime format model", "give the ONNX file that it was made from"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (0, b"\x80", "a pickle", "give it the suffix .pkl or .joblib, and --trust-pickle if you trust where it comes from"),
    (0, b"\x93NUMPY", "a NumPy array", "give a model, not data"),
    (0, b"\x7fELF", "a program", "give a model"),
    (0, b"{", "JSON text", _EXPORT),
    (0, b"<", "HTML or XML text (a download page instead of the file?)", "download the file itself"),
)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """An ONNX model that passed every check: its bytes and its record."""

    data: bytes = field(repr=False)
    record: ModelRecord

    @property
    def proto(self) -> onnx.ModelProto:
        """The parsed model, a fresh copy each time."""
        model: onnx.ModelProto = onnx.ModelProto.FromString(self.data)
        return model


def looks_like(data: bytes) -> tuple[str, str] | None:
    """What a file that is no ONNX model seems to be, and what to do about it; None if nothing is recognized."""
    start = data[:64].lstrip() if data[:64].lstrip()[:1] in (b"<", b"{") else data[:64]
    for offset, magic, what, next_step in _LOOKS_LIKE:
        if start[offset:].startswith(magic):
            return what, next_step
    return None


def read_limited(path: Path) -> bytes:
    """All bytes of a regular file of at most `MAX_MODEL_BYTES`.

    Raises:
        ModelError: there is no such file, it is no regular file, is empty, too large or cannot be read.
    """
    try:
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "there is no such file"
            raise ModelError(what, where=str(path), next_step="check the path of the model")
        with path.open("rb") as stream:
            data = stream.read(MAX_MODEL_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"cannot be read: {reason}", where=str(path), next_step="check the path") from None
    if not data:
        raise ModelError("the file is empty", where=str(path), next_step="export or download it again")
    if len(data) > MAX_MODEL_BYTES:
        raise ModelError(
            f"the file is larger than {MAX_MODEL_BYTES >> 20} MiB, the most that is read",
            where=str(path),
            next_step="give a model that fits an edge device",
        )
    return data


def load_onnx(path: Path) -> LoadedModel:
    """Read and check the ONNX file at `path`; data in files beside it become part of it, so its digest covers them.

    Raises:
        ModelError: it cannot be read, is no ONNX model, or is malformed, unsafe or unsupported.
    """
    data = read_limited(path)
    return _checked(data, path.name, str(path), path.parent)


def load_onnx_bytes(data: bytes, name: str) -> LoadedModel:
    """Check the ONNX model in `data`, called `name`; raises ModelError as `load_onnx` does."""
    return _checked(data, name, name)


def _checked(data: bytes, name: str, where: str, folder: Path | None = None) -> LoadedModel:
    try:
        model = _parsed(data)
        if folder is not None and take_in(model, folder, MAX_MODEL_BYTES - len(data)):
            data = serialized(model)
        check_structure(model, data)
        return LoadedModel(data, record_of(model, data, name))
    except EdgeproofError as error:
        inner = f"{where}: {error.where}" if error.where else where
        raise ModelError(error.what, where=inner, next_step=error.next_step or "export the model again") from None
    except UnicodeDecodeError:
        what = "a name in it is not UTF-8 text: the file is damaged"
        raise ModelError(what, where=where, next_step="export or download it again") from None


def _parsed(data: bytes) -> onnx.ModelProto:
    known = looks_like(data)
    if known:
        raise ModelError(f"not an ONNX model but {known[0]}", next_step=known[1])
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except Exception:  # protobuf's implementations raise different ones
        raise ModelError(
            "not an ONNX model, or a damaged or cut one: it does not parse as protobuf",
            next_step="check that the file is complete, or export it again",
        ) from None
    if not model.HasField("graph") or not model.graph.node:
        raise ModelError(
            "not an ONNX model: it holds no graph with operators",
            next_step="check that it is the right file, or export it again",
        )
    return model
