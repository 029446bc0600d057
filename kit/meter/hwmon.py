"""Current and power monitors as Linux tells them: hwmon (Documentation/hwmon/sysfs-interface.rst), and an older form.

Channels are chip attributes of one number: in1_input mV, curr1_input mA, power1_input uW, energy1_input uJ; the older
kernels of Jetson boards say in_voltage0_input mV, in_current0_input mA, in_power0_input mW.
"""

from dataclasses import dataclass, replace

import numpy as np

from kit.errors import MeasurementError
from kit.files import Files, FileSamples
from kit.meter.base import PowerTrace
from kit.meter.counters import CounterKind, means_between, trace_of_counters
from kit.meter.polling import text_or
from kit.meter.readings import trace_of_readings
from kit.meter.series import numbers, whole
from kit.records import Float64Array

_HIGHEST_W, _SLOWEST_S = 1e4, 10.0
_UPDATE_S = 0.01  # where no driver tells: an INA3221 takes 6.6 ms for its six inputs (SBOS576, conversion time 1.1 ms)


@dataclass(frozen=True, slots=True)
class Form:
    """How a kernel names a channel's attributes by its number, and what their unit is worth in SI."""

    channels: range
    files: dict[str, str]
    units: dict[str, float]
    labels: tuple[str, ...]


_NOW = Form(
    range(1, 9),
    {"energy": "energy{}_input", "power": "power{}_input", "voltage": "in{}_input", "current": "curr{}_input"},
    {"energy": 1e-6, "power": 1e-6, "voltage": 1e-3, "current": 1e-3},
    ("in{}_label", "curr{}_label", "power{}_label"),
)
_ONCE = Form(
    range(8),
    {"power": "in_power{}_input", "voltage": "in_voltage{}_input", "current": "in_current{}_input"},
    {"power": 1e-3, "voltage": 1e-3, "current": 1e-3},
    ("rail_name_{}",),
)
_FORMS = (_NOW, _ONCE)


@dataclass(frozen=True, slots=True)
class Channel:
    """One rail: the file of each quantity (energy, power, voltage, current) that it has, and the unit's worth in SI.

    update_s: how old what it tells may be. voltage_v: stated by the user, where the chip measures the current alone.
    """

    name: str
    paths: dict[str, str]
    units: dict[str, float]
    update_s: float
    voltage_v: float | None = None

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is read, in order: energy is preferred to power, and that to voltage times current."""
        has_volts = "voltage" in self.paths
        if "energy" in self.paths:
            return ("energy", *(each for each in ("voltage",) if has_volts))
        if "power" in self.paths or (has_volts and "current" in self.paths):
            return tuple(each for each in ("power", "voltage", "current") if each in self.paths)
        return ("current",) if "current" in self.paths and self.voltage_v is not None else ()


def channels_in(files: Files, folder: str) -> list[Channel]:
    """The rails of one chip's folder, in either form; in0_input, the shunt's voltage, is none.

    An INA3221 has three: its curr4 is their sum, and its in4 to in7 are shunts' voltages (Documentation/hwmon/ina3221).
    """
    chip = text_or(files, f"{folder}/name", folder.rsplit("/", 1)[-1])
    interval_ms = whole(text_or(files, f"{folder}/update_interval"))
    update_s = interval_ms / 1e3 if interval_ms >= 0 else _UPDATE_S
    there = {path.rsplit("/", 1)[-1] for path in files.glob(f"{folder}/*")}
    found = []
    for form in _FORMS:
        for number in form.channels if "ina3221" not in chip + folder else form.channels[:3]:
            names = {what: name.format(number) for what, name in form.files.items() if name.format(number) in there}
            if names.keys() & {"energy", "power", "current"}:
                labels = [text_or(files, f"{folder}/{each.format(number)}") for each in form.labels]
                label = next(filter(None, labels), chip if number <= 1 else f"{chip} {number}")
                paths = {what: f"{folder}/{name}" for what, name in names.items()}
                found.append(Channel(label, paths, form.units, update_s))
    return found


def paths_of(channels: list[Channel]) -> list[str]:
    """The files to sample, in the order that `trace_of` takes them."""
    return [channel.paths[each] for channel in channels for each in channel.quantities]


def trace_of(samples: FileSamples, channels: list[Channel]) -> PowerTrace:
    """The sum of some rails; current and voltage are those of one rail alone.

    Energy counters are used where each rail has one. Raises MeasurementError where there are not two readings.
    """
    rails = _columns(samples, channels)
    if all("energy" in rail for rail in rails):
        energy_j = np.stack([rail["energy"] for rail in rails], axis=1)
        trace = trace_of_counters(samples, energy_j, CounterKind((np.inf,) * len(rails), _HIGHEST_W, _SLOWEST_S))
        return _with_voltage(trace, samples, rails)
    if any("energy" in rail for rail in rails):
        raise MeasurementError("rails with an energy counter and without are not added", next_step="state one as part")
    powers_w = [_power_w(rail) for rail in rails]
    return trace_of_readings(
        samples,
        np.sum(powers_w, axis=0),
        current_a=rails[0].get("current") if len(rails) == 1 else None,
        voltage_v=rails[0].get("voltage") if len(rails) == 1 else None,
        age_ns=round(max(channel.update_s for channel in channels) * 1e9),
    )


def _power_w(rail: dict[str, Float64Array]) -> Float64Array:
    """float64 [n]; the chips' power has no sign, so it takes the current's."""
    if "power" not in rail:
        return rail["voltage"] * rail["current"]
    return np.where(rail.get("current", 0.0) < 0, -np.abs(rail["power"]), rail["power"])


def _columns(samples: FileSamples, channels: list[Channel]) -> list[dict[str, Float64Array]]:
    """What each rail told, float64 [n] in SI units by quantity."""
    rails, column = [], 0
    for channel in channels:
        rail: dict[str, Float64Array] = {}
        for quantity in channel.quantities:
            rail[quantity] = numbers(samples, column, channel.units[quantity])
            column += 1
        if channel.voltage_v is not None and "voltage" not in rail:
            rail["voltage"] = np.full(len(samples.texts), channel.voltage_v)
        rails.append(rail)
    return rails


def _with_voltage(trace: PowerTrace, samples: FileSamples, rails: list[dict[str, Float64Array]]) -> PowerTrace:
    if len(rails) != 1 or "voltage" not in rails[0]:
        return trace
    return replace(trace, voltage_v=means_between(samples, rails[0]["voltage"], trace.t_ns))
