"""What a model decides of a row, for tasks that decide: which rows are decided otherwise, and which are right."""

import numpy as np

from kit.records import DatasetRecord, PredictionRecord, RaggedRecord
from kit.task.base import BoolArray, Rows, UndefinedError, rows_of
from kit.task.scores import decided, is_yes, true_labels

DECIDING = ("classification", "multilabel", "anomaly", "sequence", "frames")
"""Tasks whose answer is right or wrong as a whole; of anomalies only with a threshold."""


def is_changed(reference: Rows, optimized: Rows) -> BoolArray:
    """bool [rows]: rows that the optimized model decides otherwise, in any part.

    Raises UndefinedError for a task that decides nothing.
    """
    _refuse(optimized)
    if optimized.task == "multilabel":
        return np.asarray((is_yes(reference) != is_yes(optimized)).any(axis=1))
    if optimized.items is not None and reference.items is not None:
        return _differ(reference.items, optimized.items)
    return np.asarray(decided(reference) != decided(optimized))


def is_right(rows: Rows) -> BoolArray:
    """bool [rows]: rows whose whole answer is the truth. Raises UndefinedError for a task that decides nothing."""
    _refuse(rows)
    if rows.task == "multilabel":
        return np.asarray((is_yes(rows) == true_labels(rows)).all(axis=1))
    if rows.items is not None and rows.targets is not None:
        return ~_differ(rows.targets, rows.items, ignore=-1.0 if rows.task == "frames" else None)
    return np.asarray(decided(rows) == rows.labels)


def changed_rows(
    data: DatasetRecord, first: PredictionRecord | None, second: PredictionRecord | None
) -> BoolArray | None:
    """bool [rows]: what `first` and `second` decide differently; None where either is absent or nothing is decided."""
    if first is None or second is None or "absent" in (first.obtained, second.obtained):
        return None
    try:
        return is_changed(rows_of(data, first, first), rows_of(data, second, first))
    except UndefinedError:
        return None


def right_rows(data: DatasetRecord, found: PredictionRecord | None) -> BoolArray | None:
    """bool [rows]: what is answered right as a whole; None where it is absent or no answer is right or wrong."""
    if found is None or found.obtained == "absent":
        return None
    try:
        return is_right(rows_of(data, found, found))
    except UndefinedError:
        return None


def are_equal(first: PredictionRecord, second: PredictionRecord) -> bool:
    """Whether two models answer the same in every number."""
    if (first.items is None) != (second.items is None) or not np.array_equal(first.scores, second.scores):
        return False
    if first.items is None or second.items is None:
        return True
    same = np.array_equal(first.items.offsets, second.items.offsets)
    return same and np.array_equal(first.items.values, second.items.values)


def _refuse(rows: Rows) -> None:
    if rows.task not in DECIDING:
        raise UndefinedError(f"a model of the task {rows.task} makes no decision that could flip")


def _differ(one: RaggedRecord, other: RaggedRecord, ignore: float | None = None) -> BoolArray:
    """bool [rows]: lists of different length or content; places where `one` is `ignore` do not count."""
    lengths = np.diff(one.offsets)
    differ = lengths != np.diff(other.offsets)
    same = ~differ
    rows = np.repeat(np.arange(len(lengths))[same], lengths[same])
    first = one.values[np.repeat(same, lengths), 0]
    second = other.values[np.repeat(same, np.diff(other.offsets)), 0]
    unequal = first != second if ignore is None else (first != second) & (first != ignore)
    differ[rows[unequal]] = True
    return np.asarray(differ)
