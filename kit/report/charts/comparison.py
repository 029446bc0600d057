"""Drawings that compare: variants by accuracy and cost, groups before and after."""

from kit.report import svg
from kit.report.charts.requirement import colour_of, interval_mark
from kit.report.figures import Scale, clean
from kit.report.sections.fairness import GroupRow, PartView
from kit.report.sections.variants import VariantRow, VariantsView

_TOP, _BELOW, _ROW = 26.0, 42.0, 46.0
_NAMES, _WIDE = 250.0, 600.0
"""Room for names left of the drawing, where it is at least so wide; on a narrower one each has a row of its own."""
_PP = Scale(1e-2, "pp", 1, signed=True)
_PERCENT = Scale(1e-2, "%", 1)


def variants(view: VariantsView, width: float) -> str:
    """A row a variant, cheapest first: change of accuracy with its interval on the left, cost on the right."""
    shown = [row for row in view.rows if row.change is not None]
    height = _TOP + _ROW * len(shown) + _BELOW
    bottom, split = height - _BELOW, round(width * 0.62)
    names = _NAMES if width >= _WIDE else 0.0
    x = svg.Axis(*_change_ends(view, shown), 8 + names, split - 8)
    cost = svg.Axis(0.0, max(row.cost for row in shown) * 1.08 or 1.0, split + 16, width - 12)
    zero, about = x.at(0.0), max(2, int(width // 140))
    marks = [
        svg.axis_below(x, _TOP, bottom, _PP.tick, "change of accuracy, pp", about),
        svg.axis_below(
            cost, _TOP, bottom, view.cost_scale.tick, f"{view.cost_name}, {view.cost_scale.suffix}", max(2, about // 2)
        ),
        svg.line(zero, _TOP, zero, bottom, "soft"),
    ]
    if view.allowed is not None:
        marks.append(svg.limit_mark(x, view.allowed, _TOP - 8, bottom, "allowed", 14))
    draw = _variant if names else _stacked
    marks += [draw(row, x, cost, _TOP + _ROW * (i + 0.5)) for i, row in enumerate(shown)]
    return svg.picture(width, height, f"Variants: accuracy and {view.cost_name}", view.headline, *marks)


def _change_ends(view: VariantsView, shown: list[VariantRow]) -> tuple[float, float]:
    """Around zero, the limit and most changes; a collapse far below is cut to the edge with an arrow."""
    allowed = abs(view.allowed) if view.allowed is not None else 0.01
    ends = [v for r in shown for v in (r.change, r.change_low, r.change_high) if v is not None]
    low = min([-1.6 * allowed, *(max(v, -5 * allowed) for v in ends)])
    high = max([0.8 * allowed, *(min(v, 5 * allowed) for v in ends)])
    pad = 0.06 * (high - low)
    return low - pad, high + pad


def _variant(row: VariantRow, x: svg.Axis, cost: svg.Axis, y: float) -> str:
    """Name and change in a column left of the drawing, interval and cost in the middle of the row."""
    name = svg.fitted(f"{row.sign} {row.name}", _NAMES - 12, bold=row.chosen)
    return "".join(
        (
            svg.label(0, y - 3, name, colour=colour_of(row.status), bold=row.chosen),
            svg.label(14, y + 13, row.change_text),
            _interval(row, x, y),
            _cost(row, cost, y),
        )
    )


def _stacked(row: VariantRow, x: svg.Axis, cost: svg.Axis, y: float) -> str:
    """Name above the interval, on a band of paper: no line of the drawing runs through it."""
    name = svg.fitted(f"{row.sign} {row.name}", cost.start - 20, bold=row.chosen)
    return "".join(
        (
            svg.element("rect", x=0, y=y - 20, width=cost.start - 8, height=19, **svg.fill("paper")),
            svg.label(0, y - 7, name, colour=colour_of(row.status), bold=row.chosen),
            _interval(row, x, y + 8),
            _cost(row, cost, y),
        )
    )


def _interval(row: VariantRow, x: svg.Axis, y: float) -> str:
    change = row.change if row.change is not None else 0.0
    low = change if row.change_low is None else row.change_low
    high = change if row.change_high is None else row.change_high
    return interval_mark(x, low, high, change, y, colour_of(row.status))


def _cost(row: VariantRow, cost: svg.Axis, y: float) -> str:
    """A bar from zero with its figure above, on a band of paper."""
    bar, mark = cost.at(row.cost) - cost.start, "mark" if row.chosen else "mark-soft"
    band = {"x": cost.start + 1, "y": y - 20, "width": cost.end - cost.start + 2, "height": 19}
    return "".join(
        (
            svg.element("rect", **band, **svg.fill("paper")),
            svg.label(cost.start + 2, y - 7, row.cost_text, colour="ink" if row.chosen else "soft", bold=row.chosen),
            svg.element("rect", x=cost.start, y=y + 3, width=max(1.0, bar), height=10, rx=2, **svg.fill(mark)),
        )
    )


def groups(view: PartView, width: float) -> str:
    """A row a group: a ring at the reference's rate, a dot at the variant's, a line between."""
    height = _ROW * len(view.groups) + _BELOW
    bottom = height - _BELOW
    shares = [s for g in view.groups for s in (g.before, g.after)]
    pad = max(0.02, 0.15 * (max(shares) - min(shares)))
    x = svg.Axis(max(0.0, min(shares) - pad), min(1.0, max(shares) + pad), 12, width - 12)
    name = f"{view.name.lower()}, %: ring before, dot after"
    marks = [svg.axis_below(x, 0, bottom, _PERCENT.tick, name, max(3, int(width // 110)))]
    marks += [_group(each, x, _ROW * (i + 0.5)) for i, each in enumerate(view.groups)]
    return svg.picture(width, height, f"{view.name} by {view.column}, before and after", view.sentence, *marks)


def _group(group: GroupRow, x: svg.Axis, y: float) -> str:
    before, after = x.at(group.before), x.at(group.after)
    text = f"{clean(group.name, 16)}: {_PERCENT.text(group.before)} → {_PERCENT.text(group.after)}, {group.rows:,} rows"
    return "".join(
        (
            svg.label(12, y - 7, svg.fitted(text, x.end - 12), colour="ink", halo=True),
            svg.line(before, y + 8, after, y + 8, "mark", 3),
            svg.element("circle", cx=before, cy=y + 8, r=5, **{**svg.stroke("mark", 2), "fill": "none"}),
            svg.element("circle", svg.tip(text), cx=after, cy=y + 8, r=4.5, **svg.fill("mark")),
        )
    )
