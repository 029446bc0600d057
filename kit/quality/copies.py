"""Exact copies of inputs: by a digest of each row's bytes."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from kit.quality.parts import BoolArray
from kit.records import Int64Array


def row_digests(inputs: NDArray[np.generic]) -> Int64Array:
    """A digest of every row's bytes, BLAKE2b of 64 bits: int64 [rows]. Rows differ where these do; -0.0 is not 0.0."""
    flat = np.ascontiguousarray(inputs).reshape(len(inputs), -1)
    if not flat.shape[1]:
        return np.zeros(len(inputs), np.int64)
    parts = (hashlib.blake2b(row.data, digest_size=8).digest() for row in flat.view(np.uint8))
    return np.frombuffer(b"".join(parts), np.int64)


def copy_codes(inputs: NDArray[np.generic]) -> Int64Array:
    """int64 [rows], equal for rows with equal bytes."""
    return np.asarray(np.unique(row_digests(inputs), return_inverse=True)[1], np.int64).reshape(-1)


def copied_across(inputs: NDArray[np.generic], cluster: Int64Array) -> BoolArray:
    """Rows that have the same inputs as a row of another cluster."""
    code = copy_codes(inputs)
    low, high = np.full(code.max(initial=0) + 1, np.iinfo(np.int64).max), np.full(code.max(initial=0) + 1, -1)
    np.minimum.at(low, code, cluster)
    np.maximum.at(high, code, cluster)
    return np.asarray((low != high)[code])


def copied_from(inputs: NDArray[np.generic], others: NDArray[np.generic]) -> BoolArray:
    """Rows of `inputs` that have the same inputs as a row of `others`."""
    if inputs.dtype != others.dtype or inputs.shape[1:] != others.shape[1:]:
        return np.zeros(len(inputs), dtype=np.bool_)
    return np.isin(row_digests(inputs), row_digests(others))


def joined_clusters(inputs: NDArray[np.generic], cluster: Int64Array) -> Int64Array:
    """Clusters that share a copy made one, so that rows of different clusters are independent again: int64 [rows].

    Each is named by the least of the clusters in it.
    """
    _, code = np.unique(cluster, return_inverse=True)
    copies, parent = copy_codes(inputs), np.arange(code.max(initial=0) + 1)
    least = np.full(copies.max(initial=0) + 1, len(parent))
    while True:  # the least name spreads through clusters and copies; each pass halves the way at least
        name = parent[code]
        np.minimum.at(least, copies, name)
        spread = parent.copy()
        np.minimum.at(spread, code, least[copies])
        spread = np.minimum(spread, spread[spread])
        if np.array_equal(spread, parent):
            return np.asarray(np.unique(cluster)[parent[code]], np.int64)
        parent = spread
