"""Read CSV and Parquet parts into the declared dtype, one bounded batch of rows at a time."""

import csv
import fnmatch
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kit.errors import DatasetError, MissingExtraError
from kit.spec.rows import MEMORY_LIMIT_BYTES, Layout, Rows, TextArray, place, row_count_error
from kit.spec.toml import nearest

BATCH_ROWS = 4096
RECORD_LIMIT = 16 << 20  # characters of one row of a CSV file
TEXT_LIMIT = 4096  # characters of a metadata value; longer ones are refused when values are checked

PATTERN_WORK_LIMIT = 20_000_000  # patterns with wildcards times characters of all column names: about a second

_WILDCARD = re.compile(r"[*?[]")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def read_csv(path: Path, stream: BinaryIO, layout: Layout) -> Rows:
    """A CSV file (RFC 4180, UTF-8, a header line). Nothing in it means "missing" except an empty cell."""
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    lines = _Lines(text)
    records = csv.reader(lines, strict=True)
    try:
        header = next(records, [])
        inputs, metadata = _columns(path, header, layout)
        positions = {name: position for position, name in enumerate(header)}
        table = _Table(path, layout, inputs)
        for record in records:
            lines.record_characters = 0
            if len(record) != len(header):
                if not record:
                    continue  # a blank line
                what = f"{len(record)} cells, and the header has {len(header)}"
                where = f"{path}:{records.line_num}: row {table.filled} (from 0)"
                raise DatasetError(what, where=where, next_step="quote cells that hold commas")
            table.add(*([record[positions[name]] for name in names] for names in (inputs, metadata, layout.numbers)))
    except csv.Error as error:
        raise DatasetError(
            f"not valid CSV: {error}", where=f"{path}:{records.line_num}", next_step="write the file again"
        ) from None
    except UnicodeDecodeError:
        where = f"{path}:{records.line_num + 1} or later"
        raise DatasetError("not UTF-8 text", where=where, next_step="save the file as UTF-8") from None
    finally:
        text.detach()  # the stream is the caller's to close
    return table.rows()


class _Lines:
    """Lines of a text, as long as one record of them stays bounded: a file may be one endless line."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.text, self.record_characters = text, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.text.readline(RECORD_LIMIT + 1)
        self.record_characters += len(line)
        if self.record_characters > RECORD_LIMIT:
            raise csv.Error(f"a row of more than {RECORD_LIMIT} characters")
        if not line:
            raise StopIteration
        return line


class _Table:
    """Rows of a CSV file as they come: cells are parsed into the declared dtype at once."""

    def __init__(self, path: Path, layout: Layout, inputs: Sequence[str]) -> None:
        self.path, self.layout, self.columns, self.filled = path, layout, tuple(inputs), 0
        self.inputs = np.empty((layout.rows, layout.values_per_row), layout.dtype)
        self.texts: list[list[str]] = [[] for _ in layout.metadata]
        self.numbers = np.empty((len(layout.numbers), layout.rows))
        self.parse = _parser(layout.dtype)

    def add(self, cells: list[str], texts: list[str], numbers: list[str]) -> None:
        """Take one row: its input cells, its metadata and numbers; raises DatasetError naming a bad cell."""
        if self.filled == self.layout.rows:
            raise row_count_error(self.path, "the table", self.filled + 1, self.layout.rows)
        try:
            with np.errstate(over="ignore"):  # too large for the dtype is infinite, which the checks report
                self.inputs[self.filled] = [self.parse(cell) for cell in cells]
        except (ValueError, OverflowError, KeyError):
            raise self._bad_cell(cells) from None
        for position, cell in enumerate(numbers):
            try:
                self.numbers[position, self.filled] = float(cell)
            except ValueError:
                name = self.layout.numbers[position]
                raise _not_a_number(self.path, self.filled, name, cell, self.numbers.dtype) from None
        for column, text in zip(self.texts, texts, strict=True):
            column.append(text[:TEXT_LIMIT])
        self.filled += 1

    def rows(self) -> Rows:
        """All rows, once the table has ended; raises DatasetError if there are fewer than stated."""
        if self.filled != self.layout.rows:
            raise row_count_error(self.path, "the table", self.filled, self.layout.rows)
        metadata = {
            name: np.array(texts, np.str_) for name, texts in zip(self.layout.metadata, self.texts, strict=True)
        }
        numbers = dict(zip(self.layout.numbers, self.numbers, strict=True))
        return Rows(self.path, self.inputs.reshape(-1, *self.layout.shape), metadata, None, self.columns, numbers)

    def _bad_cell(self, cells: list[str]) -> DatasetError:
        for name, cell in zip(self.columns, cells, strict=True):
            try:
                with np.errstate(over="ignore"):
                    np.empty(1, self.layout.dtype)[0] = self.parse(cell)
            except (ValueError, OverflowError, KeyError):
                return _not_a_number(self.path, self.filled, name, cell, self.layout.dtype)
        raise AssertionError("a row that cannot be stored has a cell that cannot")


def read_parquet(path: Path, stream: BinaryIO, layout: Layout) -> Rows:
    """A Parquet file. Raises MissingExtraError without pyarrow."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        install = 'pip install "edgeproof[parquet]"'
        raise MissingExtraError("Parquet files need the library pyarrow", where=str(path), next_step=install) from None
    try:
        file = parquet.ParquetFile(stream)
        _check_parquet(path, file.metadata, layout)
        inputs, metadata = _columns(path, file.schema_arrow.names, layout)
        names = dict.fromkeys((*inputs, *metadata, *layout.numbers))
        batches = file.iter_batches(BATCH_ROWS, columns=list(names), use_threads=False)
        return _from_batches(path, layout, inputs, batches)
    except (arrow.ArrowException, OSError, ValueError) as error:
        reason = repr(str(error))[1:-1][:200]
        what = f"damaged, or not a Parquet file: {reason}"
        raise DatasetError(what, where=str(path), next_step="write the file again") from None


