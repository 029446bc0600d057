"""Keras models (``.keras`` archives, older ``.h5`` files), by tf2onnx. Nothing in the file may be code."""

import importlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kit.digest import digest_bytes
from kit.errors import ModelError
from kit.model.convert.base import Options, Source
from kit.model.convert.tf_export import TensorFlowConverter, Traced, damaged, source_of, tensorflow, traced
from kit.model.load import MAX_MODEL_BYTES, read_limited

_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
_MEMBERS = frozenset(("metadata.json", "config.json", "model.weights.h5"))
MAX_CONFIG_BYTES = 16 << 20
"""Largest ``config.json``: the text that says which layers there are."""

_CODE = {
    "Lambda": "a Lambda layer, which is Python code inside the file",
    "TFSMLayer": "a layer that loads another model from a path",
    "TorchModuleWrapper": "a layer that unpickles a PyTorch module",
    "JaxLayer": "a layer that is a function of JAX, not weights",
    "FlaxLayer": "a layer that is a module of Flax, not weights",
    "StringLookup": "a layer that looks words up, possibly in a file of another path",
    "IntegerLookup": "a layer that looks numbers up, possibly in a file of another path",
    "TextVectorization": "a layer that splits text and looks words up, possibly in a file of another path",
}
"""Keras's own classes that are refused, and what they are."""


class KerasConverter(TensorFlowConverter):
    """The `Converter` of Keras files."""

    reads = "Keras models (.keras, .h5)"

    def claims(self, path: Path, start: bytes) -> bool:
        """A zip called ``.keras``, or an HDF5 file."""
        suffix = path.suffix.lower()
        return (suffix == ".keras" and start.startswith(_ZIP)) or (
            suffix in (".h5", ".hdf5", ".keras") and start.startswith(_HDF5)
        )

    def read(self, path: Path, options: Options) -> Source:
        """The saved model, without its training state."""
        data = read_limited(path)
        _refuse_code(data, path)
        tensorflow("Keras models")
        kind = "Keras" if data.startswith(_ZIP) else "Keras (HDF5)"
        return source_of(_traced(path), path.name, digest_bytes(data), len(data), kind, options.target_opset)


def _traced(path: Path) -> Traced:
    keras = importlib.import_module("keras")
    try:
        model = keras.saving.load_model(str(path), compile=False, safe_mode=True)
        inputs = list(model.inputs)
        structure = inputs[0] if isinstance(model, keras.Sequential) else model.input
    except Exception as error:
        raise damaged("Keras cannot load it", error, path) from None

    def call(*tensors: Any) -> list[Any]:
        packed = keras.tree.pack_sequence_as(structure, list(tensors))
        return list(keras.tree.flatten(model(packed, training=False)))

    tf = importlib.import_module("tensorflow")
    specs = [(each.name, tf.TensorSpec(each.shape, each.dtype)) for each in inputs]
    return traced(model, call, specs, _output_names(model))


def _output_names(model: Any) -> list[str]:
    """Names of the layers that give the outputs."""
    named = getattr(model, "output_names", None)
    return list(named or (tensor._keras_history.operation.name for tensor in model.outputs))


def _refuse_code(data: bytes, path: Path) -> None:
    """Look at the model's description, before Keras does: every class is Keras's own, and none is code."""
    config = _archive_config(data, path) if data.startswith(_ZIP) else _hdf5_config(data, path)
    for class_name, module, registered, name in _classes(config):
        what = _CODE.get(class_name, "")
        if not what and module not in (None, "keras", "builtins") and not str(module).startswith("keras."):
            what = f"a class of {module!r}, which this tool does not have and must not import"
        elif not what and registered not in (None, class_name, "function"):
            what = f"a custom object registered as {registered!r}, whose code is not in the file"
        if what:
            raise ModelError(
                f"{f'the layer {name!r}' if name else class_name} is {what}",
                where=str(path),
                next_step="rebuild the model of Keras's own layers, or convert a SavedModel of it",
            )


def _classes(config: Any) -> Iterator[tuple[str, Any, Any, str]]:
    """Class, module, registered name and own name of every object described anywhere inside `config`."""
    pending = [config]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            if isinstance(each.get("class_name"), str):
                inner = each.get("config")
                name = inner.get("name", "") if isinstance(inner, dict) else ""
                yield each["class_name"], each.get("module"), each.get("registered_name"), str(name)
            pending += each.values()
        elif isinstance(each, list):
            pending += each


def _archive_config(data: bytes, path: Path) -> Any:
    """The description inside a ``.keras`` archive, whose members are the known three and of bounded size."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members, path)
            weights = next((each for each in members if each.filename.endswith(".h5")), None)
            text = archive.read("config.json")
            if weights is not None:
                _check_hdf5(archive.read(weights), path)
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise damaged("it is no complete .keras archive", error, path) from None
    return _json(text, path)


def _check_members(members: list[zipfile.ZipInfo], path: Path) -> None:
    names = [member.filename for member in members]
    unknown = next((name for name in names if name not in _MEMBERS), None)
    if unknown is not None or len(set(names)) != len(names):
        what = f"holds {unknown!r}" if unknown is not None else "holds a file twice"
        raise ModelError(
            f"the archive {what}, and a .keras archive has {', '.join(sorted(_MEMBERS))} only",
            where=str(path),
            next_step="save the model again with model.save, without assets",
        )
    limits = {"config.json": MAX_CONFIG_BYTES, "metadata.json": MAX_CONFIG_BYTES}
    for member in members:
        limit = limits.get(member.filename, MAX_MODEL_BYTES)
        if member.file_size > limit:
            raise ModelError(
                f"{member.filename} is {member.file_size} bytes unpacked, the most is {limit}",
                where=str(path),
                next_step="give a model that fits an edge device",
            )


def _hdf5_config(data: bytes, path: Path) -> Any:
    config = _check_hdf5(data, path)
    if config is None:
        raise ModelError(
            "the HDF5 file holds weights or data, and no model's description",
            where=str(path),
            next_step="save the whole model: model.save('model.keras')",
        )
    return _json(config, path)


def _check_hdf5(data: bytes, path: Path) -> Any:
    """The attribute ``model_config``, None without; no part of the file may lie in another file."""
    h5py = importlib.import_module("h5py")
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            _refuse_outside(h5py, file, path)
            return file.attrs.get("model_config")
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise damaged("it is no complete HDF5 file", error, path) from None


def _refuse_outside(h5py: Any, file: Any, path: Path) -> None:
    """Walk every group: no links to other files, no datasets stored in them, no absurd sizes in all."""
    total_bytes, pending = 0, [file["/"]]
    while pending:
        group = pending.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise _outside(f"{group.name}/{name}".replace("//", "/"), "is a link", path)
            item = group[name]
            if isinstance(item, h5py.Group):
                pending.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise _outside(item.name, "keeps its values in another file", path)
                total_bytes += item.nbytes
            if total_bytes > MAX_MODEL_BYTES:
                raise _outside("the datasets", f"would take more than {MAX_MODEL_BYTES >> 20} MiB", path)


def _outside(name: str, what: str, path: Path) -> ModelError:
    return ModelError(f"the HDF5 file is refused: {name} {what}", where=str(path), next_step="save the model again")


def _json(text: Any, path: Path) -> Any:
    try:
        if len(text) > MAX_CONFIG_BYTES:
            raise ValueError(f"it is longer than {MAX_CONFIG_BYTES >> 20} MiB")
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged("its description is no JSON", error, path) from None
