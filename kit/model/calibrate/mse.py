"""The threshold with the least expected squared error of quantization, from a histogram.

Banner, Nahshan and Soudry 2019, "Post training 4-bit quantization of convolutional networks for rapid-deployment",
arXiv:1810.05723: clipping and rounding errors traded against each other, here on the counts instead of a fitted law.
"""

import numpy as np

from kit.model.calibrate.histogram import Histogram
from kit.records import Float64Array

STEPS = 255
"""Steps between the levels of 8 bits."""

CANDIDATES = 128
"""Thresholds tried: even shares of the largest magnitude."""


def mse_threshold(histogram: Histogram, lowest: float, highest: float) -> float:
    """The magnitude, in steps of 1/`CANDIDATES` of the largest, where clipping and rounding err least together."""
    largest = max(-lowest, highest)
    if largest == 0:
        return 0.0
    values, counts = histogram.centres, histogram.counts.astype(np.float64)
    moments = np.stack([_running(counts * values**power) for power in range(3)])
    thresholds = largest * np.arange(CANDIDATES, 0, -1) / CANDIDATES
    errors = [_error(values, moments, max(lowest, -each), min(highest, each)) for each in thresholds]
    return float(thresholds[int(np.argmin(errors))])


def _error(values: Float64Array, moments: Float64Array, low: float, high: float) -> float:
    """Sum of squared errors with 8 bits over [low, high], which is made to hold zero, as quantizers do.

    Args:
        values: the middles of bins.
        moments: running sums of counts, counts times values, and counts times squared values: [3, bins + 1].
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / STEPS
    if scale == 0:
        return float("inf")
    levels = (np.arange(STEPS + 1) - np.rint(-low / scale)) * scale
    borders = np.searchsorted(values, (levels[1:] + levels[:-1]) / 2)
    count, first, second = np.diff(moments[:, [0, *borders, -1]])
    return float((second - 2 * levels * first + levels**2 * count).sum())


def _running(values: Float64Array) -> Float64Array:
    return np.concatenate(([0.0], np.cumsum(values)))
