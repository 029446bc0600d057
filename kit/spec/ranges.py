"""Figures that are not known exactly, as people write them: "80 % to 100 %", "-10 °C to 30 °C", "90 %"."""

import re

from kit.errors import SpecError
from kit.spec import units
from kit.spec.types import Pulse, Range

_TO = re.compile(r"\s+to\s+")
_BARE = re.compile(r"[+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?")
_CELSIUS = re.compile(r"\s*([+\u2212-]?[0-9]{1,4}(?:\.[0-9]{1,6})?)\s*(?:°\s?C|C)?\s*")
_PULSE = re.compile(r"(?P<power>.{1,40})\bfor\b(?P<duration>.{1,40}),(?P<rate>.{1,40})")
_LENGTH_LIMIT = 128

COLDEST_CELSIUS, HOTTEST_CELSIUS = -60.0, 150.0
"""Beyond these no battery is sold for."""


def parse_range(value: str | int | float, kind: units.Kind, subject: str = "this") -> Range:
    """One quantity, or two with "to" between them; the likely one is midway. The first may leave its unit out.

    Raises SpecError, without its place, as `units.parse` does, and where the first is the greater.
    """
    parts = _TO.split(value.strip()) if isinstance(value, str) and len(value) <= _LENGTH_LIMIT else [value]
    if len(parts) != 2:
        exact = units.parse(value, kind, subject)
        return Range(exact, exact, exact)
    first, last = str(parts[0]), str(parts[1])
    if _BARE.fullmatch(first):
        first += _BARE.sub("", last, count=1)
    return _range(units.parse(first, kind, subject), units.parse(last, kind, subject), subject)


def parse_temperature(value: str | int | float, subject: str = "this") -> Range:
    """Degrees Celsius, one or two with "to" between them. Raises SpecError, without its place."""
    example = 'write degrees Celsius, such as "20 °C" or "-10 °C to 30 °C"'
    parts = _TO.split(value.strip()) if isinstance(value, str) and len(value) <= _LENGTH_LIMIT else [str(value)]
    found = [_CELSIUS.fullmatch(part) for part in parts]
    if len(found) > 2 or isinstance(value, bool):
        raise SpecError(f"{subject} is a temperature, or two", next_step=example)
    ends = []
    for each in found:
        if each is None:
            raise SpecError(f'{subject} is a temperature, not "{str(value)[:64]}"', next_step=example)
        ends.append(float(each[1].replace("\u2212", "-")))
    if not all(COLDEST_CELSIUS <= end <= HOTTEST_CELSIUS for end in ends):
        limits = f"{COLDEST_CELSIUS:g} to {HOTTEST_CELSIUS:g} °C"
        raise SpecError(f"{value} is out of range: {subject} is a temperature from {limits}", next_step=example)
    return _range(ends[0], ends[-1], subject)


def parse_pulse(value: str, subject: str = "this") -> Pulse:
    """Power, duration and rate: "150 mW for 80 ms, 6 per minute". Raises SpecError, without its place."""
    example = 'write power, duration and rate, such as "150 mW for 80 ms, 6 per minute"'
    found = _PULSE.fullmatch(value) if len(value) <= _LENGTH_LIMIT else None
    if found is None:
        raise SpecError(f'{subject} is work that comes again, not "{value[:64]}"', next_step=example)
    power_w = units.parse(found["power"], "power", subject)
    duration_s = units.parse(found["duration"], "time", subject)
    rate_hz = units.parse(found["rate"], "rate", subject)
    if duration_s * rate_hz > 1:
        what = f"{subject} would take {duration_s * rate_hz:.3g} s of every second"
        raise SpecError(what, next_step="check duration and rate")
    return Pulse(power_w, duration_s, rate_hz)


def _range(low: float, high: float, subject: str) -> Range:
    if low > high:
        raise SpecError(f"{subject} begins above its end", next_step="write the lesser figure first")
    return Range(low, (low + high) / 2, high)
