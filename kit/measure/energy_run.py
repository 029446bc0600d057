"""What a device does under a meter: idle, load, perhaps a signature, windows with pauses, rows over the link."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kit.device.base import BusyWindow, Device
from kit.errors import MeasurementError
from kit.measure.align import ClockReading, are_clocks_enough, is_one_clock, pattern_s
from kit.measure.phases import loading, transmitting
from kit.measure.trace import period_ns
from kit.measure.watch import Watch, rest
from kit.spec.types import MeasurePlan

PAUSE_SHARES = 0.2, 0.4
"""Pauses between windows, as shares of a window: uneven, so that the windows themselves fit one place in a trace."""
MOST_PAUSE_S = 2.0
CHIP_S = 0.023
"""The shortest stretch of a signature: no multiple of a mains period, so that hum does not keep step with it."""
CHIP_SAMPLES = 6
MOST_PATTERN_S = 30.0


@dataclass(slots=True)
class WatchedWork:
    """What was done under a meter: windows on the device's clock, all other stretches on the host's."""

    before: ClockReading
    windows: list[BusyWindow] = field(default_factory=list)
    pattern: tuple[BusyWindow, ...] = ()
    idle: list[tuple[int, int]] = field(default_factory=list)
    load: list[tuple[int, int]] = field(default_factory=list)
    transmit: list[tuple[int, int]] = field(default_factory=list)
    after: ClockReading | None = None


def work_watched(
    device: Device, watch: Watch, digest: str, inputs: NDArray[np.generic], plan: MeasurePlan
) -> WatchedWork:
    """Idle, load, perhaps a signature, windows with pauses between, rows over the link; the clock before and after."""
    run = WatchedWork(_read_clock(device))
    device.run_busy(digest, inputs, duration_s=0.0)
    run.idle.append(watch.around(rest(plan.energy_window_s))[1])
    first_s, second_s, *pauses_s, last_s = _pauses_s(run.before, watch, plan)
    if watch.can_sample and not watch.ended:
        watch.run()
    run.idle.append(watch.around(rest(first_s))[1])
    run.load += _phase(watch, loading(device, digest, inputs))
    run.idle.append(watch.around(rest(second_s))[1])
    run.pattern = _run_pattern(device, watch, run.before, digest, inputs, plan)
    for pause_s in pauses_s:
        if watch.ended:
            break
        run.idle.append(watch.around(rest(pause_s))[1])
        window, _ = watch.around(lambda: device.run_busy(digest, inputs, duration_s=plan.energy_window_s))
        run.windows.append(_checked(window, run.windows))
    run.transmit += _phase(watch, transmitting(device, digest, inputs))
    run.idle.append(watch.around(rest(last_s))[1])
    watch.stop()
    run.after = _read_clock(device)
    return run


def _phase(watch: Watch, work: Callable[[], bool]) -> list[tuple[int, int]]:
    """When `work` ran on the host's clock; nothing where the device refused it."""
    is_done, span_ns = watch.around(work)
    return [span_ns] if is_done else []


def _read_clock(device: Device) -> ClockReading:
    start_ns = time.monotonic_ns()
    offset_ns, error_ns = device.clock_offset_ns()
    return ClockReading((start_ns + time.monotonic_ns()) // 2, offset_ns, error_ns)


def _pauses_s(clock: ClockReading, watch: Watch, plan: MeasurePlan) -> list[float]:
    """Seeded pauses (s) around loading, before each window, at last: uneven, wider than clocks and samples are off."""
    low, high = PAUSE_SHARES
    least_s = 4e-9 * (clock.error_ns + max(trace.clock_error_ns for trace in watch.traces))
    if watch.can_sample:
        least_s = max(least_s, 4e-9 * period_ns(watch.traces))
    pauses = plan.energy_window_s * np.random.default_rng(plan.seed).uniform(low, high, plan.energy_windows + 3)
    return [float(each) for each in np.minimum(np.maximum(pauses, least_s * pauses / pauses.min()), MOST_PAUSE_S)]


def _run_pattern(
    device: Device, watch: Watch, clock: ClockReading, digest: str, inputs: NDArray[np.generic], plan: MeasurePlan
) -> tuple[BusyWindow, ...]:
    """The signature, where the clocks alone would not place a window and the meter is fast enough to see it."""
    if not watch.can_sample or watch.ended:
        return ()
    one_clock = is_one_clock(clock, same_machine=device.process_id() is not None)
    trace_error_ns = watch.traces[-1].clock_error_ns
    if are_clocks_enough(clock, trace_error_ns, plan.energy_window_s * 1e9, one_clock=one_clock):
        return ()
    chips = pattern_s(max(CHIP_S, CHIP_SAMPLES * period_ns(watch.traces) * 1e-9))
    if sum(busy + idle for busy, idle in chips) > MOST_PATTERN_S:
        return ()
    return device.run_pattern(digest, inputs, pattern_s=chips) or ()


def _checked(window: BusyWindow, before: Iterable[BusyWindow]) -> BusyWindow:
    if not window.inferences or window.end_ns <= window.start_ns:
        raise MeasurementError("a busy window holds no inference", next_step="measure longer: energy_window_s")
    if any(window.start_ns < each.end_ns for each in before):
        raise MeasurementError("the device's clock went back", next_step="check that nothing sets the device's clock")
    return window
