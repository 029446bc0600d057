"""Rows as a part's file holds them, before they are checked: inputs, and metadata columns as text."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kit.errors import DatasetError
from kit.records import ColumnRecord, Float64Array, Int64Array, RaggedRecord

MEMORY_LIMIT_BYTES = 2 << 30
"""The most that one part may take decoded: a dataset is a hostile input too."""

TextArray = NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a part must hold: an array or columns (names or patterns) of inputs, and the columns of metadata.

    numbers: columns of numbers, in an NPZ file of any shape [rows, ...]; ragged: an NPZ file's arrays with offsets
    beside them. sensitive: columns of `metadata` that must not be inputs.
    """

    array: str | None
    columns: tuple[str, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    metadata: tuple[str, ...]
    rows: int
    numbers: tuple[str, ...] = ()
    ragged: tuple[str, ...] = ()
    sensitive: tuple[str, ...] = ()

    @property
    def values_per_row(self) -> int:
        """Elements of one row of inputs."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Rows:
    """A part as read: inputs [rows, *shape], metadata [rows] as text, and the name of each input value.

    numbers: float64 [rows, ...] by name; ragged: a list a row.
    """

    path: Path
    inputs: NDArray[np.generic]
    metadata: dict[str, TextArray]
    array: str | None
    input_columns: tuple[str, ...]
    numbers: dict[str, Float64Array] = field(default_factory=dict)
    ragged: dict[str, RaggedRecord] = field(default_factory=dict)

    def input_place(self, row: int, value: int) -> str:
        """Where the input value number `value` (flattened) of a row is, for people."""
        if self.array is None:
            return place(self.path, row, self.input_columns[value])
        index = ", ".join(str(part) for part in np.unravel_index(value, self.inputs.shape[1:]))
        return place(self.path, row, f"{self.array}[{index}]" if index else self.array)


def place(path: Path, row: int, column: str) -> str:
    """``held-out.npz: row 17 (from 0), column side``."""
    return f"{path}: row {row} (from 0), column {column}"


def read_rows(path: Path, stream: BinaryIO, layout: Layout) -> Rows:
    """Read a part by its file's suffix. Raises DatasetError, and MissingExtraError where Parquet cannot be read."""
    _bound_memory(path, layout)
    if path.suffix == ".npz":
        from kit.spec.npz import read_npz

        return read_npz(path, stream, layout)
    if path.suffix == ".csv":
        from kit.spec.table import read_csv

        return read_csv(path, stream, layout)
    if path.suffix == ".parquet":
        from kit.spec.table import read_parquet

        return read_parquet(path, stream, layout)
    raise DatasetError(
        f'unknown kind of file "{path.suffix}"', where=str(path), next_step="use a .npz, .csv or .parquet file"
    )


def _bound_memory(path: Path, layout: Layout) -> None:
    size = layout.rows * layout.values_per_row * layout.dtype.itemsize
    if size > MEMORY_LIMIT_BYTES:
        raise DatasetError(
            f"its inputs take {size / 2**30:.1f} GiB, and at most 2 GiB are read",
            where=str(path),
            next_step="hold out fewer rows",
        )


def row_count_error(path: Path, what: str, rows: int, expected: int) -> DatasetError:
    """A part whose file holds another number of rows than its manifest says."""
    return DatasetError(
        f"{what} has {rows} rows, and the manifest says {expected}",
        where=str(path),
        next_step="restore the file, or correct `rows` in the manifest",
    )


def data_digest(
    inputs: NDArray[np.generic],
    classes: tuple[str, ...],
    labels: Int64Array,
    cluster: Int64Array,
    columns: dict[str, ColumnRecord],
    more: Sequence[tuple[str, NDArray[Any]]] = (),
) -> str:
    """Digest of the content, whatever file it came from: dtype, shape and little-endian bytes of every array.

    more: what a task or a manifest adds (targets, numbers, weights), by name; nothing of it, and the digest is as ever.
    """
    state = hashlib.sha256(b"edgeproof dataset 1\n")
    _add_array(state, inputs)
    _add_texts(state, classes)
    _add_array(state, labels)
    _add_array(state, cluster)
    for name in sorted(columns):
        _add_texts(state, (name, *columns[name].values))
        _add_array(state, columns[name].codes)
    for name, array in more:
        _add_texts(state, (name,))
        _add_array(state, array)
    return "sha256:" + state.hexdigest()


def _add_array(state: Any, array: NDArray[Any]) -> None:
    state.update(f"{array.dtype.name} {list(array.shape)}\n".encode())
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    state.update(little.reshape(-1).view(np.uint8))


def _add_texts(state: Any, texts: tuple[str, ...]) -> None:
    """Each with its length before it, so that no two lists look alike."""
    state.update(f"{len(texts)}\n".encode())
    for text in texts:
        content = text.encode()
        state.update(f"{len(content)} ".encode() + content)
