"""The meter of a device file: a driver, and the keys that this driver knows."""

import math
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from kit.errors import SpecError
from kit.spec import units
from kit.spec.shapes import Power, Rate, Share, Text, Voltage, quantity
from kit.spec.toml import Document
from kit.spec.types import MeterSpec

Driver = Literal[
    "estimate",
    "emulated",
    "replay",
    "ppk2",
    "lpm01a",
    "joulescope",
    "usb-meter",
    "rapl",
    "ina",
    "jetson",
    "battery",
    "odpm",
    "android-battery",
    "nvml",
]

Key = tuple[str, units.Kind | Literal["text", "count"], bool]
"""The parameter that a key sets, its kind, and whether it must be there."""

_MODEL: dict[str, Key] = {
    "idle_power": ("idle_power_w", "power", True),
    "active_power": ("active_power_w", "power", True),
}
_RATE: dict[str, Key] = {"sample_rate": ("sample_rate_hz", "rate", False)}
_STATED: dict[str, Key] = {
    "accuracy": ("accuracy_share", "share", False),
    "offset": ("offset_w", "power", False),
    "resolution": ("resolution_w", "power", False),
}
_PORT: dict[str, Key] = {"port": ("port", "text", True)}
_PART: dict[str, Key] = {"part": ("part", "text", False)}
_MODE: dict[str, Key] = {"mode": ("mode", "text", False)}
_FILE: dict[str, Key] = {"file": ("file", "text", True)}
_INDEX: dict[str, Key] = {"index": ("index", "count", False)}

METER_KEYS: dict[Driver, dict[str, Key]] = {
    "estimate": _MODEL,
    "emulated": _MODEL
    | _RATE
    | {
        "accuracy": ("accuracy_share", "share", False),
        "noise": ("noise_w", "power", False),
        "resolution": ("resolution_w", "power", False),
        "seed": ("seed", "count", False),
    },
    "replay": _FILE | _STATED | {"voltage": ("voltage_v", "voltage", False)},
    "ppk2": _PORT
    | _RATE
    | _STATED
    | {
        "voltage": ("voltage_v", "voltage", True),
        "mode": ("mode", "text", False),
        "trigger": ("trigger_line", "count", False),
    },
    "lpm01a": _PORT | _RATE | _STATED | {"voltage": ("voltage_v", "voltage", True), "mode": ("mode", "text", False)},
    "joulescope": _RATE | _STATED | {"serial": ("serial", "text", False), "trigger": ("trigger_line", "count", False)},
    "usb-meter": _PORT | _STATED,
    "rapl": _PART | _RATE | _STATED,
    "ina": _PART | _RATE | _STATED | {"voltage": ("voltage_v", "voltage", False)},
    "jetson": _PART | _RATE | _STATED,
    "battery": _PART | _RATE | _STATED | _MODE,
    "odpm": _PART | _RATE | _STATED,
    "android-battery": _RATE | _STATED | _MODE | {"current_unit": ("current_unit", "text", False)},
    "nvml": _INDEX | _RATE | _STATED,
}
"""For each meter driver, the keys of [meter]."""

METER_BOUNDS = {
    "sample_rate_hz": (0.1, 2e6, "from 0.1 Hz to 2 MHz"),
    "accuracy_share": (0.0, math.nextafter(1, 0), "below 100 %"),
}
"""Least and most that a meter takes, and in words: said when the file is read, not after a long run."""

_FILE_METERS = ("emulated", "rapl", "ina", "jetson", "battery", "odpm", "android-battery", "nvml")
_OWN_BOUNDS = {(driver, "sample_rate_hz"): (0.1, 1000.0, "from 0.1 Hz to 1 kHz") for driver in _FILE_METERS}
_OWN_BOUNDS["emulated", "sample_rate_hz"] = (1.0, 1000.0, "from 1 Hz to 1 kHz")


class MeterTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What tells power: its driver, where it is, and its declared constants."""

    driver: Annotated[Driver, Meta(description="the meter's driver")]
    port: Annotated[Text, Meta(description="the meter's own port, such as /dev/ttyACM0")] | None = None
    part: (
        Annotated[
            Text, Meta(description="which rail, domain or supply, by its name; the driver's own choice if left out")
        ]
        | None
    ) = None
    file: Annotated[Text, Meta(description="a recorded trace")] | None = None
    mode: Annotated[Text, Meta(description="how the meter is used; the driver says which modes it has")] | None = None
    current_unit: Annotated[Text, Meta(description="what current_now of the device tells: uA or mA")] | None = None
    serial: Annotated[Text, Meta(description="serial number, where there are several")] | None = None
    voltage: Voltage | None = None
    trigger: (
        Annotated[int, Meta(ge=0, le=15, description="digital input that is high while an inference runs")] | None
    ) = None
    index: Annotated[int, Meta(ge=0, le=255, description="which one, from 0")] | None = None
    idle_power: Power | None = None
    active_power: Power | None = None
    accuracy: Share | None = None
    offset: Power | None = None
    noise: Power | None = None
    resolution: Power | None = None
    sample_rate: Rate | None = None
    seed: Annotated[int, Meta(ge=0, le=2**53, description="seed of the emulated noise")] | None = None


def read_meter(document: Document, table: MeterTable) -> MeterSpec:
    """Declared constants by their parameter names, in SI units; those left out are the driver's own.

    Raises SpecError with the key's line: one that the driver does not know, one that is missing, or out of range.
    """
    keys, numbers, words = METER_KEYS[table.driver], dict[str, float](), dict[str, str]()
    for name in (each for each in table.__struct_fields__ if each != "driver"):
        value = getattr(table, name)
        if value is None:
            _check_absent(document, table.driver, name)
            continue
        if name not in keys:
            what = f'the meter "{table.driver}" has no such constant'
            raise document.error(("meter", name), what, f"known: {', '.join(keys)}")
        parameter, kind, _ = keys[name]
        if kind == "text":
            words[parameter] = value
        else:
            numbers[parameter] = float(value) if kind == "count" else quantity(document, ("meter", name), value, kind)
            _check_bounds(document, table.driver, name, value, numbers[parameter])
    if numbers.get("active_power_w", math.inf) < numbers.get("idle_power_w", 0.0):
        raise document.error(("meter", "active_power"), "is less than idle_power", "check both")
    if "file" in words:
        words["file"] = str(document.path.parent / words["file"])
    return MeterSpec(table.driver, numbers, words)


def meter_at(driver: str, options: dict[str, str]) -> MeterSpec:
    """A meter named on the command line, with keys and values as a device file would have them.

    Raises SpecError.
    """
    if driver not in get_args(Driver):
        known = ", ".join(get_args(Driver))
        raise SpecError(f"unknown meter {driver!r}", where="meter", next_step=f"known meters: {known}")
    keys, numbers, words = METER_KEYS[driver], dict[str, float](), dict[str, str]()  # type: ignore[index]
    for name, value in options.items():
        if name not in keys:
            what, known = f'the meter "{driver}" has no key {name!r}', ", ".join(keys) or "none"
            raise SpecError(what, where="meter", next_step=f"known: {known}")
        parameter, kind, _ = keys[name]
        if kind == "text":
            words[parameter] = value
        elif kind == "count":
            if not (value.isascii() and value.isdecimal()):
                raise SpecError(f"{name} is a number from 0 up, not {value!r}", where="meter", next_step=f"{name}=0")
            numbers[parameter] = float(value)
        else:
            numbers[parameter] = units.parse(value, kind, name)
    for name, (_, kind, is_needed) in keys.items():
        if is_needed and name not in options:
            raise SpecError(
                f'the meter "{driver}" needs {name}', where="meter", next_step=f"add {name}={_example(kind)}"
            )
    return MeterSpec(driver, numbers, words)


def _check_absent(document: Document, driver: Driver, name: str) -> None:
    keys = METER_KEYS[driver]
    if name in keys and keys[name][2]:
        raise document.error(("meter", name), f'the meter "{driver}" needs it', _example(keys[name][1]))


def _example(kind: str) -> str:
    unit = units.UNITS.get(kind)  # type: ignore[call-overload]
    return unit.example if unit else "..."


def _check_bounds(document: Document, driver: Driver, name: str, text: object, value: float) -> None:
    parameter = METER_KEYS[driver][name][0]
    least, most, words = _OWN_BOUNDS.get((driver, parameter)) or METER_BOUNDS.get(parameter, (-math.inf, math.inf, ""))
    if not least <= value <= most:
        raise document.error(("meter", name), f"{text} is not {words}", f"state one {words}")
