"""A part's inputs in pieces that fit in memory, and the words for their places."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kit.records import DatasetRecord, Float32Array, Float64Array, Int64Array
from kit.spec.types import DatasetPart

BLOCK_VALUES = 1 << 21
"""Values looked at at once: 16 MiB as float64, whatever the part takes."""

MOST_EXAMPLES = 5

LEAST_TIMES, MOST_CHANNELS = 16, 64
"""A row of two axes is a recording where the longer has at least so many steps, the other at most so many channels."""

BoolArray = NDArray[np.bool_]


def flat(part: DatasetPart) -> NDArray[np.generic]:
    """Inputs [rows, values], a view."""
    return part.inputs.reshape(len(part.inputs), -1)


def column_blocks(values: NDArray[np.generic]) -> Iterator[tuple[slice, Float64Array]]:
    """Every column of [rows, values] once, in blocks float64 [rows, some]."""
    width = max(1, BLOCK_VALUES // max(1, len(values)))
    for start in range(0, values.shape[1], width):
        where = slice(start, min(start + width, values.shape[1]))
        yield where, values[:, where].astype(np.float64)


def row_blocks(values: NDArray[np.generic]) -> Iterator[tuple[slice, Float32Array]]:
    """Every row of [rows, values] once, in blocks float32 [some, values]."""
    height = max(1, BLOCK_VALUES // max(1, values.shape[1]))
    for start in range(0, len(values), height):
        where = slice(start, min(start + height, len(values)))
        yield where, values[where].astype(np.float32)


def drawn(rows: int, most: int, rng: np.random.Generator) -> Int64Array:
    """At most `most` row numbers, rising, drawn without replacement."""
    return np.arange(rows) if rows <= most else np.sort(rng.choice(rows, most, replace=False))


def examples(found: BoolArray) -> tuple[int, ...]:
    """Row numbers of the first few rows found."""
    return tuple(int(row) for row in np.flatnonzero(found)[:MOST_EXAMPLES])


def clusters(data: DatasetRecord) -> Int64Array:
    """Cluster of every row as codes from 0 without a gap."""
    return np.asarray(np.unique(data.cluster, return_inverse=True)[1], np.int64).reshape(-1)


def named_rows(rows: tuple[int, ...]) -> str:
    """``rows 3, 7, 9`` (numbers from 0), empty where there are none."""
    numbers = ", ".join(str(row) for row in rows)
    return f"row{'s' * (len(rows) > 1)} {numbers} (from 0)" if rows else ""


def input_name(shape: tuple[int, ...], value: int) -> str:
    """``input 3``, or ``input [12, 3]`` where a row has several axes; numbers from 0."""
    if len(shape) <= 1:
        return f"input {value}"
    return f"input [{', '.join(str(int(part)) for part in np.unravel_index(value, shape))}]"


def channels_last(inputs: NDArray[np.generic]) -> NDArray[np.generic] | None:
    """[rows, steps, channels] of rows that are recordings (the longer axis is time); None for any others."""
    if inputs.ndim != 3:
        return None
    series = inputs if inputs.shape[1] >= inputs.shape[2] else inputs.swapaxes(1, 2)
    steps, channels = series.shape[1:]
    return series if steps >= LEAST_TIMES and steps > channels <= MOST_CHANNELS else None


def kinds(inputs: NDArray[np.generic]) -> Int64Array:
    """Which values of a row measure the same: each its own in a table, each channel of a recording, all of an image."""
    shape = inputs.shape[1:]
    if len(shape) <= 1:
        return np.arange(int(np.prod(shape)))
    if channels_last(inputs) is None:
        return np.zeros(int(np.prod(shape)), np.int64)
    axis = 1 if shape[0] >= shape[1] else 0
    return np.asarray(np.indices(shape)[axis].reshape(-1), np.int64)
