"""Energy of busy windows: a meter's trace integrated between two moments of the device's clock."""

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kit.device.base import Device
from kit.errors import MeasurementError
from kit.measure.obtained import obtained_on, weakest
from kit.meter.base import Meter, PowerTrace
from kit.records import EnergyRecord
from kit.spec.types import MeasurePlan


def measure_energy(
    device: Device, meter: Meter, digest: str, inputs: NDArray[np.generic], plan: MeasurePlan
) -> EnergyRecord:
    """Idle power with the model loaded, then the gross energy of `plan.energy_windows` busy windows.

    Each window's ends, on the device's clock, are brought to the host's by the offset measured beside it; what the
    offset's error can move is told in the meter's parameters, as is the share of lost samples.
    Raises MeasurementError if a trace does not cover its window.
    """
    device.run_busy(digest, inputs, duration_s=0.0)
    idle = _watch_idle(meter, plan.energy_window_s)
    traces, energies_j, windows_s, counts, shares = [idle], [], [], [], []
    for _ in range(plan.energy_windows):
        offset_ns, error_ns = device.clock_offset_ns()
        meter.start()
        window = device.run_busy(digest, inputs, duration_s=plan.energy_window_s)
        trace = meter.stop()
        window_ns = window.end_ns - window.start_ns
        if not window.inferences or window_ns <= 0:
            raise MeasurementError("a busy window holds no inference", next_step="measure longer: energy_window_s")
        energies_j.append(integrate_j(trace, window.start_ns - offset_ns, window.end_ns - offset_ns, error_ns))
        traces.append(trace)
        windows_s.append(window_ns / 1e9)
        counts.append(window.inferences)
        shares.append(2 * error_ns / window_ns)
    record = meter.describe()
    lost = sum(trace.lost_samples for trace in traces) / sum(len(trace.t_ns) + trace.lost_samples for trace in traces)
    quality = {"lost_samples_share": lost, "alignment_error_share": max(shares)}
    return EnergyRecord(
        variant_digest=digest,
        meter=replace(record, parameters=record.parameters | quality),
        window_energy_j=np.array(energies_j),
        window_s=np.array(windows_s),
        window_inferences=np.array(counts, np.int64),
        idle_power_w=mean_power_w(idle),
        trace_t_ns=np.concatenate([trace.t_ns for trace in traces]),
        trace_power_w=np.concatenate([trace.power_w for trace in traces]),
        obtained=weakest(record.obtained, obtained_on(device.identify().emulated, "meter", "power", "battery")),
    )


def integrate_j(trace: PowerTrace, start_ns: int, end_ns: int, error_ns: int = 0) -> float:
    """Energy in J between two moments of the host's clock: each sample holds since the one before it.

    Raises MeasurementError if the trace lacks more than `error_ns` of the window at either end.
    """
    t_ns, power_w = trace.t_ns, trace.power_w[1:]
    if len(t_ns) < 2 or t_ns[0] > start_ns + error_ns or t_ns[-1] < end_ns - error_ns:
        raise MeasurementError(
            "the meter's trace does not cover the busy window",
            next_step="check that the meter runs, and that device and meter have not lost samples or time",
        )
    if not np.isfinite(power_w).all():
        raise MeasurementError("the meter's trace has samples that are no number", next_step="check the meter's range")
    edges_ns = np.clip(t_ns, start_ns, end_ns)
    return float(np.sum(power_w * np.diff(edges_ns)) / 1e9)


def mean_power_w(trace: PowerTrace) -> float:
    """Mean power in W over the whole trace."""
    start_ns, end_ns = int(trace.t_ns[0]), int(trace.t_ns[-1])
    return integrate_j(trace, start_ns, end_ns) / ((end_ns - start_ns) / 1e9)


def _watch_idle(meter: Meter, duration_s: float) -> PowerTrace:
    meter.start()
    time.sleep(duration_s)
    return meter.stop()
