"""The battery of a device file, or of the command line, which has the same keys."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from kit.errors import SpecError
from kit.spec import units
from kit.spec.otii import read_otii
from kit.spec.ranges import parse_pulse, parse_range, parse_temperature
from kit.spec.shapes import Charge, Energy, Power, Share, Text, Voltage
from kit.spec.toml import Document
from kit.spec.types import BatterySpec, DischargeProfile

Chemistry = Literal["lithium-ion", "lithium-primary", "lithium-thionyl", "alkaline", "nimh", "lead-acid"]

ShareRange = Annotated[str | int | float, Meta(description='a share, or a range of it, such as "80 % to 100 %"')]
ResistanceRange = Annotated[str, Meta(description='a resistance, or a range of it, such as "100 mOhm to 300 mOhm"')]
Temperature = Annotated[str | int | float, Meta(description='degrees Celsius, such as "20 °C" or "-10 °C to 30 °C"')]
PulseText = Annotated[
    str, Meta(max_length=128, description='power, duration and rate, such as "150 mW for 80 ms, 6 per minute"')
]


class BatteryTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The battery: `capacity` with `voltage`, or `energy`, or a profile that has both; what else is known of it."""

    other_load: Power
    capacity: Charge | None = None
    voltage: Voltage | None = None
    energy: Energy | None = None
    reserve: Share | None = None
    chemistry: Chemistry | None = None
    tolerance: Share | None = None
    other_load_tolerance: Share | None = None
    health: ShareRange | None = None
    derating: ShareRange | None = None
    self_discharge: ShareRange | None = None
    temperature: Temperature | None = None
    efficiency: ShareRange | None = None
    resistance: ResistanceRange | None = None
    cutoff: Voltage | None = None
    transmit: PulseText | None = None
    otii: Annotated[Text, Meta(description="a battery profile of Otii's, beside this file")] | None = None


def _number(kind: units.Kind) -> Callable[[Any, str], Any]:
    return lambda value, subject: units.parse(value, kind, subject)


def _range(kind: units.Kind) -> Callable[[Any, str], Any]:
    return lambda value, subject: parse_range(value, kind, subject)


def _chemistry(value: Any, subject: str) -> str:
    if value not in get_args(Chemistry):
        raise SpecError(f"{subject} {value!r} is not known here", next_step=f"known: {', '.join(get_args(Chemistry))}")
    return str(value)


def _share_above_zero(value: Any, subject: str) -> Any:
    found = parse_range(value, "share", subject)
    if found.low <= 0:
        raise SpecError(f"{subject} of 0 leaves nothing", next_step='write more than 0 %, such as "80 % to 100 %"')
    return found


def _share_below_one(value: Any, subject: str) -> float:
    found = units.parse(value, "share", subject)
    if found >= 1:
        raise SpecError(f"{subject} of 100 % leaves nothing", next_step='write less than 100 %, such as "5 %"')
    return found


_FIELDS: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "other_load": ("other_load_w", _number("power")),
    "reserve": ("reserve_share", _share_below_one),
    "chemistry": ("chemistry", _chemistry),
    "tolerance": ("capacity_tolerance_share", _share_below_one),
    "other_load_tolerance": ("other_load_tolerance_share", _share_below_one),
    "health": ("health_share", _share_above_zero),
    "derating": ("derating_share", _share_above_zero),
    "self_discharge": ("self_discharge_share", _range("share")),
    "temperature": ("temperature_celsius", parse_temperature),
    "efficiency": ("efficiency_share", _share_above_zero),
    "resistance": ("resistance_ohm", _range("resistance")),
    "cutoff": ("cutoff_v", _number("voltage")),
    "transmit": ("transmit", parse_pulse),
}
"""For each key that is a field of BatterySpec by itself, that field and how it is read."""

_CAPACITY: dict[str, units.Kind] = {"capacity": "charge", "voltage": "voltage", "energy": "energy"}
KEYS = ("capacity", "voltage", "energy", "otii", *_FIELDS)
"""Every key of a battery."""

_EXAMPLE = 'write capacity = "300 mAh" and voltage = "3.85 V", or energy = "1.1 Wh"'
Fail = Callable[[str, SpecError], SpecError]
"""An error at a key, "" for the battery as a whole: the same with its place."""


def read_battery(document: Document, table: BatteryTable) -> BatterySpec:
    """In SI units. Raises SpecError with the key's line."""

    def fail(key: str, error: SpecError) -> SpecError:
        if error.where:  # in the profile that otii names
            return error
        return document.error(("battery", key) if key else ("battery",), error.what, error.next_step)

    options = {key: value for key, value in msgspec.structs.asdict(table).items() if value is not None}
    return _battery(options, None, document.path.parent, fail)


