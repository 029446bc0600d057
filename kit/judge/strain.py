"""Why some stretches of a run were slower than others: what the device told of itself in the one and in the other."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kit.records import Conditions, LatencyRecord, Telemetry
from kit.words import percent, quantity

Kind = Literal[
    "throttling",
    "clock change",
    "interference",
    "trend",
    "temperature",
    "memory pressure",
    "bursts",
    "late starts",
    "sessions",
]
Interval = tuple[int, int]

FREQUENCY_SHARE = 0.05
"""A clock that fell by this share, or more, is a lower clock."""

HELD_SHARE, COOLING_SHARE = 0.05, 0.05
"""A quota that holds back, or a cooling device engaged, by so much more is one that came in between."""

OTHERS_CPUS = 0.1
"""Processors' time that others used, so much or more of one of them, is enough to disturb."""

PRESSURE_SHARE = 0.05
WARMER_CELSIUS = 5.0
_SHORTEST_S = 0.2  # processors' time is told in steps of 10 ms


@dataclass(frozen=True, slots=True)
class Cause:
    """What made a run unstable, in one word and in a sentence with the figures that show it."""

    kind: Kind
    sentence: str


@dataclass(frozen=True, slots=True)
class Strain:
    """A device's state over some stretches of a run; None is what it did not tell.

    others_cpus, held_share, throttles_per_s are rates; the rest are means over the samples within.
    """

    frequency_hz: float | None
    cooling_share: float | None
    temperature_celsius: float | None
    memory_pressure_share: float | None
    others_cpus: float | None
    held_share: float | None
    throttles_per_s: float | None


def moments_ns(record: LatencyRecord) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """When each sample began on the clock of the telemetry, int64 [n]; back to back, if the record does not tell."""
    if record.starts_ns is not None and len(record.starts_ns) == len(record.samples_ns):
        return record.starts_ns
    ends = np.cumsum(record.samples_ns)
    origin = record.telemetry[0].clock_ns if record.telemetry else 0
    return np.asarray(ends - record.samples_ns + origin, np.int64)


def strain_in(telemetry: Sequence[Telemetry], stretches: Sequence[Interval]) -> Strain:
    """The state over `stretches` of the telemetry's clock (ns)."""
    groups = [[each for each in telemetry if start <= each.clock_ns <= end] for start, end in stretches]
    states = [each.conditions for group in groups for each in group]

    def rate(counter: Callable[[Conditions], float | None]) -> float | None:
        return _rate(groups, counter)

    return Strain(
        frequency_hz=_mean([state.frequency_hz for state in states]),
        cooling_share=_mean([state.cooling_share for state in states]),
        temperature_celsius=_mean([state.temperature_celsius for state in states]),
        memory_pressure_share=_mean([state.memory_pressure_share for state in states]),
        others_cpus=rate(_others_s),
        held_share=rate(lambda state: state.held_back_s),
        throttles_per_s=rate(lambda state: state.throttle_count),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(told)) if told else None


def _others_s(state: Conditions) -> float | None:
    if state.busy_cpu_s is None or state.process_cpu_s is None:
        return None
    return state.busy_cpu_s - state.process_cpu_s


def _rate(groups: Sequence[Sequence[Telemetry]], counter: Callable[[Conditions], float | None]) -> float | None:
    """How fast a counter rose within the groups, per second; None over less than 0.2 s."""
    rise, took_s = 0.0, 0.0
    for group in groups:
        counted = ((each.clock_ns, counter(each.conditions)) for each in group)
        told = [(clock_ns, value) for clock_ns, value in counted if value is not None and math.isfinite(value)]
        if len(told) >= 2:
            rise += max(0.0, told[-1][1] - told[0][1])
            took_s += (told[-1][0] - told[0][0]) / 1e9
    return rise / took_s if took_s >= _SHORTEST_S else None


def causes(fast: Strain, slow: Strain) -> tuple[Cause, ...]:
    """What was so in the slow stretches and not in the fast ones, the likeliest first; empty where nothing shows.

    Others' work counts where nothing else is seen to hold the processor back: who is held back leaves time to others.
    """
    found = [*_throttling(fast, slow), *_clock(fast, slow)]
    if not found:
        found += [*_others(fast, slow)]
    found += _memory(fast, slow)
    return tuple(found or _warmer(fast, slow))


def _throttling(fast: Strain, slow: Strain) -> list[Cause]:
    signs = []
    if fast.held_share is not None and slow.held_share is not None and slow.held_share - fast.held_share >= HELD_SHARE:
        signs.append(f"a quota kept it from running {percent(min(slow.held_share, 1.0))} of the time")
    if _more(fast.cooling_share, slow.cooling_share, COOLING_SHARE):
        signs.append(f"its cooling was engaged to {percent(slow.cooling_share or 0.0)}")
    if _more(fast.throttles_per_s, slow.throttles_per_s, 0.0):
        signs.append(f"its processor counted {slow.throttles_per_s:.3g} throttling events a second")
    return [Cause("throttling", f"the device was throttled: {', and '.join(signs)}")] if signs else []


def _clock(fast: Strain, slow: Strain) -> list[Cause]:
    high, low = fast.frequency_hz, slow.frequency_hz
    if high is None or low is None or low > (1 - FREQUENCY_SHARE) * high:
        return []
    return [Cause("clock change", f"its clock ran at {low / 1e6:,.0f} MHz there, and at {high / 1e6:,.0f} MHz before")]


def _others(fast: Strain, slow: Strain) -> list[Cause]:
    if slow.others_cpus is None or slow.others_cpus < OTHERS_CPUS:
        return []
    told = f"others used {slow.others_cpus:.2g} processors meanwhile"
    rest = "" if fast.others_cpus is None else f", and {fast.others_cpus:.2g} in the rest"
    return [Cause("interference", told + rest)]


def _memory(fast: Strain, slow: Strain) -> list[Cause]:
    if not _more(fast.memory_pressure_share, slow.memory_pressure_share, PRESSURE_SHARE):
        return []
    share = percent(slow.memory_pressure_share or 0.0)
    return [Cause("memory pressure", f"memory was short: tasks waited for it {share} of the time")]


def _warmer(fast: Strain, slow: Strain) -> list[Cause]:
    if not _more(fast.temperature_celsius, slow.temperature_celsius, WARMER_CELSIUS):
        return []
    cool, warm = fast.temperature_celsius or 0.0, slow.temperature_celsius or 0.0
    return [Cause("temperature", f"it was warmer, {quantity(warm, '°C')} instead of {quantity(cool, '°C')}")]


def _more(fast: float | None, slow: float | None, by: float) -> bool:
    return fast is not None and slow is not None and slow - fast >= by and slow > fast
