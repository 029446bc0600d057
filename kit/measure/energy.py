"""Energy of busy windows: what a meter saw between moments of the device's clock, with idle stretches in between."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kit.device.base import BusyWindow, Device
from kit.errors import MeasurementError
from kit.measure.align import ClockReading, Timing, align, are_clocks_enough, is_one_clock, pattern_s, to_trace
from kit.measure.obtained import obtained_on, weakest
from kit.measure.phases import loading, phase, transmitting
from kit.measure.trace import energies_j, integrate_j, joined, mean_power_w, period_ns, thinned
from kit.measure.uncertainty import split_time_ns, uncertainty
from kit.measure.watch import Watch, middle, rest, spans
from kit.meter.base import Meter
from kit.records import AlignmentRecord, EnergyRecord, Float64Array, Int64Array, PhaseRecord
from kit.spec.types import MeasurePlan

PAUSE_SHARES = 0.2, 0.4
"""Pauses between windows, as shares of a window: uneven, so that the windows themselves fit one place in a trace."""
MOST_PAUSE_S = 2.0
CHIP_S = 0.023
"""The shortest stretch of a signature: no multiple of a mains period, so that hum does not keep step with it."""
CHIP_SAMPLES = 6
MOST_PATTERN_S = 30.0


@dataclass(slots=True)
class _Run:
    """What was done under the meter: windows on the device's clock, all other stretches on the host's."""

    before: ClockReading
    windows: list[BusyWindow] = field(default_factory=list)
    pattern: tuple[BusyWindow, ...] = ()
    idle: list[tuple[int, int]] = field(default_factory=list)
    load: list[tuple[int, int]] = field(default_factory=list)
    transmit: list[tuple[int, int]] = field(default_factory=list)
    after: ClockReading | None = None


def measure_energy(
    device: Device, meter: Meter, digest: str, inputs: NDArray[np.generic], plan: MeasurePlan
) -> EnergyRecord:
    """Gross energy of `plan.energy_windows` busy windows, idle power around them, phases, alignment, uncertainty.

    A window that the meter did not see all of is left out, and the meter's parameters say how many were
    (`left_out_windows`); they also tell the share of lost samples, and how much of a window its two ends may be off.
    Raises MeasurementError if no window was seen, or none can be placed.
    """
    watch = Watch(meter)
    run = _work(device, watch, digest, inputs, plan)
    emulated = obtained_on(device.identify().emulated, "meter", "power", "battery")
    record = _record(watch, run, meter, digest, same_machine=device.process_id() is not None)
    return replace(record, obtained=weakest(record.meter.obtained, emulated))


def _work(device: Device, watch: Watch, digest: str, inputs: NDArray[np.generic], plan: MeasurePlan) -> _Run:
    """Idle, load, perhaps a signature, windows with pauses between, rows over the link; the clock before and after."""
    run = _Run(_read_clock(device))
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


def _record(watch: Watch, run: _Run, meter: Meter, digest: str, *, same_machine: bool) -> EnergyRecord:
    """Everything computed from traces and moments; its origin is the meter's alone."""
    traces, trace = watch.traces, joined(watch.traces)
    alignment = _aligned(watch, run, same_machine=same_machine)
    windows_ns = to_trace(alignment, _ends(run.windows))
    energy_j = energies_j(traces, windows_ns, alignment.error_ns)
    seen = np.isfinite(energy_j)
    if not seen.any():
        why = f": {watch.ended}" if watch.ended else ", which lost samples" if trace.lost_samples else ""
        raise MeasurementError(
            f"the meter's trace does not cover any of the {len(seen)} busy windows{why}",
            next_step="check that the meter runs, and that device and meter have not lost samples or time",
        )
    kept = [window for window, is_seen in zip(run.windows, seen.tolist(), strict=True) if is_seen]
    windows_ns, energy_j = windows_ns[seen], energy_j[seen]
    window_s = np.array([window.end_ns - window.start_ns for window in kept]) / 1e9
    placed = {name: _placed(run, alignment, each) for name, each in _others(run).items()}
    idle_w, idle = _idle(watch, placed["idle"])
    described, thin = meter.describe(), thinned(trace)
    quality = {
        "lost_samples_share": trace.lost_samples / max(1, len(trace.t_ns) + trace.lost_samples),
        "alignment_error_share": 2 * alignment.error_ns / float(window_s.min() * 1e9),
    }
    if len(kept) < len(seen):
        quality["left_out_windows"] = float(len(seen) - len(kept))
    return EnergyRecord(
        variant_digest=digest,
        meter=replace(described, parameters=described.parameters | quality),
        window_energy_j=energy_j,
        window_s=window_s,
        window_inferences=np.array([window.inferences for window in kept], np.int64),
        idle_power_w=idle.mean_power_w,
        trace_t_ns=thin.t_ns,
        trace_power_w=thin.power_w,
        obtained=described.obtained,
        windows_ns=windows_ns,
        idle_window_power_w=idle_w,
        trace_current_a=thin.current_a,
        gaps_ns=trace.gaps_ns,
        lost_samples=trace.lost_samples,
        alignment=alignment,
        phases=_phases(watch, placed, windows_ns, idle, alignment.error_ns),
        uncertainty=uncertainty(
            described.accuracy, energy_j - idle.mean_power_w * window_s, window_s, idle_w,
            error_ns=alignment.error_ns, split_ns=split_time_ns(traces, windows_ns),
        ),
        ended=trace.ended or watch.ended,
    )  # fmt: skip


