"""Quantities as people write them ("20 ms", "15 %", "300 mAh") to SI numbers, and the reason when they are wrong.

Decimal prefixes are powers of 1000 and binary ones (Ki, Mi, Gi) of 1024, as in IEC 80000-13. A point is a
difference of two shares: 75 % is 2 points below 77 %, which "2 %" would leave open.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from kit.errors import SpecError

Kind = Literal[
    "time", "size", "share", "points", "power", "energy", "charge", "voltage", "resistance", "rate", "life", "number"
]

_FORM = re.compile(r"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?|[+-]?(?:nan|inf))\s*(.*?)\s*", re.I)
_LENGTH_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Unit:
    """A kind of quantity: the SI unit, what each way of writing is worth in it, and the sensible range."""

    noun: str
    si: str
    scales: dict[str, float]
    example: str
    least: float
    most: float
    bare: bool = False

    @property
    def range_text(self) -> str:
        """The sensible range in words; a difference of shares is told in points, as it is written."""
        if self.si == "1":
            return (
                f"{self.least:g} to {self.most:g}"
                if self.bare
                else f"{self.least * 100:g} to {self.most * 100:g} points"
            )
        return f"{self.least:g} to {self.most:g} {self.si}"

    @property
    def pattern(self) -> str:
        """Regular expression (ECMA 262) of the written form, for JSON Schema."""
        units = "|".join(re.escape(name) for name in self.scales)
        return rf"^\s*\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{{1,3}})?\s*({units}){'?' if self.bare else ''}\s*$"


UNITS: dict[Kind, Unit] = {
    "time": Unit(
        "a time",
        "s",
        {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0},
        'write ns, us, ms or s, such as "20 ms"',
        1e-9,
        1e7,
    ),
    "size": Unit(
        "a size",
        "B",
        {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
        'write B, kB (1000 B), KiB (1024 B), MB or MiB, such as "200 kB"',
        1,
        2.0**44,
    ),
    "share": Unit("a share", "1", {"%": 0.01}, 'write it as 0 to 1 or in percent, such as "15 %"', 0, 1, bare=True),
    "points": Unit(
        "a difference of two shares",
        "1",
        {"points": 0.01, "point": 0.01, "pp": 0.01},
        'write it in percentage points, such as "2 points"',
        0,
        1,
    ),
    "power": Unit(
        "a power",
        "W",
        {"uW": 1e-6, "µW": 1e-6, "mW": 1e-3, "W": 1.0, "kW": 1e3},
        'write uW, mW or W, such as "12 mW"',
        0,
        1e5,
    ),
    "energy": Unit(
        "an energy",
        "J",
        {"uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3, "mWh": 3.6, "Wh": 3600.0, "kWh": 3.6e6},
        'write uJ, mJ, J, mWh or Wh, such as "1.1 Wh"',
        1e-9,
        1e12,
    ),
    "charge": Unit("a charge", "C", {"mAh": 3.6, "Ah": 3600.0}, 'write mAh or Ah, such as "300 mAh"', 1e-6, 1e9),
    "voltage": Unit("a voltage", "V", {"mV": 1e-3, "V": 1.0}, 'write mV or V, such as "3.85 V"', 1e-3, 1e4),
    "resistance": Unit(
        "a resistance",
        "ohm",
        {"mOhm": 1e-3, "mΩ": 1e-3, "Ohm": 1.0, "Ω": 1.0, "mohm": 1e-3, "ohm": 1.0},
        'write mOhm or Ohm, such as "120 mOhm"',
        0,
        1e6,
    ),
    "rate": Unit(
        "a rate",
        "1/s",
        {
            "per second": 1.0,
            "per minute": 1 / 60,
            "per hour": 1 / 3600,
            "per day": 1 / 86400,
            "Hz": 1.0,
            "kHz": 1e3,
            "MHz": 1e6,
        },
        'write per second, per minute, per hour or Hz, such as "1 per second"',
        1e-9,
        1e9,
    ),
    "life": Unit(
        "a life",
        "s",
        {"h": 3600.0, "days": 86400.0, "day": 86400.0, "weeks": 604800.0, "months": 2629800.0, "years": 31557600.0},
        'write h, days, weeks, months or years, such as "36 h"',
        1,
        1e11,
    ),
    "number": Unit(
        "a number", "1", {"%": 0.01, "points": 0.01}, 'write it without a unit, such as "0.5"', 0, 1e15, bare=True
    ),
}


def parse(value: str | int | float, kind: Kind, subject: str = "this") -> float:
    """A quantity in its SI unit (s, B, W, J, C, V, 1/s; a share or points as 0 to 1).

    A bare number is a share, or in a measure's own unit. `subject` begins the message ("a latency"). Raises SpecError,
    without its place, for another unit, a negative or infinite number, or one out of the sensible range.
    """
    unit = UNITS[kind]
    number, name = _split(value, unit, subject)
    if name in unit.scales:
        result = float(number * Decimal(repr(unit.scales[name])))  # decimal, so that "35 %" is 0.35 to the last bit
    elif not name and unit.bare:
        result = float(number)
    else:
        wrong = f'not "{name}"' if name else "and needs its unit"
        raise SpecError(f"{subject} is {unit.noun}, {wrong}", next_step=unit.example)
    if not unit.least <= result <= unit.most:
        raise SpecError(
            f"{value} is out of range: {subject} is {unit.noun} from {unit.range_text}",
            next_step=unit.example,
        )
    return result


def _split(value: str | int | float, unit: Unit, subject: str) -> tuple[Decimal, str]:
    """The number and the unit's name, spaces tidied and both micro signs made one."""
    text = str(value)
    form = _FORM.fullmatch(text) if len(text) <= _LENGTH_LIMIT else None
    if form is None or isinstance(value, bool):
        raise SpecError(f'{subject} is {unit.noun}, not "{text[:_LENGTH_LIMIT]}"', next_step=unit.example)
    number = Decimal(form[1])
    if not number.is_finite() or number.is_signed():
        raise SpecError(f"{text} is negative or not finite; {subject} is {unit.noun}", next_step=unit.example)
    return number, " ".join(form[2].replace("\u03bc", "\u00b5").split())
