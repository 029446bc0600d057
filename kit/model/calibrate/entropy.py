"""The threshold whose 8-bit version loses least information: least Kullback-Leibler divergence.

Migacz, "8-bit inference with TensorRT" (GPU Technology Conference 2017), as onnxruntime's entropy calibration does it.
"""

import numpy as np

from kit.model.calibrate.histogram import Histogram
from kit.records import Float64Array, Int64Array

LEVELS = 128
"""Levels that stand for the magnitudes on both sides of zero: onnxruntime's default."""

_EPSILON = 1e-4
"""What an empty bin counts as, so that no logarithm is of zero."""


def entropy_threshold(histogram: Histogram, largest: float, bins: int) -> float:
    """The magnitude, one of the edges of `bins` equal bins over [-largest, largest], that loses least.

    Candidates keep from `LEVELS / 2` bins on either side of zero to all of them.
    """
    if largest == 0:
        return 0.0
    counts, half = rebinned(histogram, largest, bins), bins // 2
    candidates = range(LEVELS // 2, half + 1)
    losses = [_divergence(counts, half - kept, min(half + kept + 1, bins)) for kept in candidates]
    best = candidates[int(np.argmin(losses))]
    return largest * min(best + 1, half) / half


def rebinned(histogram: Histogram, largest: float, bins: int) -> Int64Array:
    """The counts in so many equal bins over [-largest, largest], each fine bin whole, where its middle is."""
    index = np.floor((histogram.centres + largest) * (bins / (2 * largest))).astype(np.int64)
    return np.bincount(np.clip(index, 0, bins - 1), histogram.counts, bins).astype(np.int64)


def _divergence(counts: Int64Array, start: int, end: int) -> float:
    """What is lost by clipping to bins `start` to `end` and merging these into `LEVELS`."""
    inside = counts[start:end]
    clipped = inside.copy()
    clipped[0] += counts[:start].sum()
    clipped[-1] += counts[end:].sum()
    merged = inside.size // LEVELS
    body = merged * LEVELS
    levels = inside[:body].reshape(LEVELS, merged).sum(axis=1)
    levels[-1] += inside[body:].sum()
    users = np.count_nonzero(clipped[:body].reshape(LEVELS, merged), axis=1)
    expanded = np.zeros_like(inside)
    expanded[:body] = np.repeat(np.where(users, levels // np.maximum(users, 1), 0), merged)
    p, q = _smoothed(clipped), _smoothed(expanded)
    return float((p * np.log(p / q)).sum())


def _smoothed(counts: Int64Array) -> Float64Array:
    """Shares of bins; empty ones get a little of what the others have."""
    empty = counts == 0
    zeros = int(np.count_nonzero(empty))
    if zeros == counts.size:
        return np.full(counts.size, 1 / counts.size)
    smoothed = np.where(empty, _EPSILON, counts - _EPSILON * zeros / (counts.size - zeros))
    shares: Float64Array = smoothed / smoothed.sum()
    return shares