def _check_parquet(path: Path, metadata: Any, layout: Layout) -> None:
    if metadata.num_rows != layout.rows:
        raise row_count_error(path, "the table", metadata.num_rows, layout.rows)
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    if size > MEMORY_LIMIT_BYTES:
        what = f"it unpacks to {size / 2**30:.1f} GiB, and at most 2 GiB are read"
        raise DatasetError(what, where=str(path), next_step="hold out fewer rows")


def _from_batches(path: Path, layout: Layout, columns: Sequence[str], batches: Iterator[Any]) -> Rows:
    inputs = np.empty((layout.rows, layout.values_per_row), layout.dtype)
    texts: dict[str, list[TextArray]] = {name: [] for name in layout.metadata}
    numbers = {name: np.empty(layout.rows) for name in layout.numbers}
    start = 0
    for batch in batches:
        for position, name in enumerate(columns):
            values = _values(path, start, name, batch.column(name))
            inputs[start : start + len(values), position] = _as_dtype(path, start, name, values, layout.dtype)
        for name, column in numbers.items():
            values = _values(path, start, name, batch.column(name))
            column[start : start + len(values)] = values
        for name, chunks in texts.items():
            chunks.append(_texts(path, start, name, batch.column(name)))
        start += len(batch)
    if start != layout.rows:
        raise row_count_error(path, "the table", start, layout.rows)
    metadata = {name: np.concatenate(chunks) for name, chunks in texts.items()}
    return Rows(path, inputs.reshape(-1, *layout.shape), metadata, None, tuple(columns), numbers)


def _values(path: Path, start: int, name: str, column: Any) -> NDArray[Any]:
    """A column of numbers; a null is a missing value."""
    if column.null_count:
        row = start + int(np.asarray(column.is_null()).argmax())
        raise DatasetError("the value is missing", where=place(path, row, name), next_step=_REPAIR)
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "fiub":
        where = f"{path}: column {name}"
        raise DatasetError(f"its type is {column.type}, not a number", where=where, next_step="convert the column")
    return values


