"""Which conjunctions are worth confirming: those that are hurt most on one half of the rows, told once each.

Every conjunction that exceeds the limit by itself (one-sided, 5 %) is taken by the lower end of its mean difference,
highest first, and kept only if the rows that it does not share with those kept before exceed the limit by themselves.
So a part of a slice that is hurt as a whole is not listed beside it, and neither is a slice that is hurt only because
a part of it is.

Nothing is claimed of this half, so what is sent need not stand out among all that was looked at. Asking for that by the
rule of Benjamini and Hochberg (J. Royal Statistical Society B 57, 1995) finds far less: docs/slices.md. What the rule
says of a candidate is told with it.
"""

import math
from collections.abc import Sequence

import numpy as np

from kit.records import Float64Array
from kit.slicing.family import Family
from kit.slicing.scan import BoolArray
from kit.slicing.worst import statistic

MOST_CANDIDATES = 10
"""Each more makes confirming the others harder (Holm)."""

MOST_LOOKED_AT = 300
"""Of the surest: looking at one takes a pass over the rows."""

BY_ITSELF = 1.645
"""Standard normal deviate of 5 %."""

CAUTION = 3.0
"""Standard errors that the lower end lies below the mean, so that luck on few rows does not come first."""


def benjamini_hochberg(p_values: Float64Array) -> Float64Array:
    """Adjusted p-values [n] in the order given: rejecting those at most q has an expected false share of at most q.

    Of p-values that are independent or positively dependent (Y. Benjamini and D. Yekutieli, Annals of Statistics 29,
    2001), as overlapping slices are.
    """
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    raised = p_values[order] * count / np.arange(1, count + 1)
    adjusted = np.empty(count)
    adjusted[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1.0)
    return adjusted


def upper_tail(deviates: Float64Array) -> Float64Array:
    """P(Z >= z) of the standard normal for each of `deviates` [n]; 1 for those below 1, which nobody asks for."""
    tail = np.ones(len(deviates))
    large = np.flatnonzero(deviates > 1)
    tail[large] = [0.5 * math.erfc(each / math.sqrt(2)) for each in deviates[large].tolist()]
    return tail


def candidates(
    family: Family,
    rows: Float64Array,
    x: Float64Array,
    squares: Float64Array,
    of_rows: Float64Array,
    *,
    design_effect: float = 1.0,
) -> dict[int, float]:
    """Numbers of the conjunctions of `family` to be confirmed, the surest harm first; at most `MOST_CANDIDATES`.

    Beside each is its adjusted p-value on these rows, by `benjamini_hochberg`.

    Args:
        rows, x, squares: float64 [slices], on the half that is looked at: rows, and sums of x and of its squares, where
            x is weight x (difference - limit).
        of_rows: float64 [rows], the same x of each row; NaN where the row is of the other half.
        design_effect: of all rows that are looked at; deviates are taken to be too large by its square root.
    """
    deviate = statistic(x, squares) / math.sqrt(design_effect)
    adjusted = benjamini_hochberg(upper_tail(deviate))
    standing = np.flatnonzero(deviate > BY_ITSELF)
    ends = _lower_ends(rows[standing], x[standing], squares[standing] * design_effect)
    order = standing[np.argsort(-ends, kind="stable")]
    told = told_once(family, order[:MOST_LOOKED_AT].tolist(), of_rows, design_effect)
    return {number: float(adjusted[number]) for number in told}


def told_once(
    family: Family, ordered: Sequence[int], of_rows: Float64Array, design_effect: float = 1.0
) -> tuple[int, ...]:
    """Those of `ordered` whose rows that none before them has are hurt by themselves; at most `MOST_CANDIDATES`."""
    fresh: BoolArray = np.isfinite(of_rows)
    told: list[int] = []
    known: list[frozenset[tuple[str, str]]] = []
    for at in ordered:
        where = frozenset(family.where(at))
        if len(told) == MOST_CANDIDATES or any(each <= where for each in known):
            continue
        mask = family.mask(at)
        own = of_rows[mask & fresh]
        alone = float(own.sum()) / math.sqrt(max(float((own * own).sum()) * design_effect, 1e-300))
        if alone > BY_ITSELF:
            told.append(at)
            known.append(where)
            fresh &= ~mask
    return tuple(told)


def _lower_ends(rows: Float64Array, x: Float64Array, squares: Float64Array) -> Float64Array:
    """Mean of x less `CAUTION` standard errors, the variance about the lower end itself; no rows have none."""
    count = np.maximum(rows, 1.0)
    mean = x / count
    spread = np.sqrt(np.maximum(squares / count - mean**2, 0.0) / np.maximum(count - CAUTION**2, 1e-9))
    return np.where(rows > CAUTION**2, mean - CAUTION * spread, -np.inf)
