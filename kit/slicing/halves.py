"""Rows split at random in two halves: what is found on one is confirmed on the other."""

import numpy as np

from kit.records import Int64Array
from kit.slicing.scan import BoolArray


def first_half(cluster: Int64Array, seed: int) -> BoolArray:
    """Whether each row [rows] is in the first half: whole clusters, drawn at random until they have half the rows.

    The halves are independent of each other, since no cluster is in both, and of what any model says of the rows.
    """
    clusters, code, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(clusters))
    before = np.concatenate([[0], np.cumsum(sizes[order])[:-1]]) if len(order) else np.zeros(0)
    chosen = np.zeros(len(clusters), dtype=np.bool_)
    chosen[order] = 2 * before + sizes[order] <= len(cluster)
    return np.asarray(chosen[code])
