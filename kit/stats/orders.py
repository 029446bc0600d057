"""The random order in which rows are asked for, and when one looks: the same everywhere, for ever, from a seed."""

import numpy as np

from kit.records import Int64Array

FIRST_LOOK, LOOK_SHARE = 16, 16
"""Rows before the first look, and the share (1 / 16) by which rows grow from one to the next."""

_GOLDEN, _FIRST, _SECOND = (np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def random_order(rows: int, seed: int) -> Int64Array:
    """Rows 0 to `rows` - 1 in an order that `seed` makes: int64 [rows].

    By a hash of seed and row (SplitMix64: G. L. Steele, D. Lea and C. H. Flood, OOPSLA 2014), which no version of a
    library changes: a verdict computed again years later sees the same order.
    """
    start = _mixed(np.array([seed % 2**64], dtype=np.uint64))
    keys = _mixed(start + _GOLDEN * np.arange(1, rows + 1, dtype=np.uint64))
    return np.argsort(keys, kind="stable").astype(np.int64)


def _mixed(state: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return np.asarray(state ^ (state >> np.uint64(31)))


def next_look(rows: int) -> int:
    """After how many rows one looks again, having looked after `rows`: 16, 24, 32, ... then by a sixteenth more."""
    return FIRST_LOOK if rows < FIRST_LOOK else rows + max(FIRST_LOOK // 2, rows // LOOK_SHARE)


def looks(rows: int, *, last: bool) -> list[int]:
    """Every look at up to `rows` rows; with `last`, all there are have come and are looked at too."""
    found, count = list[int](), next_look(0)
    while count <= rows:
        found.append(count)
        count = next_look(count)
    return [*found, rows] if last and rows and found[-1:] != [rows] else found
