"""Rows by group: keys renumbered without gaps, and pairs of groups."""

import numpy as np

from kit.records import Int64Array

DENSE_KEYS = 1 << 22
"""Up to so many possible keys (4 MiB of marks), or four a row, keys are marked; beyond that they are sorted."""


def renumbered(keys: Int64Array, size: int) -> tuple[Int64Array, int]:
    """Keys int64 [n] in 0 .. `size` - 1 renumbered in their order from 0 without gaps, and how many differ."""
    if size > max(DENSE_KEYS, 4 * len(keys)):
        distinct, codes = np.unique(keys, return_inverse=True)
        return codes.astype(np.int64, copy=False), len(distinct)
    present = np.zeros(size, dtype=np.bool_)
    present[keys] = True
    codes = np.cumsum(present, dtype=np.int64) - 1
    return codes[keys], int(present.sum())


def pairs(first: Int64Array, second: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Pairs of two groupings int64 [n], from 0: the pair of each row [n], and the `first` of each pair [pairs]."""
    if not len(first):
        return first, first
    width = int(second.max()) + 1
    codes, count = renumbered(first * width + second, (int(first.max()) + 1) * width)
    groups = np.zeros(count, dtype=np.int64)
    groups[codes] = first
    return codes, groups
