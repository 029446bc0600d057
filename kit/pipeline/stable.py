"""Holding conditions: before a window, wait until the device is calm and as at the start, for no longer than agreed.

What can be waited for: others' load, memory pressure, heat, and a clock that is held down for it. A clock that scales
with the work (most governors) is lower when idle, so its frequency is compared only where it is fixed.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from kit.records import Conditions

POLL_S = 0.5
ATTEMPTS = 3
"""How often a window is taken at most until one is stable; all of them are kept."""

WARMER_CELSIUS = 3.0
FREQUENCY_SHARE = 0.05
COOLING_SHARE = 0.05
PRESSURE_SHARE = 0.10
OTHERS_LOAD = 0.5
CALM_LOAD, CALM_SHARE = 0.25, 0.05
"""A start with a higher load a CPU, or more waiting, is not held on to."""

FIXED_GOVERNORS = ("performance", "userspace", "powersave")

Told = Callable[[float, tuple[str, ...]], None]
"""Told while it waits: for how long, s, and what is not yet as wanted."""


@dataclass(frozen=True, slots=True)
class Held:
    """What waiting before a window came to: how long, s; the state then; and what was still not as wanted."""

    waited_s: float
    conditions: Conditions
    departures: tuple[str, ...]


def wanted(start: Conditions, logical_cpus: int) -> Conditions:
    """The state to hold: the start's, and where it was not calm then, a calm one. What is None stays None."""
    return replace(
        start,
        load_1min=_at_most(start.load_1min, CALM_LOAD * logical_cpus),
        cpu_pressure_share=_at_most(start.cpu_pressure_share, CALM_SHARE),
        memory_pressure_share=_at_most(start.memory_pressure_share, CALM_SHARE),
        cooling_share=_at_most(start.cooling_share, 0.0),
    )


def _at_most(value: float | None, most: float) -> float | None:
    return None if value is None else min(value, most)


def departures(now: Conditions, goal: Conditions, threads: int) -> tuple[str, ...]:
    """In what `now` is worse than `goal`, a phrase each; what either could not tell is no departure.

    The work's own `threads` are part of a load average for a minute after they ran, and are allowed for.
    """
    return tuple(_departures(now, goal, threads))


def _departures(now: Conditions, goal: Conditions, threads: int) -> Iterator[str]:
    if _exceeds(now.load_1min, goal.load_1min, threads + OTHERS_LOAD):
        yield f"load {now.load_1min:.1f}, not {goal.load_1min:.1f}"
    if _exceeds(now.cpu_pressure_share, goal.cpu_pressure_share, PRESSURE_SHARE):
        yield f"tasks wait for the processor {100 * (now.cpu_pressure_share or 0):.0f} % of the time"
    if _exceeds(now.memory_pressure_share, goal.memory_pressure_share, PRESSURE_SHARE):
        yield f"tasks wait for memory {100 * (now.memory_pressure_share or 0):.0f} % of the time"
    if _exceeds(now.temperature_celsius, goal.temperature_celsius, WARMER_CELSIUS):
        yield f"{now.temperature_celsius:.1f} °C, not {goal.temperature_celsius:.1f} °C"
    if _exceeds(now.cooling_share, goal.cooling_share, COOLING_SHARE):
        yield f"its cooling holds it back ({100 * (now.cooling_share or 0):.0f} % of its highest state)"
    is_fixed = goal.governor in FIXED_GOVERNORS
    now_ghz, goal_ghz = (0.0 if each is None else each / 1e9 for each in (now.frequency_hz, goal.frequency_hz))
    if is_fixed and 0 < now_ghz < (1 - FREQUENCY_SHARE) * goal_ghz:
        yield f"{now_ghz:.2f} GHz, not {goal_ghz:.2f} GHz"


def _exceeds(now: float | None, goal: float | None, allowed: float) -> bool:
    return now is not None and goal is not None and now > goal + allowed


def wait_until_calm(
    ask: Callable[[], Conditions], goal: Conditions, threads: int, told: Told, *, patience_s: float
) -> Held:
    """Ask for the device's state until nothing departs from `goal`, at most `patience_s`.

    Whatever `ask` raises ends it: DeviceError or LinkError.
    """
    began_s = time.monotonic()
    while True:
        now = ask()
        found, waited_s = departures(now, goal, threads), time.monotonic() - began_s
        if not found or waited_s >= patience_s:
            return Held(waited_s, now, found)
        told(waited_s, found)
        time.sleep(min(POLL_S, patience_s - waited_s))
