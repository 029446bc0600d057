"""The gap and the ratio between groups, before, after and changed, over all parts of a measure, with bounds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kit.fairness.bounds import Bounded, difference_upper, extremes, gap_bounds, ratio_bounds
from kit.fairness.parts import GroupFigures, Part
from kit.stats.cells import BoolArray

Side = Literal["before", "after", "change"]

IDENTIFYING = 0.1
"""Share of alpha that is spent on which two groups are the extremes, where their change is what is bounded."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Groups that are compared in one part: those that have enough rows; `tested` are their numbers, at least two."""

    part: Part
    tested: tuple[int, ...]
    apart: BoolArray

    def of(self, side: Side) -> list[Bounded]:
        """Each tested group's figure."""
        found: list[Bounded] = [getattr(self.figures(index), side) for index in self.tested]
        return found

    def figures(self, index: int) -> GroupFigures:
        """All of one group that is tested."""
        found = self.part.groups[index]
        assert found is not None
        return found

    def values(self, side: Side) -> np.ndarray:
        """Estimates of the tested groups, [tested]."""
        return np.array([each.estimate for each in self.of(side)])


@dataclass(frozen=True, slots=True)
class Bounds:
    """An estimate with bounds, each wrong at most alpha of the time; where: which part, and which two groups."""

    estimate: float
    lower: float
    upper: float
    part: int
    high: int
    low: int


def compared(parts: tuple[Part, ...], tested: Iterable[tuple[int, ...]], apart: BoolArray) -> tuple[Comparison, ...]:
    """Parts in which two groups or more are tested; `apart` is of all groups (`kit.fairness.groups.separate`)."""
    return tuple(
        Comparison(part, those, apart[np.ix_(those, those)])
        for part, those in zip(parts, tested, strict=True)
        if len(those) > 1
    )


def gap_estimate(of: tuple[Comparison, ...], side: Side) -> float:
    """The greatest difference between two groups in any part, without bounds."""
    return max(float(np.ptp(each.values(side))) for each in of)


def ratio_estimate(of: tuple[Comparison, ...], side: Side) -> float | None:
    """The smallest ratio of two groups in any part, without bounds; None as `ratio`."""
    values = [each.values(side) for each in of]
    if any(each.part.is_signed for each in of) or any(each.max() <= 0 for each in values):
        return None
    return min(float(each.min() / each.max()) for each in values)


def gap(of: tuple[Comparison, ...], side: Literal["before", "after"], alpha: float) -> Bounds:
    """The greatest difference between two groups in any part (at least one). PASS rests on the upper bound alone."""
    spread = [float(np.ptp(each.values(side))) for each in of]
    worst = int(np.argmax(spread))
    bounds = [gap_bounds(each.of(side), each.apart, alpha, len(of)) for each in of]
    upper = min(_reach(of), max(high for _, high in bounds))
    return _where(of, side, worst, spread[worst], max(low for low, _ in bounds), upper)


def _reach(of: tuple[Comparison, ...]) -> float:
    return max(each.part.reach for each in of)


def ratio(of: tuple[Comparison, ...], side: Literal["before", "after"], alpha: float) -> Bounds | None:
    """The smallest ratio of two groups in any part. PASS rests on the lower bound alone.

    None where a figure can be negative, or all of a part's are zero.
    """
    values = [each.values(side) for each in of]
    if ratio_estimate(of, side) is None:
        return None
    shares = [float(each.min() / each.max()) for each in values]
    worst = int(np.argmin(shares))
    bounds = [ratio_bounds(each.of(side), each.apart, alpha, len(of)) for each in of]
    return _where(of, side, worst, shares[worst], min(low for low, _ in bounds), min(high for _, high in bounds))


def _where(of: tuple[Comparison, ...], side: Side, part: int, estimate: float, lower: float, upper: float) -> Bounds:
    values, tested = of[part].values(side), of[part].tested
    return Bounds(estimate, lower, upper, part, tested[int(values.argmax())], tested[int(values.argmin())])


def gap_change(of: tuple[Comparison, ...], alpha: float) -> Bounds:
    """The gap after less the gap before.

    With c_g what group g's figure gained, and g, h the extremes after, it is at most c_g - c_h, whatever the gap was;
    with g, h the extremes before, it is at least that. Which pairs those may be is said by bounds that hold at once
    over all groups and parts, with a tenth of alpha (`IDENTIFYING`); over those pairs the worst bound of c_g - c_h
    counts, each at what is left (see `kit.fairness.bounds`). The lower bound is the better of that and, with half of
    alpha each, the gap after at least less the gap before at most.
    """
    upper = max(float(up[pairs].max()) for up, pairs in _moved(of, "after", alpha) if pairs.any())
    lower = min(float(-up.T[pairs].max()) for up, pairs in _moved(of, "before", alpha / 2) if pairs.any())
    apart = gap(of, "after", alpha / 4).lower - gap(of, "before", alpha / 4).upper
    now = max(range(len(of)), key=lambda k: float(np.ptp(of[k].values("after"))))
    estimate = gap_estimate(of, "after") - gap_estimate(of, "before")
    return _where(of, "after", now, estimate, max(-_reach(of), lower, apart), min(_reach(of), upper))


def _moved(of: tuple[Comparison, ...], side: Side, alpha: float) -> list[tuple[np.ndarray, BoolArray]]:
    """Of each part the upper bounds of c_g - c_h, and which pairs (g above h) may be the extremes on `side`."""
    spans = [extremes(each.of(side), IDENTIFYING * alpha, len(of)) for each in of]
    sure = max(float(least.max()) for least, _ in spans)
    return [
        (
            difference_upper(each.of("change"), each.apart, (1.0 - IDENTIFYING) * alpha),
            (most >= sure) & ~np.eye(len(each.tested), dtype=np.bool_),
        )
        for each, (_, most) in zip(of, spans, strict=True)
    ]
