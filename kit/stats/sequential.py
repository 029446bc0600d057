"""What is known of a share or a difference from rows that arrive in random order until it is decided.

The chance of error is split beforehand: half for bets on the way, at every look; half for one test at the end, if all
rows have been spent. With a twin (the same file's answers on every row, computed by the host) the half on the way is
split again: for the bound of the twin over all rows, and for bets on the rows' differences to it, which are few. The
sum of both bounds is the device's (Bonferroni), however wrong the twin is.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kit.stats.betting import Trail, bounds
from kit.stats.proportions import PairedCounts, Successes
from kit.stats.special import bisect, normal_quantile

Figures = PairedCounts | Successes

ON_THE_WAY, BY_TWIN = 0.5, 0.5
"""Of the chance of error: what the way has; and of that, what the twin's own bound has."""

_LEAST_EXPONENT, _STEPS = -12.0, 30


@dataclass(frozen=True, slots=True)
class Sequential:
    """A figure in [`least`, 1] that rows decide one after another; `Counts` for whoever asks for bounds and p-values.

    trail: the device's rows or, with `twin`, how far they differ from the twin's. twin: the figure of the twin on all
    rows. end: of the device on all rows, once they are spent. sign: -1 where what the trail loses lowers the figure.
    rows: effective rows seen.
    """

    estimate: float
    least: float
    trail: Trail
    twin: Figures | None
    end: Figures | None
    sign: int
    rows: float
    df: float = 1e9

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Lower and upper bound, each wrong with probability 1 - `confidence` at most, whenever the run stopped."""
        alpha = 1.0 - confidence
        lower, upper = self._on_the_way(ON_THE_WAY * alpha)
        if self.end is None:
            return lower, upper
        low, high = self.end.bounds(1.0 - (1.0 - ON_THE_WAY) * alpha)
        both = max(lower, low), min(upper, high)
        return both if both[0] <= both[1] else (low, high)

    def score(self, value: float) -> float:
        """Normal score with the p-value of H0: figure = value, which is the least alpha whose bound excludes it."""
        if value < self.estimate:
            return -normal_quantile(_least(lambda alpha: self.bounds(1.0 - alpha)[0] <= value))
        return normal_quantile(_least(lambda alpha: self.bounds(1.0 - alpha)[1] >= value))

    def _on_the_way(self, alpha: float) -> tuple[float, float]:
        if self.twin is None:
            return bounds(self.trail, alpha)
        twin_lower, twin_upper = self.twin.bounds(1.0 - BY_TWIN * alpha)
        less, more = bounds(self.trail, (1.0 - BY_TWIN) * alpha)
        less, more = (less, more) if self.sign > 0 else (-more, -less)
        return max(self.least, twin_lower + less), min(1.0, twin_upper + more)


def _least(stands: Callable[[float], bool]) -> float:
    """The least alpha at which the value stands no longer, by bisection on its logarithm; 1/2 if it stands there."""
    if stands(0.5):
        return 0.5
    return float(min(0.5, 10.0 ** bisect(lambda exponent: stands(10.0**exponent), _LEAST_EXPONENT, 0.0, _STEPS)))
