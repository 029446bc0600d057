"""Models measured in turn, so that drift favours none; and what their windows, side by side, say of each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kit.records import Float64Array
from kit.stats.special import student_t_quantile

MINIMUM_PAIRS = 3
"""Fewest pairs of windows with an interval: two would leave one degree of freedom."""

ROUNDS_CORRELATION = 0.6
"""The correlation of successive rounds' log ratios that is allowed for, since a few rounds cannot show their own.

Up to here a difference is told where there is none as often as the confidence says, or more rarely; beyond, more often.
"""


def turns(models: int, windows: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """The order of `models` (from 0) in each round: A B B A, the next two rounds drawn anew.

    Every second round is the one before it backwards, so a drift that is linear over the two weighs on all models
    alike (R. A. Fisher, The Design of Experiments, 1935, on balance and on drawing what cannot be balanced). The same
    seed gives the same order.
    """
    random = np.random.default_rng(seed)
    order = list[tuple[int, ...]]()
    while len(order) < windows:
        forward = tuple(int(each) for each in random.permutation(models))
        order += [forward, forward[::-1]]
    return tuple(order[:windows])


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long as the other a model takes; the interval's two ends together have `confidence`."""

    estimate: float
    lower: float
    upper: float
    pairs: int
    confidence: float

    @property
    def differs(self) -> bool:
        """Whether a difference can be told: the interval leaves 1 out."""
        return not self.lower <= 1.0 <= self.upper


def paired_ratio(first_s: Sequence[float], second_s: Sequence[float], confidence: float) -> Ratio | None:
    """The ratio second / first of medians taken in the same rounds; None below three rounds.

    Student's t interval of the mean log ratio (Student, Biometrika 6, 1908), for rounds that hang together: what a
    round did to both cancels, what differs from session to session is in the spread, and what lasts for some rounds is
    allowed for (`_allowance`). Raises ValueError unless all are positive, and as many each.
    """
    one, other = np.asarray(first_s, np.float64), np.asarray(second_s, np.float64)
    if one.shape != other.shape or not ((one > 0).all() and (other > 0).all()):
        raise ValueError("medians come in pairs, and are above 0")
    if len(one) < MINIMUM_PAIRS:
        return None
    logs: Float64Array = np.log(other / one)
    widening, freedom = _allowance(len(logs))
    error = widening * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    half = student_t_quantile(1 - (1 - confidence) / 2, freedom) * error
    mean = float(logs.mean())
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(logs), confidence)


@lru_cache(maxsize=128)
def _allowance(count: int) -> tuple[float, float]:
    """How much wider than of independent rounds the error of a mean of `count` is, and its degrees of freedom.

    Exact for a first-order autoregression of `ROUNDS_CORRELATION`: its mean varies more, and the spread within shows
    less than all of it; the freedom that is left is Satterthwaite's (G. E. P. Box, Annals of Mathematical Statistics
    25, 1954). About 2.1 times as wide at 3 to 12 rounds, and in the end twice.
    """
    place = np.arange(count)
    together = ROUNDS_CORRELATION ** np.abs(np.subtract.outer(place, place))
    within = together - together.mean(axis=0)  # traces of it and its square are those of the departures' covariance
    variance = float(np.trace(within))
    of_mean = float(together.mean()) * count
    return math.sqrt(of_mean * (count - 1) / variance), variance**2 / float(np.trace(within @ within))
