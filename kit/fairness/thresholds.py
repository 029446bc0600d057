"""A threshold for each group: rates of groups made equal by where each group's scores are cut, without retraining.

For each group every threshold is a point: what the criterion makes equal, and the accuracy it has there. Mixing two
thresholds by lot gives every point of the upper convex hull. The value that the groups are given in common is the one
with the most accuracy over all (M. Hardt, E. Price and N. Srebro, Equality of Opportunity in Supervised Learning, 2016,
4; the same construction is Fairlearn's ThresholdOptimizer). Without lots groups meet only as nearly as scores allow.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kit.records import Float64Array, Int64Array

Criterion = Literal["demographic-parity", "equal-opportunity", "equalized-odds"]
THRESHOLD_CRITERIA: tuple[Criterion, ...] = ("demographic-parity", "equal-opportunity", "equalized-odds")

GRID = 1000
"""Steps of the common value, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class GroupRule:
    """A score above `high` is positive; one above `low` by lot, with the chance `mix`; then, with the chance `by_lot`,
    the answer is replaced by a lot of its own, positive with the chance `lot_positive`."""

    low: float
    high: float
    mix: float
    by_lot: float = 0.0
    lot_positive: float = 0.0

    @property
    def draws_lots(self) -> bool:
        """Whether two people with the same score may be decided differently."""
        return self.by_lot > 0.0 or (self.mix not in (0.0, 1.0) and self.low < self.high)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A rule for each group, and the common value that they were fitted to reach (of equalized odds: the false one)."""

    criterion: Criterion
    rules: tuple[GroupRule, ...]
    value: float

    def chances(self, score: Float64Array, group: Int64Array) -> Float64Array:
        """The chance to be decided positive, float64 [n], of scores float64 [n] and groups int64 [n]."""
        low, high, mix, by_lot, lot = (np.array([getattr(rule, name) for rule in self.rules])[group]
                                       for name in ("low", "high", "mix", "by_lot", "lot_positive"))  # fmt: skip
        plain = np.where(score > high, 1.0, np.where(score > low, mix, 0.0))
        return np.asarray((1.0 - by_lot) * plain + by_lot * lot)

    def decide(self, score: Float64Array, group: Int64Array, seed: int) -> Int64Array:
        """1 for positive, else 0: int64 [n]. Lots are drawn by `seed`."""
        draw = np.random.default_rng(seed).random(len(score))
        return np.asarray(draw < self.chances(score, group), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Curve:
    """A group's thresholds as points, x rising from 0 to 1, each once with its most y: float64 [points] each."""

    x: Float64Array
    y: Float64Array
    threshold: Float64Array

    def at(self, x: float) -> tuple[float, float, float]:
        """The two thresholds around x, and the chance of the lower one between them."""
        place = int(np.clip(np.searchsorted(self.x, x, side="right"), 1, len(self.x) - 1))
        left, right = self.x[place - 1], self.x[place]
        mix = 0.0 if right <= left else float(np.clip((x - left) / (right - left), 0.0, 1.0))
        return float(self.threshold[place]), float(self.threshold[place - 1]), mix

    def nearest(self, x: Float64Array) -> Int64Array:
        """The point nearest to each x."""
        place = np.clip(np.searchsorted(self.x, x), 1, len(self.x) - 1)
        return np.asarray(place - (x - self.x[place - 1] < self.x[place] - x))

    def hull(self) -> "_Curve":
        """Its upper convex hull."""
        kept = _hull(self.x, self.y)
        return _Curve(self.x[kept], self.y[kept], self.threshold[kept])


