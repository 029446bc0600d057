"""Small drawings that stand in a table's cell."""

from kit.report import svg
from kit.report.sections.requirements import Dot
from kit.report.sections.slice_table import SliceRow

WIDTH, HEIGHT = 200.0, 26.0
_COLOURS = {"PASS": "pass", "FAIL": "fail", "INCONCLUSIVE": "inconclusive", "NOT TESTED": "soft"}


def colour_of(status: str) -> str:
    """The palette's name for a verdict's word."""
    return _COLOURS[status]


def against_limit(dot: Dot | None, status: str, text: str) -> str:
    """Interval and dot on (value - limit)/|limit| from -1 to 1: the bar in the middle is the limit, right is better."""
    axis, middle = svg.Axis(-1.0, 1.0, 8.0, WIDTH - 8.0), HEIGHT / 2
    zero = axis.at(0.0)
    marks = [svg.line(8, middle, WIDTH - 8, middle, "rule"), svg.line(zero, 3, zero, HEIGHT - 3, "ink", 1.5)]
    if dot is not None:
        marks.append(interval_mark(axis, dot.low, dot.high, dot.at, middle, colour_of(status)))
    return svg.picture(WIDTH, HEIGHT, text, "Right of the bar is better than the limit, left is worse.", *marks)


def change(row: SliceRow, ends: tuple[float, float], width: float = WIDTH) -> str:
    """A slice's figure with its interval, thin what holds for all at once; solid at zero, dashed what is allowed."""
    axis, middle = svg.Axis(*ends, 8.0, width - 8.0), HEIGHT / 2
    zero, allowed = axis.at(0.0), axis.at(row.allowed)
    marks = [
        svg.line(8, middle, width - 8, middle, "rule"),
        *([svg.line(zero, 0, zero, HEIGHT, "soft")] if axis.holds(0.0) else []),
        svg.line(allowed, 0, allowed, HEIGHT, "fail", 1.5, stroke_dasharray="3 2"),
    ]
    if row.all_low is not None and row.all_high is not None:
        marks.append(_whiskers(axis, row.all_low, row.all_high, middle, colour_of(row.status)))
    if row.at is not None:
        low, high = row.at if row.low is None else row.low, row.at if row.high is None else row.high
        marks.append(interval_mark(axis, low, high, row.at, middle, colour_of(row.status)))
    title = f"{row.name}: {row.change} points {row.interval}"
    return svg.picture(width, HEIGHT, title, "Left is worse. Solid line: no change; dashed line: allowed.", *marks)


def _whiskers(axis: svg.Axis, low: float, high: float, y: float, colour: str) -> str:
    """A thin bar from low to high, with an end where it lies on the axis."""
    ends = [svg.line(axis.at(end), y - 4, axis.at(end), y + 4, colour, 1) for end in (low, high) if axis.holds(end)]
    return svg.line(axis.at(low), y, axis.at(high), y, colour, 1) + "".join(ends)


def interval_mark(axis: svg.Axis, low: float, high: float, at: float, y: float, colour: str) -> str:
    """A bar from low to high, a dot at the estimate; an arrowhead where one lies beyond the axis."""
    bar = svg.line(axis.at(low), y, axis.at(high), y, colour, 3, stroke_linecap="round")
    parts = [bar] if high > low else []
    parts += [_arrow(end, y, way, colour) for end, way, out in _beyond(axis, low, high) if out]
    if axis.holds(at):
        parts.append(svg.element("circle", cx=axis.at(at), cy=y, r=4.5, **svg.fill(colour)))
    elif at < axis.low:
        parts.append(_arrow(axis.start, y, -1, colour))
    else:
        parts.append(_arrow(axis.end, y, 1, colour))
    return "".join(dict.fromkeys(parts))


def _beyond(axis: svg.Axis, low: float, high: float) -> tuple[tuple[float, int, bool], ...]:
    return (axis.start, -1, low < axis.low), (axis.end, 1, high > axis.high)


def _arrow(x: float, y: float, way: int, colour: str) -> str:
    tip = [(x + way * 7, y), (x - way * 2, y - 5.5), (x - way * 2, y + 5.5)]
    return svg.element("path", d=svg.path(tip, close=True), **svg.fill(colour))
