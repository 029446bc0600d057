"""The rows of a dataset where an expression holds.

A column whose values are all numbers compares as numbers. A value that is missing (an empty text, no number) is neither
in nor out: what is asked of it is unknown, and a row of which the whole is unknown is in no slice (S. C. Kleene's
three-valued logic, 1938, as in SQL). ``age == ""`` asks whether it is missing.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.errors import SpecError
from kit.records import DatasetRecord, Float64Array
from kit.spec.expression import Comparison, Condition, Junction, Negation, Value
from kit.spec.text import nearest, shown

BoolArray = NDArray[np.bool_]

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class _Truth:
    """Where a condition is true, and where it is false; elsewhere it is unknown. Both bool [rows]."""

    true: BoolArray
    false: BoolArray


def rows_where(condition: Condition, data: DatasetRecord) -> BoolArray:
    """The rows where the condition holds, bool [rows].

    Raises SpecError, without its place: a column or a text value that the data does not have, numbers held against
    texts.
    """
    return _truth(condition, data).true


def numbers_of(data: DatasetRecord, column: str) -> Float64Array | None:
    """A column as numbers, float64 [rows], NaN where missing; None for texts that are not all numbers."""
    if column in data.numbers:
        return data.numbers[column]
    record = data.columns[column]
    values = _as_numbers(record.values)
    return None if values is None else values[record.codes]


def _as_numbers(texts: tuple[str, ...]) -> Float64Array | None:
    """Texts as numbers, NaN for empty ones; None where one is none, or all are empty."""
    try:
        values = np.asarray([float(text.strip() or "nan") for text in texts], dtype=np.float64)
    except ValueError:
        return None
    written = np.asarray([bool(text.strip()) for text in texts], dtype=np.bool_)
    return values if written.any() and bool(np.isfinite(values[written]).all()) else None


def _truth(condition: Condition, data: DatasetRecord) -> _Truth:
    match condition:
        case Comparison():
            return _tested(condition, data)
        case Negation(part=part):
            inner = _truth(part, data)
            return _Truth(inner.false, inner.true)
        case Junction(kind=kind, parts=parts):
            found = [_truth(part, data) for part in parts]
            trues, falses = [each.true for each in found], [each.false for each in found]
            if kind == "and":
                return _Truth(np.logical_and.reduce(trues), np.logical_or.reduce(falses))
            return _Truth(np.logical_or.reduce(trues), np.logical_and.reduce(falses))


def _tested(test: Comparison, data: DatasetRecord) -> _Truth:
    if test.column not in data.numbers and test.column not in data.columns:
        known = [*data.columns, *data.numbers]
        raise _error(test, f'there is no column "{shown(test.column)}"', nearest(test.column, known))
    numbers = numbers_of(data, test.column)
    missing = np.isnan(numbers) if numbers is not None else _empty(data, test.column)
    found = [missing if value == "" else _held(test, value, data, numbers) & ~missing for value in test.values]
    true = np.logical_or.reduce(found)
    return _Truth(true, ~true if "" in test.values else ~true & ~missing)


def _empty(data: DatasetRecord, column: str) -> BoolArray:
    record = data.columns[column]
    return np.asarray([not text.strip() for text in record.values], dtype=np.bool_)[record.codes]


def _held(test: Comparison, value: Value, data: DatasetRecord, numbers: Float64Array | None) -> BoolArray:
    """Where the column compares with one value; what is missing is the caller's."""
    if isinstance(value, str):
        return _held_text(test, value, data, numbers)
    if numbers is None:
        texts = ", ".join(f'"{shown(text, 40)}"' for text in data.columns[test.column].values[:3])
        raise _error(test, f"{shown(test.column)} has texts, such as {texts}", "compare it with a text in quotes")
    return np.asarray(_COMPARE[test.operator](numbers, value), dtype=np.bool_)


def _held_text(test: Comparison, value: str, data: DatasetRecord, numbers: Float64Array | None) -> BoolArray:
    if test.column in data.numbers or (numbers is not None and test.operator != "=="):
        raise _error(test, f"{shown(test.column)} has numbers", f"write {shown(value, 40)} without quotes")
    record = data.columns[test.column]
    if test.operator == "==" and value not in record.values:
        what = f'{shown(test.column)} has no value "{shown(value, 80)}"'
        raise _error(test, what, nearest(value, record.values))
    found = [bool(_COMPARE[test.operator](text, value)) for text in record.values]
    return np.asarray(found, dtype=np.bool_)[record.codes]


def _error(test: Comparison, what: str, next_step: str) -> SpecError:
    return SpecError(f"at column {test.at}: {what}", next_step=next_step)
