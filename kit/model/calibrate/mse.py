"""The threshold with the least expected squared error of quantization, from a histogram.

Banner, Nahshan and Soudry 2019, "Post training 4-bit quantization of convolutional networks for rapid-deployment"
(the clipping and the rounding error traded against each other), measured on the counts instead of a fitted law.
"""

import numpy as np

from kit.model.calibrate.histogram import Histogram

STEPS = 255
"""Steps between the levels of 8 bits."""

CANDIDATES = 128
"""Thresholds tried: even shares of the largest magnitude."""


def mse_threshold(histogram: Histogram, lowest: float, highest: float) -> float:
    """The magnitude, in steps of 1/`CANDIDATES` of the largest, where clipping and rounding err least together."""
    largest = max(-lowest, highest)
    used = np.flatnonzero(histogram.counts)
    values, counts = histogram.centres[used], histogram.counts[used].astype(np.float64)
    thresholds = largest * np.arange(CANDIDATES, 0, -1) / CANDIDATES
    errors = [_error(values, counts, max(lowest, -each), min(highest, each)) for each in thresholds]
    return float(thresholds[int(np.argmin(errors))]) if largest else 0.0


def _error(values: np.ndarray, counts: np.ndarray, low: float, high: float) -> float:
    """Sum of squared errors with 8 bits over [low, high], which is made to hold zero, as quantizers do."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / STEPS
    if scale == 0:
        return float("inf")
    zero = np.rint(-low / scale)
    level = np.clip(np.rint(values / scale) + zero, 0, STEPS) - zero
    return float(counts @ (values - level * scale) ** 2)
