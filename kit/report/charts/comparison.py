"""Drawings that compare: variants by cost and accuracy, groups before and after."""

from kit.report import svg
from kit.report.charts.requirement import colour_of
from kit.report.sections.slices import FairnessView, GroupRow
from kit.report.sections.variants import VariantRow, VariantsView

_LEFT, _TOP, _BELOW = 14.0, 14.0, 42.0


def variants(view: VariantsView, width: float) -> str:
    """Cost upward against accuracy change to the right: the best variant is low and far right."""
    shown = [row for row in view.rows if row.change is not None]
    height, left = 290.0, 56.0
    bottom = height - _BELOW
    x = svg.Axis(*_change_ends(view, shown), left, width - 16)
    y = svg.Axis(0.0, max(row.cost for row in shown) * 1.18, bottom, _TOP)
    zero = x.at(0.0)
    marks = [
        svg.axis_below(x, _TOP, bottom, lambda v: f"{v * 100:+g}".replace("-", "−"), "change of accuracy, pp", max(3, int(width // 110))),
        svg.axis_left(y, left, width - 16, view.cost_scale.number),
        svg.label(left + 5, _TOP + 12, f"{view.cost_name}, {view.cost_scale.suffix}"),
        svg.line(zero, _TOP, zero, bottom, "soft"),
    ]
    if view.allowed is not None and x.holds(view.allowed):
        at = x.at(view.allowed)
        marks.append(svg.line(at, _TOP, at, bottom, "fail", 1.5, stroke_dasharray="4 3"))
        marks.append(svg.label(at + 4, bottom - 7, "allowed", colour="fail"))
    levels = _label_levels([y.at(row.cost) for row in shown])
    marks += [_variant(row, x, y, level, width) for row, level in zip(shown, levels, strict=True)]
    return svg.picture(width, height, f"Variants: {view.cost_name} against accuracy", view.headline, *marks)


def _change_ends(view: VariantsView, shown: list[VariantRow]) -> tuple[float, float]:
    """Around zero, the limit and most changes; a collapse far below is cut to the edge with an arrow."""
    allowed = abs(view.allowed) if view.allowed is not None else 0.01
    ends = [v for r in shown for v in (r.change, r.change_low, r.change_high) if v is not None]
    low = min([-1.6 * allowed, *(max(v, -5 * allowed) for v in ends)])
    high = max([0.8 * allowed, *(min(v, 5 * allowed) for v in ends)])
    pad = 0.06 * (high - low)
    return low - pad, high + pad


def _label_levels(levels: list[float]) -> list[float]:
    """Heights of labels, moved apart to at least 32 pixels so that none covers another."""
    placed: dict[int, float] = {}
    last = float("inf")
    for i in sorted(range(len(levels)), key=lambda i: -levels[i]):
        last = min(levels[i], last - 32)
        placed[i] = last
    return [placed[i] for i in range(len(levels))]


def _variant(row: VariantRow, x: svg.Axis, y: svg.Axis, level: float, width: float) -> str:
    change = row.change if row.change is not None else 0.0
    at, cost, colour = x.at(change), y.at(row.cost), colour_of(row.status)
    parts = []
    if row.change_low is not None and row.change_high is not None:
        parts.append(svg.line(x.at(row.change_low), cost, x.at(row.change_high), cost, colour, 2))
    if row.chosen:
        parts.append(svg.element("circle", cx=at, cy=cost, r=9, **svg.stroke(colour, 1.5)))
    tip = svg.tip(f"{row.name}: {row.status}, {row.change_text}, {row.cost_text}")
    parts.append(svg.element("circle", tip, cx=at, cy=cost, r=5, **svg.fill(colour)))
    right = at > width * 0.55
    anchor, shift = ("end", -13.0) if right else ("start", 13.0)
    arrow = "← " if not x.holds(change) else ""
    parts.append(svg.label(at + shift, level - 8, f"{row.sign} {row.name}", anchor=anchor, colour=colour, bold=row.chosen))
    parts.append(svg.label(at + shift, level + 7, f"{arrow}{row.change_text}, {row.cost_text}", anchor=anchor))
    return "".join(parts)


def groups(view: FairnessView, width: float) -> str:
    """A row a group: a ring at the reference's accuracy, a dot at the variant's, a line between."""
    row, below = 38.0, _BELOW
    height = _TOP + 8 + row * len(view.groups) + below
    bottom = height - below
    shares = [s for g in view.groups for s in (g.before, g.after)]
    pad = max(0.02, 0.15 * (max(shares) - min(shares)))
    x = svg.Axis(max(0.0, min(shares) - pad), min(1.0, max(shares) + pad), 12, width - 12)
    marks = [svg.axis_below(x, _TOP, bottom, lambda v: f"{v * 100:.4g} %", "accuracy: ring before, dot after", max(3, int(width // 110)))]
    marks += [_group(each, x, _TOP + 8 + row * (i + 0.5)) for i, each in enumerate(view.groups)]
    return svg.picture(width, height, f"Accuracy by {view.column}, before and after", view.sentence, *marks)


def _group(group: GroupRow, x: svg.Axis, y: float) -> str:
    before, after = x.at(group.before), x.at(group.after)
    text = f"{group.name}: {group.before * 100:.1f} % → {group.after * 100:.1f} %, n = {group.rows:,}"
    return "".join(
        (
            svg.label(12, y - 7, text, colour="ink"),
            svg.line(before, y + 6, after, y + 6, "mark", 3),
            svg.element("circle", cx=before, cy=y + 6, r=5, **{**svg.stroke("mark", 2), "fill": "none"}),
            svg.element("circle", svg.tip(text), cx=after, cy=y + 6, r=4.5, **svg.fill("mark")),
        )
    )
