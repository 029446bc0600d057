"""data.wrong: values and labels that cannot be right."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.quality.copies import copy_codes
from kit.quality.parts import (
    BoolArray,
    channels_last,
    clusters,
    column_blocks,
    examples,
    flat,
    input_name,
    kinds,
    named_rows,
)
from kit.records import DataCheck, Float64Array
from kit.spec.types import DatasetPart

FAR = 1.0
"""A value is far outside a range where it lies beyond it by more than so many widths of the range."""

LEAST_RANGE_ROWS = 20
"""Fewer rows tell no range."""

CONTINUOUS_SHARE = 0.05
"""An input whose commonest value is in at most this share of rows varies by itself from row to row."""

LEAST_STUCK_ROWS = 5
"""A sensor that gives one value for fewer rows of a cluster may do so by chance."""


def wrong(
    test: DatasetPart, other: DatasetPart | None, minimum: float | None = None, maximum: float | None = None
) -> tuple[DataCheck, ...]:
    """Inputs out of range or stuck, targets that are no numbers, and one input under two labels.

    Args:
        test: the part that is looked at.
        other: a part that shows what is usual (calibration or train), if there is one.
        minimum, maximum: between them lies every input that can be right, where the manifest says so.
    """
    stated = (_out_of_stated(test, minimum, maximum),) if minimum is not None or maximum is not None else ()
    return (
        *stated,
        _far_out(test, other),
        _stuck(test, other),
        _flat_channels(test, other),
        _labels(test),
        _disputed(test),
    )


def _check(test: DatasetPart, subject: str, found: BoolArray, what: str, chance: float | None = None) -> DataCheck:
    share, rows = float(found.mean()) if len(found) else 0.0, examples(found)
    where = f", such as {named_rows(rows)}" if rows else ""
    sentence = f"{int(found.sum()):,} of {len(found):,} rows of the {test.role} part {what}{where}."
    return DataCheck("data.wrong", subject, share, len(found), rows, sentence, chance)


def _unseen(test: DatasetPart, subject: str, why: str) -> DataCheck:
    return DataCheck("data.wrong", subject, None, test.record.rows, (), f"Not looked at: {why}.")


def _out_of_stated(test: DatasetPart, minimum: float | None, maximum: float | None) -> DataCheck:
    low, high = -np.inf if minimum is None else minimum, np.inf if maximum is None else maximum
    found = np.zeros(len(test.inputs), dtype=np.bool_)
    for _, block in column_blocks(flat(test)):
        found |= ((block < low) | (block > high)).any(axis=1)
    return _check(test, "out of the stated range", found, f"have an input outside [{low:g}, {high:g}]")


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Least and greatest value of each input [values]; inputs that are alike (channels, pixels) share theirs."""

    low: Float64Array
    high: Float64Array

    def far_outside(self, values: NDArray[np.generic]) -> BoolArray:
        """Rows of [rows, values] with a value beyond the range by more than `FAR` widths; width 0 tells nothing."""
        width = self.high - self.low
        low, high = self.low - FAR * width, self.high + FAR * width
        found = np.zeros(len(values), dtype=np.bool_)
        for where, block in column_blocks(values):
            outside = (block < low[where]) | (block > high[where])
            found |= (outside & (width[where] > 0)).any(axis=1)
        return found


def _ranges(part: DatasetPart, rows: BoolArray) -> _Ranges:
    values = flat(part)[rows]
    low, high = np.zeros(values.shape[1]), np.zeros(values.shape[1])
    for where, block in column_blocks(values):
        low[where] = np.nanmin(np.where(np.isfinite(block), block, np.inf), axis=0)
        high[where] = np.nanmax(np.where(np.isfinite(block), block, -np.inf), axis=0)
    kind = kinds(part.inputs)
    group_low, group_high = np.full(kind.max() + 1, np.inf), np.full(kind.max() + 1, -np.inf)
    np.minimum.at(group_low, kind, low)
    np.maximum.at(group_high, kind, high)
    return _Ranges(group_low[kind], group_high[kind])


def _far_out(test: DatasetPart, other: DatasetPart | None) -> DataCheck:
    """Far outside what another part shows; chance is what one half of that part shows of its other half."""
    subject = "far out of range"
    if other is None or len(other.inputs) < LEAST_RANGE_ROWS:
        why = f"there are fewer than {LEAST_RANGE_ROWS} rows of another part to tell the usual range"
        return _unseen(test, subject, why)
    everything = np.ones(len(other.inputs), dtype=np.bool_)
    found = _ranges(other, everything).far_outside(flat(test))
    half = clusters(other.record) % 2 == 0
    chance = 0.0
    if half.any() and not half.all():
        chance = float(_ranges(other, half).far_outside(flat(other)[~half]).mean())
    what = f"have an input beyond the range of the {other.role} part by more than its width"
    return _check(test, subject, found, what, chance)


