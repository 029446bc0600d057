"""Score tests and bounds of one proportion and of a difference of paired proportions, at effective counts.

Both bounds of an interval invert the same score statistic that decides, so interval and verdict never disagree.
Critical values are Student's t with clusters - 1 degrees of freedom.

A score statistic alone errs too often where few rows change: counts are skewed and come in steps (T. T. Cai, J.
Statistical Planning and Inference 131, 2005). `deviate` corrects for both, and of independent rows errs at most alpha
of the time: tests/stats/test_proportions.py adds up all outcomes of many truths.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from kit.records import Float64Array
from kit.stats.special import student_t_cdf, student_t_quantile

HALF_STEP = 0.5
"""Half the distance of two counts: the correction for continuity (F. Yates, J. Royal Statistical Society, 1934)."""

_STEPS, _PRECISION = 60, 1e-10


def paired_score(
    to_wrong: ArrayLike, to_right: ArrayLike, rows: ArrayLike, difference: ArrayLike, *, corrected: bool = True
) -> Float64Array:
    """Score statistic of H0: P(to wrong) - P(to right) = `difference`; its sign is that of estimate - difference.

    Counts may be fractions of rows (effective counts); arguments broadcast. The variance is that of the restricted
    maximum likelihood estimate, in closed form. Source: T. Tango, Statistics in Medicine 17 (1998) 891-908, which is
    the statistic without the correction for skewness and continuity.
    """
    b, c, n, d = (np.asarray(value, dtype=np.float64) for value in (to_wrong, to_right, rows, difference))
    linear = -b - c + (2 * n - b + c) * d
    root = np.sqrt(np.maximum(linear**2 + 8 * n * c * d * (1 - d), 0.0))
    restricted = np.clip((root - linear) / (4 * n), np.maximum(0.0, -d), 1.0)
    changed = 2 * restricted + d
    third = n * (d - 3 * d * changed + 2 * d**3)
    return deviate(b - c - n * d, n * (changed - d * d), third if corrected else None)


def proportion_score(
    successes: ArrayLike, rows: ArrayLike, proportion: ArrayLike, *, corrected: bool = True
) -> Float64Array:
    """Score statistic of H0: P = `proportion`, corrected for skewness and continuity or plain.

    Source: E. B. Wilson, J. American Statistical Association 22 (1927), which is the plain one.
    """
    x, n, p = (np.asarray(value, dtype=np.float64) for value in (successes, rows, proportion))
    variance = n * p * (1 - p)
    return deviate(x - n * p, variance, variance * (1 - 2 * p) if corrected else None)


def deviate(
    excess: ArrayLike, variance: ArrayLike, third: ArrayLike | None, half_step: float = HALF_STEP
) -> Float64Array:
    """The standard normal deviate of a count `excess` over its mean, by its variance and third central moment.

    Its size z solves |excess| - 1/2 = z sd + (z^2 - 1) skew, where skew is the third moment over 6 variances and of the
    excess's sign (E. A. Cornish and R. A. Fisher, Revue de l'Institut International de Statistique 5, 1938). Below
    z = 1 the term may only make it smaller. `third` None: excess / sd. half_step: of sums that come in other steps.
    """
    excess, variance = np.asarray(excess, np.float64), np.asarray(variance, np.float64)
    deviation = np.sqrt(np.maximum(variance, 1e-300))
    if third is None:
        return np.asarray(excess / deviation)
    side = np.sign(excess)
    skew = side * np.asarray(third) / np.maximum(variance, 1e-30) / 6
    beyond = np.maximum(np.abs(excess) - half_step, 0.0)
    plain = beyond / deviation
    root = np.sqrt(np.maximum(deviation**2 + 4 * skew * (beyond + skew), 0.0))
    skewed = 2 * (beyond + skew) / (deviation + root)
    return np.asarray(side * np.where(plain > 1, skewed, np.clip(skewed, 0.0, plain)))


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
        lower, upper = paired_bounds(self.to_wrong, self.to_right, self.rows, student_t_quantile(confidence, self.df))
        return float(lower), float(upper)


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
        lower, upper = proportion_bounds(self.successes, self.rows, student_t_quantile(confidence, self.df))
        return float(lower), float(upper)


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


def paired_bounds(
    to_wrong: ArrayLike, to_right: ArrayLike, rows: ArrayLike, critical: ArrayLike
) -> tuple[Float64Array, Float64Array]:
    """Lower and upper bounds of the drop, in [-1, 1], where the score reaches +-`critical`; arguments broadcast."""
    b, c, n, z = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (to_wrong, to_right, rows, critical)))
    reach = (z * np.sqrt(b + c + z * z) + z * z + 1.0) / n
    return _invert(lambda value: paired_score(b, c, n, value), (b - c) / n, reach, -1.0, z)


def proportion_bounds(successes: ArrayLike, rows: ArrayLike, critical: ArrayLike) -> tuple[Float64Array, Float64Array]:
    """Lower and upper bounds of the share, in [0, 1], where the score reaches +-`critical`; arguments broadcast."""
    x, n, z = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (successes, rows, critical)))
    reach = (z * np.sqrt(np.minimum(x, n - x) + z * z) + z * z + 1.0) / n
    return _invert(lambda value: proportion_score(x, n, value), x / n, reach, 0.0, z)


def _invert(
    score: Callable[[Float64Array], Float64Array],
    estimate: Float64Array,
    reach: Float64Array,
    low: float,
    critical: Float64Array,
) -> tuple[Float64Array, Float64Array]:
    """Where the falling score leaves [-critical, critical] on [low, 1], outwards from the estimate; both ends at once.

    Found by false position (the Illinois method: M. Dowell and P. Jarratt, BIT 11, 1971) within a bracket that is
    doubled from `reach` until it holds the end; the score there is beyond, by 1e-10 at most.
    """
    inner = np.stack([estimate, estimate])
    away = np.stack([-reach, reach])

    def beyond(values: Float64Array) -> Float64Array:
        return np.minimum(np.abs(score(values)) - critical, critical)

    outer = np.clip(inner + away, low, 1.0)
    above = beyond(outer)
    while ((above < 0) & (outer > low) & (outer < 1.0)).any():
        away = 2 * away
        outer = np.where(above < 0, np.clip(inner + away, low, 1.0), outer)
        above = beyond(outer)
    inside, below, over, last = above < 0, np.broadcast_to(-critical, outer.shape), above, above >= 0
    for _ in range(_STEPS):
        if ((over <= _PRECISION) | (np.abs(outer - inner) <= _PRECISION * reach)).all():
            break
        middle = outer - above * (outer - inner) / np.where(above > below, above - below, 1.0)
        middle = np.where((middle - inner) * (middle - outer) < 0, middle, 0.5 * (inner + outer))
        found = beyond(middle)
        out = found >= 0
        over = np.where(out, found, over)
        kept = np.where(out == last, 0.5, 1.0)
        below, above, last = np.where(out, kept * below, found), np.where(out, found, kept * above), out
        inner, outer = np.where(out, inner, middle), np.where(out, middle, outer)
    ends = np.where(inside, [[low], [1.0]] if estimate.ndim else [low, 1.0], outer)
    return ends[0], ends[1]


def p_value_above(counts: Counts, value: float) -> float:
    """One-sided p-value against "the share is at most `value`": small when it is surely above."""
    return student_t_cdf(-counts.score(value), counts.df)


def p_value_below(counts: Counts, value: float) -> float:
    """One-sided p-value against "the share is at least `value`": small when it is surely below."""
    return student_t_cdf(counts.score(value), counts.df)
