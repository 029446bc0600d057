"""The trade-off front: every variant's accuracy, gap and cost, which are dominated, and by which."""

from dataclasses import dataclass

from kit.records import AxisFigure, Front, FrontPoint
from kit.report.figures import Scale, clean, listed, points, scale_for
from kit.report.sections.requirements import SIGNS
from kit.words import percent as confidence_text

STANDINGS = {
    "front": "on the front",
    "doubtful": "perhaps dominated",
    "dominated": "dominated",
    "not measured": "not placed",
}
_PERCENT, _POINTS = Scale(1e-2, "%", 1), Scale(1e-2, "pp", 1)


@dataclass(frozen=True, slots=True)
class FrontRow:
    """One variant. Figures are SI (shares 0 to 1); texts have the interval beside the figure."""

    name: str
    chosen: bool
    status: str
    sign: str
    standing: str
    by: str
    accuracy: AxisFigure | None
    gap: AxisFigure | None
    cost: AxisFigure | None
    accuracy_text: str
    gap_text: str
    cost_text: str
    sentence: str


@dataclass(frozen=True, slots=True)
class FrontView:
    """Rows in order of cost; `gap_of` is empty where no groups are declared."""

    headline: str
    note: str
    rows: tuple[FrontRow, ...]
    gap_of: str
    cost_name: str
    cost_scale: Scale


def build_front(found: Front | None) -> FrontView | None:
    """The front as it is shown; None where there is none."""
    if found is None:
        return None
    scale = scale_for([point.cost.estimate for point in found.points if point.cost], found.cost_unit)
    return FrontView(
        headline=_headline(found),
        note=_note(found),
        rows=tuple(_row(point, scale) for point in found.points),
        gap_of=clean(found.gap_of),
        cost_name=found.cost_of,
        cost_scale=scale,
    )


def _headline(found: Front) -> str:
    names = {word: [clean(point.variant, 40) for point in found.points if point.standing == word] for word in STANDINGS}
    if len(names["front"]) == len(found.points):
        return f"No variant is dominated: each of the {len(found.points)} is better than the others in something."
    parts = [f"{STANDINGS[word]}: {listed(names[word])}" for word in STANDINGS if names[word]]
    text = "; ".join(parts) + "."
    return text[:1].upper() + text[1:]


def _note(found: Front) -> str:
    axes = f"accuracy, gap ({clean(found.gap_of)}) and {found.cost_of}" if found.gap_of else (
        f"accuracy and {found.cost_of}; no groups are declared, so no gap is shown")  # fmt: skip
    return (
        f"By {axes}. Dominated: another is surely better in something and no worse in anything by more than "
        f"{points(found.margin).lstrip('+')}. Method: {clean(found.method, 300)}. "
        f"Each end of an interval at {confidence_text(found.confidence)}. Which point to take is for people to choose."
    )


def _row(point: FrontPoint, scale: Scale) -> FrontRow:
    return FrontRow(
        name=clean(point.variant, 40),
        chosen=point.chosen,
        status=point.verdict.value,
        sign=SIGNS[point.verdict.value],
        standing=STANDINGS[point.standing],
        by=clean(listed(point.by[:3]), 80) + (f" and {len(point.by) - 3} more" if len(point.by) > 3 else ""),
        accuracy=point.accuracy,
        gap=point.gap,
        cost=point.cost,
        accuracy_text=_text(point.accuracy, _PERCENT),
        gap_text=_text(point.gap, _POINTS),
        cost_text=_text(point.cost, scale),
        sentence=clean(point.sentence, 400),
    )


def _text(figure: AxisFigure | None, scale: Scale) -> str:
    """``84.7 % [82.2, 86.9]``, with its origin where it was not measured; "not obtained" for what was not."""
    if figure is None:
        return scale.text(None)
    exact = figure.lower == figure.upper == figure.estimate
    ends = "" if exact else scale.interval(figure.lower, figure.upper)
    origin = f"({figure.obtained})" if figure.obtained in ("emulated", "estimated") else ""
    return " ".join(part for part in (scale.text(figure.estimate), ends, origin) if part)
