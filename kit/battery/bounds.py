"""Bounds of the share of life over a box of ranges: never too narrow, where its corners alone would be.

Each life falls or rises with each input by itself (`tiers`), but their ratio need not: as the efficiency falls, a peak
of the model's may end the life long before one of the device's own does, and in the corner both are soon. So the box is
cut into cells, each bounded by what is monotone in it: with f(q) the time that a step at depth q takes, the model costs
f0 - f1 = (I1 - I0) f0 f1 until it ends the life, and f0 from there to where it would end without. I1 - I0, I0 and I1
grow with idle load, resistance, self-discharge and what the regulator wastes, since I(P) is a power series with
positive terms alone (bounds by subdivision: R. E. Moore, Methods and Applications of Interval Analysis, 1979).
"""

import itertools
import math
from collections.abc import Mapping

import numpy as np

from kit.battery.tiers import Trace, area
from kit.records import Float64Array
from kit.spec.types import Range

CELLS = {"self_hz": 2, "efficiency": 24, "idle_w": 3, "resistance_ohm": 4, "peukert": 4}
"""Cells along each input, in proportion: most along the one that moves every peak."""

CELLS_IN_ALL = 256
"""About as many, whatever inputs are open: fewer open ones are cut the finer."""


def grid(ranges: Mapping[str, Range]) -> tuple[dict[str, Float64Array], tuple[int, ...]]:
    """The inputs that a share depends on, float64 [nodes] each, and how many nodes along each, from best to worst.

    Charge cancels but for what it loses by itself: full_c and derating are 1, and self_hz is a current in A.
    """
    full, rate = ranges["full_c"], ranges["self_hz"]
    spans = dict(ranges) | {"self_hz": Range(full.low * rate.low, full.likely * rate.likely, full.high * rate.high)}
    wide = [cells for name, cells in CELLS.items() if not spans[name].is_exact]
    finer = (CELLS_IN_ALL / math.prod(wide)) ** (1.0 / max(len(wide), 1))
    axes = [_nodes(spans[name], math.ceil(cells * finer)) for name, cells in CELLS.items()]
    axes[1] = axes[1][::-1]  # an efficiency is best where it is greatest
    nodes = np.array(list(itertools.product(*axes)))
    at = dict(zip(CELLS, nodes.T, strict=True))
    return at | {name: np.ones(len(nodes)) for name in ("full_c", "derating")}, tuple(map(len, axes))


def _nodes(span: Range, cells: int) -> Float64Array:
    return np.array([span.likely]) if span.is_exact else np.linspace(span.low, span.high, cells + 1)


def greatest_share(alone: Trace, busy: Trace, shape: tuple[int, ...], *, one_curve: bool) -> float:
    """Upper bound of 1 - life with / life without, 0 to 1, of traces at a `grid`'s nodes; `busy`: at its dearest.

    one_curve: with and without the model the cell follows the same table; else less is known, and the bound is wider.
    """
    best_0, best_1, worst_1 = _at(alone.pace, shape, 0), _at(busy.pace, shape, 0), _at(busy.pace, shape, 1)
    until_0, until_1 = _at(alone.until, shape, 0), _at(busy.until, shape, 1)
    lost = best_0 - worst_1
    if one_curve:
        with np.errstate(all="ignore"):
            added = 1.0 / worst_1 - 1.0 / _at(alone.pace, shape, 1)
            lost = np.fmin(np.maximum(added, 0.0) * best_0 * best_1, lost)  # fmin: not where a current is infinite
    gone = area(lost, until_1, busy.depth) + _between(best_0, until_1, until_0, busy.depth)
    return float(_part(gone, area(worst_1, until_1, busy.depth)).max())


def least_share(alone: Trace, busy: Trace, shape: tuple[int, ...], *, one_curve: bool) -> float:
    """Lower bound of the same; `busy`: the model at its cheapest. It never lives longer than without the model."""
    worst_0, best_1, worst_1 = _at(alone.pace, shape, 1), _at(busy.pace, shape, 0), _at(busy.pace, shape, 1)
    until_0, until_1 = _at(alone.until, shape, 1), _at(busy.until, shape, 0)
    lost, least = np.maximum(worst_0 - best_1, 0.0), np.zeros(len(until_0))
    if one_curve:
        with np.errstate(all="ignore"):
            added = np.maximum(1.0 / best_1 - 1.0 / _at(alone.pace, shape, 0), 0.0)
            lost = np.fmax(np.fmin(added * worst_0 * worst_1, worst_0), lost)
            shares = np.nan_to_num(added / (added + 1.0 / worst_0), nan=0.0)
        reached = np.r_[0.0, busy.depth[:-1]] < np.maximum(until_1, 1e-12)[:, None]
        least = np.where(reached, shares, 1.0).min(axis=1)  # no less than where the model adds least
    both = np.minimum(until_0, until_1)
    gone = area(lost, both, busy.depth) + _between(worst_0, both, until_0, busy.depth)
    return float(np.maximum(_part(gone, area(best_1, until_1, busy.depth)), least).min())


def _at(values: Float64Array, shape: tuple[int, ...], end: int) -> Float64Array:
    """What is at the best (0) or the worst (1) corner of every cell: [cells, ...]."""
    cut = tuple(slice(None) if count == 1 else slice(end, count - 1 + end) for count in shape)
    return values.reshape(*shape, *values.shape[1:])[cut].reshape(-1, *values.shape[1:])


def _between(pace: Float64Array, start: Float64Array, stop: Float64Array, depth: Float64Array) -> Float64Array:
    return np.maximum(area(pace, stop, depth) - area(pace, start, depth), 0.0)


def _part(gone: Float64Array, left: Float64Array) -> Float64Array:
    """gone / (gone + left); all of it where nothing is left."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(left > 0, gone / (gone + left), 1.0)
