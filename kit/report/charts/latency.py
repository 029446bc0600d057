"""Latency drawn three ways: distribution, tail, and course over the run."""

import math

from kit.report import svg
from kit.report.sections.latency import LatencyView

HEIGHT = 250.0
_LEFT, _TOP, _BELOW = 58.0, 26.0, 42.0


def distribution(view: LatencyView, width: float) -> str:
    """Share of inferences not slower than a latency, with the bounds of the judged quantiles."""
    bottom = HEIGHT - _BELOW
    least, most = view.curve[0][0], _body_end(view)
    log = most > 5 * view.marks[0].value_s
    x = svg.Axis(0.9 * least if log else least - 0.03 * (most - least), most, _LEFT, width - 12, log=log)
    y = svg.Axis(0.0, 1.0, bottom, _TOP)
    curve = [(x.at(a), y.at(b)) for a, b in view.curve if a <= most]
    marks = [
        svg.axis_below(x, _TOP, bottom, view.scale.tick, _axis_name(view, log), _about(width)),
        svg.axis_left(y, _LEFT, width - 12, lambda v: f"{v * 100:.0f} %"),
        svg.label(0, 14, "share of inferences that finish within"),
        svg.element("path", d=svg.path(curve, step=True), **svg.stroke("mark", 2, stroke_linejoin="round")),
        *_bounds(view, x, y),
    ]
    if view.limit_s is not None:
        marks.append(svg.limit_mark(x, view.limit_s, _TOP, bottom, view.limit_text, bottom - 10))
    return svg.picture(width, HEIGHT, "Distribution of latency", view.headline, *marks)


def _bounds(view: LatencyView, x: svg.Axis, y: svg.Axis) -> list[str]:
    """p50 and p99 as dots with their figures, and their bounds as bars."""
    marks = []
    for mark in (m for m in view.marks if m.name in {"p50", "p99"}):
        at, level = x.at(mark.value_s), y.at(mark.share)
        if mark.lower_s is not None and mark.upper_s is not None:
            ends = x.at(mark.lower_s), x.at(mark.upper_s)
            marks.append(svg.line(ends[0], level, ends[1], level, "ink", 6, stroke_opacity="0.4"))
        text = f"{mark.name} {mark.text}"
        marks.append(_dot(at, level, text))
        if mark.name == "p50":
            marks.append(svg.label(at + 10, level + 4, text, colour="ink", bold=True, halo=True))
        else:
            marks.append(_below_the_curve(view, x, y, at, text))
    return marks


def _below_the_curve(view: LatencyView, x: svg.Axis, y: svg.Axis, at: float, text: str) -> str:
    """p99's figure under its dot, a thin line to it where that is far, without its interval where there is no room."""
    top, brief = y.at(view.marks[-1].share), f"p99 {view.scale.text(view.marks[-1].value_s)}"
    right, level = _free_place(view, x, y, at, text)
    if level > top + 60:
        text, (right, level) = brief, _free_place(view, x, y, at, brief)
    leader = svg.line(at, top + 6, at, level - 12, "soft") if level > top + 30 else ""
    return leader + svg.label(right, level, text, anchor="end", colour="ink", bold=True, halo=True)


def _free_place(view: LatencyView, x: svg.Axis, y: svg.Axis, at: float, text: str) -> tuple[float, float]:
    """Right end and baseline of `text`: about under `at`, below the rising curve, clear of p50's line of text."""
    room = svg.room_for(text, bold=True)
    right = min(x.end - 4, at + room / 2)
    rise = max((share for value, share in view.curve if x.at(value) <= right - room), default=0.0)
    level = min(max(y.at(view.marks[-1].share) + 22, y.at(rise) + 18), y.at(0.25))
    middle = y.at(0.5) + 4
    return right, middle + 20 if abs(level - middle) < 16 else level


def _dot(x: float, y: float, text: str) -> str:
    return svg.element("circle", svg.tip(text), cx=x, cy=y, r=4, **svg.fill("ink"))


