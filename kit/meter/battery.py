"""A battery's own gauge (Linux, ABI/testing/sysfs-class-power): uV, uA, uW, uAh, uWh.

The ABI says that a negative current discharges; many drivers say the opposite, so the magnitude is taken and `status`
tells the direction: what is read while the battery does not discharge is no draw of the device. Drivers tell 0 where
they do not know, and no device that runs draws nothing: it counts as not read. A gauge is updated every second to every
minute, so windows must be long. Of charge and energy a driver tells one family.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kit.files import Files, FileSamples
from kit.meter.base import PowerTrace, Watched
from kit.meter.counters import CounterKind, means_between, trace_of_counters
from kit.meter.polling import PollingMeter, Source, chosen, files_of, nothing_found, rate_hz, readable, text_or
from kit.meter.readings import trace_of_readings
from kit.meter.series import numbers, whole
from kit.records import Float64Array, Int64Array
from kit.spec.types import MeterSpec

SUPPLIES = "/sys/class/power_supply"
SCALES = {
    "power_now": 1e-6, "current_now": 1e-6, "voltage_now": 1e-6,
    "energy_now": 3.6e-3, "charge_now": 3.6e-3, "charge_counter": 3.6e-3, "status": 1.0,
}  # fmt: skip
"""What one unit of each file is worth: W, A, V, J (from uWh), C (from uAh)."""

Ways = Mapping[str, tuple[tuple[str, ...], ...]]

WAYS: Ways = {
    "now": (("power_now",), ("current_now", "voltage_now")),
    "counter": (("energy_now",), ("charge_now", "voltage_now"), ("charge_counter", "voltage_now")),
}
"""For each mode, sets of files that tell power, the best first."""

ON_MAINS = "the battery did not discharge: it was charged or full"
READS_ZERO = "the gauge told 0, which is not known: a device that runs on its battery draws more"
_UNTOLD = "the battery's status could not be read any more: whether it discharged is not known"
_RATE_HZ, _HIGHEST_W, _HIGHEST_A = 10.0, 1000.0, 100.0
_LEAST_V = 0.1  # far below any battery's: what a driver that tells mV gives
_SOONEST_EMPTY_S = 360.0  # ten times the current that empties it in an hour: more than devices' cells are made for
_DRAWS = ("Discharging", "Unknown", "")


@dataclass(frozen=True, slots=True)
class Gauge:
    """A supply's folder, the files to sample in order (status last), and the worth of each one's unit."""

    name: str
    folder: str
    files: tuple[str, ...]
    scales: tuple[float, ...]

    @property
    def paths(self) -> list[str]:
        """The files to sample."""
        return [f"{self.folder}/{name}" for name in self.files]


class BatteryMeter(PollingMeter):
    """words: part (the supply's name); mode, now (power, or current and voltage) or counter (energy or charge)."""

    def __init__(self, spec: MeterSpec, watched: Watched) -> None:
        files = files_of(spec, watched)
        super().__init__(spec, source_of(spec, files, choose_gauge(spec, files)))


def find_batteries(files: Files) -> list[str]:
    """Folders of batteries that supply the machine; a mouse's (scope Device) and an empty bay (present 0) do not."""
    folders = [path.rsplit("/", 1)[0] for path in files.glob(f"{SUPPLIES}/*/type")]
    return [
        folder for folder in folders
        if text_or(files, f"{folder}/type") == "Battery" and text_or(files, f"{folder}/scope") != "Device"
        and text_or(files, f"{folder}/present") != "0"
    ]  # fmt: skip


def choose_gauge(spec: MeterSpec, files: Files) -> Gauge:
    """What to read of which battery. Raises MeasurementError where nothing tells power."""
    batteries = {folder.rsplit("/", 1)[-1]: folder for folder in find_batteries(files)}
    if not batteries:
        raise nothing_found(spec, f"there is no battery below {SUPPLIES}", "use another meter")
    name, *others = chosen(spec, batteries, noun="battery")
    if others:
        raise nothing_found(spec, "one battery is read at a time", f"name one: {', '.join(batteries)}")
    gauge = gauge_in(spec, files, batteries[name], WAYS)
    if gauge is None:
        raise nothing_found(spec, f"{name} tells neither power nor current with voltage", "use another meter, or mode")
    return gauge


def gauge_in(spec: MeterSpec, files: Files, folder: str, ways: Ways) -> Gauge | None:
    """The files of the stated mode, else of the first that is there, best without a 0 (see READS_ZERO).

    Raises MeasurementError for an unknown mode.
    """
    mode = spec.words.get("mode", "")
    if mode and mode not in ways:
        raise nothing_found(spec, f"there is no mode {mode!r}", f"modes are {' and '.join(ways)}")
    known = [way for name, group in ways.items() if mode in ("", name) for way in group if _is_told(files, folder, way)]
    if not known:
        return None
    names = (*next((way for way in known if not _has_zero(files, folder, way)), known[0]), "status")
    return Gauge(folder.rsplit("/", 1)[-1], folder, names, tuple(SCALES[each] for each in names))


def _is_told(files: Files, folder: str, way: Sequence[str]) -> bool:
    return all(text_or(files, f"{folder}/{each}") for each in way)


def _has_zero(files: Files, folder: str, way: Sequence[str]) -> bool:
    return any(each.endswith("_now") and whole(text_or(files, f"{folder}/{each}")) == 0 for each in way)


def source_of(spec: MeterSpec, files: Files, gauge: Gauge) -> Source:
    """A gauge as a meter's source. Raises MeasurementError on mains, since nothing would be told of the device."""
    rate = rate_hz(spec, _RATE_HZ)
    for path in gauge.paths[:-1]:
        readable(spec, files, path, "let the agent's user read it")
    status = text_or(files, gauge.paths[-1])
    if status not in _DRAWS:
        raise nothing_found(
            spec, f"the battery {gauge.name} is not in use: its status is {status}", "unplug the charger"
        )
    _check_figures(spec, files, gauge)
    full = whole(text_or(files, f"{gauge.folder}/{gauge.files[0].split('_')[0]}_full")) * gauge.scales[0]
    return Source(
        description=f"battery {gauge.name}: {' and '.join(gauge.files[:-1])}, by its own gauge",
        begin=lambda: files.sample(gauge.paths, period_s=1 / rate),
        trace_of=lambda samples: trace_of(samples, gauge.files, gauge.scales, full),
        parameters={"sample_rate_hz": rate},
    )


def _check_figures(spec: MeterSpec, files: Files, gauge: Gauge) -> None:
    """Raises MeasurementError where the gauge tells no power, or what is no battery's voltage."""
    for path, name, scale in zip(gauge.paths, gauge.files, gauge.scales, strict=True):
        told = abs(whole(text_or(files, path))) * scale
        if told == 0 and name in ("power_now", "current_now"):
            raise nothing_found(spec, f"{gauge.name}/{name}: {READS_ZERO}", "use another meter, or mode")
        if name == "voltage_now" and told < _LEAST_V:
            what = f"{gauge.name}/voltage_now tells {told:g} V, which is no battery's: its driver may tell mV, not uV"
            raise nothing_found(spec, what, "use another meter")


def trace_of(samples: FileSamples, files: Sequence[str], scales: Sequence[float], full: float = np.nan) -> PowerTrace:
    """Power by a gauge's files; the last is its status. full: J or C that the whole battery holds, NaN if not known.

    Raises MeasurementError where it did not discharge.
    """
    columns = {name: numbers(samples, k, scales[k]) for k, name in enumerate(files[:-1])}
    is_charged = ~np.isin([(row[-1] or "").strip() for row in samples.texts], _DRAWS)
    is_untold = np.array([row[-1] is None for row in samples.texts])
    is_off = is_charged | (is_untold & ~is_untold.all())  # some drivers have no status at all
    off_reason = ON_MAINS if is_charged.any() else _UNTOLD
    voltage_v = columns.get("voltage_now")
    counter = next((name for name in columns if name.startswith(("energy", "charge"))), None)
    if counter is not None:
        left, highest = columns[counter], _HIGHEST_W if counter.startswith("energy") else _HIGHEST_A
        highest = full / _SOONEST_EMPTY_S if full > 0 else highest
        kind = CounterKind((np.inf,), highest, _longest_s(samples.t_ns, left))
        trace = trace_of_counters(samples, -left[:, None], kind, is_off=is_off, off_reason=off_reason)
        return trace if counter.startswith("energy") else _with_voltage(trace, samples, voltage_v)
    current_a = np.abs(columns["current_now"]) if "current_now" in columns else None
    power_w = np.abs(columns["power_now"]) if current_a is None or voltage_v is None else current_a * voltage_v
    if not is_off.any():
        off_reason = READS_ZERO
    return trace_of_readings(
        samples, power_w, current_a=current_a, voltage_v=voltage_v, is_off=is_off | (power_w == 0),
        off_reason=off_reason,
        age_ns=update_ns(samples.t_ns, power_w),
    )  # fmt: skip


def _changes_ns(t_ns: Int64Array, values: Float64Array) -> Int64Array:
    return np.asarray(t_ns[1:][np.diff(np.nan_to_num(values)) != 0], np.int64)


def update_ns(t_ns: Int64Array, values: Float64Array) -> int:
    """How long a value usually stays as it is, ns: how old one may be; the whole where it changed less than twice."""
    changed_ns = _changes_ns(t_ns, values)
    return int(np.median(np.diff(changed_ns)) if len(changed_ns) > 1 else t_ns[-1] - t_ns[0])


def _longest_s(t_ns: Int64Array, values: Float64Array) -> float:
    """How long a value has stayed as it is at most, s."""
    return float(np.diff([t_ns[0], *_changes_ns(t_ns, values), t_ns[-1]]).max()) / 1e9


def _with_voltage(trace: PowerTrace, samples: FileSamples, voltage_v: Float64Array | None) -> PowerTrace:
    """A trace of current as one of power."""
    if voltage_v is None:
        return trace
    mean_v = means_between(samples, voltage_v, trace.t_ns)
    return replace(trace, power_w=trace.power_w * mean_v, current_a=trace.power_w, voltage_v=mean_v)
