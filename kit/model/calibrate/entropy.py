"""The threshold whose 8-bit version loses least information: least Kullback-Leibler divergence.

Migacz, "8-bit inference with TensorRT" (GPU Technology Conference 2017), as onnxruntime's entropy calibration defines
it: for each candidate, the clipped histogram `p` is compared with `q`, in which its bins are merged into `LEVELS`
levels and each level is spread over those of its bins that were not empty. Bins beyond the last whole level have no
part in `q`. All candidates are evaluated together, from running sums.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kit.model.calibrate.histogram import HALF_BINS, Histogram
from kit.records import Float64Array, Int64Array

LEVELS = 128
"""Levels that stand for the values inside the threshold: onnxruntime's default."""

_EPSILON = 1e-4
"""What an empty bin counts as, so that no logarithm is of zero; the others pay for it."""


def entropy_threshold(histogram: Histogram, largest: float, bins: int) -> float:
    """The magnitude, one of the edges of `bins` equal bins over [-largest, largest], that loses least.

    Candidates keep from `LEVELS / 2` bins on either side of zero to all of them.
    """
    if largest == 0:
        return 0.0
    half = bins // 2
    best = LEVELS // 2 + int(np.argmin(divergences(rebinned(histogram, largest, bins))))
    return largest * min(best + 1, half) / half


def rebinned(histogram: Histogram, largest: float, bins: int) -> Int64Array:
    """The counts in so many (even) equal bins over [-largest, largest]; a bin that an edge divides is shared out.

    Of the middle bin, as many as its left neighbour has count as negative; the others are zeros, or positive.
    """
    edges = np.linspace(0, largest, bins // 2 + 1)[1:]
    negative, positive = histogram.counts[HALF_BINS - 1 : 0 : -1], histogram.counts[HALF_BINS + 1 :]
    middle = histogram.counts[HALF_BINS]
    left, right = (_shared(side, histogram.width, edges) for side in (negative, positive))
    below_zero = min(middle, negative[0])
    left[0] += below_zero
    right[0] += middle - below_zero
    return np.concatenate((left[::-1], right))


def _shared(counts: Int64Array, width: float, edges: Float64Array) -> Int64Array:
    """Counts of bins 1, 2, ... between zero and each of `edges`, which ascend; all beyond is in the last."""
    borders = np.arange(1, counts.size + 2) * width
    below = np.rint(np.interp(edges, borders, _running(counts))).astype(np.int64)
    below[-1] = counts.sum()
    return np.diff(below, prepend=0)


class _Sums:
    """Running sums over bins, so that any span of bins costs two look-ups."""

    def __init__(self, counts: Int64Array) -> None:
        self.counts = counts.astype(np.float64)
        self.log = np.log(np.maximum(self.counts, 1))
        self.total, self.used = _running(self.counts), _running(self.counts > 0)
        self.logs, self.weighted = _running(self.log), _running(self.counts * self.log)


class _Candidates(NamedTuple):
    """Spans of bins, one a candidate: where each starts and ends, and how many bins make a level."""

    start: Int64Array
    end: Int64Array
    merged: Int64Array

    @property
    def edges(self) -> Int64Array:
        """Of levels: [candidates, LEVELS + 1]."""
        return self.start[:, np.newaxis] + self.merged[:, np.newaxis] * np.arange(LEVELS + 1)


def divergences(counts: Int64Array) -> Float64Array:
    """What each candidate loses, from the narrowest to the full range: float64 [bins / 2 - LEVELS / 2 + 1]."""
    half = len(counts) // 2
    kept = np.arange(LEVELS // 2, half + 1)
    start, end = half - kept, np.minimum(half + kept + 1, len(counts))
    spans, sums = _Candidates(start, end, (end - start) // LEVELS), _Sums(counts)
    whole = sums.total[-1]
    first = sums.counts[start] + sums.total[start]
    last = sums.counts[end - 1] + whole - sums.total[end]
    inner = sums.used[end - 1] - sums.used[start + 1]
    used = inner + (first > 0) + (last > 0)
    empty = end - start - used
    paid = _EPSILON * empty / np.maximum(used, 1)
    p_log_p = (
        empty * _EPSILON * np.log(_EPSILON)
        + (sums.weighted[end - 1] - sums.weighted[start + 1])
        - paid * (sums.logs[end - 1] - sums.logs[start + 1] + inner)  # to first order: `paid` is small
        + _x_log_x(first - paid)
        + _x_log_x(last - paid)
    )
    p_log_q, q_total = _against_levels(sums, spans, first, last, paid)
    with np.errstate(divide="ignore"):
        losses: Float64Array = (p_log_p - p_log_q) / whole + np.log(q_total / whole)
    return np.where(q_total > 0, losses, np.inf)


def _against_levels(
    sums: _Sums, spans: _Candidates, first: Float64Array, last: Float64Array, paid: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Sum of p log q over bins, and the sum of q, for every candidate."""
    edges, merged = spans.edges, spans.merged[:, np.newaxis]
    body = edges[:, -1]
    mass, users = np.diff(sums.total[edges]), np.diff(sums.used[edges])
    levels = mass.copy()
    levels[:, -1] += sums.total[spans.end] - sums.total[body]
    exact = body == spans.end
    users[:, 0] += (first > 0) & (sums.counts[spans.start] == 0)
    users[:, -1] += exact & (last > 0) & (sums.counts[spans.end - 1] == 0)
    mass[:, 0] += first - sums.counts[spans.start]
    mass[:, -1] += np.where(exact, last - sums.counts[spans.end - 1], 0)
    mass += -paid[:, np.newaxis] * users + _EPSILON * (merged - users)
    heights = np.where(users > 0, levels // np.maximum(users, 1), 0)
    held = spans.merged * np.count_nonzero(heights, axis=1)
    q_paid = _EPSILON * (spans.end - spans.start - held) / np.maximum(held, 1)
    log_q = np.log(np.where(heights > 0, np.maximum(heights - q_paid[:, np.newaxis], _EPSILON), _EPSILON))
    beyond = sums.total[-1] - mass.sum(axis=1)  # smoothing keeps the sum
    return (mass * log_q).sum(axis=1) + beyond * np.log(_EPSILON), (heights * merged).sum(axis=1)


def _running(values: Float64Array | Int64Array | NDArray[np.bool_]) -> Float64Array:
    return np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))


def _x_log_x(values: Float64Array) -> Float64Array:
    """x log x; of what is not above zero, nothing."""
    return values * np.log(np.where(values > 0, values, 1))
