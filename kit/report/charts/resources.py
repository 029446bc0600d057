"""Memory and power drawings."""

from kit.report import svg
from kit.report.sections.energy import BatteryView, EnergyView
from kit.report.sections.memory import MemoryRow, MemoryView

_LEFT, _TOP, _BELOW = 46.0, 26.0, 42.0
_ROW = 42.0


def memory(view: MemoryView, width: float) -> str:
    """A row a variant: a dot a session at its peak, a tick at its steady value, the limit dashed."""
    height = _TOP + _ROW * len(view.rows) + _BELOW
    bottom, limit = height - _BELOW, view.limit_bytes
    top = max(max(r.peaks) for r in view.rows)
    x = svg.Axis(0.0, max(top, limit if limit and limit < 4 * top else 0.0) * 1.08, 8, width - 12)
    axis_name = f"added to the process, {view.scale.suffix}"
    marks = [svg.axis_below(x, _TOP, bottom, view.scale.tick, axis_name, max(3, int(width // 100)))]
    marks += [_sessions(each, x, _TOP + _ROW * (i + 0.5)) for i, each in enumerate(view.rows)]
    if limit is not None:
        marks.append(svg.limit_mark(x, limit, _TOP - 8, bottom, view.limit_text, 14))
    return svg.picture(width, height, "Memory of each variant", view.headline, *marks)


def _sessions(row: MemoryRow, x: svg.Axis, y: float) -> str:
    colour, ink = ("mark", "ink") if row.chosen else ("soft", "soft")
    parts = [
        svg.label(12, y - 6, _session_text(row, x.end - 12), colour=ink, halo=True),
        svg.line(8, y + 8, x.at(max(row.peaks)), y + 8, "rule", 3),
        *(svg.line(x.at(v), y + 3, x.at(v), y + 13, colour, 1.5) for v in sorted(set(row.steady))[:40]),
    ]
    at = [x.at(peak) for peak in sorted(set(row.peaks))[:40]]
    dots = [svg.element("circle", cx=px, cy=y + 8, r=4, fill_opacity="0.75", **svg.fill(colour)) for px in at]
    return "".join([*parts, *dots])


def _session_text(row: MemoryRow, room: float) -> str:
    """Name, peak and steady value; without the steady one where there is no room for it."""
    full = f"{row.variant}: {row.text}"
    return full if svg.fitted(full, room) == full else svg.fitted(f"{row.variant}: {row.short_text}", room)


def power(view: EnergyView, width: float) -> str:
    """Power over time as the band from least to greatest a bin, inference shaded, idle dashed."""
    height, bottom = 200.0, 200.0 - _BELOW
    x = svg.Axis(0.0, view.trace[-1][0] or 1.0, _LEFT, width - 12)
    y = svg.Axis(0.0, max([view.idle_w, *(b[3] for b in view.trace)]) * 1.15, bottom, _TOP)
    over = [(x.at(t), y.at(high)) for t, _, _, high in view.trace]
    under = [(x.at(t), y.at(low)) for t, low, _, _ in reversed(view.trace)]
    idle = y.at(view.idle_w)
    marks = [
        *(_shade(x.at(a), x.at(b), bottom) for a, b in view.busy),
        svg.axis_below(x, _TOP, bottom, lambda v: f"{v:g}", "time, s", max(3, int(width // 100))),
        svg.axis_left(y, _LEFT, width - 12, view.scale.tick),
        svg.element("path", d=svg.path(over + under, close=True), **svg.fill("mark-soft")),
        svg.element("path", d=svg.path([(x.at(t), y.at(m)) for t, _, m, _ in view.trace]), **svg.stroke("mark", 1.5)),
        svg.line(_LEFT, idle, width - 12, idle, "ink", 1.2, stroke_dasharray="5 4"),
        svg.label(width - 12, 14, f"dashed: idle {view.scale.text(view.idle_w)}", anchor="end"),
        svg.label(0, 14, f"power, {view.scale.suffix}"),
    ]
    return svg.picture(width, height, f"Power over time, {view.obtained}", view.headline, *marks)


def _plain(value: float) -> str:
    return f"{value:,.6g}"


def _shade(left: float, right: float, bottom: float) -> str:
    return svg.element("rect", x=left, y=_TOP, width=max(0.5, right - left), height=bottom - _TOP, **svg.fill("raised"))


def battery(view: BatteryView, width: float) -> str:
    """Days of battery life against inferences an hour, both logarithmic, with the planned duty."""
    height, bottom = 230.0, 230.0 - _BELOW
    days = [d for _, *three in view.curve for d in three]
    x = svg.Axis(view.curve[0][0], view.curve[-1][0], _LEFT, width - 12, log=True)
    floor = [view.floor_days] if view.floor_days else []
    y = svg.Axis(min(days + floor) * 0.8, max(days) * 1.25, bottom, _TOP, log=True)
    over = [(x.at(r), y.at(most)) for r, _, _, most in view.curve]
    under = [(x.at(r), y.at(least)) for r, least, _, _ in reversed(view.curve)]
    marks = [
        svg.axis_below(x, _TOP, bottom, _plain, "inferences an hour, logarithmic", max(3, int(width // 110))),
        svg.axis_left(y, _LEFT, width - 12, lambda v: f"{v:,.3g}"),
        svg.element("path", d=svg.path(over + under, close=True), **svg.fill("mark-soft")),
        svg.element("path", d=svg.path([(x.at(r), y.at(m)) for r, _, m, _ in view.curve]), **svg.stroke("mark", 2)),
        svg.label(0, 14, "battery life, days, logarithmic"),
    ]
    if view.floor_days:
        level = y.at(view.floor_days)
        marks.append(svg.line(_LEFT, level, width - 12, level, "fail", 1.5, stroke_dasharray="4 3"))
        marks.append(svg.label(_LEFT + 5, level + 15, f"least allowed {view.floor_days:,.3g} days", colour="fail"))
    if view.duty_per_hour is not None and view.duty_days is not None:
        at, level = x.at(view.duty_per_hour), y.at(view.duty_days)
        marks.append(svg.element("circle", cx=at, cy=level, r=5, **svg.fill("ink")))
        text = f"planned: {view.duty_days:,.3g} days"
        marks.append(svg.label(at + 9, level - 9, text, colour="ink", bold=True))
    return svg.picture(width, height, "Battery life against use", view.sentence, *marks)
