"""Records that can be what they say they are: dtypes, shapes, and values that a measurement can have."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.errors import MeasurementError
from kit.records import (
    EnergyRecord,
    LatencyRecord,
    MemoryRecord,
    Obtained,
    SaturationRecord,
)

NEXT = "run it again: a record does not belong to this run"

LARGEST = 1e15
"""No time in s, energy in J or power in W of a device is larger; sums of such figures stay finite."""

_WEAKER: dict[Obtained, tuple[Obtained, ...]] = {
    "measured": ("measured", "emulated", "estimated", "absent"),
    "emulated": ("emulated", "estimated", "absent"),
    "estimated": ("estimated", "absent"),
    "computed": (),
    "absent": ("absent",),
}
"""What energy from a meter of each origin can be: as weak as its meter, or weaker."""


def refuse(what: str, where: str) -> MeasurementError:
    """The error to raise for a record at `where`."""
    return MeasurementError(what, where=where, next_step=NEXT)


def check_latency(record: LatencyRecord, where: str) -> None:
    """int64 samples [n] in ns, none negative and not all 0 (a coarse clock gives some), warm-up among them."""
    check_array("latency samples", record.samples_ns, np.int64, record.samples_ns.shape[:1], where)
    if (record.samples_ns < 0).any() or (len(record.samples_ns) and not record.samples_ns.any()):
        raise refuse("latency samples that are no times", where)
    if not 0 <= record.warmup_count <= len(record.samples_ns):
        raise refuse(f"{record.warmup_count} of {len(record.samples_ns)} latency samples are warm-up", where)
    if record.starts_ns is not None:
        check_array("starts of latency samples", record.starts_ns, np.int64, record.samples_ns.shape, where)
    if record.window_counts is not None:
        check_array("windows of latency samples", record.window_counts, np.int64, record.window_counts.shape[:1], where)
        if (record.window_counts < 1).any() or record.window_counts.sum() != len(record.samples_ns):
            raise refuse("windows that do not hold the latency samples between them", where)


def check_memory(record: MemoryRecord, where: str) -> None:
    """int64 figures [sessions] in B, none negative and no phase above the peak; no more weights than there is file."""
    sessions, peak = record.peak_bytes.shape[:1], record.peak_bytes
    names = ("peak_bytes", "steady_bytes", "load_peak_bytes", "first_run_peak_bytes", "steady_proportional_bytes")
    for name in (*names, "arena_bytes"):
        array = getattr(record, name)
        if array is None:
            continue
        check_array(name, array, np.int64, sessions, where)
        if (array < 0).any():
            raise refuse(f"{name} has a negative amount of memory", where)
        if name.endswith("_peak_bytes") and (array > peak).any():
            raise refuse(f"{name} is above the peak of all phases", where)
    model, weights = record.model_bytes, record.weight_bytes
    if min(model or 0, weights or 0) < 0 or (model is not None and weights is not None and weights > model):
        raise refuse(f"{weights} B of weights in a file of {model} B", where)


def check_energy(record: EnergyRecord, where: str) -> None:
    """Windows [n] of finite energy, positive time and inferences; a trace [samples]; no stronger than its meter."""
    windows, samples = record.window_energy_j.shape[:1], record.trace_t_ns.shape[:1]
    for name, array, dtype, shape in (
        ("window_energy_j", record.window_energy_j, np.float64, windows),
        ("window_s", record.window_s, np.float64, windows),
        ("window_inferences", record.window_inferences, np.int64, windows),
        ("trace_t_ns", record.trace_t_ns, np.int64, samples),
        ("trace_power_w", record.trace_power_w, np.float64, samples),
    ):
        check_array(name, array, dtype, shape, where)
    for name, values in (("window_energy_j", record.window_energy_j), ("window_s", record.window_s)):
        if not (np.abs(values) <= LARGEST).all():
            raise refuse(f"{name} has values that no device has", where)
    if not (math.isfinite(record.idle_power_w) and abs(record.idle_power_w) <= LARGEST):
        raise refuse(f"idle_power_w is {record.idle_power_w}", where)
    if (record.window_s <= 0).any() or (record.window_inferences <= 0).any():
        raise refuse("an energy window without time or inferences", where)
    _check_energy_parts(record, where)
    if record.obtained not in _WEAKER[record.meter.obtained]:
        raise refuse(f"energy is said to be {record.obtained}, its meter is {record.meter.obtained}", where)


def _check_energy_parts(record: EnergyRecord, where: str) -> None:
    """What a record may lack: windows on the trace's clock, stretches of idle; shares and accuracies from 0 up."""
    if record.windows_ns is not None:
        check_array("windows_ns", record.windows_ns, np.int64, (*record.window_energy_j.shape[:1], 2), where)
    if record.idle_window_power_w is not None:
        check_array(
            "idle_window_power_w", record.idle_window_power_w, np.float64, record.idle_window_power_w.shape[:1], where
        )
        if not (np.abs(record.idle_window_power_w) <= LARGEST).all():
            raise refuse("idle_window_power_w has values that no device has", where)
    accuracy, known = record.meter.accuracy, record.uncertainty
    stated = [] if accuracy is None else [accuracy.gain_share, accuracy.offset_w, accuracy.resolution_w]
    stated += [] if known is None else [
        share for share in (known.accuracy_share, known.resolution_share, known.alignment_share) if share is not None
    ]  # fmt: skip
    if not all(0 <= each <= LARGEST for each in stated):
        raise refuse("an accuracy or uncertainty that is negative or no number", where)


def check_saturation(record: SaturationRecord, where: str) -> None:
    """Some node can saturate exactly if the record says so, and the worst pair exceeds the limit only then."""
    at_risk = len(record.nodes_at_risk)
    if record.can_saturate != (at_risk > 0) or at_risk > record.quantized_nodes:
        raise refuse(f"can_saturate is {record.can_saturate}, with {at_risk} nodes at risk", where)
    if not record.can_saturate and not -record.limit - 1 <= record.worst_pair <= record.limit:
        raise refuse(f"the worst pair sum {record.worst_pair} exceeds {record.limit}, and nothing is at risk", where)


def check_array(name: str, array: NDArray[Any], dtype: type[np.generic], shape: tuple[int, ...], where: str) -> None:
    """Raise MeasurementError unless `array` has this dtype and shape."""
    if array.shape != (shape or (0,)) or array.dtype != dtype:
        what = f"{name} is {array.dtype} {list(array.shape)}, not {np.dtype(dtype)} {list(shape)}"
        raise refuse(what, where)


def check_within(name: str, codes: NDArray[np.int64], count: int, where: str) -> None:
    """Raise MeasurementError unless every code [rows] is from 0 up and below `count`."""
    bad = np.flatnonzero((codes < 0) | (codes >= count))
    if len(bad):
        raise refuse(f"{name}: row {bad[0]} is {codes[bad[0]]}, and there are {count}", where)
