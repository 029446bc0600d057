"""Distribution functions that the bounds need, in the standard library: binomial, Student t, normal."""

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist

_TINY = 1e-300
_EPSILON = 1e-15
_MAX_TERMS = 20_000
_LARGE_DF = 1e5


def regularized_incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b) for a, b > 0 and 0 <= x <= 1, by Lentz's continued fraction.

    Source: DLMF 8.17.22 and W. J. Lentz, Applied Optics 15 (1976); the symmetry of DLMF 8.17.4 keeps it convergent.
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - regularized_incomplete_beta(b, a, 1.0 - x)
    log_front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_front) * _beta_fraction(a, b, x) / a


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of `regularized_incomplete_beta`; terms grow with sqrt(max(a, b))."""
    c, d = 1.0, 1.0 / _nonzero(1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 / _nonzero(1.0 + term * d)
            c = _nonzero(1.0 + term / c)
            value *= c * d
        if abs(c * d - 1.0) < _EPSILON:
            break
    return value


def _nonzero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) for X ~ Binomial(n, p), exact: I_{1-p}(n - k, k + 1) (DLMF 8.17.5)."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    return regularized_incomplete_beta(n - k, k + 1, 1.0 - p)


def student_t_cdf(t: float, df: float) -> float:
    """P(T <= t) for Student's t with `df` > 0 degrees of freedom (Abramowitz and Stegun 26.7.1, 26.7.8 for large df).

    The smaller of x = df / (df + t^2) and 1 - x is the argument, so that a small t loses no digits.
    """
    square = t * t
    if df > _LARGE_DF:
        return NormalDist().cdf(t * (1.0 - 0.25 / df) / math.sqrt(1.0 + 0.5 * square / df))
    if square < df:
        tail = 0.5 * (1.0 - regularized_incomplete_beta(0.5, df / 2.0, square / (df + square)))
    else:
        tail = 0.5 * regularized_incomplete_beta(df / 2.0, 0.5, df / (df + square))
    return 1.0 - tail if t > 0 else tail


@lru_cache(maxsize=1024)
def student_t_quantile(probability: float, df: float) -> float:
    """The t with P(T <= t) = `probability`, 0 < probability < 1, by bisection on the survival function."""
    if probability < 0.5:
        return -student_t_quantile(1.0 - probability, df)
    low, high = 0.0, 2.0
    while student_t_cdf(high, df) < probability and high < 1e12:
        high *= 2.0
    return bisect(lambda t: student_t_cdf(t, df) < probability, low, high)


def normal_quantile(probability: float) -> float:
    """The z with P(Z <= z) = `probability`, for the standard normal."""
    return NormalDist().inv_cdf(probability)


def bisect(is_below: Callable[[float], bool], low: float, high: float, steps: int = 80) -> float:
    """Where a monotone predicate turns false between `low` and `high`; the upper end of the last bracket."""
    for _ in range(steps):
        middle = 0.5 * (low + high)
        if is_below(middle):
            low = middle
        else:
            high = middle
    return high
