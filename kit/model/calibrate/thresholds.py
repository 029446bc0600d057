"""Ranges from what calibration kept of a tensor, one rule a method."""

from collections.abc import Callable

import numpy as np

from kit.model.calibrate.base import DEFAULT_PERCENTILE, Method
from kit.model.calibrate.entropy import entropy_threshold
from kit.model.calibrate.histogram import Histogram
from kit.model.calibrate.mse import mse_threshold
from kit.model.calibrate.statistics import TensorStatistics
from kit.records import CalibrationMethod

COUNTING: frozenset[CalibrationMethod] = frozenset(("percentile", "entropy", "mse"))
"""Methods that need a histogram."""


def range_of(kept: TensorStatistics, method: Method, *, symmetric: bool = False) -> tuple[float, float]:
    """The lowest and the highest value that int8 shall hold; `symmetric` puts zero in their middle.

    A threshold on the magnitude never widens a range beyond the values that were seen.
    """
    low, high = _RULES[method.name](kept, method)
    if symmetric:
        high = max(abs(low), abs(high))
        low = -high
    return low + 0.0, high + 0.0  # zero without a sign


def _minmax(kept: TensorStatistics, _: Method) -> tuple[float, float]:
    return kept.lowest, kept.highest


def _moving_average(kept: TensorStatistics, _: Method) -> tuple[float, float]:
    """The mean over rows of each row's extremes: what onnxruntime's quantizer gives in batches of one row."""
    return kept.sum_of_lowest / kept.rows, kept.sum_of_highest / kept.rows


def _percentile(kept: TensorStatistics, method: Method) -> tuple[float, float]:
    share = (DEFAULT_PERCENTILE if method.percentile is None else method.percentile) / 100
    return _clipped(kept, percentile_threshold(_histogram(kept), share))


def percentile_threshold(histogram: Histogram, share: float) -> float:
    """The least bin edge with at least `share` of the magnitudes within it: less than a bin above the exact one."""
    within = np.cumsum(histogram.magnitudes)
    needed = np.ceil(share * within[-1])
    return float(np.searchsorted(within, needed) + 1) * histogram.width


def _entropy(kept: TensorStatistics, method: Method) -> tuple[float, float]:
    largest = max(-kept.lowest, kept.highest)
    return _clipped(kept, entropy_threshold(_histogram(kept), largest, method.bins))


def _mse(kept: TensorStatistics, _: Method) -> tuple[float, float]:
    return _clipped(kept, mse_threshold(_histogram(kept), kept.lowest, kept.highest))


def _clipped(kept: TensorStatistics, threshold: float) -> tuple[float, float]:
    """What was seen, cut at `threshold` on either side of zero."""
    return max(min(kept.lowest, threshold), -threshold), min(max(kept.highest, -threshold), threshold)


def _histogram(kept: TensorStatistics) -> Histogram:
    assert kept.histogram is not None, "a method that counts was asked for"
    return kept.histogram


_RULES: dict[CalibrationMethod, Callable[[TensorStatistics, Method], tuple[float, float]]] = {
    "minmax": _minmax,
    "moving-average": _moving_average,
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _mse,
}
