"""Measures of embeddings: how near the optimized vectors are to the reference's, and whether neighbours stay."""

import numpy as np

from kit.records import Float64Array
from kit.task.base import Losses, Rows

NEIGHBOURS = 10
"""Nearest rows that are compared, of all but the row itself; fewer where there are fewer."""

MOST_ROWS_AT_ONCE = 512


def _unit(vectors: np.ndarray) -> Float64Array:
    vectors = vectors.astype(np.float64)
    length = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.where(length > 0.0, length, 1.0))


def cosine_lost(rows: Rows) -> Losses:
    """1 less the cosine of the angle between the row's vector and the reference's, 0 to 2.

    A vector without length has the cosine 1 with another such, and 0 with any else.
    """
    own, reference = _unit(rows.scores), _unit(rows.reference_scores)
    none = ~own.any(axis=1) & ~reference.any(axis=1)
    cosine = np.where(none, 1.0, np.clip((own * reference).sum(axis=1), -1.0, 1.0))
    return Losses(1.0 - cosine, None, 0.0, 2.0)


def neighbours_lost(rows: Rows) -> Losses:
    """Share of a row's nearest rows by the reference's cosine that are not among its nearest by its own.

    Of equally near ones those that come first are taken, by both. The neighbours are those among these rows.
    """
    own, reference = _unit(rows.scores), _unit(rows.reference_scores)
    count = min(NEIGHBOURS, len(rows) - 1)
    if count < 1:
        return Losses(np.zeros(len(rows)))
    losses = np.empty(len(rows))
    for start in range(0, len(rows), MOST_ROWS_AT_ONCE):
        chosen = np.arange(start, min(start + MOST_ROWS_AT_ONCE, len(rows)))
        near, nearer = _nearest(reference, chosen, count), _nearest(own, chosen, count)
        kept = (near[:, :, None] == nearer[:, None, :]).any(axis=2)
        losses[chosen] = 1.0 - kept.mean(axis=1)
    return Losses(losses)


def _nearest(unit: Float64Array, chosen: np.ndarray, count: int) -> np.ndarray:
    """int64 [chosen, count]: rows of the largest cosine to each of `chosen`, not itself."""
    cosine = np.round(unit[chosen] @ unit.T, 12)
    cosine[np.arange(len(chosen)), chosen] = -np.inf
    return np.argsort(-cosine, axis=1, kind="stable")[:, :count]
