"""Bounds of a mean that hold at every look: bets against a limit, whose capital seldom grows while the limit is true.

A gambler bets a stake on every row that it loses less than `bound`. If the mean loss is `bound` or more, the capital
is a nonnegative supermartingale: it ever reaches 1 / alpha with probability alpha at most (J. Ville, 1939), however
often one looks and whenever one stops. Bounds are the limits against which the capital has reached that.

The bets are a mixture of constant stakes (T. M. Cover, Mathematical Finance 1, 1991; I. Waudby-Smith and A. Ramdas,
J. Royal Statistical Society B 86, 2024, arXiv 2010.09686), none of which depends on the limit. So the capital depends
on counts alone, rises with the limit, and a limit may even be chosen after the data.

What is claimed is of the population that the dataset's rows were drawn from. Its rows in random order are exchangeable
draws from there, whether or not they are put back, so a bet for independent draws is fair; that the dataset is finite
is no gain, and is not used.

With effective counts of clustered rows the guarantee is not exact: in a random order of the rows, means by cluster have
independent increments in the information that they carry (C. Jennison and B. W. Turnbull, Group Sequential Methods,
2000, 11.3), as far as the design effect is known. `price` pays for its being estimated. Exact with clusters is
`mean_bounds` over whole clusters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kit.records import Float64Array
from kit.stats.proportions import PairedCounts, Successes
from kit.stats.special import bisect, normal_quantile, student_t_quantile

STAKES = 2.0 ** -(np.arange(9) / 2)
"""Shares of the most that can be staked on a difference: from all, best where nothing flips, to 1/16."""

WEIGHTS = np.r_[0.4, np.full(8, 0.075)]
"""Of the starting capital: most on what decides soonest in the commonest case, no flip at all."""

LONG_STAKES = 2.0 ** np.arange(-2.0, 7.0)
"""Against a share that should be small: a row that happens pays up to 64 times what one that does not costs."""

LONG_WEIGHTS = np.full(9, 1 / 9)

_STEPS = 45


@dataclass(frozen=True, slots=True)
class Trail:
    """Effective counts after each look, float64 [looks], each: rows that lost, rows that won, and all of them.

    `price`: by how much log(1 / alpha) is raised at a look because its design effect is an estimate; 1 is exact.
    `can_win` is False where a row either loses or does not (a share).
    """

    lost: Float64Array
    won: Float64Array
    rows: Float64Array
    df: Float64Array
    exact: bool
    can_win: bool

    def last(self, times: float = 1.0) -> "Trail":
        """The last look alone, with `times` as many rows."""
        lost, won, rows, df = (times * each[-1:] for each in (self.lost, self.won, self.rows, self.df))
        return Trail(lost, won, rows, df, self.exact, self.can_win)

    def price(self, alpha: float) -> Float64Array:
        """Float64 [looks]: (Student's quantile over the normal's) squared; infinite below 2 clusters."""
        if self.exact:
            return np.ones(len(self.rows))
        kinds, which = np.unique(self.df, return_inverse=True)
        quantiles = np.array([student_t_quantile(1.0 - alpha, df) for df in kinds.tolist()])
        return np.asarray((quantiles / normal_quantile(1.0 - alpha))[which] ** 2)


def trail_of(looks: Sequence[PairedCounts | Successes], *, exact: bool) -> Trail:
    """The counts of one subject after each look, in order; `exact` where every row is its own cluster."""
    paired = all(isinstance(each, PairedCounts) for each in looks)
    lost = [each.to_wrong if isinstance(each, PairedCounts) else each.successes for each in looks]
    won = [each.to_right if isinstance(each, PairedCounts) else 0.0 for each in looks]
    return Trail(
        np.array(lost), np.array(won), np.array([each.rows for each in looks], dtype=np.float64),
        np.array([each.df for each in looks], dtype=np.float64), exact, paired,
    )  # fmt: skip


def log_capital(
    lost: Float64Array, won: Float64Array, rows: Float64Array, bound: float, most: float = 1.0
) -> Float64Array:
    """Log of the capital of bets that the mean of (1 lost, -1 won, 0 else) is below `bound`, from 1. Arguments: [...].

    `most` is the most that a row can lose: 0 where it can only win, and stakes are then long. A stake that one row
    could overdraw at this bound is worth nothing.
    """
    stakes, weights = (STAKES, WEIGHTS) if most > 0 else (LONG_STAKES, LONG_WEIGHTS)
    allowed = 1.0 + stakes * (bound - most) >= 0.0
    if not allowed.any():
        return np.full(np.shape(rows), -np.inf)
    stakes, weights = stakes[allowed], weights[allowed]
    with np.errstate(divide="ignore"):
        gains = [np.log(np.maximum(1.0 + stakes * (bound - loss), 0.0)) for loss in (1.0, -1.0, 0.0)]
    counts = (lost, won, np.maximum(rows - lost - won, 0.0))
    total = sum(_times(np.asarray(n)[..., None], gain) for n, gain in zip(counts, gains, strict=True))
    return _log_mean(np.asarray(total), weights)


def _times(count: Float64Array, gain: Float64Array) -> Float64Array:
    """count x gain, 0 where nothing was counted."""
    return np.where(count > 0, count * np.where((count > 0) | np.isfinite(gain), gain, 0.0), 0.0)


def _log_mean(logs: Float64Array, weights: Float64Array) -> Float64Array:
    """Log of the weighted mean of exp(logs) [..., stakes]."""
    top = np.maximum(logs.max(axis=-1), -1e300)
    with np.errstate(divide="ignore"):
        return np.asarray(top + np.log((weights * np.exp(logs - top[..., None])).sum(axis=-1)))


def bounds(trail: Trail, alpha: float) -> tuple[float, float]:
    """Lower and upper bound of the mean of (1 lost, -1 won, 0 else), each ever wrong with probability `alpha` at most.

    The tightest of all looks; of the last alone where looks contradict each other (alpha is then spent, or the order
    was not random). -1 (0 for a share) and 1 where nothing is known.
    """
    least, most = (-1.0 if trail.can_win else 0.0), 1.0
    if not len(trail.rows):
        return least, most
    needed = math.log(1.0 / alpha) * trail.price(alpha)
    upper = _first_refuted(trail.lost, trail.won, trail.rows, needed, least, most)
    lower = 0.0 - _first_refuted(trail.won, trail.lost, trail.rows, needed, -most, -least)
    return (lower, upper) if lower <= upper else bounds(trail.last(), alpha)


def _first_refuted(
    lost: Float64Array, won: Float64Array, rows: Float64Array, needed: Float64Array, low: float, high: float
) -> float:
    """The number below the least limit in [low, high] against which the capital has reached exp(`needed`) [looks].

    `high` where there is none. That limit itself is refuted: bets that the mean is 0 may win where none against
    anything above do, since a stake of 1 can be overdrawn there.
    """

    def stands(bound: float) -> bool:
        return not _refuted(lost, won, rows, bound, high, needed)

    return high if stands(high) else math.nextafter(bisect(stands, low, high, _STEPS), -math.inf)


def is_below(trail: Trail, value: float, alpha: float) -> bool:
    """Whether the upper bound at `alpha` is at most `value`: at some look the capital has reached 1 / alpha."""
    return _refuted(trail.lost, trail.won, trail.rows, value, 1.0, math.log(1.0 / alpha) * trail.price(alpha))


def is_above(trail: Trail, value: float, alpha: float) -> bool:
    """Whether the lower bound at `alpha` is at least `value`."""
    most = 1.0 if trail.can_win else 0.0
    return _refuted(trail.won, trail.lost, trail.rows, -value, most, math.log(1.0 / alpha) * trail.price(alpha))


def _refuted(
    lost: Float64Array, won: Float64Array, rows: Float64Array, bound: float, most: float, needed: Float64Array
) -> bool:
    return bool((log_capital(lost, won, rows, bound, most) >= needed).any())


def mean_bounds(values: Float64Array, sizes: Float64Array, alpha: float) -> tuple[float, float]:
    """Bounds of E[size x value] / E[size] from independent draws in random order: exact, at any number of them.

    values: [n] in [-1, 1], such as means of clusters; sizes: [n] positive, known before a draw and as shares of the
    largest that there can be: the unit of a bet. Each bound is wrong at most `alpha` of the time.
    """
    needed = math.log(1.0 / alpha)

    def upper(signed: Float64Array) -> float:
        def stands(bound: float) -> bool:
            with np.errstate(divide="ignore"):
                gains = np.log(np.maximum(1.0 + STAKES * (sizes * (bound - signed))[:, None], 0.0))
            allowed = 1.0 + STAKES * (bound - 1.0) >= 0.0
            capital = _log_mean(np.cumsum(gains, axis=0), np.where(allowed, WEIGHTS, 0.0))
            return not bool((capital >= needed).any())

        return 1.0 if stands(1.0) else bisect(stands, -1.0, 1.0, _STEPS)

    return -upper(-values), upper(values)
