"""What must hold for every row: finite inputs in their range, known labels, no missing metadata, no leak."""

import hashlib
import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.errors import DatasetError
from kit.records import ColumnRecord, Int64Array
from kit.spec.rows import Rows, TextArray, place
from kit.spec.text import hidden_character
from kit.spec.toml import nearest
from kit.spec.types import MISSING, Metric

VALUE_LENGTH_LIMIT = 200
SLICES_LIMIT = 1000
COPIES_LIMIT = 0.01
"""Largest share of test rows that may be copies across clusters: sensors and small images coincide now and then."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def check_inputs(rows: Rows, minimum: float | None, maximum: float | None, tolerate: Collection[Metric] = ()) -> None:
    """Every input is finite and within [minimum, maximum]; names the first that is not, and how many there are.

    Where data.missing is tolerated, NaN is let in (infinity is not); with data.wrong, any number.
    """
    flat: NDArray[Any] = rows.inputs.reshape(len(rows.inputs), -1)
    if flat.dtype.kind == "f" and "data.missing" in tolerate:
        _refuse(rows, flat, np.isinf(flat), "not a finite number", "repair or leave out such rows")
    elif flat.dtype.kind == "f":
        _refuse(rows, flat, ~np.isfinite(flat), "not a finite number", "repair or leave out such rows")
    if "data.wrong" in tolerate:
        return
    next_step = "correct the data, or the range in the manifest's [input]"
    if minimum is not None:
        _refuse(rows, flat, flat < minimum, f"below the minimum {minimum:g}", next_step)
    if maximum is not None:
        _refuse(rows, flat, flat > maximum, f"above the maximum {maximum:g}", next_step)


def _refuse(rows: Rows, flat: NDArray[Any], bad: NDArray[np.bool_], what: str, next_step: str) -> None:
    if not bad.any():
        return
    row, value = (int(part) for part in np.unravel_index(int(bad.argmax()), bad.shape))
    count, bad_rows = int(bad.sum()), int(bad.any(axis=1).sum())
    others = f" ({count} such values in {bad_rows} rows)" if count > 1 else ""
    raise DatasetError(f"{flat[row, value]} is {what}{others}", where=rows.input_place(row, value), next_step=next_step)


def column(rows: Rows, name: str) -> ColumnRecord:
    """A metadata column as codes into its sorted values; whole numbers sort as numbers."""
    texts = rows.metadata[name]
    values, codes = np.unique(texts, return_inverse=True)
    for value in values:
        if wrong := _wrong_text(str(value)):
            row = int((texts == value).argmax())
            raise DatasetError(wrong, where=place(rows.path, row, name), next_step="write a short text in every row")
    order = sorted(range(len(values)), key=lambda code: _sort_key(values, code))
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values))
    return ColumnRecord(tuple(str(values[code]) for code in order), rank[codes.reshape(-1)])


def slice_column(rows: Rows, name: str, tolerate: Collection[Metric] = ()) -> ColumnRecord:
    """A column whose every value is a slice; refused where it has so many values that none could be judged.

    Where data.missing is tolerated, an empty text is the value `MISSING`.
    """
    if "data.missing" in tolerate:
        texts = rows.metadata[name]
        filled = np.where(np.char.str_len(np.char.strip(texts)) == 0, MISSING, texts)
        rows = replace(rows, metadata={**rows.metadata, name: filled})
    record = column(rows, name)
    if len(record.values) > SLICES_LIMIT:
        what = f"{len(record.values)} different values, and a slice column has at most {SLICES_LIMIT}"
        raise DatasetError(what, where=f"{rows.path}: column {name}", next_step="group the values, or drop the slice")
    return record


def labels(rows: Rows, name: str, classes: tuple[str, ...]) -> Int64Array:
    """Class of every row, int64 [rows]: labels are class names, or indices where no class is named by a number."""
    record = column(rows, name)
    known = {text: index for index, text in enumerate(classes)}
    indices_allowed = not any(_INTEGER.fullmatch(text) for text in classes)
    lookup = np.empty(len(record.values), np.int64)
    for code, text in enumerate(record.values):
        index = known.get(text, -1)
        if index < 0 and indices_allowed and _INTEGER.fullmatch(text):
            index = int(text)
        if not 0 <= index < len(classes):
            row = int((record.codes == code).argmax())
            what = f'"{text}" is not one of the {len(classes)} classes'
            raise DatasetError(what, where=place(rows.path, row, name), next_step=nearest(text, classes))
        lookup[code] = index
    return lookup[record.codes]


def refuse_leak(test: Rows, other: Rows, use: str) -> None:
    """No row of inputs may be in both parts: what calibrates or selects a model must not judge it. Exact copies only.

    `use` says what the other part's rows do: "calibrate the model".
    """
    seen = {digest: row for row, digest in enumerate(_row_digests(other.inputs))}
    both = [(row, seen[digest]) for row, digest in enumerate(_row_digests(test.inputs)) if digest in seen]
    if not both:
        return
    row, there = both[0]
    many = f"{len(both):,} of {len(test.inputs):,} test rows"
    raise DatasetError(
        f"the same inputs {use}, of {many}; the first is row {there} (from 0) of {other.path.name}",
        where=f"{test.path}: row {row} (from 0)",
        next_step="take them out of one of the two parts, or limit data.leaked in the profile, which then decides",
    )


def refuse_copies(test: Rows, cluster: Int64Array) -> None:
    """Rows of different clusters count as independent, which copies of one row are not. Exact copies only.

    `cluster` int64 [rows]; where a dataset has none, every row is its own.
    """
    _, codes = np.unique(np.array(_row_digests(test.inputs)), return_inverse=True)
    codes = codes.reshape(-1)
    order = np.lexsort((np.arange(len(codes)), cluster, codes))
    same_content, other_cluster = np.diff(codes[order]) == 0, np.diff(cluster[order]) != 0
    across = np.unique(codes[order][1:][same_content & other_cluster])
    copied = np.isin(codes, across)
    if copied.sum() <= COPIES_LIMIT * len(codes):
        return
    first = int(copied.argmax())
    second = int(((codes == codes[first]) & (cluster != cluster[first])).argmax())
    raise DatasetError(
        f"{int(copied.sum())} of {len(codes)} rows have the same inputs as a row of another cluster, "
        f"and at most {COPIES_LIMIT:.0%} may: row {second} (from 0) is a copy",
        where=f"{test.path}: row {first} (from 0)",
        next_step="leave out the copies, or give copies of one row the same value in a `cluster` column",
    )


def _row_digests(inputs: NDArray[np.generic]) -> list[bytes]:
    flat = np.ascontiguousarray(inputs).reshape(len(inputs), -1).view(np.uint8)
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in flat]


def _wrong_text(text: str) -> str:
    if not text.strip():
        return "the value is missing"
    if len(text) > VALUE_LENGTH_LIMIT:
        return f"a value of {len(text)} characters, and at most {VALUE_LENGTH_LIMIT} are read"
    hidden = hidden_character(text)
    return f"a value with a hidden character ({hidden})" if hidden else ""


def _sort_key(values: TextArray, code: int) -> tuple[int, int, str]:
    text = str(values[code])
    return (0, int(text), text) if _INTEGER.fullmatch(text) else (1, 0, text)