def fit_thresholds(
    score: Float64Array, positive: Int64Array, group: Int64Array, groups: int, criterion: Criterion, *,
    lots: bool = False,
) -> Thresholds:  # fmt: skip
    """Thresholds of the `groups` groups that make `criterion` equal at the most accuracy.

    score: float64 [n], finite, the more the more likely positive; positive: int64 [n], 0 or 1; group: int64 [n].
    Without `lots` each group gets the one threshold that comes nearest to a common value, of which that with the most
    accuracy less gap is taken: a point of one is worth a point of the other. Equalized odds need lots and draw them
    always. Raises ValueError if a group lacks either class: its rates are then not known.
    """
    members = [group == number for number in range(groups)]
    if any(not 0 < int(positive[mask].sum()) < int(mask.sum()) for mask in members):
        raise ValueError("a group has no row of one of the classes, so its rates are not known")
    shares = [float(mask.mean()) for mask in members]
    grid = np.linspace(0.0, 1.0, GRID + 1)
    if criterion == "equalized-odds":
        return _equalized(score, positive, members, grid)
    curves = [_curve(score[mask], positive[mask], criterion) for mask in members]
    if not lots:
        return _single(curves, shares, criterion, grid)
    hulls = [curve.hull() for curve in curves]
    together = sum(share * np.interp(grid, hull.x, hull.y) for share, hull in zip(shares, hulls, strict=True))
    value = float(grid[int(np.argmax(together))])
    return Thresholds(criterion, tuple(GroupRule(*hull.at(value)) for hull in hulls), value)


def _single(curves: list[_Curve], shares: list[float], criterion: Criterion, grid: Float64Array) -> Thresholds:
    """One threshold a group, the nearest to a common value."""
    nearest = [curve.nearest(grid) for curve in curves]
    reached = np.stack([curve.x[place] for curve, place in zip(curves, nearest, strict=True)])
    accuracy = sum(share * curve.y[place] for share, curve, place in zip(shares, curves, nearest, strict=True))
    best = int(np.argmax(accuracy - np.ptp(reached, axis=0)))
    chosen = [float(curve.threshold[place[best]]) for curve, place in zip(curves, nearest, strict=True)]
    return Thresholds(criterion, tuple(GroupRule(each, each, 0.0) for each in chosen), float(grid[best]))


def _equalized(score: Float64Array, positive: Int64Array, members: list[Int64Array], grid: Float64Array) -> Thresholds:
    """The point on or under every group's ROC hull with the most accuracy; a group that is above it draws lots."""
    curves = [_curve(score[mask], positive[mask], "equalized-odds").hull() for mask in members]
    heights = np.stack([np.interp(grid, curve.x, curve.y) for curve in curves])
    common, base = heights.min(axis=0), float(positive.mean())
    best = int(np.argmax(base * common + (1.0 - base) * (1.0 - grid)))
    x, y = float(grid[best]), float(common[best])
    rules = []
    for curve, height in zip(curves, heights[:, best], strict=True):
        low, high, mix = curve.at(x)
        above = float(height) - x  # of the diagonal, where a lot alone would be
        by_lot = 0.0 if above <= 0.0 else float(np.clip((float(height) - y) / above, 0.0, 1.0))
        rules.append(GroupRule(low, high, mix, by_lot, x))
    return Thresholds("equalized-odds", tuple(rules), x)


def _curve(score: Float64Array, positive: Int64Array, criterion: Criterion) -> _Curve:
    """All thresholds of one group: from none positive to all."""
    order = np.argsort(-score, kind="stable")
    ranked, truth = score[order], positive[order].astype(np.float64)
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # where equal scores end
    true_count = np.append(0.0, np.cumsum(truth)[last])
    count = np.append(0.0, last + 1.0)
    false_count, total = count - true_count, float(truth.sum())
    threshold = np.append(np.inf, (ranked[last] + np.append(ranked[last[:-1] + 1], -np.inf)) / 2)
    right = (true_count + (len(truth) - total) - false_count) / len(truth)
    x, y = {
        "demographic-parity": (count / len(truth), right),
        "equal-opportunity": (true_count / total, right),
        "equalized-odds": (false_count / (len(truth) - total), true_count / total),
    }[criterion]
    ascending = np.lexsort((y, x))
    kept = ascending[np.append(np.diff(x[ascending]) > 0, True)]
    return _Curve(x[kept], y[kept], threshold[kept])


def _hull(x: Float64Array, y: Float64Array) -> list[int]:
    """Indices of the upper convex hull, x rising (A. M. Andrew, Information Processing Letters 9, 1979)."""
    kept: list[int] = []
    for point in range(len(x)):
        while len(kept) > 1:
            (one, two) = kept[-2:]
            turn = (x[two] - x[one]) * (y[point] - y[one]) - (y[two] - y[one]) * (x[point] - x[one])
            if turn < 0:
                break
            kept.pop()
        kept.append(point)
    return kept
