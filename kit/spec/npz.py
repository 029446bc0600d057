"""Read an NPZ file without trusting it: no pickles, and nothing is unpacked before its declared size is checked."""

import sys
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from kit.errors import DatasetError
from kit.records import Float64Array, RaggedRecord
from kit.spec.rows import MEMORY_LIMIT_BYTES, Layout, Rows, TextArray, row_count_error
from kit.spec.toml import nearest

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what numpy.savez and savez_compressed write
_BROKEN = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError, KeyError)


def read_npz(path: Path, stream: BinaryIO, layout: Layout) -> Rows:
    """Inputs and metadata of an NPZ file; arrays that the layout does not name are left alone."""
    if layout.array is None:
        raise DatasetError("an NPZ file needs `array` in [input], not `columns`", where=str(path), next_step=_ARRAY)
    try:
        archive = zipfile.ZipFile(stream)
    except _BROKEN as error:
        raise _damaged(path, error) from None
    with archive:
        offsets = tuple(f"{name}_offsets" for name in layout.ragged)
        names = (layout.array, *layout.metadata, *layout.numbers, *layout.ragged, *offsets)
        members = _members(path, archive, names)
        inputs = _read_array(path, archive, members[layout.array], layout.array)
        _check_inputs(path, inputs, layout)
        metadata = {
            name: _text(path, name, _read_array(path, archive, members[name], name)) for name in layout.metadata
        }
        numbers = {name: _numbers(path, name, _read_array(path, archive, members[name], name))
                   for name in (*layout.numbers, *layout.ragged, *offsets)}  # fmt: skip
    for name, column in [*metadata.items(), *((name, numbers[name]) for name in layout.numbers)]:
        if len(column) != layout.rows:
            raise row_count_error(path, f"column {name}", len(column), layout.rows)
    found = Rows(path, inputs.astype(layout.dtype, copy=False), metadata, layout.array, (), numbers)
    return replace(found, ragged={name: _ragged(found, name, layout.rows) for name in layout.ragged})


_ARRAY = 'write array = "x" with the array\'s name'


def _members(path: Path, archive: zipfile.ZipFile, names: tuple[str, ...]) -> dict[str, zipfile.ZipInfo]:
    """The archive's entries for `names`, which together stay under the memory limit."""
    entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    for name in names:
        if name not in entries:
            next_step = nearest(name, [repr(entry)[1:-1] for entry in entries]) or "write the file again"
            raise DatasetError(f'there is no array "{name}"', where=str(path), next_step=next_step)
    chosen = {name: entries[name] for name in names}
    size = sum(info.file_size for info in chosen.values())
    if size > MEMORY_LIMIT_BYTES:
        raise DatasetError(
            f"its arrays unpack to {size / 2**30:.1f} GiB, and at most 2 GiB are read",
            where=str(path),
            next_step="hold out fewer rows",
        )
    return chosen


def _read_array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    """One array, whose header must agree with the entry's declared size before its content is read."""
    if info.compress_type not in _METHODS:
        raise _damaged(path, ValueError(f"array {name} is packed by a method that NumPy does not use"))
    try:
        with archive.open(info) as member:
            version = npy.read_magic(member)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran_order, dtype = read_header(member)
            _check_header(path, name, shape, dtype, info.file_size)
            content = member.read(info.file_size)
            array: NDArray[Any] = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
    except DatasetError:
        raise
    except Exception as error:  # NumPy evaluates the header as Python text, which can fail in any way
        raise _damaged(path, error) from None
    return np.asarray(array, order="C")


def _check_header(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], size_bytes: int) -> None:
    if dtype.hasobject or dtype.names:
        what = f"array {name} holds {'Python objects' if dtype.hasobject else 'records'}, which are never read"
        raise DatasetError(what, where=str(path), next_step="save plain numbers or text")
    count = 1
    for length in shape:
        count *= length
    if count * dtype.itemsize > size_bytes or count < 0 or dtype.itemsize == 0:
        raise ValueError(f"array {name} claims more content than it has")


def _check_inputs(path: Path, inputs: NDArray[Any], layout: Layout) -> None:
    where = f"{path}: array {layout.array}"
    if inputs.dtype.newbyteorder("=") != layout.dtype:
        what = f"its elements are {inputs.dtype.name}, and the manifest says {layout.dtype.name}"
        raise DatasetError(what, where=where, next_step="convert the array, or correct `dtype` in the manifest")
    if inputs.shape[1:] != layout.shape or inputs.ndim == 0:
        what = f"its shape is {list(inputs.shape)}, and the manifest says [rows, {', '.join(map(str, layout.shape))}]"
        raise DatasetError(what, where=where, next_step="reshape the array, or correct `shape` in the manifest")
    if len(inputs) != layout.rows:
        raise row_count_error(path, f"array {layout.array}", len(inputs), layout.rows)


def _text(path: Path, name: str, array: NDArray[Any]) -> TextArray:
    """A metadata column as text; whole numbers are written in decimal."""
    if array.ndim != 1 or array.dtype.kind not in "USiub":
        what = (
            f"it is {array.dtype.name} of shape {list(array.shape)}; a metadata column is text or whole numbers [rows]"
        )
        raise DatasetError(what, where=f"{path}: array {name}", next_step="save it as text or integers, one a row")
    try:
        texts: TextArray = array.astype(np.str_)
        if texts.dtype.itemsize and np.ascontiguousarray(texts).view(np.uint32).max(initial=0) > sys.maxunicode:
            raise ValueError("no character has such a number")
        return texts
    except (UnicodeDecodeError, ValueError):
        what = "it holds bytes that are not ASCII, or numbers that are no character"
        raise DatasetError(what, where=f"{path}: array {name}", next_step="save it as text (dtype U)") from None


def _numbers(path: Path, name: str, array: NDArray[Any]) -> Float64Array:
    """An array of numbers, float64 of the same shape."""
    if array.ndim < 1 or array.dtype.kind not in "iufb":
        what = f"it is {array.dtype.name} of shape {list(array.shape)}, not numbers [rows, ...]"
        raise DatasetError(what, where=f"{path}: array {name}", next_step="save it as integers or floats")
    if 8 * array.size > MEMORY_LIMIT_BYTES:
        what = f"its numbers take {8 * array.size / 2**30:.1f} GiB, and at most 2 GiB are read"
        raise DatasetError(what, where=f"{path}: array {name}", next_step="hold out fewer rows")
    return array.astype(np.float64)


def _ragged(rows: Rows, name: str, count: int) -> RaggedRecord:
    from kit.spec.truth import check_ragged

    offsets = rows.numbers[f"{name}_offsets"]
    with np.errstate(invalid="ignore"):
        return check_ragged(rows, name, rows.numbers[name], offsets.astype(np.int64), count)


def _damaged(path: Path, error: Exception) -> DatasetError:
    reason = repr(str(error))[1:-1][:200] or type(error).__name__
    return DatasetError(f"damaged, or not an NPZ file: {reason}", where=str(path), next_step="write the file again")
