"""Score tests and bounds of one proportion and of a difference of paired proportions, at effective counts.

Both bounds of an interval invert the same score statistic that decides, so interval and verdict never disagree.
Critical values are Student's t with clusters - 1 degrees of freedom.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from kit.records import Float64Array
from kit.stats.special import bisect, student_t_cdf, student_t_quantile


def paired_score(to_wrong: ArrayLike, to_right: ArrayLike, rows: ArrayLike, difference: ArrayLike) -> Float64Array:
    """Score statistic of H0: P(to wrong) - P(to right) = `difference`; its sign is that of estimate - difference.

    Counts may be fractions of rows (effective counts); arguments broadcast. The variance is that of the restricted
    maximum likelihood estimate, in closed form. Source: T. Tango, Statistics in Medicine 17 (1998) 891-908.
    """
    b, c, n, d = (np.asarray(value, dtype=np.float64) for value in (to_wrong, to_right, rows, difference))
    linear = -b - c + (2 * n - b + c) * d
    root = np.sqrt(np.maximum(linear**2 + 8 * n * c * d * (1 - d), 0.0))
    restricted = np.clip((root - linear) / (4 * n), np.maximum(0.0, -d), 1.0)
    variance = n * (2 * restricted + d * (1 - d))
    return np.asarray((b - c - n * d) / np.sqrt(np.maximum(variance, 1e-300)))


def proportion_score(successes: ArrayLike, rows: ArrayLike, proportion: ArrayLike) -> Float64Array:
    """Score statistic of H0: P = `proportion`. Source: E. B. Wilson, J. American Statistical Association 22 (1927)."""
    x, n, p = (np.asarray(value, dtype=np.float64) for value in (successes, rows, proportion))
    return np.asarray((x - n * p) / np.sqrt(np.maximum(n * p * (1 - p), 1e-300)))


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """Flips among `rows`, all as effective counts (rows / design effect), and the degrees of freedom."""

    to_wrong: float
    to_right: float
    rows: float
    df: float

    @property
    def estimate(self) -> float:
        """Share that turned wrong less share that turned right: the drop."""
        return (self.to_wrong - self.to_right) / self.rows

    def score(self, value: float) -> float:
        """Statistic of H0: drop = value."""
        return float(paired_score(self.to_wrong, self.to_right, self.rows, value))

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Lower and upper bound of the drop, each one-sided at `confidence`, in [-1, 1]."""
        return _invert(self.score, self.estimate, -1.0, 1.0, student_t_quantile(confidence, self.df))


@dataclass(frozen=True, slots=True)
class Successes:
    """Successes among `rows` as effective counts, and the degrees of freedom."""

    successes: float
    rows: float
    df: float

    @property
    def estimate(self) -> float:
        """Share of successes."""
        return self.successes / self.rows

    def score(self, value: float) -> float:
        """Statistic of H0: share = value."""
        return float(proportion_score(self.successes, self.rows, value))

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Lower and upper bound of the share, each one-sided at `confidence`, in [0, 1]."""
        return _invert(self.score, self.estimate, 0.0, 1.0, student_t_quantile(confidence, self.df))


class Counts(Protocol):
    """A share, a difference or a mean of some rows, as what bounds and p-values need of it."""

    @property
    def estimate(self) -> float:
        """The figure."""

    @property
    def rows(self) -> float:
        """Rows that it rests on, as effective counts."""

    @property
    def df(self) -> float:
        """Degrees of freedom of its variance."""

    def score(self, value: float) -> float:
        """Statistic of H0: figure = value; its sign is that of estimate - value."""

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Lower and upper bound, each one-sided at `confidence`."""


def _invert(
    score: Callable[[float], float], estimate: float, low: float, high: float, critical: float
) -> tuple[float, float]:
    """Where the decreasing score leaves [-critical, critical], searched outwards from the estimate."""
    upper = bisect(lambda value: score(value) > -critical, estimate, high)
    lower = -bisect(lambda value: score(-value) < critical, -estimate, -low)
    return lower, upper


def p_value_above(counts: Counts, value: float) -> float:
    """One-sided p-value against "the share is at most `value`": small when it is surely above."""
    return student_t_cdf(-counts.score(value), counts.df)


def p_value_below(counts: Counts, value: float) -> float:
    """One-sided p-value against "the share is at least `value`": small when it is surely below."""
    return student_t_cdf(counts.score(value), counts.df)
