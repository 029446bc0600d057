"""Holding conditions: before a window, wait until the device is as it was at the start, and for no longer than agreed.

What can be waited for: others' load, memory pressure, heat, and a clock that is held down for it. A clock that scales
with the work (most governors) is lower when idle, so its frequency is compared only where it is fixed.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kit.records import Conditions

PATIENCE_S = 60.0
"""Longest wait before one window."""

POLL_S = 0.5
ATTEMPTS = 3
"""How often a window is taken at most until one is stable; all of them are kept."""

WARMER_CELSIUS = 3.0
FREQUENCY_SHARE = 0.05
COOLING_SHARE = 0.05
PRESSURE_SHARE = 0.10
OTHERS_LOAD = 0.5
FIXED_GOVERNORS = ("performance", "userspace", "powersave")

Told = Callable[[float, tuple[str, ...]], None]
"""Told while it waits: for how long, s, and what is not yet as at the start."""


@dataclass(frozen=True, slots=True)
class Held:
    """What waiting before a window came to: how long, s; the state then; and what was still not as at the start."""

    waited_s: float
    conditions: Conditions
    departures: tuple[str, ...]


def departures(now: Conditions, start: Conditions, threads: int) -> tuple[str, ...]:
    """In what `now` is worse than `start`, a phrase each; what either could not tell is no departure.

    The work's own `threads` are part of a load average for a minute after they ran, and are allowed for.
    """
    return tuple(_departures(now, start, threads))


def _departures(now: Conditions, start: Conditions, threads: int) -> Iterator[str]:
    if _exceeds(now.load_1min, start.load_1min, threads + OTHERS_LOAD):
        yield f"load {now.load_1min:.1f}, at the start {start.load_1min:.1f}"
    if _exceeds(now.cpu_pressure_share, start.cpu_pressure_share, PRESSURE_SHARE):
        yield f"tasks wait for the processor {100 * (now.cpu_pressure_share or 0):.0f} % of the time"
    if _exceeds(now.memory_pressure_share, start.memory_pressure_share, PRESSURE_SHARE):
        yield f"tasks wait for memory {100 * (now.memory_pressure_share or 0):.0f} % of the time"
    if _exceeds(now.temperature_celsius, start.temperature_celsius, WARMER_CELSIUS):
        yield f"{now.temperature_celsius:.1f} °C, at the start {start.temperature_celsius:.1f} °C"
    if _exceeds(now.cooling_share, start.cooling_share, COOLING_SHARE):
        yield f"its cooling holds it back ({100 * (now.cooling_share or 0):.0f} % of its highest state)"
    is_fixed = start.governor in FIXED_GOVERNORS
    now_ghz, start_ghz = (0.0 if each is None else each / 1e9 for each in (now.frequency_hz, start.frequency_hz))
    if is_fixed and 0 < now_ghz < (1 - FREQUENCY_SHARE) * start_ghz:
        yield f"{now_ghz:.2f} GHz, at the start {start_ghz:.2f} GHz"


def _exceeds(now: float | None, start: float | None, allowed: float) -> bool:
    return now is not None and start is not None and now > start + allowed


def wait_until_calm(
    ask: Callable[[], Conditions], start: Conditions, threads: int, told: Told, *, patience_s: float = PATIENCE_S
) -> Held:
    """Ask for the device's state until nothing departs from `start`, at most `patience_s`.

    Whatever `ask` raises ends it: DeviceError or LinkError.
    """
    began_s = time.monotonic()
    while True:
        now = ask()
        found, waited_s = departures(now, start, threads), time.monotonic() - began_s
        if not found or waited_s >= patience_s:
            return Held(waited_s, now, found)
        told(waited_s, found)
        time.sleep(min(POLL_S, patience_s - waited_s))