def _as_dtype(path: Path, start: int, name: str, values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Numbers in the declared dtype; rounding to a float is allowed, changing an integer is not."""
    with np.errstate(over="ignore", invalid="ignore"):
        converted = values.astype(dtype)
        changed = converted != values if dtype.kind != "f" else np.zeros(len(values), np.bool_)
    if changed.any():
        row = int(changed.argmax())
        raise _not_a_number(path, start + row, name, str(values[row]), dtype)
    return converted


def _texts(path: Path, start: int, name: str, column: Any) -> TextArray:
    if column.null_count:
        row = start + int(np.asarray(column.is_null()).argmax())
        raise DatasetError("the value is missing", where=place(path, row, name), next_step=_REPAIR)
    values = column.to_pylist()
    for value in values:
        if not isinstance(value, str | int):
            what = f"its type is {column.type}; a metadata column is text or whole numbers"
            raise DatasetError(what, where=f"{path}: column {name}", next_step="convert the column")
    return np.array([str(value)[:TEXT_LIMIT] for value in values], np.str_)


_REPAIR = "fill it in, or leave out such rows"


def _columns(path: Path, names: Sequence[str], layout: Layout) -> tuple[list[str], tuple[str, ...]]:
    """Input columns, in the order of the patterns and then of the file, and metadata columns."""
    if layout.array is not None:
        next_step = 'write columns = ["ax*", ...] with the columns\' names'
        raise DatasetError("a table needs `columns` in [input], not `array`", where=str(path), next_step=next_step)
    if not names:
        raise DatasetError("the file has no columns", where=str(path), next_step="write the file again")
    if len(set(names)) != len(names):
        (twice, _), *_ = Counter(names).most_common(1)
        raise DatasetError(f"two columns are named {twice!r}", where=str(path), next_step="rename one")
    for name in (*layout.metadata, *layout.numbers):
        if name not in names:
            raise DatasetError(f'there is no column "{name}"', where=str(path), next_step=nearest(name, names))
    inputs: dict[str, None] = {}
    known = set(names)
    _bound_patterns(path, layout.columns, names)
    for pattern in layout.columns:
        found = _matching(pattern, names, known)
        if not found:
            raise DatasetError(f'there is no column "{pattern}"', where=str(path), next_step=nearest(pattern, names))
        inputs.update(dict.fromkeys(found))
    if seen := [name for name in layout.sensitive if name in inputs]:
        what = f'column "{seen[0]}" is sensitive, and also an input: the model must not see what group a person is of'
        raise DatasetError(what, where=str(path), next_step="narrow the patterns of `columns`, and train without it")
    if both := [name for name in layout.metadata if name in inputs]:
        what = f'column "{both[0]}" is an input and also label, cluster or slice'
        raise DatasetError(what, where=str(path), next_step="narrow the patterns of `columns`")
    if len(inputs) != layout.values_per_row:
        what = f"{len(inputs)} input columns, and the shape {list(layout.shape)} has {layout.values_per_row} values"
        raise DatasetError(what, where=str(path), next_step="correct `columns` or `shape` in the manifest")
    return list(inputs), layout.metadata


def _matching(pattern: str, names: Sequence[str], known: set[str]) -> list[str]:
    """Names that a pattern means, in the file's order; one without wildcards means itself."""
    if not _WILDCARD.search(pattern):
        return [pattern] if pattern in known else []
    matches = re.compile(fnmatch.translate(pattern)).match
    return [name for name in names if matches(name)]


def _bound_patterns(path: Path, patterns: Sequence[str], names: Sequence[str]) -> None:
    """Every pattern is tried on every name: manifest and header could make that take hours."""
    wild = sum(1 for pattern in patterns if _WILDCARD.search(pattern))
    if wild * sum(len(name) + 1 for name in names) > PATTERN_WORK_LIMIT:
        what = f"{wild} patterns to try on {len(names)} columns, which is more than is tried"
        raise DatasetError(what, where=str(path), next_step='write fewer patterns in `columns`, such as "ax*"')


def _parser(dtype: np.dtype[Any]) -> Callable[[str], Any]:
    if dtype.kind == "b":
        return lambda cell: _BOOLEANS[cell.strip().lower()]
    return float if dtype.kind == "f" else int


def _not_a_number(path: Path, row: int, name: str, cell: str, dtype: np.dtype[Any]) -> DatasetError:
    shown = repr(cell[:80])[1:-1]
    what = f'"{shown}" is no {dtype.name}' if cell.strip() else "the value is missing"
    return DatasetError(what, where=place(path, row, name), next_step=_REPAIR)
