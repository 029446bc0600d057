"""The stationary bootstrap of a mean, without drawing: what resampling blocks would come to, in closed form.

Source: D. N. Politis and J. P. Romano, J. American Statistical Association 89 (1994) 1303-1313; its Lemma 1 is the
variance of the resampled mean exactly, so no random numbers are needed and equal values give equal bounds.
"""

import math

import numpy as np

from kit.records import Float64Array
from kit.stats.means import MeanBounds
from kit.stats.special import student_t_quantile


def stationary_bootstrap_bounds(
    values: Float64Array, confidence: float, block_length: float | None = None
) -> MeanBounds:
    """Student t bounds, each one-sided at `confidence`, of the mean of `values` [n >= 3], in order.

    The error is that of resampled blocks whose lengths are geometric with mean `block_length` (by default
    `best_block_length`). A check beside `batch_mean_bounds`: with few correlated values it is too narrow.
    """
    count, estimate = len(values), float(values.mean())
    covariance = autocovariance(values)
    stay = 1.0 - 1.0 / max(1.0, best_block_length(values) if block_length is None else block_length)
    lag = np.arange(1, count)
    weight = (1 - lag / count) * stay**lag + lag / count * stay ** (count - lag)
    variance = max(float(covariance[0] + 2 * weight @ covariance[1:]), float(covariance[0]) / count)
    effective = count * float(np.clip(covariance[0] / variance, 1 / count, 1.0)) if variance > 0 else float(count)
    error = math.sqrt(variance / max(count - 1, 1))
    half = student_t_quantile(confidence, max(1.0, effective - 1.0)) * error
    return MeanBounds(estimate, estimate - half, estimate + half, count, effective)


def autocovariance(values: Float64Array) -> Float64Array:
    """Autocovariances at lags 0 to n - 1, each divided by n, float64 [n]."""
    count, centred = len(values), values - values.mean()
    spectrum = np.fft.rfft(centred, 2 * count)
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, 2 * count)[:count] / count)


def best_block_length(values: Float64Array) -> float:
    """Mean block length that makes the bootstrap's variance best, from 1 to min(3 sqrt(n), n / 3).

    Source: D. N. Politis and H. White, Econometric Reviews 23 (2004), as corrected by A. Patton and others, 28 (2009):
    (2 G^2 / D)^(1/3) n^(1/3), with a flat-top window up to twice the lag after which correlations are insignificant.
    """
    count = len(values)
    covariance = autocovariance(values)
    if count < 8 or covariance[0] <= 0:
        return 1.0
    lags = min(2 * _last_correlated_lag(covariance / covariance[0], count), count - 1)
    lag = np.arange(1, lags + 1)
    window = np.clip(2 * (1 - lag / lags), 0, 1) if lags else np.empty(0)
    weighted = window * covariance[1 : lags + 1]
    spread = 2 * float(lag @ weighted)
    long_run = max(float(covariance[0]) + 2 * float(weighted.sum()), float(covariance[0]) / count)
    length = (spread**2 / long_run**2 * count) ** (1 / 3)
    return float(np.clip(length, 1.0, max(1.0, min(3 * math.sqrt(count), count / 3))))


def _last_correlated_lag(correlation: Float64Array, count: int) -> int:
    """The lag before the first max(5, sqrt(log10 n)) that are all within 2 sqrt(log10(n) / n) of zero."""
    quiet = max(5, math.ceil(math.sqrt(math.log10(count))))
    bound = 2 * math.sqrt(math.log10(count) / count)
    most = min(math.ceil(math.sqrt(count)) + quiet, count - 1)
    loud = np.flatnonzero(np.abs(correlation[1 : most + 1]) > bound) + 1
    edges = np.concatenate([[0], loud, [most + quiet + 1]])
    return int(edges[np.flatnonzero(np.diff(edges) > quiet)[0]])
