"""Figures as people read them: SI values to text with a fitting unit, a true minus and steady decimals."""

import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from kit.words import MINUS, PLAIN_BELOW, SCALES

ABSENT = "not obtained"

_UNSHOWN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Unicode categories that could move the cursor, turn the text's direction or show as nothing."""
_STEPS = {
    **SCALES,
    "share": ((1e-2, "%"),),
    "points": ((1e-2, "pp"),),
    "1": ((1.0, ""),),
}


@dataclass(frozen=True, slots=True)
class Scale:
    """How one row of figures is written: SI value / `factor`, `decimals` places, then `suffix`.

    `tiny`: all would show as 0, so that they have an exponent; so has what is huge.
    """

    factor: float
    suffix: str
    decimals: int
    signed: bool = False
    tiny: bool = False

    def number(self, value: float) -> str:
        """`value` (SI) as a number without its unit, with a true minus."""
        shown = value / self.factor
        if (self.tiny and shown) or abs(shown) >= PLAIN_BELOW:
            text = f"{abs(shown):.3g}".replace("-", MINUS)
        else:
            shown = round(shown, self.decimals)
            text = f"{abs(shown):,.{self.decimals}f}"
        if shown < 0:
            return MINUS + text
        return "+" + text if self.signed and shown > 0 else text

    def text(self, value: float | None) -> str:
        """`value` (SI) with its unit; an absent value says so."""
        if value is None or not math.isfinite(value):
            return ABSENT
        return f"{self.number(value)} {self.suffix}".strip()

    def tick(self, value: float) -> str:
        """`value` (SI) as a number without needless zeros, for axes and limits."""
        text = self.number(value)
        return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text

    def interval(self, lower: float | None, upper: float | None) -> str:
        """``[lower, upper]`` without the unit, – for an end that is not known; empty where there is no interval."""
        if lower is None and upper is None:
            return ""
        low, high = ("–" if end is None else self.number(end) for end in (lower, upper))
        return f"[{low}, {high}]"


def scale_for(values: Iterable[float | None], unit: str) -> Scale:
    """The unit in which the largest of `values` (SI, `unit` as in a Finding) reads best, at three digits."""
    present = [abs(v) for v in values if v is not None and math.isfinite(v)]
    largest = max(present, default=0.0)
    steps = _STEPS.get(unit, ((1.0, unit),))
    zero = next((step for step in steps if step[0] <= 1), steps[0])
    factor, suffix = next((step for step in steps if largest >= step[0]), steps[-1] if largest else zero)
    if unit == "1":
        whole = all(float(v).is_integer() for v in present)
        return Scale(factor, suffix, 0 if whole else 2, tiny=0.0 < largest < 0.005)
    if unit == "points":
        return Scale(factor, suffix, 1, signed=True)
    if suffix == "B":
        return Scale(factor, suffix, 0)
    digits = 2 - math.floor(math.log10(largest / factor)) if largest else 1
    least, most = (1, 3 if largest < 1e-3 else 2) if unit == "share" else (0, 3)
    return Scale(factor, suffix, min(most, max(least, digits)))


def quantity(value: float | None, unit: str) -> str:
    """One SI `value` with the unit that suits it."""
    return scale_for([value], unit).text(value)


def percent(share: float | None, decimals: int = 1) -> str:
    """A share (0 to 1) in percent."""
    return Scale(1e-2, "%", decimals).text(share)


def points(difference: float | None, decimals: int = 1) -> str:
    """A difference of shares in percentage points, signed."""
    return Scale(1e-2, "pp", decimals, signed=True).text(difference)


def clean(name: str, limit: int = 72) -> str:
    """A name from a model, dataset or device, safe to show: one line, no control or direction marks, bounded."""
    kept = "".join("\ufffd" if unicodedata.category(c) in _UNSHOWN else c for c in name[: limit * 4])
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def listed(names: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    items = list(names)
    return items[0] if len(items) == 1 else " and ".join(part for part in (", ".join(items[:-1]), *items[-1:]) if part)
