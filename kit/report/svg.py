"""Small parts that drawings are made of: elements, axes, ticks. Text in, text out; no script, no style needed.

Marks carry presentation attributes (so that they show where a content policy blocks styles) and a class
(so that the stylesheet can recolour them in the dark). Coordinates are rounded to 0.1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from kit.report.palette import LIGHT

FONT_SIZE = 12


def number(value: float) -> str:
    """A coordinate, rounded to 0.1, without a needless zero."""
    text = f"{value:.1f}"
    return text[:-2].replace("-0", "0") if text in {"-0.0"} else text.removesuffix(".0")


def element(tag: str, *children: str, **attributes: str | float) -> str:
    """``<tag ...>children</tag>``; ``_`` in a name becomes ``-``, a trailing one is dropped; values are escaped."""
    parts = (f' {k.rstrip("_").replace("_", "-")}="{_value(v)}"' for k, v in attributes.items())
    inner = "".join(children)
    return f"<{tag}{''.join(parts)}>{inner}</{tag}>" if inner else f"<{tag}{''.join(parts)}/>"


def _value(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else number(value)


def fill(colour: str, **more: str | float) -> dict[str, str | float]:
    """Attributes that fill a mark with a colour of the palette."""
    return {"fill": LIGHT[colour], "class_": f"f-{colour}", **more}


def stroke(colour: str, width: float = 1.0, **more: str | float) -> dict[str, str | float]:
    """Attributes that draw a line in a colour of the palette."""
    return {"fill": "none", "stroke": LIGHT[colour], "stroke_width": width, "class_": f"s-{colour}", **more}


def tip(text: str) -> str:
    """A native tooltip."""
    return element("title", escape(text))


def label(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    colour: str = "soft",
    bold: bool = False,
    halo: bool = False,
) -> str:
    """Text at its shown size, never scaled; a `halo` in the paper's colour keeps lines behind it from its letters."""
    more: dict[str, str | float] = {"font_weight": "600"} if bold else {}
    if halo:
        more |= {"stroke": LIGHT["paper"], "stroke_width": 4, "paint_order": "stroke", "stroke_linejoin": "round"}
    colours = fill(colour, class_=f"f-{colour} s-paper") if halo else fill(colour)
    return element("text", escape(text), x=x, y=y, text_anchor=anchor, font_size=FONT_SIZE, **colours, **more)


def room_for(text: str, *, bold: bool = False) -> float:
    """Pixels that `text` surely fits into: an average letter at this size is 7 wide, bold 7.6."""
    return len(text) * (7.6 if bold else 7.0)


def fitted(text: str, room: float, *, bold: bool = False) -> str:
    """`text`, cut so that it surely fits into `room` pixels."""
    letters = max(4, int(room / room_for("x", bold=bold)))
    return text if len(text) <= letters else text[: letters - 1] + "…"


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0, **more: str | float) -> str:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **stroke(colour, width, **more))


def path(xy: Sequence[tuple[float, float]], *, step: bool = False, close: bool = False) -> str:
    """Path data through points; `step` goes right before it goes up or down (an empirical distribution)."""
    parts = [f"M{number(xy[0][0])} {number(xy[0][1])}"] if xy else []
    for x, y in xy[1:]:
        parts.append(f"H{number(x)}V{number(y)}" if step else f"L{number(x)} {number(y)}")
    return "".join(parts) + ("Z" if close else "")


def picture(width: float, height: float, title: str, description: str, *marks: str) -> str:
    """A whole drawing with its title and description for people who cannot see it."""
    head = element("title", escape(title)) + element("desc", escape(description))
    box = f"0 0 {number(width)} {number(height)}"
    return element(
        "svg", head, *marks, xmlns="http://www.w3.org/2000/svg", role="img", width=width, height=height, viewBox=box,
        font_family="system-ui, sans-serif",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values in [low, high] to pixels in [start, end], linearly or by logarithm; outside is clamped."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of `value`."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        share = (self._scaled(min(max(value, self.low), self.high)) - low) / ((high - low) or 1.0)
        return self.start + share * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether `value` lies on the axis."""
        return self.low <= value <= self.high

    def ticks(self, about: int = 5) -> list[float]:
        """Round values on the axis, about as many as asked."""
        return log_ticks(self.low, self.high, about) if self.log else linear_ticks(self.low, self.high, about)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value


def linear_ticks(low: float, high: float, about: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, about: int) -> list[float]:
    """Powers of ten in [low, high], with 2 and 5 between them where they are few; linear ticks in a narrow range."""
    if high < 6 * low:
        return linear_ticks(low, high, about)
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [10.0**e for e in exponents if low * 0.999 <= 10.0**e <= high * 1.001]
    if len(tens) >= max(2, about // 2):
        every = math.ceil(len(tens) / about)
        return tens[::every]
    fine = [m * 10.0**e for e in exponents for m in (1, 2, 5)]
    inside = [v for v in fine if low * 0.999 <= v <= high * 1.001]
    return inside if len(inside) <= about + 2 else inside[:: math.ceil(len(inside) / about)]


def axis_below(axis: Axis, top: float, bottom: float, text: Callable[[float], str], name: str, about: int = 5) -> str:
    """Faint vertical lines with a value under each, and the axis's name under its right end."""
    marks = []
    for value in axis.ticks(about):
        x = axis.at(value)
        marks.append(line(x, top, x, bottom, "rule") + label(x, bottom + 16, text(value), anchor="middle"))
    return "".join(marks) + label(axis.end, bottom + 33, name, anchor="end")


def axis_left(axis: Axis, left: float, right: float, text: Callable[[float], str], about: int = 4) -> str:
    """Faint horizontal lines with a value left of each."""
    marks = []
    for value in axis.ticks(about):
        y = axis.at(value)
        marks.append(line(left, y, right, y, "rule") + label(left - 6, y + 4, text(value), anchor="end"))
    return "".join(marks)


def limit_mark(axis: Axis, value: float, top: float, bottom: float, text: str, level: float) -> str:
    """The limit as a dashed vertical line, its text at height `level`; an arrow where it lies beyond the axis."""
    if axis.holds(value):
        x = axis.at(value)
        near_end = abs(x - axis.end) < abs(x - axis.start)
        anchor, dx = ("end", -5.0) if near_end else ("start", 5.0)
        rule = line(x, top, x, bottom, "fail", 1.5, stroke_dasharray="4 3")
        return rule + label(x + dx, level, text, anchor=anchor, colour="fail")
    if value > axis.high:
        return label(axis.end - 4, level, f"{text} →", anchor="end", colour="fail")
    return label(axis.start + 4, level, f"← {text}", colour="fail")
