"""The front as a drawing: cost to the right, accuracy upwards, the gap below, each point with its intervals."""

from collections.abc import Callable

from kit.records import AxisFigure
from kit.report import svg
from kit.report.charts.requirement import colour_of
from kit.report.figures import Scale
from kit.report.sections.front import FrontRow, FrontView

_TOP, _BELOW, _LEFT, _RIGHT, _BETWEEN = 26.0, 42.0, 56.0, 14.0, 30.0
_HIGH, _LOW = 190.0, 120.0
_PERCENT, _POINTS = Scale(1e-2, "%", 1), Scale(1e-2, "pp", 1)

Of = Callable[[FrontRow], AxisFigure | None]
Taken = list[tuple[float, float]]
"""On which side of its point each name is, and at what height."""


def front(view: FrontView, width: float) -> str:
    """Accuracy against cost, and the gap against cost where there are groups; dominated points are faint."""
    shown = [row for row in view.rows if row.accuracy is not None and row.cost is not None]
    has_gap = any(row.gap is not None for row in shown)
    height = _TOP + _HIGH + (_BETWEEN + _LOW if has_gap else 0.0) + _BELOW
    cost = _axis(shown, lambda row: row.cost, _LEFT, width - _RIGHT)
    bottom = height - _BELOW
    marks = [svg.axis_below(cost, _TOP, bottom, view.cost_scale.tick, f"{view.cost_name}, {view.cost_scale.suffix}")]
    marks += _panel(shown, lambda row: row.accuracy, cost, (_TOP, _TOP + _HIGH), "accuracy, %: up is better", _PERCENT)
    if has_gap:
        top = _TOP + _HIGH + _BETWEEN
        marks += _panel(shown, lambda row: row.gap, cost, (top, bottom), "gap, pp: down is better", _POINTS)
    return svg.picture(width, height, f"Trade-off of accuracy, gap and {view.cost_name}", view.headline, *marks)


def _panel(
    rows: list[FrontRow], of: Of, cost: svg.Axis, ends: tuple[float, float], title: str, scale: Scale
) -> list[str]:
    """One axis upwards with its points, named beside them where there is room."""
    axis = _axis(rows, of, ends[1], ends[0])
    marks = [svg.axis_left(axis, cost.start, cost.end, scale.tick)]
    marks.append(svg.label(cost.start, ends[0] - 9, title))
    taken: Taken = []
    for row in sorted(rows, key=lambda each: not each.chosen):
        figure = of(row)
        if figure is not None and row.cost is not None:
            marks.append(_point(row, row.cost, figure, cost, axis, taken))
    return marks


def _axis(rows: list[FrontRow], of: Of, start: float, end: float) -> svg.Axis:
    """From the least to the greatest end of an interval, and a little more; by logarithm where they differ widely."""
    figures = [figure for row in rows if (figure := of(row)) is not None]
    values = [end for each in figures for end in (each.lower, each.estimate, each.upper) if end is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low > 0 and high > 20 * low:
        return svg.Axis(low / 1.2, high * 1.2, start, end, log=True)
    pad = 0.08 * (high - low) or 0.05 * abs(high) or 0.01
    return svg.Axis(low - pad, high + pad, start, end)


def _point(
    row: FrontRow,
    cost: AxisFigure,
    figure: AxisFigure,
    across: svg.Axis,
    up: svg.Axis,
    taken: list[tuple[float, float]],
) -> str:
    """Two whiskers and a dot; a ring where it is dominated, a dot with a ring's colour where that is not sure."""
    is_out, colour = row.standing == "dominated", colour_of(row.status)
    x, y = across.at(cost.estimate), up.at(figure.estimate)
    marks = list[str]()
    for axis, ends, is_across in ((across, cost, True), (up, figure, False)):
        low, high = (axis.at(ends.estimate if each is None else each) for each in (ends.lower, ends.upper))
        place = (low, y, high, y) if is_across else (x, low, x, high)
        if low != high:
            marks.append(svg.line(*place, colour, 1.0 if is_out else 1.5))
    text = f"{row.name}: {row.standing}; {row.accuracy_text}, {row.cost_text}"
    shape = {**svg.stroke(colour, 2), "fill": "none"} if is_out else svg.fill(colour)
    marks.append(svg.element("circle", svg.tip(text), cx=x, cy=y, r=6 if row.chosen else 4.5, **shape))
    marks.append(_name(row, x, y, across, up, taken))
    return "".join(marks)


def _name(row: FrontRow, x: float, y: float, across: svg.Axis, up: svg.Axis, taken: Taken) -> str:
    """The name beside its point, moved down or up from names already there; the table below has all of them.

    Where its panel has no room left it is not written: the point tells it when it is pointed at.
    """
    is_right = x > (across.start + across.end) / 2
    top, bottom = min(up.start, up.end) + 8, max(up.start, up.end) - 5
    near = [other for side, other in taken if (side < 0) == is_right]
    levels = [y - 8 + 14 * step for step in sorted(range(-12, 13), key=lambda step: (abs(step), -step))]
    free = [each for each in levels if top <= each <= bottom and all(abs(each - other) >= 14 for other in near)]
    if not free:
        return ""
    level = free[0]
    taken.append((-1.0 if is_right else 1.0, level))
    room = (x - across.start if is_right else across.end - x) - 12
    name = svg.fitted(row.name, room, bold=row.chosen)
    return svg.label(x + (-9 if is_right else 9), level, name, anchor="end" if is_right else "start",
                     colour="ink" if row.chosen else "soft", bold=row.chosen, halo=True)  # fmt: skip
