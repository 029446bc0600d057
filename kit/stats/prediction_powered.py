"""Few answers of a device and many of its twin on the host: what the few say of how far the many can be trusted.

`prediction_powered_bounds` corrects the twin's mean by the mean error of an audit sample: normal, of a fixed size
(A. N. Angelopoulos and others, Science 382, 2023, arXiv 2301.09633; power tuning: arXiv 2311.01453). What decides a
run that may stop is `kit.stats.sequential`: the same correction by bets, which no few zeros deceive.
`disagreement_bound` is exact for an audit of a fixed size: how often device and twin can differ.
"""

import math
from dataclasses import dataclass

import numpy as np

from kit.records import Float64Array
from kit.stats.special import binomial_cdf, bisect, normal_quantile


@dataclass(frozen=True, slots=True)
class PredictionPowered:
    """A mean, its standard error (in the values' unit), and the share `tuning` of the twin that is believed."""

    estimate: float
    error: float
    tuning: float

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Lower and upper bound, each one-sided at `confidence`, by the normal approximation."""
        reach = normal_quantile(confidence) * self.error
        return self.estimate - reach, self.estimate + reach


def prediction_powered_mean(
    audited: Float64Array, twin_audited: Float64Array, twin_rest: Float64Array, tuning: float | None = None
) -> PredictionPowered:
    """Mean of a device's values over rows of which few were audited.

    audited, twin_audited: [n] values of device and twin on the audited rows, a random sample; twin_rest: [N] of the
    twin on the others. tuning 1 is plain prediction-powered inference, 0 the audit alone, None the share with the least
    variance (PPI++, 6), held between 0 and 1. Raises ValueError for fewer than 2 audited or other rows.
    """
    n, rest = len(audited), len(twin_rest)
    if n < 2 or rest < 2 or len(twin_audited) != n:
        raise ValueError("at least 2 audited rows, with both values, and 2 others are needed")
    if tuning is None:
        spread = float(np.var(np.r_[twin_audited, twin_rest], ddof=1))
        shared = float(np.cov(audited, twin_audited, ddof=1)[0, 1])
        tuning = min(1.0, max(0.0, shared / ((1.0 + n / rest) * spread))) if spread > 0 else 0.0
    rectified = audited - tuning * twin_audited
    estimate = tuning * float(twin_rest.mean()) + float(rectified.mean())
    variance = tuning**2 * float(twin_rest.var(ddof=1)) / rest + float(rectified.var(ddof=1)) / n
    return PredictionPowered(estimate, math.sqrt(variance), tuning)


def disagreement_bound(disagreeing: int, audited: int, confidence: float) -> float:
    """Upper bound of the share of rows on which two differ, from `disagreeing` of `audited` random independent rows.

    Exact: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934). 1 where nothing was audited.
    """
    if disagreeing >= audited:
        return 1.0
    alpha = 1.0 - confidence
    return bisect(lambda share: binomial_cdf(disagreeing, audited, share) > alpha, disagreeing / audited, 1.0)