def _aligned(watch: Watch, run: _Run, *, same_machine: bool) -> AlignmentRecord:
    """Windows in the trace that the meter took while it ran; its traces together where it was started for each."""
    if not run.windows or run.after is None:
        raise MeasurementError(f"the meter ended before the first window: {watch.ended}", next_step="check the meter")
    busy_ns = _ends((*run.pattern, *run.windows)) if run.pattern else None
    longest = max(watch.traces, key=lambda trace: len(trace.t_ns))
    trace = longest if watch.can_sample else joined(watch.traces)
    one_clock = is_one_clock(run.before, same_machine=same_machine)
    return align(trace, Timing(_ends(run.windows), run.before, run.after, one_clock, busy_ns))


def _ends(windows: Iterable[BusyWindow]) -> Int64Array:
    return spans([(window.start_ns, window.end_ns) for window in windows])


def _others(run: _Run) -> dict[str, list[tuple[int, int]]]:
    return {"idle": [middle(span) for span in run.idle], "load": run.load, "transmit": run.transmit}


def _placed(run: _Run, alignment: AlignmentRecord, host_ns: list[tuple[int, int]]) -> Int64Array:
    """Stretches of the host's clock on the trace's, by way of the device's, whose windows they lie between."""
    if alignment.method == "same clock" or not host_ns or run.after is None:
        return spans(host_ns)
    times = spans(host_ns)
    apart_ns = max(1, run.after.host_ns - run.before.host_ns)
    share = (times - run.before.host_ns) / apart_ns
    offset_ns = run.before.offset_ns + np.rint(share * (run.after.offset_ns - run.before.offset_ns)).astype(np.int64)
    return to_trace(alignment, times + offset_ns)


def _idle(watch: Watch, spans_ns: Int64Array) -> tuple[Float64Array, PhaseRecord]:
    """Mean power of each idle stretch that was seen, float64 [stretches], and all of them as a phase."""
    whole = phase("idle", watch.traces, spans_ns)
    if whole is None:
        raise MeasurementError("the meter saw nothing of the device idle", next_step="check that the meter runs")
    power_w = energies_j(watch.traces, spans_ns) / ((spans_ns[:, 1] - spans_ns[:, 0]) * 1e-9)
    return power_w[np.isfinite(power_w)], whole


def _phases(
    watch: Watch, placed: dict[str, Int64Array], windows_ns: Int64Array, idle: PhaseRecord, error_ns: int
) -> tuple[PhaseRecord, ...]:
    found = (
        idle,
        phase("load", watch.traces, placed["load"], error_ns),
        phase("inference", watch.traces, windows_ns, error_ns),
        phase("transmit", watch.traces, placed["transmit"], error_ns),
    )
    return tuple(each for each in found if each is not None)


__all__ = ["integrate_j", "mean_power_w", "measure_energy"]
