"""Where variants are written: planned before the work, whole or not at all, never over a file that is there unasked."""

from collections.abc import Iterable
from pathlib import Path

from kit.errors import StoreError, UsageError
from kit.store.objects import write_atomically

RECORD_SUFFIX = ".quantize.json"


def plan_files(
    model: Path, recipes: Iterable[str], out: Path | None, *, force: bool, into: bool = False
) -> dict[str, Path]:
    """The file of each recipe: `out` itself for one recipe, else a file in the folder `out` (the current one).

    `into`: `out` is a folder for one recipe too. A file without a suffix gets ``.onnx``.

    Raises:
        UsageError: a file or its record is there already and `force` is not given, it would be the model itself, or
            `out` is a file where a folder is needed.
    """
    names = {recipe: f"{model.stem}.{recipe}.onnx" for recipe in recipes}
    alone = into and len(names) == 1
    folder = alone or out is None or out.is_dir() or len(names) > 1
    base = out or Path()
    if folder and not alone and (base.suffix == ".onnx" or base.is_file()):
        raise UsageError(
            f"{len(names)} variants need a folder", where=str(base), next_step="give a folder as -o, or one --recipe"
        )
    if not folder and not base.suffix:
        base = base.with_name(f"{base.name}.onnx")
    files = {recipe: base / name if folder else base for recipe, name in names.items()}
    for path in files.values():
        _check_free(path, model, force=force)
    return files


def record_path(path: Path) -> Path:
    """The record beside a variant: ``net.int8.onnx`` has ``net.int8.quantize.json``."""
    return path.with_name(path.name.removesuffix(".onnx") + RECORD_SUFFIX)


def _check_free(path: Path, model: Path, *, force: bool) -> None:
    if path.exists() and model.exists() and path.samefile(model):
        raise UsageError("this is the model itself", where=str(path), next_step="give another file as -o")
    if path.is_dir():
        raise UsageError("there is a folder of that name", where=str(path), next_step="give another file as -o")
    above = next(each for each in path.absolute().parents if each.exists())
    if not above.is_dir():
        raise UsageError("this is a file, not a folder", where=str(above), next_step="give another file as -o")
    there = [each for each in (path, record_path(path)) if each.exists()]
    if there and not force:
        raise UsageError(
            "there is a file of that name", where=str(there[0]), next_step="--force replaces it; -o names another"
        )


def write_variant(path: Path, model: bytes, record: bytes) -> None:
    """A variant and its record, each whole. Raises StoreError where they cannot be written."""
    try:
        write_atomically(path, model)
        write_atomically(record_path(path), record)
    except OSError as error:
        raise StoreError(
            f"cannot be written: {error.strerror}",
            where=str(path),
            next_step="look at the space, the permissions and the path",
        ) from error
