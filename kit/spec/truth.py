"""The truth of a part's rows, by task: labels, or targets as a vector or a list a row. Errors name row and column."""

from collections.abc import Sequence

import numpy as np

from kit.errors import DatasetError
from kit.records import Float64Array, Int64Array, RaggedRecord
from kit.spec.rows import Rows, TextArray, place
from kit.spec.table import TEXT_LIMIT
from kit.spec.text import nearest
from kit.spec.weights import weight_fault

NO_FRAME = -1
"""Truth of a frame that is none, in an array: padding after a recording's end."""

BOX = ("left", "top", "right", "bottom", "class")


def check_numbers(rows: Rows, names: Sequence[str]) -> dict[str, Float64Array]:
    """Columns of one finite number a row, float64 [rows]."""
    found = {}
    for name in names:
        values = rows.numbers[name]
        if values.ndim != 1:
            what = f"its shape is {list(values.shape)}, and it has one number a row"
            raise DatasetError(what, where=f"{rows.path}: column {name}", next_step="save it as [rows]")
        _refuse(rows, name, ~np.isfinite(values), values, "not a finite number")
        found[name] = values
    return found


def weights(rows: Rows, name: str) -> Float64Array:
    """A column of weights, float64 [rows], that can be reckoned with: see `weight_fault`."""
    values = check_numbers(rows, [name])[name]
    _refuse(rows, name, values <= 0, values, "no weight: a row counts more than 0 times")
    if fault := weight_fault(values):
        step = "correct the weights, or leave out the rows that hardly count"
        raise DatasetError(fault, where=place(rows.path, int(values.argmax()), name), next_step=step)
    return values


def matrix(rows: Rows, names: Sequence[str]) -> Float64Array:
    """Columns of numbers beside each other, float64 [rows, columns]: a column may be an array [rows, n] itself."""
    parts = []
    for name in names:
        values = rows.numbers[name]
        if values.ndim > 2:
            what = f"its shape is {list(values.shape)}; targets are [rows] or [rows, targets]"
            raise DatasetError(what, where=f"{rows.path}: column {name}", next_step="save it in one of these shapes")
        flat = values.reshape(len(values), -1)
        _refuse(
            rows,
            name,
            ~np.asarray(np.isfinite(flat).all(axis=1)),
            flat[:, 0],
            "or another in this row is not a finite number",
        )
        parts.append(flat)
    return np.concatenate(parts, axis=1)


def vectors(values: Float64Array) -> RaggedRecord:
    """One vector a row."""
    return RaggedRecord(np.ascontiguousarray(values), np.arange(len(values) + 1, dtype=np.int64))


def label_columns(rows: Rows, names: Sequence[str], classes: tuple[str, ...]) -> RaggedRecord:
    """0 or 1 a class, from as many columns."""
    values = matrix(rows, names)
    if values.shape[1] != len(classes):
        what = f"{values.shape[1]} columns of labels, and there are {len(classes)} classes"
        raise DatasetError(what, where=str(rows.path), next_step="list a column for each class, in their order")
    bad = ((values != 0) & (values != 1)).any(axis=1)
    _refuse(rows, names[0], bad, values[:, 0], "or another label in this row is neither 0 nor 1")
    return vectors(values)


def label_sets(rows: Rows, name: str, classes: tuple[str, ...]) -> RaggedRecord:
    """0 or 1 a class, from a column of class names with | between them; an empty text has none."""
    lists = tokens(rows, name, classes, "|")
    values = np.zeros((len(lists), len(classes)))
    for row, codes in enumerate(lists):
        values[row, codes] = 1.0
    return vectors(values)


def sequences(rows: Rows, name: str, classes: tuple[str, ...]) -> RaggedRecord:
    """Tokens of each row, from a text with spaces between them."""
    return _joined(tokens(rows, name, classes, None))


def frames(rows: Rows, name: str, classes: tuple[str, ...]) -> RaggedRecord:
    """The class of each frame: an array [rows, frames, ...] of indices (-1: no frame), or a text of class names."""
    if name in rows.metadata:
        return _joined(tokens(rows, name, classes, None))
    values = rows.numbers[name]
    if values.ndim < 2:
        what = f"its shape is {list(values.shape)}; frames have [rows, frames]"
        raise DatasetError(what, where=f"{rows.path}: array {name}", next_step="save a label for each frame")
    flat = values.reshape(len(values), -1)
    bad = ((flat != np.round(flat)) | (flat < NO_FRAME) | (flat >= len(classes))).any(axis=1)
    shown = flat[np.arange(len(flat)), (flat >= len(classes)).argmax(axis=1)]
    _refuse(rows, name, bad, shown, f"or another frame in this row is none of the {len(classes)} classes, nor -1")
    offsets = np.arange(len(flat) + 1, dtype=np.int64) * flat.shape[1]
    return RaggedRecord(flat.reshape(-1, 1).copy(), offsets)


