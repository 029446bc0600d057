"""data.missing: values that are not there, said openly (NaN, an empty text) or by a number that stands for none."""

import numpy as np

from kit.quality.parts import BoolArray, channels_last, column_blocks, examples, flat, input_name, named_rows
from kit.records import DataCheck, Float64Array
from kit.spec.types import MISSING, DatasetPart

SENTINELS = tuple(
    sign * float(value)
    for value in (99, 999, 9999, 99999, 999999, 9998, 7777, 8888, 32767, 32768, 65535, 2**31 - 1, 2**31, 1e20, 1e30)
    for sign in (1, -1)
)
"""Numbers that are written where a value is missing: runs of nines, the ends of integer types, fill values of files."""

LEAST_REPEATS = 3
"""A number stands for a missing one only where several rows of one input have it."""


def missing(part: DatasetPart) -> tuple[DataCheck, ...]:
    """Rows with NaN, with a number that stands for none, with nothing but one value, or without a metadata value."""
    checks = [_nan(part), _sentinel(part), _empty(part)]
    return (*checks, *_texts(part))


def _check(part: DatasetPart, subject: str, found: BoolArray, what: str) -> DataCheck:
    share, rows = float(found.mean()) if len(found) else 0.0, examples(found)
    where = f", such as {named_rows(rows)}" if rows else ""
    sentence = f"{int(found.sum()):,} of {len(found):,} rows of the {part.role} part {what}{where}."
    return DataCheck("data.missing", subject, share, len(found), rows, sentence)


def _nan(part: DatasetPart) -> DataCheck:
    values, found = flat(part), np.zeros(len(part.inputs), dtype=np.bool_)
    if values.dtype.kind == "f":
        for _, block in column_blocks(values):
            found |= ~np.isfinite(block).all(axis=1)
    return _check(part, "not a number", found, "have an input that is not a finite number")


def _sentinel(part: DatasetPart) -> DataCheck:
    values, found, told = flat(part), np.zeros(len(part.inputs), dtype=np.bool_), ""
    for where, block in column_blocks(values):
        for column in np.flatnonzero(np.isin(block, SENTINELS).sum(axis=0) >= LEAST_REPEATS):
            number = stands_for_none(block[:, column])
            if number is not None:
                found |= block[:, column] == number
                told = told or f"{input_name(part.inputs.shape[1:], where.start + int(column))} is {number:g}"
    what = "have a number that stands for a missing one" + (f" ({told})" if told else "")
    return _check(part, "a number for none", found, what)


def stands_for_none(values: Float64Array) -> float | None:
    """A number of `SENTINELS` that several of `values` [n] have and that lies far from all others; else None.

    Far: farther from the nearest other value than the others are from each other.
    """
    for number in SENTINELS:
        others = values[(values != number) & np.isfinite(values)]
        if (values == number).sum() < LEAST_REPEATS or not len(others):
            continue
        gap = float(np.abs(others - number).min())
        if gap > float(others.max() - others.min()):
            return number
    return None


def _empty(part: DatasetPart) -> DataCheck:
    """A row of several values that are all the same says nothing: a lens cap, a cable that is off."""
    values, found = flat(part), np.zeros(len(part.inputs), dtype=np.bool_)
    if channels_last(part.inputs) is None and part.inputs.ndim < 3:
        why = "rows are not recordings or images, where one value throughout would mean that nothing was seen."
        return DataCheck("data.missing", "nothing but one value", 0.0, len(values), (), f"Not a fault here: {why}")
    found |= (values == values[:, :1]).all(axis=1)
    return _check(part, "nothing but one value", found, "hold one value throughout")


def _texts(part: DatasetPart) -> tuple[DataCheck, ...]:
    """Metadata, all columns at once: texts that are empty, numbers that are NaN."""
    found, columns = np.zeros(part.record.rows, dtype=np.bool_), list[str]()
    for name, column in part.record.columns.items():
        absent = np.isin(column.codes, [code for code, value in enumerate(column.values) if value == MISSING])
        found, columns = found | absent, columns + [name] * bool(absent.any())
    for name, numbers in part.record.numbers.items():
        absent = ~np.isfinite(numbers)
        found, columns = found | absent, columns + [name] * bool(absent.any())
    if not part.record.columns and not part.record.numbers:
        return ()
    which = f" ({', '.join(columns[:3])})" if columns else ""
    return (_check(part, "metadata", found, f"miss a value of a metadata column{which}"),)
