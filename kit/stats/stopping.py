"""MLPerf's estimate of a percentile from a run that may stop early: to compare with; it takes samples as independent.

Source: V. J. Reddi and others, MLPerf Inference Benchmark, ISCA 2020, and the inference rules' appendix "Early Stopping
Criterion": discard the t slowest of n samples, where P(Binomial(n, 1 - p) <= t) <= 1 - confidence.
"""

import math
from dataclasses import dataclass

import numpy as np

from kit.records import Float64Array
from kit.stats.special import binomial_cdf

CONFIDENCE = 0.99
"""That of the inference rules."""


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """An upper estimate of a percentile, in the samples' unit, with `discarded` samples at or above it.

    `estimate` is None below `minimum_count` samples.
    """

    estimate: float | None
    discarded: int
    count: int
    minimum_count: int


def early_stopping(samples: Float64Array, probability: float, confidence: float = CONFIDENCE) -> EarlyStopping:
    """The estimate of the `probability` quantile from `samples` [n], in any order: sorted[n - t] for the largest t."""
    count, over = len(samples), discardable(len(samples), probability, confidence)
    estimate = float(np.partition(samples, count - over)[count - over]) if over else None
    return EarlyStopping(estimate, over, count, minimum_count(probability, confidence))


def discardable(count: int, probability: float, confidence: float = CONFIDENCE) -> int:
    """Largest t with P(Binomial(count, 1 - probability) <= t) <= 1 - confidence; 0 where even 1 is too many."""
    low, high = 0, count
    while low < high:
        middle = (low + high + 1) // 2
        if binomial_cdf(middle, count, 1.0 - probability) <= 1.0 - confidence:
            low = middle
        else:
            high = middle - 1
    return low


def minimum_count(probability: float, confidence: float = CONFIDENCE) -> int:
    """Fewest samples of which one may be discarded (p50: 11, p90: 64, p99: 662, p99.9: 6,636)."""
    low, high = 1, math.ceil(20.0 / (1.0 - probability) * max(1.0, -math.log1p(-confidence)))
    while low < high:
        middle = (low + high) // 2
        if discardable(middle, probability, confidence):
            high = middle
        else:
            low = middle + 1
    return low