def tail(view: LatencyView, width: float) -> str:
    """Share of inferences slower than a latency, both logarithmic: where rare slow ones show."""
    bottom = HEIGHT - _BELOW
    points = [(a, 1.0 - b) for a, b in view.curve if b < 1.0]
    rarest = 10.0 ** math.floor(math.log10(min((b for _, b in points), default=0.1)))
    x = svg.Axis(view.curve[0][0] * 0.95, view.curve[-1][0] * 1.05, _LEFT, width - 12, log=True)
    y = svg.Axis(rarest, 1.0, bottom, _TOP, log=True)
    curve = [(x.at(a), y.at(b)) for a, b in points]
    marks = [
        svg.axis_below(x, _TOP, bottom, view.scale.tick, _axis_name(view, True), _about(width)),
        svg.axis_left(y, _LEFT, width - 12, _share, 5),
        svg.label(0, 14, "share of inferences slower, logarithmic"),
        svg.element("path", d=svg.path(curve, step=True), **svg.stroke("mark", 2, stroke_linejoin="round")),
        *_bounds_tail(view, x, y),
    ]
    if view.limit_s is not None:
        marks.append(svg.limit_mark(x, view.limit_s, _TOP, bottom, view.limit_text, _TOP + 14))
    slowest = view.scale.text(view.curve[-1][0])
    return svg.picture(width, HEIGHT, "Tail of latency", f"The slowest inference took {slowest}.", *marks)


def _bounds_tail(view: LatencyView, x: svg.Axis, y: svg.Axis) -> list[str]:
    return [
        _dot(x.at(m.value_s), y.at(1 - m.share), f"{m.name} {m.text}")
        + svg.label(x.at(m.value_s) - 8, y.at(1 - m.share) + 15, m.name, anchor="end", colour="ink", bold=True)
        for m in view.marks
        if m.name in {"p50", "p99"}
    ]


def _share(share: float) -> str:
    return f"{share * 100:g} %"


def over_time(view: LatencyView, width: float) -> str:
    """Least, median and greatest latency a bin, in the order measured; the warm-up is shaded."""
    height, bottom = 200.0, 200.0 - _BELOW
    highest = max(b[3] for b in view.bins)
    least = min(b[1] for b in view.bins)
    log = highest > 8 * least
    x = svg.Axis(0, view.samples, _LEFT, width - 12)
    low = least * 0.9 if log else 0.0
    y = svg.Axis(low, highest * 1.08, bottom, _TOP, log=log)
    ends = [*(b[0] for b in view.bins[1:]), float(view.samples)]
    spans = list(zip(view.bins, ends, strict=True))
    medians = [(x.at((b[0] + end) / 2), y.at(b[2])) for b, end in spans]
    marks = [
        _warmup(view, x, bottom),
        svg.axis_below(x, _TOP, bottom, lambda v: f"{v:,.0f}", "inference, in order", _about(width)),
        svg.axis_left(y, _LEFT, width - 12, view.scale.tick),
        svg.label(0, 14, _axis_name(view, log)),
        _envelope([(x.at(b[0]), x.at(end), y.at(b[1]), y.at(b[3])) for b, end in spans]),
        svg.element("path", d=svg.path(medians), **svg.stroke("mark", 1.8)),
    ]
    note = f"{view.samples:,} inferences, of which {view.warmup:,} are warm-up."
    return svg.picture(width, height, "Latency over the run", note, *marks)


def _warmup(view: LatencyView, x: svg.Axis, bottom: float) -> str:
    if not view.warmup:
        return ""
    end = x.at(view.warmup)
    size = {"width": max(2.0, end - x.start), "height": bottom - _TOP}
    box = svg.element("rect", x=x.start, y=_TOP, **size, **svg.fill("warn-soft"))
    return box + svg.label(x.end, 14, "shaded: warm-up, left out", anchor="end", colour="warn")


def _envelope(spans: list[tuple[float, float, float, float]]) -> str:
    over = [(xx, top) for a, b, _, top in spans for xx in (a, b)]
    under = [(xx, low) for a, b, low, _ in reversed(spans) for xx in (b, a)]
    return svg.element("path", d=svg.path(over + under, close=True), **svg.fill("mark-soft"))


def _body_end(view: LatencyView) -> float:
    """Where the body's axis ends: past p99's upper bound; what is slower belongs to the tail's drawing."""
    p99, p50 = view.marks[-1], view.marks[0]
    end = max(p99.value_s, p99.upper_s or 0.0)
    end += 0.15 * max(end - view.curve[0][0], 0.02 * p50.value_s)
    if view.limit_s is not None and end < view.limit_s < 1.4 * end:
        return view.limit_s * 1.03
    return end


def _axis_name(view: LatencyView, log: bool) -> str:
    return f"latency, {view.scale.suffix}{', logarithmic' if log else ''}"


def _about(width: float) -> int:
    return max(3, int(width // 100))
