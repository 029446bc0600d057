"""Distribution-free bounds of a quantile by order statistics, for independent or correlated samples.

Source: H. A. David and H. N. Nagaraja, Order Statistics, 3rd ed. (2003), section 7.1: with B ~ Binomial(n, p),
P(q_p <= X_(k)) >= P(B <= k - 1) and P(X_(k) <= q_p) >= P(B >= k), whatever the distribution.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from kit.records import Float64Array
from kit.spec.counts import minimum_count as minimum_count
from kit.stats.special import binomial_cdf

_BATCH_COUNTS = (20, 50)
_MOST_CORRELATED = 0.9
PERCENTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
"""The quantiles that a latency is told by."""


@dataclass(frozen=True, slots=True)
class QuantileBounds:
    """One-sided bounds of a quantile, in the samples' unit; None where there are too few samples for that bound.

    `effective_count` is samples / design_effect; `minimum_count` is the least effective count with an upper bound.
    """

    probability: float
    estimate: float
    lower: float | None
    upper: float | None
    count: int
    design_effect: float
    effective_count: int
    minimum_count: int


def upper_rank(count: int, probability: float, confidence: float) -> int | None:
    """Smallest k (from 1) with P(q_p <= X_(k)) >= confidence; None if even the largest sample does not reach it."""
    if 1.0 - probability**count < confidence:
        return None
    return _first_rank(count, probability, lambda below: below >= confidence)


def lower_rank(count: int, probability: float, confidence: float) -> int | None:
    """Largest k (from 1) with P(X_(k) <= q_p) >= confidence; None if even the smallest sample does not reach it."""
    rank = _first_rank(count, probability, lambda below: below > 1.0 - confidence) - 1
    return rank if rank >= 1 else None


def _first_rank(count: int, probability: float, reached: Callable[[float], bool]) -> int:
    """Smallest k in 1..count + 1 at which reached(P(B <= k - 1)); the binomial cdf grows with k."""
    low, high = 1, count + 1
    while low < high:
        middle = (low + high) // 2
        if reached(binomial_cdf(middle - 1, count, probability)):
            high = middle
        else:
            low = middle + 1
    return low


def exceedance_design_effect(samples: Float64Array, probability: float) -> float:
    """How many times the variance of the share above the p-quantile exceeds that of independent samples; at least 1.

    Batch means of the indicator, the larger of 20 and 50 batches (G. S. Fishman, Discrete-Event Simulation, 2001,
    chapter 6). samples: [n] in the order taken. With fewer than 100 samples, or no variation, it is 1.
    """
    if len(samples) < 2 * max(_BATCH_COUNTS):
        return 1.0
    above = samples > np.quantile(samples, probability, method="inverted_cdf")
    share = float(above.mean())
    if share in (0.0, 1.0):
        return 1.0
    effects = [_batch_variance(above.astype(np.float64), batches) / (share * (1 - share)) for batches in _BATCH_COUNTS]
    return max(1.0, *effects)


def _batch_variance(values: Float64Array, batches: int) -> float:
    """Long-run variance of one value, from the variance of `batches` equal batches (the first few are dropped).

    Batches that are still correlated, with r from one to the next, show too little of it: by (1 + r) / (1 - r).
    """
    length = len(values) // batches
    means = values[len(values) - batches * length :].reshape(batches, length).mean(axis=1)
    centred = means - means.mean()
    power = float(centred @ centred)
    r = min(max(float(centred[:-1] @ centred[1:]) / power, 0.0), _MOST_CORRELATED) if power > 0 else 0.0
    return length * power / (batches - 1) * (1 + r) / (1 - r)


def quantile_bounds(samples: Float64Array, probability: float, confidence: float) -> QuantileBounds:
    """Estimate and one-sided bounds, each at `confidence`, of the `probability` quantile of `samples` [n >= 1].

    Ranks are those of the effective count, scaled outwards to the samples that there are.
    """
    return _bounds(samples, np.sort(samples), probability, confidence)


def percentiles(
    samples: Float64Array, confidence: float, probabilities: Sequence[float] = PERCENTILES
) -> tuple[QuantileBounds, ...]:
    """`quantile_bounds` of each probability (ascending), where no bound contradicts another.

    What bounds a quantile from above bounds every lower one, and from below every higher one: the tighter is told. That
    costs a bound's confidence only where another fails by more than the distance of their quantiles.
    """
    ordered = np.sort(samples)
    found = [_bounds(samples, ordered, probability, confidence) for probability in probabilities]
    lowers = list(accumulate((each.lower for each in found), lambda a, b: _tighter(a, b, max)))
    uppers = list(accumulate((each.upper for each in reversed(found)), lambda a, b: _tighter(a, b, min)))
    bounds = zip(found, lowers, reversed(uppers), strict=True)
    return tuple(replace(each, lower=lower, upper=upper) for each, lower, upper in bounds)


def _tighter(first: float | None, second: float | None, of: Callable[[float, float], float]) -> float | None:
    return of(first, second) if first is not None and second is not None else second if first is None else first


def _bounds(samples: Float64Array, ordered: Float64Array, probability: float, confidence: float) -> QuantileBounds:
    count = len(ordered)
    effect = exceedance_design_effect(samples, probability)
    effective = max(1, int(count / effect))
    upper = upper_rank(effective, probability, confidence)
    lower = lower_rank(effective, probability, confidence)
    return QuantileBounds(
        probability=probability,
        estimate=float(np.quantile(ordered, probability, method="inverted_cdf")),
        lower=None if lower is None else float(ordered[(lower - 1) * count // effective]),
        upper=None if upper is None else float(ordered[-(-upper * count // effective) - 1]),
        count=count,
        design_effect=effect,
        effective_count=effective,
        minimum_count=minimum_count(probability, confidence),
    )
