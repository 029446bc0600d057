"""What goes into a battery's life: what the device file states, and what is assumed where it does not.

The assumptions are orders of magnitude that span what makers' handbooks and datasheets give for each chemistry; no cell
is meant, and a figure that rests on one is called estimated. Self-discharge that is not stated may be none at all, so
that it never makes a model look cheaper than it is.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kit.spec.types import BatterySpec, DischargeTable, Range

MONTH_S = 365.25 / 12 * 86_400.0
RATED_CELSIUS = 20.0
"""Where self-discharge is stated, and by about which capacities are (IEC 60086-2 and 61960-3: 20 +- 2 and +- 5)."""

DOUBLING_CELSIUS = 10.0
"""Self-discharge doubles for each 10 degrees: van 't Hoff's rule of thumb for reactions near room temperature."""

RATED_RANGE_CELSIUS = (15.0, 30.0)
"""Within this a stated capacity is taken as it is."""

RATED_HOURS = 20.0
"""A lead-acid battery's capacity is stated for a discharge in 20 h (IEC 61056-1)."""

TOLERANCE_SHARE = 0.05
"""Assumed of a capacity, each way."""

TEMPERATURE_CELSIUS = Range(10.0, 20.0, 30.0)
"""Assumed where nobody says: indoors, or on a body."""

Source = Literal["stated", "profile", "assumed"]