def battery_of(options: Mapping[str, str], beside: BatterySpec | None = None) -> BatterySpec:
    """A battery from the command line: keys and values as a device file has them, over those of `beside`.

    Raises SpecError, which names the option.
    """

    def fail(key: str, error: SpecError) -> SpecError:
        where = error.where or (f"--{key.replace('_', '-')}" if key else "battery")
        return SpecError(error.what, where=where, next_step=error.next_step)

    if beside is None and "other_load" not in options:
        what = "what drains the battery without the model is not known"
        raise fail("", SpecError(what, next_step='add --other-load, such as "30 mW"'))
    return _battery(options, beside, Path(), fail)


def _battery(options: Mapping[str, Any], beside: BatterySpec | None, folder: Path, fail: Fail) -> BatterySpec:
    found: dict[str, Any] = {}
    for key, (field, parse) in _FIELDS.items():
        if key in options:
            found[field] = _attempt(parse, options[key], key, fail)
    if "otii" in options:
        found["discharge"] = _attempt(lambda name, _: read_otii(folder / name), options["otii"], "otii", fail)
        found.setdefault("resistance_ohm", None)  # that of a device file gives way to the profile's
    if any(key in options for key in (*_CAPACITY, "otii")) or beside is None:
        capacity = {
            key: _attempt(_number(kind), options[key], key, fail) for key, kind in _CAPACITY.items() if key in options
        }
        found["capacity_j"], found["voltage_v"] = _capacity(capacity, found.get("discharge"), beside, fail)
    battery = BatterySpec(**found) if beside is None else replace(beside, **found)
    for key in ("resistance", "cutoff"):
        if getattr(battery, _FIELDS[key][0]) is not None and battery.voltage_v is None:
            raise fail(key, SpecError("means nothing where the voltage is not known", next_step=_EXAMPLE))
    if battery.cutoff_v is not None and battery.voltage_v is not None:
        _attempt(lambda key, _: _check_cutoff(key, battery), "cutoff", "cutoff", fail)
    if battery.resistance_ohm is not None and battery.discharge is not None:
        what = "a battery profile has its own resistance, along the discharge"
        raise fail("resistance", SpecError(what, next_step="leave out resistance, or otii"))
    return battery


def _check_cutoff(key: str, battery: BatterySpec) -> None:
    """Raises SpecError where the device would never run: it stops at a voltage that the battery never exceeds."""
    tables = battery.discharge.tables if battery.discharge else ()
    highest_v = max((volts for table in tables for volts in table.open_circuit_v), default=battery.voltage_v or 0.0)
    if battery.cutoff_v is not None and battery.cutoff_v >= highest_v:
        what = f"{key} of {battery.cutoff_v:g} V leaves nothing: the battery has {highest_v:g} V"
        raise SpecError(what, next_step="write less than the battery's voltage")


def _attempt(parse: Callable[[Any, str], Any], value: Any, key: str, fail: Fail) -> Any:
    try:
        return parse(value, key)
    except SpecError as error:
        raise fail(key, error) from None


def _capacity(
    given: dict[str, float], profile: DischargeProfile | None, beside: BatterySpec | None, fail: Fail
) -> tuple[float, float | None]:
    """Energy when full (J) and nominal voltage (V; None where energy alone is stated); the stated before the profile's.

    A capacity alone on the command line keeps the device file's voltage, and a voltage its capacity.
    """
    if "energy" in given:
        if len(given) > 1 or profile is not None:
            raise fail("", SpecError("needs capacity and voltage together, or energy alone", next_step=_EXAMPLE))
        return given["energy"], None
    charge_c, voltage_v = given.get("capacity"), given.get("voltage")
    if profile is not None:
        charge_c, voltage_v = charge_c or profile.capacity_c, voltage_v or profile.voltage_v or _mean_v(profile)
    elif beside is not None and beside.voltage_v:
        charge_c, voltage_v = charge_c or beside.capacity_j / beside.voltage_v, voltage_v or beside.voltage_v
    if charge_c is None or voltage_v is None:
        raise fail("", SpecError("needs capacity and voltage together, or energy alone", next_step=_EXAMPLE))
    return charge_c * voltage_v, voltage_v


def _mean_v(profile: DischargeProfile) -> float:
    """Mean open-circuit voltage over the used charge of the gentlest discharge."""
    table = profile.tables[0]
    pairs = zip(table.used_c[1:], table.used_c, table.open_circuit_v[1:], table.open_circuit_v, strict=False)
    area = sum((after - before) * (v_after + v_before) / 2 for after, before, v_after, v_before in pairs)
    return area / (table.used_c[-1] - table.used_c[0])
