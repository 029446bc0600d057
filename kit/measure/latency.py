"""Latency on a device's own clock under a workload, in windows, warm-up found and kept, with its state alongside."""

import math

import numpy as np
from numpy.typing import NDArray

from kit.device.base import Device, LatencySamples, Progress
from kit.errors import MeasurementError
from kit.measure.obtained import obtained_on
from kit.measure.warmup import METHOD, warmup_count
from kit.records import SINGLE_STREAM, Int64Array, LatencyRecord, Workload
from kit.spec.types import DeviceSpec, MeasurePlan

MOST_A_WINDOW = 1 << 19
"""Samples that a device gives at once; a plan of more is measured in more windows."""


def measure_latency(
    device: Device,
    spec: DeviceSpec,
    digest: str,
    inputs: NDArray[np.generic],
    plan: MeasurePlan,
    progress: Progress | None = None,
    workload: Workload = SINGLE_STREAM,
) -> LatencyRecord:
    """Time the deployed model `digest` on rows of inputs [rows, *shape], in turn, in `plan.latency_windows` windows.

    The windows follow each other in one session and share the plan's count and time evenly; each is checked for both.
    Warm-up is looked for in the first. Raises DeviceError or LinkError from the device, and MeasurementError for
    samples that are no times, or a window that is too short.
    """
    before = device.conditions()
    device.telemetry()  # what came before belongs to others
    windows = _windows(device, spec, digest, inputs, plan, progress, workload)
    samples_ns = np.concatenate([window.samples_ns for window in windows])
    if not (samples_ns > 0).any():
        raise MeasurementError(
            "every latency sample is 0 ns", where=f"device {spec.name}", next_step="is its clock too coarse?"
        )
    warmup = warmup_count(windows[0].samples_ns)
    emulated, first = obtained_on(device.identify().emulated, "clock", "speed", "frequency"), windows[0]
    return LatencyRecord(
        variant_digest=digest,
        samples_ns=samples_ns,
        warmup_count=warmup,
        warmup_method=METHOD,
        scenario=scenario_text(workload),
        threads=spec.threads,
        clock=first.clock,
        clock_resolution_ns=first.clock_resolution_ns,
        load_ns=first.load_ns,
        first_run_ns=first.first_run_ns,
        before=before,
        after=device.conditions(),
        obtained=emulated if spec.timing_is_real else "emulated",
        workload=workload,
        starts_ns=_starts(windows),
        window_counts=np.array([len(window.samples_ns) for window in windows], np.int64),
        telemetry=tuple(device.telemetry()),
        late_count=_late_count(windows, warmup, workload),
    )


def scenario_text(workload: Workload) -> str:
    """A workload in words, as records and reports say it."""
    words = {
        "single stream": "back to back",
        "periodic": f"one every {workload.period_ns / 1e6:g} ms",
        "burst": f"{workload.burst} back to back every {workload.period_ns / 1e6:g} ms",
        "offline": f"batches of {workload.batch}, each one sample",
        "multi-stream": f"{workload.streams} threads, each back to back",
    }
    return f"{workload.scenario}, {words[workload.scenario]}, rows in turn"


def _windows(
    device: Device,
    spec: DeviceSpec,
    digest: str,
    inputs: NDArray[np.generic],
    plan: MeasurePlan,
    progress: Progress | None,
    workload: Workload,
) -> list[LatencySamples]:
    count = max(1, plan.latency_windows, math.ceil(plan.latency_inferences / MOST_A_WINDOW))
    each, each_s = math.ceil(plan.latency_inferences / count), plan.latency_min_s / count
    windows: list[LatencySamples] = []
    for index in range(count):
        told = _told(progress, sum(len(window.samples_ns) for window in windows), count - index)
        window = device.time_inferences(
            digest, inputs, count=each, min_s=each_s, workload=workload, fresh=index == 0, progress=told
        )
        _check(window, each, each_s, MOST_A_WINDOW // workload.streams, f"device {spec.name}")
        windows.append(window)
    return windows


def _check(window: LatencySamples, count: int, min_s: float, most: int, where: str) -> None:
    """Raises MeasurementError for a window of fewer samples, or shorter without being full, than was asked for."""
    samples, starts = window.samples_ns, window.starts_ns
    if len(samples) < count:
        raise MeasurementError(f"a window has {len(samples)} samples, {count} were asked for", where=where)
    if starts is None or len(samples) >= most:
        return
    span_s = float(starts[-1] + samples[-1] - starts.min()) / 1e9
    if span_s < 0.9 * min_s - 0.1:
        raise MeasurementError(f"a window lasted {span_s:.3g} s, {min_s:.3g} s were asked for", where=where)


def _late_count(windows: list[LatencySamples], warmup: int, workload: Workload) -> int:
    """Starts after warm-up that came more than a tenth of the period late; the device's own count where none is told.

    A window's grid begins with its earliest start, each taken back by the periods before it.
    """
    late, size = 0, max(1, workload.burst)
    for index, window in enumerate(windows):
        if window.starts_ns is None or workload.period_ns <= 0:
            late += window.late_count
            continue
        begun_ns = window.starts_ns[::size]
        behind_ns = begun_ns - workload.period_ns * np.arange(len(begun_ns))
        steady = slice(math.ceil(warmup / size) if index == 0 else 0, None)
        found = int(((behind_ns - behind_ns.min())[steady] > workload.period_ns // 10).sum())
        late += min(found, window.late_count)
    return late


def _starts(windows: list[LatencySamples]) -> Int64Array | None:
    starts = [window.starts_ns for window in windows if window.starts_ns is not None]
    return np.concatenate(starts) if len(starts) == len(windows) else None


def _told(progress: Progress | None, before: int, left: int) -> Progress | None:
    """Progress within one window as progress of all: those that are left will be like it."""
    if progress is None:
        return None
    return lambda done, total: progress(before + done, before + left * total)
