"""Records of a bench that can be what they say they are: a run folder may come from anyone."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from kit.judge.wellformed import check_energy, check_latency, check_memory, refuse
from kit.records import AuditRecord, ColdStartRecord, EnergyRecord, LatencyRecord, MemoryRecord, OperatorProfile

LONGEST_NS = 86_400 * 10**9
"""No time of a session is longer than a day, the longest lease of a device."""

LATEST_NS = 1 << 62
"""No clock of a device is further: more than a century. The end of a sample that begins then fits into int64."""

MOST_ROWS, MOST_STREAMS = 1 << 20, 64
"""No batch has more rows, and no session more threads side by side."""


def check_window(record: LatencyRecord, where: str) -> None:
    """At least one sample after warm-up, a moment for each if there are any, and times that a session can have had.

    Raises MeasurementError.
    """
    check_latency(record, where)
    count = len(record.samples_ns)
    if record.warmup_count >= count:
        raise refuse("a window without a sample after warm-up", where)
    starts = record.starts_ns
    if starts is not None and (starts.dtype != np.int64 or starts.shape != (count,)):
        raise refuse(f"{starts.dtype} {starts.shape} as the moments of {count} samples", where)
    if not 1 <= record.workload.batch <= MOST_ROWS or record.late_count < 0:
        raise refuse(f"batches of {record.workload.batch} rows, {record.late_count} of them late", where)
    if starts is not None and ((starts < 0).any() or (starts > LATEST_NS).any()):
        raise refuse("a sample at a moment that no device's clock comes to", where)
    together_ns = float(record.samples_ns.sum(dtype=np.float64)) / MOST_STREAMS
    if not all(0 <= each <= LONGEST_NS for each in (together_ns, record.load_ns, record.first_run_ns)):
        raise refuse("times that are negative, or longer than a day", where)


def check_cold(record: ColdStartRecord, where: str) -> None:
    """As many times of each kind, one at least, none negative. Raises MeasurementError."""
    times = (record.ready_ns, record.load_ns, record.first_run_ns)
    shapes = {(each.dtype.name, each.shape) for each in times}
    if len(shapes) != 1 or times[0].dtype != np.int64 or times[0].ndim != 1 or not len(times[0]):
        raise refuse("cold starts that are not as many times of each kind", where)
    if any((each < 0).any() or (each > LONGEST_NS).any() for each in times):
        raise refuse("a cold start that took less than no time, or more than a day", where)


def check_operators(record: OperatorProfile, where: str) -> None:
    """Times and shares that are finite and not negative. Raises MeasurementError."""
    figures = [figure for each in record.operators for figure in (each.mean_ns, each.share)]
    if not all(math.isfinite(each) and each >= 0 for each in figures):
        raise refuse("an operator's time or share that is none", where)


def check_audit(record: AuditRecord, where: str) -> None:
    """Rows as many as scores, times int64 [n]. Raises MeasurementError."""
    rows, scores = len(record.rows), (record.timed_scores, record.scored)
    if record.rows.ndim != 1 or any(each.ndim != 2 or len(each) != rows for each in scores if rows):
        raise refuse("an audit of other rows than it has scores for", where)
    if any(each.dtype != np.int64 or each.ndim != 1 for each in (record.varied_ns, record.repeated_ns)):
        raise refuse("an audit's times that are none", where)
    if not 3 <= record.rounds <= max(3, len(record.varied_ns)):
        raise refuse(f"an audit of {record.rounds} rounds", where)


def check_sessions(record: MemoryRecord, where: str) -> None:
    """As `check_memory`, of one session at least. Raises MeasurementError."""
    check_memory(record, where)
    if not len(record.peak_bytes) or len(record.steady_bytes) != len(record.peak_bytes) or record.baseline_bytes < 0:
        raise refuse("memory of no session, or of a negative baseline", where)


def check_windows(record: EnergyRecord, where: str) -> None:
    """As `check_energy`, of one window at least, with gaps [n, 2]. Raises MeasurementError."""
    check_energy(record, where)
    if not len(record.window_energy_j):
        raise refuse("energy of no window", where)
    if record.lost_samples < 0 or (record.gaps_ns is not None and record.gaps_ns.shape[1:] != (2,)):
        raise refuse("gaps or lost samples that are none", where)


CHECKS: dict[type, Callable[[Any, str], None]] = {
    MemoryRecord: check_sessions,
    EnergyRecord: check_windows,
    ColdStartRecord: check_cold,
    OperatorProfile: check_operators,
    AuditRecord: check_audit,
}
"""How a record of each kind is checked before its figures are told."""
