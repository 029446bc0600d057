"""TensorFlow SavedModel folders, by tf2onnx. The graph is read before TensorFlow loads it: it is a program."""

import tempfile
from pathlib import Path
from typing import Any

from kit.digest import digest_bytes, digest_file
from kit.errors import ConversionError, ModelError, UsageError
from kit.model.convert.base import Options, Source
from kit.model.convert.tf_export import TensorFlowConverter, Traced, damaged, source_of, tensorflow, traced
from kit.model.convert.tf_scan import refuse_unsafe_graph, without_optimizer_slots
from kit.model.load import MAX_MODEL_BYTES

GRAPH = "saved_model.pb"
MAX_FILES = 1000
"""Most files of a SavedModel folder: a graph, an index and a few shards of variables."""

_VARIABLES = "variables"
_DEFAULT, _INTERNAL = "serving_default", "__saved_model_init_op"


class SavedModelConverter(TensorFlowConverter):
    """The `Converter` of SavedModel folders."""

    reads = "TensorFlow SavedModel folders"

    def claims(self, path: Path, start: bytes) -> bool:  # noqa: ARG002
        """A folder with a ``saved_model.pb``."""
        return path.is_dir() and (path / GRAPH).is_file()

    def read(self, path: Path, options: Options) -> Source:
        """The model's signature ``serving_default``, or its only one."""
        files = _files(path)
        tf = tensorflow("SavedModel folders")
        graph = (path / GRAPH).read_bytes()
        refuse_unsafe_graph(graph, str(path / GRAPH))
        function = _traced(tf, path, graph)
        listing = "\n".join(f"{each.relative_to(path).as_posix()} {digest_file(each)}" for each in files)
        size_bytes = sum(each.stat().st_size for each in files)
        digest = digest_bytes(listing.encode())
        return source_of(function, path.name, digest, size_bytes, "TensorFlow SavedModel", options.target_opset)


def _files(path: Path) -> list[Path]:
    """Every file of the folder in order, none of them a link; refused where they are too many or too large."""
    found: list[Path] = []
    size_bytes = 0
    for each in path.rglob("*"):
        inside = each.relative_to(path).as_posix()
        if each.is_symlink() or not (each.is_file() or each.is_dir()):
            raise _refused(path, f"{inside!r} is a link or no regular file", "copy the files themselves into it")
        if each.is_file():
            found.append(each)
            size_bytes += each.stat().st_size
        if len(found) > MAX_FILES or size_bytes > MAX_MODEL_BYTES:
            limit = f"{MAX_FILES} files and {MAX_MODEL_BYTES >> 20} MiB"
            raise _refused(path, f"it holds more than {limit}", "give a model that fits an edge device")
    return sorted(found)


def _refused(path: Path, what: str, next_step: str) -> ModelError:
    return ModelError(f"the folder is refused: {what}", where=str(path), next_step=next_step)


def _load(tf: Any, path: Path, graph: bytes) -> Any:
    """Load the very graph that was looked at, with the variables of `path`."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / GRAPH).write_bytes(without_optimizer_slots(graph))
        (Path(folder) / _VARIABLES).symlink_to((path / _VARIABLES).resolve())
        try:
            return tf.saved_model.load(folder)
        except Exception as error:
            raise damaged("TensorFlow cannot load it", error, path) from None


def _traced(tf: Any, path: Path, graph: bytes) -> Traced:
    loaded = _load(tf, path, graph)
    function = loaded.signatures[_chosen([name for name in loaded.signatures if name != _INTERNAL], path)]
    _, named = function.structured_input_signature
    if not named:
        raise ConversionError("its signature takes no inputs", where=str(path), next_step="export the model itself")
    # the order of the call, where the file tells it; by name otherwise
    order = sorted(named, key=lambda name: _position(function, name))
    outputs = sorted(function.structured_outputs)

    def call(*tensors: Any) -> list[Any]:
        results = function(**dict(zip(order, tensors, strict=True)))
        return [results[name] for name in outputs]

    return traced(loaded, call, [(name, named[name]) for name in order], outputs)


def _position(function: Any, name: str) -> int:
    names = [tensor.name.split(":")[0].removeprefix(f"{_DEFAULT}_") for tensor in function.inputs]
    return names.index(name) if name in names else len(names)


def _chosen(signatures: list[str], path: Path) -> str:
    if _DEFAULT in signatures:
        return _DEFAULT
    if len(signatures) == 1:
        return signatures[0]
    what = f"has {len(signatures)} signatures ({', '.join(sorted(signatures))})" if signatures else "has no signature"
    raise UsageError(
        f"the SavedModel {what}, and none is called {_DEFAULT}",
        where=str(path),
        next_step=f"save it with signatures={{'{_DEFAULT}': the function to convert}}",
    )
