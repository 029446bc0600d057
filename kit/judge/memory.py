"""memory.peak: the median over fresh sessions of what the model adds to the process."""

import numpy as np

from kit.judge.base import Case, Measured, absent, certifying, explained, finding, undecided
from kit.judge.sentences import how
from kit.records import Finding, MemoryRecord, Verdict
from kit.stats.quantile import lower_rank, minimum_count, upper_rank
from kit.words import count, interval, percent, quantity

MEDIAN = 0.5


def judge_memory(case: Case) -> tuple[Finding, ...]:
    """Bounds of the median session peak by order statistics; each session is one independent value, in B."""
    record = case.variant.memory
    if record is None or record.obtained == "absent" or len(record.peak_bytes) == 0:
        return (absent(case, "B", "peak memory was not measured.", "measure memory in fresh sessions"),)
    found = finding(case, _measured(case, record))
    least = minimum_count(MEDIAN, case.confidence)
    if found.upper is None:
        sessions = len(record.peak_bytes)
        reason = (
            f"{count(sessions, 'session')} cannot bound the median peak at {percent(case.confidence)}: "
            f"at least {least} are needed."
        )
        return (undecided(found, reason, f"{count(least - sessions, 'more session')}"),)
    return (certifying(case, explained(found, _reason(found, _when(record)), _need(found, least))),)


def _measured(case: Case, record: MemoryRecord) -> Measured:
    peaks = np.sort(record.peak_bytes).astype(np.float64)
    upper = upper_rank(len(peaks), MEDIAN, case.confidence)
    lower = lower_rank(len(peaks), MEDIAN, case.confidence)
    return Measured(
        float(np.median(peaks)),
        None if lower is None else float(peaks[lower - 1]),
        None if upper is None else float(peaks[upper - 1]),
        "B",
        f"order statistics of session peaks; {record.method}",
        len(peaks),
        record.obtained,
        details={"baseline_bytes": float(record.baseline_bytes), "largest_bytes": float(peaks[-1])} | _medians(record),
    )


def _medians(record: MemoryRecord) -> dict[str, float]:
    """Over sessions, of what the device tells beside the peak; and the file's own sizes."""
    phases = {
        "load_peak_bytes": record.load_peak_bytes,
        "first_run_peak_bytes": record.first_run_peak_bytes,
        "steady_bytes": record.steady_bytes,
        "steady_proportional_bytes": record.steady_proportional_bytes,
        "arena_bytes": record.arena_bytes,
    }
    file = {"model_bytes": record.model_bytes, "weight_bytes": record.weight_bytes}
    medians = {name: float(np.median(values)) for name, values in phases.items() if values is not None and len(values)}
    return medians | {name: float(size) for name, size in file.items() if size is not None}


def _when(record: MemoryRecord) -> str:
    """A clause for the phase that has the peak in most sessions; empty where phases were not told apart."""
    load, first, peak = record.load_peak_bytes, record.first_run_peak_bytes, record.peak_bytes
    if load is None or first is None:
        return ""
    in_load, in_first = load >= peak, first >= peak
    if 2 * in_load.sum() > len(peak):
        return ", while it loads"
    return ", in its first run" if 2 * in_first.sum() > len(peak) else ", as it runs on"


def _reason(found: Finding, when: str) -> str:
    limit, peak = f"limit {quantity(found.limit, 'B')}", f"{how(found.obtained)} at its peak{when}"
    if found.verdict is Verdict.PASS and found.upper is not None:
        end = f"(upper end, {percent(found.confidence)} confidence)"
        return f"the model adds at most {quantity(found.upper, 'B')}{peak} {end}; {limit}."
    ends = interval(found.lower, found.upper, "B")
    return f"the model adds {quantity(found.estimate or 0.0, 'B')}{peak} {ends}; {limit}."


def _need(found: Finding, least: int) -> str:
    return f"about {count(max(found.rows, least), 'more session')}: the limit lies between session peaks"
