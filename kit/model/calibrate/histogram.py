"""A histogram that grows with its values: one pass, fixed memory, and the same counts in whatever order they come."""

import math

import numpy as np

from kit.records import Float32Array, Float64Array, Int64Array

HALF_BINS = 1 << 14
"""Bins on either side of zero: the largest magnitude is in the upper half of them, so a bin is at most 2^-13 of it."""

_CHUNK = 1 << 18
"""Values binned at once: their indices stay in the cache."""

_LEAST_EXPONENT = -126
"""Least exponent of a bin's width: its reciprocal is still a finite float32."""


class Histogram:
    """Counts of float values in bins of one width, a power of two, by truncation towards zero.

    Bin `k` holds what is in [k, k + 1) widths, bin `-k` in (-k - 1, -k], bin 0 in (-1, 1). A value beyond the last bin
    doubles the width, as often as it takes, and pairs of bins merge. Scaling by a power of two and truncation are
    exact, so merged counts are those that the wider bins would have had from the start: the result depends neither
    on the order of the values nor on how they were divided.

    Attributes:
        counts: int64 [2 * HALF_BINS], of bins -HALF_BINS to HALF_BINS - 1; the first stays empty.
        exponent: the width is 2 ** exponent; None until there is a value other than zero.
    """

    __slots__ = ("counts", "exponent")

    def __init__(self) -> None:
        self.counts: Int64Array = np.zeros(2 * HALF_BINS, dtype=np.int64)
        self.exponent: int | None = None

    @property
    def width(self) -> float:
        """Width of a bin; zero while all values are zero."""
        return 0.0 if self.exponent is None else math.ldexp(1.0, self.exponent)

    @property
    def centres(self) -> Float64Array:
        """The middle of every bin; that of bin 0 is zero."""
        index = np.arange(-HALF_BINS, HALF_BINS, dtype=np.float64)
        return (index + 0.5 * np.sign(index)) * self.width

    @property
    def magnitudes(self) -> Int64Array:
        """Counts by magnitude: int64 [HALF_BINS], bin k of what is in [k, k + 1) widths from zero."""
        positive = self.counts[HALF_BINS:].copy()
        positive[1:] += self.counts[HALF_BINS - 1 : 0 : -1]
        return positive

    def add(self, values: Float32Array) -> None:
        """Count `values`, which are finite."""
        largest = float(max(values.max(initial=0), -values.min(initial=0)))
        if largest > 0:
            self.widen(_exponent(largest))
        if self.exponent is None:
            self.counts[HALF_BINS] += values.size
            return
        flat, scale = values.reshape(-1), np.float32(math.ldexp(1.0, -self.exponent))
        for start in range(0, flat.size, _CHUNK):
            self.counts += _counted(flat[start : start + _CHUNK], scale)

    def merge(self, other: "Histogram") -> None:
        """Add the counts of `other`, which stays as it was."""
        if other.exponent is not None:
            self.widen(other.exponent)
        if self.exponent is not None and other.exponent is not None:
            self.counts += _merged(other.counts, self.exponent - other.exponent)
        else:  # all of the other's values are zero
            self.counts += other.counts

    def widen(self, exponent: int) -> None:
        """Merge bins until the width is at least 2 ** exponent."""
        if self.exponent is None:
            self.exponent = exponent
        elif exponent > self.exponent:
            self.counts = _merged(self.counts, exponent - self.exponent)
            self.exponent = exponent


def _exponent(largest: float) -> int:
    """Exponent of the least width with which `largest` is within the last bin."""
    return max(math.frexp(largest)[1] - HALF_BINS.bit_length() + 1, _LEAST_EXPONENT)


def _counted(values: Float32Array, scale: np.float32) -> Int64Array:
    """Counts of one chunk: scaled and truncated to int16, then moved so that the first bin is 0."""
    index = np.empty(values.size, dtype=np.int16)
    np.multiply(values, scale, out=index, casting="unsafe")
    index += np.int16(HALF_BINS)
    return np.bincount(index.view(np.uint16), minlength=2 * HALF_BINS)


def _merged(counts: Int64Array, doublings: int) -> Int64Array:
    """Counts in bins that are 2 ** doublings times as wide."""
    if doublings == 0:
        return counts
    index = np.arange(-HALF_BINS, HALF_BINS)
    merged = np.zeros_like(counts)
    np.add.at(merged, np.sign(index) * (np.abs(index) >> min(doublings, 62)) + HALF_BINS, counts)
    return merged
