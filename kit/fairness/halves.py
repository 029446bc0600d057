"""Two halves of rows, whole clusters each: a mitigation is fitted on one and judged on the other."""

import numpy as np
from numpy.typing import NDArray

from kit.records import Int64Array


def fitting_half(cluster: Int64Array, seed: int) -> NDArray[np.bool_]:
    """bool [n]: the rows that a mitigation is fitted on, from `cluster` int64 [n].

    Clusters in an order drawn by `seed` fill the half until the next one would bring it further from half of the rows
    than leaving it out; a single cluster cannot be split and is all False.
    """
    _, code, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    sums = np.cumsum(sizes[order])
    count = int(np.abs(sums - len(cluster) / 2).argmin()) + 1 if len(sizes) > 1 else 0
    chosen = np.zeros(len(sizes), dtype=np.bool_)
    chosen[order[: min(count, len(sizes) - 1)]] = True
    return np.asarray(chosen[code])
