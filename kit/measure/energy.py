"""Energy of busy windows: what a meter saw between moments of the device's clock, with idle stretches in between."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kit.device.base import BusyWindow, Device
from kit.errors import MeasurementError
from kit.measure.align import Timing, align, is_one_clock, to_trace
from kit.measure.energy_run import WatchedWork, work_watched
from kit.measure.obtained import obtained_on, weakest
from kit.measure.phases import phase
from kit.measure.trace import energies_j, integrate_j, joined, mean_power_w, thinned
from kit.measure.uncertainty import split_time_ns, uncertainty
from kit.measure.watch import Watch, middle, spans
from kit.meter.base import Meter
from kit.records import AlignmentRecord, EnergyRecord, Float64Array, Int64Array, MeterRecord, PhaseRecord
from kit.spec.types import MeasurePlan


def measure_energy(
    device: Device, meter: Meter, digest: str, inputs: NDArray[np.generic], plan: MeasurePlan
) -> EnergyRecord:
    """Gross energy of `plan.energy_windows` busy windows, idle power around them, phases, alignment, uncertainty.

    A window that the meter did not see all of is left out, and the meter's parameters say how many were
    (`left_out_windows`); they also tell the share of lost samples, and how much of a window its two ends may be off.
    Raises MeasurementError if no window was seen, or none can be placed, or the meter is a trace recorded earlier.
    """
    _refuse_recorded(meter.describe())
    watch = Watch(meter)
    run = work_watched(device, watch, digest, inputs, plan)
    emulated = obtained_on(device.identify().emulated, "meter", "power", "battery")
    record = _record(watch, run, meter, digest, same_machine=device.process_id() is not None)
    return replace(record, obtained=weakest(record.meter.obtained, emulated))


def _refuse_recorded(meter: MeterRecord) -> None:
    if meter.name == "replay":
        raise MeasurementError(
            f"{meter.description}, was taken earlier and cannot hold this run's inferences",
            where="meter replay",
            next_step="name the meter itself in the device file; `edgeproof meter show replay` reads a recorded trace",
        )


def _record(watch: Watch, run: WatchedWork, meter: Meter, digest: str, *, same_machine: bool) -> EnergyRecord:
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
    inferences = np.array([window.inferences for window in kept], np.int64)
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
        window_inferences=inferences,
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
            described.accuracy, energy_j - idle.mean_power_w * window_s, window_s, inferences, idle_w,
            error_ns=alignment.error_ns, split_ns=split_time_ns(traces, windows_ns),
        ),
        ended=trace.ended or watch.ended,
    )  # fmt: skip


def _aligned(watch: Watch, run: WatchedWork, *, same_machine: bool) -> AlignmentRecord:
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


def _others(run: WatchedWork) -> dict[str, list[tuple[int, int]]]:
    return {"idle": [middle(span) for span in run.idle], "load request": run.load, "transmit": run.transmit}


def _placed(run: WatchedWork, alignment: AlignmentRecord, host_ns: list[tuple[int, int]]) -> Int64Array:
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
        phase("load request", watch.traces, placed["load request"], error_ns),
        phase("inference", watch.traces, windows_ns, error_ns),
        phase("transmit", watch.traces, placed["transmit"], error_ns),
    )
    return tuple(each for each in found if each is not None)


__all__ = ["integrate_j", "mean_power_w", "measure_energy"]
