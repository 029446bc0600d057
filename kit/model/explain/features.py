"""Features of an input: its values one by one where they are few, else segments, channels in time, or patches."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kit.quality.parts import channels_last, input_name
from kit.records import Int64Array

MOST_FEATURES = 64
SEGMENTS = 32
PATCHES = 6
"""An image is cut into at most so many patches each way."""


@dataclass(frozen=True, slots=True)
class Features:
    """Names, and for each value of a flattened row the number of its feature: int64 [values]."""

    names: tuple[str, ...]
    of_value: Int64Array

    def __len__(self) -> int:
        return len(self.names)


def features_of(inputs: NDArray[np.generic]) -> Features:
    """Features of rows [rows, *shape], at most `MOST_FEATURES`."""
    shape = inputs.shape[1:]
    count = int(np.prod(shape))
    if count <= MOST_FEATURES:
        return Features(tuple(input_name(shape, value) for value in range(count)), np.arange(count))
    if channels_last(inputs) is not None:
        return _recording(shape)
    if len(shape) in (2, 3) and min(sorted(shape)[-2:]) >= PATCHES:
        return _patches(shape)
    edges = _edges(count, SEGMENTS)
    names = tuple(f"inputs {low} to {high - 1}" for low, high in pairwise(edges))
    return Features(names, _which(edges))


def _edges(length: int, most: int) -> list[int]:
    pieces = min(length, most)
    return [length * piece // pieces for piece in range(pieces + 1)]


def _which(edges: list[int]) -> Int64Array:
    return np.repeat(np.arange(len(edges) - 1), np.diff(edges))


def _recording(shape: tuple[int, ...]) -> Features:
    """Each channel in segments of time."""
    time = 0 if shape[0] >= shape[1] else 1
    channels = shape[1 - time]
    edges = _edges(shape[time], max(1, SEGMENTS // channels))
    segment = _which(edges)
    step, channel = np.indices(shape)[time], np.indices(shape)[1 - time]
    names = [
        f"channel {number}, steps {low} to {high - 1}" for number in range(channels) for low, high in pairwise(edges)
    ]
    return Features(tuple(names), (channel * (len(edges) - 1) + segment[step]).reshape(-1))


def _patches(shape: tuple[int, ...]) -> Features:
    """A grid over the two longest axes; the third, of colours, stays together."""
    rows, columns = sorted(sorted(range(len(shape)), key=lambda axis: (-shape[axis], axis))[:2])
    down, across = _edges(shape[rows], PATCHES), _edges(shape[columns], PATCHES)
    at = np.indices(shape)
    patch = _which(down)[at[rows]] * (len(across) - 1) + _which(across)[at[columns]]
    names = [
        f"rows {down[i]} to {down[i + 1] - 1}, columns {across[j]} to {across[j + 1] - 1}"
        for i in range(len(down) - 1)
        for j in range(len(across) - 1)
    ]
    return Features(tuple(names), patch.reshape(-1))