EXACTLY_ONE = Range(1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Typical:
    """What is assumed of a chemistry: health, self-discharge in a month at 20 degrees Celsius, cold, Peukert exponent.

    cold: (degrees Celsius, least, greatest share that can be drawn), from cold to warm; linear between, flat beyond.
    """

    health_share: Range
    self_discharge_share: Range
    cold: tuple[tuple[float, float, float], ...]
    peukert: Range = EXACTLY_ONE


_AGED, _FRESH = Range(0.8, 0.9, 1.0), Range(0.95, 0.98, 1.0)
"""Rechargeable cells are called worn at 80 % (IEC 61960-3 has 60 % after its cycles); primary ones are used once."""

CHEMISTRIES: dict[str, Typical] = {
    "lithium-ion": Typical(_AGED, Range(0.0, 0.02, 0.04), ((-20.0, 0.4, 0.75), (0.0, 0.75, 0.95), (20.0, 1.0, 1.0))),
    "lithium-primary": Typical(
        _FRESH, Range(0.0, 0.001, 0.002), ((-20.0, 0.4, 0.8), (0.0, 0.75, 0.95), (20.0, 1.0, 1.0))
    ),
    "lithium-thionyl": Typical(
        _FRESH, Range(0.0, 0.001, 0.002), ((-40.0, 0.3, 0.7), (0.0, 0.75, 0.95), (20.0, 1.0, 1.0))
    ),
    "alkaline": Typical(_FRESH, Range(0.0, 0.003, 0.005), ((-20.0, 0.1, 0.3), (0.0, 0.45, 0.8), (20.0, 1.0, 1.0))),
    "nimh": Typical(_AGED, Range(0.0, 0.1, 0.3), ((-20.0, 0.3, 0.7), (0.0, 0.7, 0.95), (20.0, 1.0, 1.0))),
    "lead-acid": Typical(
        _AGED,
        Range(0.0, 0.04, 0.1),
        ((-20.0, 0.4, 0.65), (0.0, 0.7, 0.9), (20.0, 1.0, 1.0)),
        Range(1.05, 1.15, 1.3),
    ),
    "": Typical(_AGED, Range(0.0, 0.02, 0.1), ((-20.0, 0.1, 0.8), (0.0, 0.45, 0.95), (20.0, 1.0, 1.0))),
}
"""By chemistry; "" where none is stated: about the widest of all."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One input as it was used: its name (a key of the device file), value in `unit`, and where it comes from."""

    name: str
    value: Range
    unit: str
    source: Source


@dataclass(frozen=True, slots=True)
class Inputs:
    """A battery's inputs as ranges (`ranges`, by name), what does not vary, and what each statement rests on.

    ranges: full_c, derating, self_hz (share a second), efficiency, resistance_ohm, idle_w, peukert.
    """

    tier: Literal[1, 2, 3]
    voltage_v: float
    cutoff_v: float
    capacity_c: float
    tables: tuple[DischargeTable, ...]
    ranges: dict[str, Range]
    statements: tuple[Statement, ...]

    def likely(self) -> "Inputs":
        """The same with every range at its likely value."""
        return replace(self, ranges={name: Range(*(each.likely,) * 3) for name, each in self.ranges.items()})

    @property
    def assumed(self) -> tuple[str, ...]:
        """Names of what nobody stated."""
        return tuple(each.name for each in self.statements if each.source == "assumed")


def inputs_of(battery: BatterySpec) -> Inputs:
    """Every input of `battery` as a range, and the tier that it allows.

    A discharge profile makes it tier 3; a resistance, cutoff or regulator, tier 2; all else is tier 1.
    """
    typical = CHEMISTRIES.get(battery.chemistry, CHEMISTRIES[""])
    voltage_v = battery.voltage_v or 1.0
    stated = _Stated()
    tolerance = stated.number("tolerance", battery.capacity_tolerance_share, TOLERANCE_SHARE, "share")
    health = stated.range("health", battery.health_share, typical.health_share, "share")
    tables = _nearest(battery)
    temperature = stated.range("temperature", battery.temperature_celsius, _temperature(tables), "°C")
    if tables and battery.temperature_celsius is None and tables[0].temperature_celsius is not None:
        stated.correct("temperature", "profile")
    rates = stated.range("self_discharge", battery.self_discharge_share, typical.self_discharge_share, "share")
    derating = _derating(stated, battery, typical, temperature, tables)
    capacity_c = battery.capacity_j / voltage_v
    profile = battery.discharge
    peukert = EXACTLY_ONE if profile else typical.peukert
    resistance = None if profile else battery.resistance_ohm  # a profile has its own
    if not peukert.is_exact:
        stated.range("peukert", None, peukert, "1")
    for name, value, unit in (
        ("efficiency", battery.efficiency_share, "share"),
        ("resistance", resistance, "ohm"),
    ):
        if value is not None:
            stated.range(name, value, value, unit)
    ranges = {
        "full_c": _product(Range(1 - tolerance, 1.0, 1 + tolerance), health, capacity_c),
        "derating": derating,
        "self_hz": _product(rates, _faster(temperature), 1 / MONTH_S),
        "efficiency": battery.efficiency_share or EXACTLY_ONE,
        "resistance_ohm": resistance or Range(0.0, 0.0, 0.0),
        "idle_w": _around(battery.other_load_w, battery.other_load_tolerance_share),
        "peukert": peukert,
    }
    cutoff_v = battery.cutoff_v or (profile.cutoff_v if profile else None) or 0.0
    electrical = battery.voltage_v is not None and (
        battery.resistance_ohm or battery.cutoff_v or battery.efficiency_share
    )
    return Inputs(
        tier=3 if profile else 2 if electrical else 1,
        voltage_v=voltage_v,
        cutoff_v=cutoff_v,
        capacity_c=profile.capacity_c if profile else capacity_c,
        tables=tables,
        ranges=ranges,
        statements=stated.all(),
    )


class _Stated:
    """Collects what was stated and what was assumed, in order."""

    def __init__(self) -> None:
        self._found: dict[str, Statement] = {}

    def range(self, name: str, value: Range | None, otherwise: Range, unit: str) -> Range:
        """What is stated, or else what is assumed."""
        used = otherwise if value is None else value
        self._found[name] = Statement(name, used, unit, "assumed" if value is None else "stated")
        return used

    def number(self, name: str, value: float | None, otherwise: float, unit: str) -> float:
        """The same of one figure."""
        used = otherwise if value is None else value
        return self.range(name, None if value is None else Range(used, used, used), Range(used, used, used), unit).low

    def correct(self, name: str, source: Source) -> None:
        """Say where a value came from, where it was neither stated nor assumed."""
        before = self._found[name]
        self._found[name] = Statement(name, before.value, before.unit, source)

    def all(self) -> tuple[Statement, ...]:
        """Everything, in the order in which it was asked for."""
        return tuple(self._found.values())


def _nearest(battery: BatterySpec) -> tuple[DischargeTable, ...]:
    """The tables of the profile that were taken nearest to the battery's temperature."""
    if battery.discharge is None:
        return ()
    wanted = battery.temperature_celsius.likely if battery.temperature_celsius else RATED_CELSIUS

    def distance(table: DischargeTable) -> float:
        return abs((RATED_CELSIUS if table.temperature_celsius is None else table.temperature_celsius) - wanted)

    least = min(map(distance, battery.discharge.tables))
    return tuple(table for table in battery.discharge.tables if distance(table) == least)


def _temperature(tables: tuple[DischargeTable, ...]) -> Range:
    at = tables[0].temperature_celsius if tables else None
    return TEMPERATURE_CELSIUS if at is None else Range(at, at, at)


def _derating(
    stated: _Stated, battery: BatterySpec, typical: Typical, temperature: Range, tables: tuple[DischargeTable, ...]
) -> Range:
    """What the temperature lets be drawn: as stated, else as typical, relative to where a profile's table was taken."""
    low, high = RATED_RANGE_CELSIUS
    taken = tables[0].temperature_celsius if tables else None
    if battery.derating_share is not None:
        return stated.range("derating", battery.derating_share, battery.derating_share, "share")
    if low <= temperature.low and temperature.high <= high and taken is None:
        return EXACTLY_ONE
    if taken is not None and temperature.low == temperature.high == taken:
        return EXACTLY_ONE
    coldest, warmest = _drawable(typical, temperature.low)[0], _drawable(typical, temperature.high)[1]
    likely = sum(_drawable(typical, temperature.likely)) / 2
    if taken is not None:
        there = _drawable(typical, taken)
        coldest, likely, warmest = coldest / there[1], likely / (sum(there) / 2), warmest / there[0]
    found = Range(min(coldest, 1.0), min(likely, 1.0), min(warmest, 1.0))
    return stated.range("derating", None, found, "share")


def _drawable(typical: Typical, celsius: float) -> tuple[float, float]:
    at, least, greatest = zip(*typical.cold, strict=True)
    return float(np.interp(celsius, at, least)), float(np.interp(celsius, at, greatest))


def _faster(temperature: Range) -> Range:
    """How much faster than at 20 degrees a battery loses charge."""
    low, likely, high = (
        2.0 ** ((each - RATED_CELSIUS) / DOUBLING_CELSIUS)
        for each in (temperature.low, temperature.likely, temperature.high)
    )
    return Range(low, likely, high)


def _product(one: Range, other: Range, scale: float) -> Range:
    return Range(one.low * other.low * scale, one.likely * other.likely * scale, one.high * other.high * scale)


def _around(value: float, tolerance: float) -> Range:
    return Range(value * (1 - tolerance), value, value * (1 + tolerance))
