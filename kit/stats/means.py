"""Bounds of a mean of window averages that follow each other in time."""

import math
from dataclasses import dataclass

import numpy as np

from kit.records import Float64Array
from kit.stats.special import student_t_quantile

_ASSUMED_CORRELATION = 0.3


@dataclass(frozen=True, slots=True)
class MeanBounds:
    """Mean with one-sided bounds; `effective_count` is how many independent windows they are worth."""

    estimate: float
    lower: float
    upper: float
    count: int
    effective_count: float


def batch_mean_bounds(values: Float64Array, confidence: float) -> MeanBounds:
    """Student t bounds, each one-sided at `confidence`, of the mean of batch means `values` [n >= 3], in order.

    A positive lag-one correlation r leaves n (1 - r) / (1 + r) windows; r is raised by its bias, about (1 + 4 r) / n
    (M. G. Kendall, Biometrika 41, 1954), and by r times its standard error sqrt((1 - r^2) / n) (M. S. Bartlett, 1946),
    as tests/proofs/test_intervals.py found needed. Fewer than 8 windows cannot show r: it is then taken to be 0.3 or
    more, which covers correlations of up to 0.6. Batch means: A. M. Law, Simulation Modeling and Analysis, 9.5.3.
    """
    count = len(values)
    estimate = float(values.mean())
    effective = count * _independent_share(values)
    error = float(values.std(ddof=1)) / math.sqrt(effective)
    half = student_t_quantile(confidence, max(1.0, effective - 1.0)) * error
    return MeanBounds(estimate, estimate - half, estimate + half, count, effective)


def _independent_share(values: Float64Array) -> float:
    """(1 - r) / (1 + r) for the raised lag-one correlation r, kept within [2 / n, 1]."""
    count = len(values)
    centred = values - values.mean()
    power = float(centred @ centred)
    if power <= 0.0 or count < 3:
        return 1.0
    raw = float(centred[:-1] @ centred[1:]) / power
    r = min(max((count * raw + 1.0) / (count - 4.0), 0.0), 0.99) if count >= 8 else max(raw, _ASSUMED_CORRELATION)
    r *= 1.0 + math.sqrt(max(1.0 - r * r, 0.0) / count)
    return float(np.clip((1.0 - r) / (1.0 + r), 2.0 / count, 1.0))
