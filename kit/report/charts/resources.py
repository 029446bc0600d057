"""Memory and power drawings."""

from kit.report import svg
from kit.report.sections.energy import BatteryView, EnergyView
from kit.report.sections.memory import MemoryView

_LEFT, _TOP, _BELOW = 46.0, 12.0, 42.0


def memory(view: MemoryView, width: float) -> str:
    """A row a variant: a dot a session at its peak, a tick at its steady value, the limit dashed."""
    row = 40.0
    height = _TOP + 8 + row * len(view.rows) + _BELOW
    bottom = height - _BELOW
    top = max(max(r.peaks) for r in view.rows)
    limit = view.limit_bytes
    x = svg.Axis(0.0, max(top, limit if limit and limit < 4 * top else 0.0) * 1.08, 8, width - 12)
    marks = [svg.axis_below(x, _TOP, bottom, view.scale.number, f"added to the process, {view.scale.suffix}", max(3, int(width // 100)))]
    for i, each in enumerate(view.rows):
        y = _TOP + 8 + row * (i + 0.5)
        colour = "mark" if each.chosen else "soft"
        marks.append(svg.label(12, y - 8, f"{each.variant}: {each.text}", colour="ink" if each.chosen else "soft", bold=each.chosen))
        marks.append(svg.line(8, y + 6, x.at(max(each.peaks)), y + 6, "rule", 3))
        marks += [svg.line(x.at(v), y + 1, x.at(v), y + 11, colour, 1.5) for v in sorted(set(each.steady))[:40]]
        marks += [svg.element("circle", cx=x.at(v), cy=y + 6, r=4, fill_opacity="0.75", **svg.fill(colour)) for v in sorted(set(each.peaks))[:40]]
    if limit is not None:
        marks.append(svg.limit_mark(x, limit, _TOP, bottom, view.limit_text))
    return svg.picture(width, height, "Memory of each variant", view.headline, *marks)


def power(view: EnergyView, width: float) -> str:
    """Power over time as the band from least to greatest a bin, inference shaded, idle dashed."""
    height, bottom = 200.0, 200.0 - _BELOW
    x = svg.Axis(0.0, view.trace[-1][0] or 1.0, _LEFT, width - 12)
    y = svg.Axis(0.0, max([view.idle_w, *(b[3] for b in view.trace)]) * 1.15, bottom, _TOP)
    over = [(x.at(t), y.at(high)) for t, _, _, high in view.trace]
    under = [(x.at(t), y.at(low)) for t, low, _, _ in reversed(view.trace)]
    idle = y.at(view.idle_w)
    marks = [
        *(svg.element("rect", x=x.at(a), y=_TOP, width=max(0.5, x.at(b) - x.at(a)), height=bottom - _TOP, **svg.fill("raised")) for a, b in view.busy),
        svg.axis_below(x, _TOP, bottom, lambda v: f"{v:g}", "time, s", max(3, int(width // 100))),
        svg.axis_left(y, _LEFT, width - 12, view.scale.number),
        svg.element("path", d=svg.path(over + under, close=True), **svg.fill("mark-soft")),
        svg.element("path", d=svg.path([(x.at(t), y.at(m)) for t, _, m, _ in view.trace]), **svg.stroke("mark", 1.5)),
        svg.line(_LEFT, idle, width - 12, idle, "ink", 1.2, stroke_dasharray="5 4"),
        svg.label(width - 16, idle - 6, f"idle {view.scale.text(view.idle_w)}", anchor="end", colour="ink"),
        svg.label(_LEFT + 5, _TOP + 12, view.scale.suffix),
    ]
    return svg.picture(width, height, f"Power over time, {view.obtained}", view.headline, *marks)


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
        svg.axis_below(x, _TOP, bottom, lambda v: f"{v:,.6g}", "inferences an hour, logarithmic", max(3, int(width // 110))),
        svg.axis_left(y, _LEFT, width - 12, lambda v: f"{v:,.3g}"),
        svg.element("path", d=svg.path(over + under, close=True), **svg.fill("mark-soft")),
        svg.element("path", d=svg.path([(x.at(r), y.at(m)) for r, _, m, _ in view.curve]), **svg.stroke("mark", 2)),
        svg.label(_LEFT + 5, _TOP + 12, "days"),
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
