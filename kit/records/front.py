"""The trade-off front: variants as points of accuracy, gap of groups and cost, for people to choose from."""

from dataclasses import dataclass
from typing import Literal

from kit.records.base import Obtained
from kit.records.judged import Verdict

Standing = Literal["front", "doubtful", "dominated", "not measured"]


@dataclass(frozen=True, slots=True)
class AxisFigure:
    """A figure on one axis in its unit, with its interval; an end that is not known is None."""

    estimate: float
    lower: float | None
    upper: float | None
    obtained: Obtained


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One variant. standing "front": no other is better in all by the estimates; "doubtful": one is, not surely;
    "dominated": one surely is. by: those that are. A figure that was not obtained is None."""

    variant: str
    verdict: Verdict
    chosen: bool
    accuracy: AxisFigure | None
    gap: AxisFigure | None
    cost: AxisFigure | None
    standing: Standing
    by: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class Front:
    """All variants, cheapest first. gap_of: which gap, over which column; empty where no groups are declared."""

    points: tuple[FrontPoint, ...]
    gap_of: str
    cost_of: str
    cost_unit: str
    confidence: float
    margin: float
    method: str
