"""How alike two rankings are: Kendall's tau-b, a tau that weighs the top, and what both have at the top."""

import numpy as np

from kit.records import Float64Array


def kendall_tau_b(one: Float64Array, two: Float64Array) -> float:
    """Kendall's tau-b of two lists [n], -1 to 1, ties corrected; NaN where a list is all ties.

    Source: M. G. Kendall, Biometrika 33 (1945) 239-251.
    """
    return _tau(one, two, np.ones((len(one), len(one))))


def weighted_tau(one: Float64Array, two: Float64Array) -> float:
    """Tau in which a pair counts 1 / rank + 1 / rank, by the ranks in `one` (from 1, the largest first); NaN as above.

    Source: S. Vigna, WWW 2015 (additive hyperbolic weights).
    """
    order = np.lexsort((-two, -one))
    weight = np.empty(len(one))
    weight[order] = 1.0 / np.arange(1, len(one) + 1)
    return _tau(one, two, weight[:, None] + weight[None, :])


def _tau(one: Float64Array, two: Float64Array, weight: Float64Array) -> float:
    first, second = (np.sign(values[:, None] - values[None, :]) for values in (one, two))
    spread = float((weight * first**2).sum()) * float((weight * second**2).sum())
    return float((weight * first * second).sum()) / spread**0.5 if spread > 0 else float("nan")


def top_overlap(one: Float64Array, two: Float64Array, most: int) -> float:
    """Share of the `most` largest of `one` [n] that are among those of `two`; earlier ones win ties."""
    tops = [set(np.argsort(-values, kind="stable")[:most].tolist()) for values in (one, two)]
    return len(tops[0] & tops[1]) / most
