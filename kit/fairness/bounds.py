"""Bounds of the difference and the ratio between groups, from bounds of each group.

The greatest and the smallest of several estimates are no smooth functions of the rows, so their bootstrap percentiles
promise nothing (D. W. K. Andrews, Econometrica 68, 2000). The gap is at most L exactly where r_g - r_h is for every two
groups, so each pair is held to L at alpha: an intersection-union test, whose error is at most alpha however many groups
there are, since one pair alone, the true extremes, has to be wrong (R. L. Berger, Technometrics 24, 1982). The other
end, where any pair may show a gap, shares alpha among all pairs (Bonferroni).

Two groups without a common cluster: MOVER, the distances to each bound joined as the hypotenuse (G. Y. Zou and
A. Donner, Statistics in Medicine 27, 2008; of Wilson's plain bounds it is R. G. Newcombe's method 10 of 1998; a ratio:
A. Donner and G. Y. Zou, Statistical Methods in Medical Research 21, 2012). With a common cluster: one's upper less the
other's lower bound at half of alpha each, which holds under any dependence.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kit.records import Float64Array
from kit.stats.cells import BoolArray
from kit.stats.proportions import PairedCounts, Successes, paired_bounds, proportion_bounds
from kit.stats.simultaneous import critical_values

_STEPS = 48


class Bounded(Protocol):
    """A figure of one group with bounds, each one-sided at a confidence."""

    @property
    def estimate(self) -> float:
        """The figure."""

    def bounds(self, confidence: float) -> tuple[float, float]:
        """Lower and upper bound."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Figures of groups with bounds: float64 [groups] each."""

    estimate: Float64Array
    lower: Float64Array
    upper: Float64Array


def ends(of: Sequence[Bounded], alpha: float) -> Ends:
    """Bounds of every group, each end wrong at most `alpha` of the time; shares of rows are computed all at once."""
    estimate = np.array([each.estimate for each in of])
    shares = [each for each in of if isinstance(each, Successes)]
    if len(shares) == len(of):
        x, n = _columns(shares, "successes", "rows")
        return Ends(estimate, *proportion_bounds(x, n, _critical(shares, alpha)))
    paired = [each for each in of if isinstance(each, PairedCounts)]
    if len(paired) == len(of):
        b, c, n = _columns(paired, "to_wrong", "to_right", "rows")
        return Ends(estimate, *paired_bounds(b, c, n, _critical(paired, alpha)))
    pairs = np.array([each.bounds(1.0 - alpha) for each in of])
    return Ends(estimate, pairs[:, 0], pairs[:, 1])


def _columns(of: Sequence[Successes] | Sequence[PairedCounts], *names: str) -> list[Float64Array]:
    return [np.array([getattr(each, name) for each in of]) for name in names]


def _critical(of: Sequence[Successes] | Sequence[PairedCounts], alpha: float) -> Float64Array:
    return critical_values(1.0 - alpha, np.array([each.df for each in of]))


def _root(is_below: Callable[[Float64Array], BoolArray], low: Float64Array, high: Float64Array) -> Float64Array:
    """Where a monotone predicate turns false, for each element."""
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        below = is_below(middle)
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high


def difference_upper(of: Sequence[Bounded], apart: BoolArray, alpha: float) -> Float64Array:
    """Upper bound of group g less group h, each wrong at most `alpha` of the time: [g, h], -inf where g is h."""
    whole = ends(of, alpha)
    above, below = whole.upper - whole.estimate, whole.estimate - whole.lower
    upper = whole.estimate[:, None] - whole.estimate + np.hypot(above[:, None], below)
    if not apart.all():
        half = ends(of, alpha / 2)
        upper = np.where(apart, upper, half.upper[:, None] - half.lower)
    return _off_diagonal(upper, -np.inf)


def gap_bounds(of: Sequence[Bounded], apart: BoolArray, alpha: float, parts: int = 1) -> tuple[float, float]:
    """Lower and upper bound of the greatest less the smallest of at least two groups, each wrong at most `alpha`.

    `apart` bool [groups, groups]: `kit.fairness.groups.separate`. `parts`: how many gaps the lower bound shares its
    error with, where the greatest of several is meant.
    """
    upper = float(difference_upper(of, apart, alpha).max())
    pairs = len(of) * (len(of) - 1) * parts
    lower = float((-difference_upper(of, apart, alpha / pairs)[~np.eye(len(of), dtype=np.bool_)]).max())
    return max(0.0, lower), upper


def ratio_bounds(of: Sequence[Bounded], apart: BoolArray, alpha: float, parts: int = 1) -> tuple[float, float]:
    """The same of the smallest over the greatest of figures that are not negative: the lower bound is the safe end."""
    lower = float(_ratio_lower(of, apart, alpha).min())
    pairs = len(of) * (len(of) - 1) * parts
    upper = float(_ratio_upper(of, apart, alpha / pairs).min())
    return lower, min(1.0, upper)


def _ratio_lower(of: Sequence[Bounded], apart: BoolArray, alpha: float) -> Float64Array:
    """Lower bound of g over h, [g, h]: where the lower bound of r_g - x r_h is 0."""
    whole = ends(of, alpha)
    top, bottom, least = whole.estimate[:, None], whole.estimate, whole.lower[:, None]
    rise, fall = whole.upper - whole.estimate, top - least

    def holds(x: Float64Array) -> BoolArray:
        return np.asarray(top - x * bottom >= np.hypot(fall, x * rise))

    lower = _root(holds, np.zeros(apart.shape), np.ones(apart.shape))
    if not apart.all():
        half = ends(of, alpha / 2)
        lower = np.where(apart, lower, _quotient(half.lower[:, None], half.upper))
    return _off_diagonal(lower, np.inf)


def _ratio_upper(of: Sequence[Bounded], apart: BoolArray, alpha: float) -> Float64Array:
    """Upper bound of g over h up to 1, [g, h]: where the upper bound of r_g - x r_h is 0."""
    whole = ends(of, alpha)
    top, bottom = whole.estimate[:, None], whole.estimate
    rise, fall = whole.upper[:, None] - top, bottom - whole.lower

    def below(x: Float64Array) -> BoolArray:
        return np.asarray(top - x * bottom > -np.hypot(rise, x * fall))

    upper = _root(below, np.zeros(apart.shape), np.ones(apart.shape))
    if not apart.all():
        half = ends(of, alpha / 2)
        upper = np.where(apart, upper, _quotient(half.upper[:, None], half.lower))
    return _off_diagonal(upper, np.inf)


def _quotient(top: Float64Array, bottom: Float64Array) -> Float64Array:
    whole = np.broadcast_to(bottom, np.broadcast_shapes(top.shape, bottom.shape))
    return np.divide(top, whole, out=np.ones(whole.shape), where=whole > 0)


def _off_diagonal(values: Float64Array, instead: float) -> Float64Array:
    found = np.array(values, dtype=np.float64)
    np.fill_diagonal(found, instead)
    return found


def extremes(of: Sequence[Bounded], alpha: float, parts: int) -> NDArray[np.float64]:
    """Least and greatest value of g less h, simultaneously right over all groups and `parts`: [2, g, h]."""
    each = ends(of, alpha / (2 * len(of) * parts))
    return np.stack([each.lower[:, None] - each.upper, each.upper[:, None] - each.lower])
