"""The rail monitors of Android devices (ODPM), read from their files: energy in uWs by rail, time in ms.

    t=16086645
    CH3(T=16086645)[S2M_VDD_CPUCL2], 124265856

The text is that of the kernel's driver, as Android's power.stats service reads it. The differences are our own: those
of dumpsys pass through 32-bit floats, and are the device's, not one reader's.
"""

import re
from dataclasses import dataclass, replace

import numpy as np

from kit.files import FileSamples
from kit.meter.base import PowerTrace, Watched
from kit.meter.counters import CounterKind, trace_of_counters
from kit.meter.polling import PollingMeter, Source, chosen, files_of, nothing_found, rate_hz, readable
from kit.meter.series import gaps_at
from kit.records import Float64Array, Int64Array
from kit.spec.text import shown
from kit.spec.types import MeterSpec

PATTERN = "/sys/bus/iio/devices/iio:device*/energy_value"
_TIME = re.compile(r"t=(\d{1,18})\s*")
_CHANNEL = re.compile(r"CH\d{1,3}\(T=\d{1,18}\)\[([^\]\n]{1,80})\], (\d{1,18})\s*")
_STAMP_NS = 1_000_000  # what lies between two stamps
_RATE_HZ, _UPDATE_S, _HIGHEST_W = 20.0, 2.0, 1000.0


class OdpmMeter(PollingMeter):
    """words: part, a rail's name, or several as A+B."""

    def __init__(self, spec: MeterSpec, watched: Watched) -> None:
        files, rate = files_of(spec, watched), rate_hz(spec, _RATE_HZ)
        paths = files.glob(PATTERN)
        if not paths:
            step = "few devices have them, and most let only root read them; use android-battery, or a supply's meter"
            raise nothing_found(spec, f"there is no {PATTERN}", step)
        texts = [readable(spec, files, path, "run the agent as root on the device") for path in paths]
        rails = {name: path for path, text in zip(paths, texts, strict=True) for name in parse(text).energies_j}
        if not rails:
            raise nothing_found(spec, f"{paths[0]} lists no rail", "use another meter, and report the text")
        names = chosen(spec, rails)
        used = sorted({rails[name] for name in names})
        places = [(used.index(rails[name]), name) for name in names]
        source = Source(
            description=f"on-device rail monitor: {' + '.join(names)}",
            begin=lambda: files.sample(used, period_s=1 / rate),
            trace_of=lambda samples: trace_of(samples, places),
            parameters={"sample_rate_hz": rate, "rails": float(len(names))},
        )
        super().__init__(spec, source)


@dataclass(frozen=True, slots=True)
class Reading:
    """One text: the time of its update in ms of the device (NaN if it tells none), and each rail's energy in J."""

    t_ms: float
    energies_j: dict[str, float]


def parse(text: str | None) -> Reading:
    """What a text tells; lines of any other form are passed over."""
    t_ms, energies_j = np.nan, {}
    for line in (text or "").splitlines():
        if found := _TIME.fullmatch(line):
            t_ms = float(found[1])
        elif found := _CHANNEL.fullmatch(line):
            energies_j[shown(found[1])] = int(found[2]) * 1e-6
    return Reading(t_ms, energies_j)


def trace_of(samples: FileSamples, places: list[tuple[int, str]]) -> PowerTrace:
    """The sum of some rails: each is (which file, the rail's name in it). Raises MeasurementError if they stood still.

    Where all come from one file, updates are placed by the device's own time of them, which is closer than when they
    were read.
    """
    readings = [[parse(text) for text in row] for row in samples.texts]
    values = [[row[file].energies_j.get(name, np.nan) for file, name in places] for row in readings]
    energy_j: Float64Array = np.array(values, np.float64)
    trace = trace_of_counters(samples, energy_j, CounterKind((np.inf,) * len(places), _HIGHEST_W, _UPDATE_S))
    if len({file for file, _ in places}) > 1:
        return trace
    t_ms = np.array([row[places[0][0]].t_ms for row in readings])
    return _placed_by_device(trace, samples, t_ms)


def _placed_by_device(trace: PowerTrace, samples: FileSamples, t_ms: Float64Array) -> PowerTrace:
    """The trace with its times by the device's stamps: t = stamp + an offset that every reading narrows.

    An update that is first seen at one reading came after the reading before, so stamp + offset lies between both; the
    intervals of all updates overlap where the stamps' clock runs as ours. Where they do not, times stay as they were.
    """
    is_read = np.isin(samples.t_ns, trace.t_ns) | np.isfinite(t_ms)
    read_ns, stamps_ns = samples.t_ns[is_read], t_ms[is_read] * 1e6
    at = np.searchsorted(read_ns, trace.t_ns)
    stamps_ns = stamps_ns[at]
    if at[0] == 0 or not np.isfinite(stamps_ns).all() or (np.diff(stamps_ns) <= 0).any():
        return trace
    lowest_ns = float((read_ns[at - 1] - stamps_ns).max()) - _STAMP_NS
    highest_ns = float((read_ns[at] - stamps_ns).min())
    half_ns = (highest_ns - lowest_ns) / 2
    error_ns = samples.error_ns + int(half_ns) + _STAMP_NS
    if half_ns < 0 or error_ns >= trace.clock_error_ns:
        return trace
    t_ns: Int64Array = np.rint(stamps_ns + lowest_ns + half_ns).astype(np.int64)
    power_w = trace.power_w.copy()
    power_w[1:] *= np.diff(trace.t_ns) / np.diff(t_ns)  # the same energy in the time that it took
    gaps_ns = gaps_at(t_ns, np.isnan(power_w[1:]), int(samples.t_ns[-1]) if trace.ended else None)
    return replace(trace, t_ns=t_ns, power_w=power_w, gaps_ns=gaps_ns, clock_error_ns=error_ns)
