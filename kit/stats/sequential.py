"""What is known of a share or a difference from rows that arrive in random order until it is decided.

The chance of error is split beforehand: half for bets on the way, at every look; half for one test at the end, if all
rows have been spent. With a twin (the same file's answers on every row, computed by the host) the half on the way is
split in three: for bets on the device's rows as before, for the twin's own bound over all rows, and for bets on how
the device's rows differ from the twin's, which few do. The sum of the last two bounds is one of the device
(Bonferroni), however wrong the twin is; the better of the two ways counts.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from kit.stats.betting import Trail, bounds, is_above, is_below
from kit.stats.proportions import PairedCounts, Successes
from kit.stats.special import bisect, normal_quantile

Figures = PairedCounts | Successes

ON_THE_WAY, OF_THREE = 0.5, 1 / 3
"""Of the chance of error: what the way has; and of that, what each of three bounds has where there is a twin."""

_LEAST_EXPONENT, _MOST_EXPONENT, _STEPS = -12.0, math.log10(0.5), 18


@dataclass(frozen=True, slots=True)
class Sequential:
    """A figure in [`least`, 1] that rows decide one after another; `Counts` for whoever asks for bounds and p-values.

    trail: of the device's rows. twin: the figure of the twin on all rows; audit: of how far the device's rows differ
    from the twin's. end: the device on all rows, once they are spent. sign: -1 where what the audit loses lowers the
    figure. rows: effective rows seen.
    """

    estimate: float
    least: float
    trail: Trail
    twin: Figures | None
    audit: Trail | None
    end: Figures | None
    sign: int
    rows: float
    df: float = 1e9

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Lower and upper bound, each wrong with probability 1 - `confidence` at most, whenever the run stopped."""
        alpha = 1.0 - confidence
        lower, upper = (min(max(end, self.least), 1.0) for end in self._on_the_way(ON_THE_WAY * alpha))
        if self.end is None:
            return lower, upper
        low, high = self.end.bounds(1.0 - (1.0 - ON_THE_WAY) * alpha)
        both = max(lower, low), min(upper, high)
        return both if both[0] <= both[1] else (low, high)

    def score(self, value: float) -> float:
        """Normal score with the p-value of H0: figure = value: the least alpha, up to 1/2, whose bound excludes it."""
        side = 1 if value < self.estimate else -1

        def stands(exponent: float) -> bool:
            return self.side(value, 1.0 - 10.0**exponent) != side

        alpha = 0.5 if stands(_MOST_EXPONENT) else 10.0 ** bisect(stands, _LEAST_EXPONENT, _MOST_EXPONENT, _STEPS)
        return -side * normal_quantile(alpha)

    def side(self, value: float, confidence: float, *, reaches: bool = False) -> int:
        """1 where the lower bound is above `value`, -1 where the upper is at most that, else 0: without the bounds.

        reaches: whether a lower bound of exactly `value` is above it, and an upper one is not below.
        """
        alpha = 1.0 - confidence
        if self.end is not None:
            low, high = self.end.bounds(1.0 - (1.0 - ON_THE_WAY) * alpha)
            above, below = (low >= value, high < value) if reaches else (low > value, high <= value)
            if above or below:
                return 1 if above else -1
        alpha *= ON_THE_WAY if self.twin is None else ON_THE_WAY * OF_THREE
        if is_below(self.trail, value, alpha) or is_above(self.trail, value, alpha):
            return -1 if is_below(self.trail, value, alpha) else 1
        if self.twin is None or self.audit is None:
            return 0
        low, high = _bounds(self.twin, 1.0 - alpha)
        if self.sign > 0:
            return -1 if is_below(self.audit, value - high, alpha) else int(is_above(self.audit, value - low, alpha))
        return -1 if is_above(self.audit, high - value, alpha) else int(is_below(self.audit, low - value, alpha))

    def more(self, value: float, confidence: float, most_times: float) -> float | None:
        """Effective rows that are missing to exclude `value`, if all goes on; None beyond `most_times` those seen."""

        def undecided(times: float) -> bool:
            audit = None if self.audit is None else self.audit.last(times)
            return replace(self, trail=self.trail.last(times), audit=audit, end=None).side(value, confidence) == 0

        if not len(self.trail.rows) or undecided(most_times):
            return None
        times = float(10.0 ** bisect(lambda exponent: undecided(10.0**exponent), 0.0, math.log10(most_times), _STEPS))
        return (times - 1.0) * self.rows

    def _on_the_way(self, alpha: float) -> tuple[float, float]:
        if self.twin is None or self.audit is None:
            return bounds(self.trail, alpha)
        alpha *= OF_THREE
        lower, upper = bounds(self.trail, alpha)
        twin_lower, twin_upper = _bounds(self.twin, 1.0 - alpha)
        less, more = bounds(self.audit, alpha)
        less, more = (less, more) if self.sign > 0 else (-more, -less)
        both = max(lower, twin_lower + less), min(upper, twin_upper + more)
        return both if both[0] <= both[1] else (lower, upper)


@lru_cache(maxsize=4096)
def _bounds(twin: Figures, confidence: float) -> tuple[float, float]:
    """Of a twin, which every look asks for again."""
    return twin.bounds(confidence)