def _stuck(test: DatasetPart, other: DatasetPart | None) -> DataCheck:
    """Rows of a cluster (of all rows, where there are no clusters) in which an input that varies elsewhere is constant.

    An input that is constant in half of the clusters describes them (a person's age), and is not stuck.
    """
    code = clusters(test.record)
    if np.bincount(code).max() < LEAST_STUCK_ROWS:
        code = np.zeros(len(code), np.int64)
    size = np.bincount(code)
    judged = size >= LEAST_STUCK_ROWS
    if not judged.any() or (len(size) == 1 and other is None):
        return _unseen(test, "stuck", "neither clusters nor another part show how the inputs vary elsewhere")
    order = np.argsort(code, kind="stable")
    starts = np.concatenate([[0], np.cumsum(size)[:-1]])
    found, told = np.zeros(len(code), dtype=np.bool_), ""
    for where, block in column_blocks(flat(test)):
        ordered = block[order]
        same = np.minimum.reduceat(ordered, starts) == np.maximum.reduceat(ordered, starts)
        same &= judged[:, None]
        few = same.sum(axis=0) < max(0.5 * judged.sum(), 2 * (len(size) == 1))
        for column in np.flatnonzero(same.any(axis=0) & few):
            number = where.start + int(column)
            elsewhere = block[~same[code, column], column]
            if not len(elsewhere) and other is not None:
                elsewhere = flat(other)[:, number].astype(np.float64)
            if _varies(elsewhere):
                found |= same[code, column]
                told = told or f" ({input_name(test.inputs.shape[1:], number)})"
    return _check(test, "stuck", found, f"are where an input that varies elsewhere keeps one value{told}")


def _varies(values: Float64Array) -> bool:
    """Whether a number varies by itself: no value of it is common."""
    if not len(values):
        return False
    return bool(np.unique(values, return_counts=True)[1].max() <= max(1, CONTINUOUS_SHARE * len(values)))


def _flat_channels(test: DatasetPart, other: DatasetPart | None) -> DataCheck:
    series = channels_last(test.inputs)
    subject = "flat channels"
    if series is None:
        sentence = "Not a fault here: rows are not recordings of several channels."
        return DataCheck("data.wrong", subject, 0.0, len(test.inputs), (), sentence)
    usual = channels_last(other.inputs) if other is not None else None
    chance = None if usual is None else float(_any_flat(usual).mean())
    return _check(test, subject, _any_flat(series), "have a channel that keeps one value throughout", chance)


def _any_flat(series: NDArray[np.generic]) -> BoolArray:
    return np.asarray((series == series[:, :1]).all(axis=1).any(axis=1))


def _labels(test: DatasetPart) -> DataCheck:
    """Labels that name no class, targets and weights that are no numbers."""
    data = test.record
    found = (data.labels < 0) | (data.labels >= max(1, len(data.classes)))
    if data.targets is not None:
        sizes = np.diff(data.targets.offsets)
        row = np.repeat(np.arange(data.rows), sizes)
        bad = ~np.isfinite(data.targets.values.reshape(len(row), -1)).all(axis=1)
        found = found | (np.bincount(row[bad], minlength=data.rows) > 0)
    if data.weights is not None:
        found = found | ~(np.isfinite(data.weights) & (data.weights >= 0))
    return _check(test, "impossible labels", found, "have a label, target or weight that cannot be")


def _disputed(test: DatasetPart) -> DataCheck:
    """Exact copies of one input that have different labels: at most one of them is right."""
    subject = "one input, two labels"
    if test.record.targets is not None:
        sentence = "Not a fault here: targets of one input may differ, and only labels of classes are compared."
        return DataCheck("data.wrong", subject, 0.0, test.record.rows, (), sentence)
    code = copy_codes(test.inputs)
    low, high = np.full(code.max() + 1, np.iinfo(np.int64).max), np.full(code.max() + 1, -1)
    np.minimum.at(low, code, test.record.labels)
    np.maximum.at(high, code, test.record.labels)
    return _check(test, subject, (low != high)[code], "have the same inputs as a row with another label")