def tokens(rows: Rows, name: str, classes: tuple[str, ...], separator: str | None) -> list[list[int]]:
    """Class numbers of each row's text, split at `separator` (None: at spaces)."""
    known = {text: index for index, text in enumerate(classes)}
    found = []
    for row, text in enumerate(_texts(rows, name)):
        parts = text.split(separator) if text.strip() else []
        codes = [known.get(part.strip(), -1) for part in parts]
        if -1 in codes:
            part = parts[codes.index(-1)].strip()
            what = f"{repr(part)[1:-1][:80]!r} is not one of the {len(classes)} classes"
            raise DatasetError(what, where=place(rows.path, row, name), next_step=nearest(part, classes))
        found.append(codes)
    return found


def boxes(rows: Rows, name: str, classes: tuple[str, ...]) -> RaggedRecord:
    """Boxes of each row, left, top, right, bottom, class: arrays `name` and `name`_offsets, or a text of them.

    In a text, boxes have ; between them: ``12 10 40 52 cat; 3 3 9 9 dog``.
    """
    record = rows.ragged[name] if name in rows.ragged else _boxes_of_text(rows, name, classes)
    row = np.repeat(np.arange(len(record.offsets) - 1), np.diff(record.offsets))
    values = record.values
    wrong = ~np.isfinite(values).all(axis=1) | (values[:, 2] < values[:, 0]) | (values[:, 3] < values[:, 1])
    _refuse_box(rows, name, row, values, wrong, "right of its right or below its bottom, or no number")
    code = values[:, 4]
    wrong = (code != np.round(code)) | (code < 0) | (code >= len(classes))
    _refuse_box(rows, name, row, values, wrong, f"of a class that is none of the {len(classes)}")
    return record


def check_ragged(rows: Rows, name: str, values: Float64Array, offsets: Int64Array, count: int) -> RaggedRecord:
    """A list of vectors a row from two arrays of a file."""
    where = f"{rows.path}: arrays {name} and {name}_offsets"
    if values.ndim != 2 or values.shape[1] != len(BOX):
        what = f"the shape of {name} is {list(values.shape)}; boxes are [boxes, {len(BOX)}]: {', '.join(BOX)}"
        raise DatasetError(what, where=where, next_step="save one line a box")
    steps = np.diff(offsets) if offsets.ndim == 1 else np.array([-1])
    if offsets.shape != (count + 1,) or offsets[0] != 0 or offsets[-1] != len(values) or (steps < 0).any():
        what = f"the offsets do not rise from 0 to {len(values)} in {count + 1} steps"
        raise DatasetError(what, where=where, next_step="boxes of row i are those from offsets[i] to offsets[i + 1]")
    return RaggedRecord(values, offsets)


def _boxes_of_text(rows: Rows, name: str, classes: tuple[str, ...]) -> RaggedRecord:
    known = {text: float(index) for index, text in enumerate(classes)}
    lists: list[list[list[float]]] = []
    for row, text in enumerate(_texts(rows, name)):
        parts = [part.split(maxsplit=4) for part in text.split(";")] if text.strip() else []
        try:
            lists.append([[*map(float, part[:4]), known[part[4]]] for part in parts])
        except (ValueError, IndexError, KeyError):
            step = "write left top right bottom and the class of each box, with ; between boxes"
            raise DatasetError(
                "a box is not written as one", where=place(rows.path, row, name), next_step=step
            ) from None
    flat = [box for each in lists for box in each]
    offsets = np.cumsum([0, *(len(each) for each in lists)]).astype(np.int64)
    return RaggedRecord(np.array(flat, np.float64).reshape(-1, len(BOX)), offsets)


def _texts(rows: Rows, name: str) -> list[str]:
    """A column's texts, none of which was cut."""
    texts: TextArray = rows.metadata[name]
    lengths = np.char.str_len(texts)
    if len(lengths) and lengths.max() >= TEXT_LIMIT:
        where = place(rows.path, int(lengths.argmax()), name)
        raise DatasetError(f"a text of {TEXT_LIMIT} characters or more", where=where, next_step="cut the rows shorter")
    return [str(text) for text in texts]


def _joined(lists: list[list[int]]) -> RaggedRecord:
    offsets = np.cumsum([0, *(len(each) for each in lists)]).astype(np.int64)
    return RaggedRecord(np.array([code for each in lists for code in each], np.float64).reshape(-1, 1), offsets)


def _refuse(rows: Rows, name: str, bad: np.ndarray, values: Float64Array, what: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        others = f" ({int(bad.sum())} such rows)" if bad.sum() > 1 else ""
        step = "correct the data, or leave out such rows"
        raise DatasetError(f"{values[row]:g} is {what}{others}", where=place(rows.path, row, name), next_step=step)


def _refuse_box(rows: Rows, name: str, row: Int64Array, boxes: Float64Array, bad: np.ndarray, what: str) -> None:
    if bad.any():
        first = int(bad.argmax())
        shown = " ".join(f"{value:g}" for value in boxes[first])
        where = place(rows.path, int(row[first]), name)
        raise DatasetError(f"a box ({shown}) is {what}", where=where, next_step="correct the box, or leave it out")
