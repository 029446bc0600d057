"""Counters of energy or charge, as a trace of what was drawn between their updates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.errors import MeasurementError
from kit.files import FileSamples
from kit.meter.base import PowerTrace
from kit.meter.series import GONE_READINGS, gaps_at, why_ended
from kit.records import Float64Array, Int64Array

_REPEATS_SHARE = 0.05
_STALLED_UPDATES, _STALLED_NS = 10, 1_000_000_000


@dataclass(frozen=True, slots=True)
class CounterKind:
    """What is known of some counters that are added.

    modulus: where each starts again from 0, infinite for one that does not. highest_per_s: no more is counted in a
    second (W for energy), so that a wrap is told from a reset. update_s: the longest time between two updates, where it
    is known. least_updates: below so many, what lies between them says nothing.
    """

    moduli: tuple[float, ...]
    highest_per_s: float
    update_s: float = 0.0
    least_updates: int = 1


def trace_of_counters(
    samples: FileSamples,
    values: Float64Array,
    kind: CounterKind,
    *,
    is_off: NDArray[np.bool_] | None = None,
    off_reason: str = "",
) -> PowerTrace:
    """values: float64 [n, counters], NaN where one could not be read; their sum's rate, W for energy in J.

    A trace has a sample where a counter moved, so one that is read more often than it is updated gives the mean power
    between updates, not zeros and a spike. A counter that fell has wrapped if that needs no more than the highest rate,
    else it was reset: a gap. is_off, off_reason: as for `trace_of_readings`. Raises MeasurementError where it moved too
    seldom.
    """
    off = np.zeros(len(values), np.bool_) if is_off is None else is_off
    is_told = np.asarray(np.isfinite(values).all(axis=1), np.bool_)
    is_read = is_told & ~off
    t_ns, skipped = samples.t_ns[is_read], np.cumsum(off)[is_read]
    unread = np.diff(np.flatnonzero(is_read)) - 1
    steps, is_broken = _steps(t_ns, values[is_read], kind, (unread >= GONE_READINGS) | (np.diff(skipped) > 0))
    moved = np.flatnonzero((steps != 0) | is_broken) + 1
    if len(moved) < kind.least_updates or not len(moved):
        raise _too_few(len(moved), t_ns, kind.least_updates, off_reason if off.any() else "")
    has_repeats = len(moved) < (1 - _REPEATS_SHARE) * len(steps)
    kept = _placed(t_ns, moved, has_repeats)
    if len(kept) < 2:
        raise _too_few(len(moved), t_ns, 2, off_reason if off.any() else "")
    counted = np.concatenate([[0.0], np.cumsum(np.where(is_broken, 0.0, steps))])
    breaks = np.concatenate([[0], np.cumsum(is_broken)])
    at_ns, is_gap = t_ns[kept], np.diff(breaks[kept]) > 0
    rate = np.diff(counted[kept]) / (np.diff(at_ns) / 1e9)
    ended = why_ended(is_told) or (off_reason if off[-1] else _why_stalled(t_ns, at_ns))
    step_ns = np.diff(t_ns)
    soonest_ns = min(kind.update_s * 1e9, 2 * float(np.median(step_ns)))  # each reading saw an update since the last
    late_ns = int(step_ns[kept - 1].max() if has_repeats else soonest_ns)
    return PowerTrace(
        t_ns=at_ns,
        power_w=np.concatenate([[np.nan], np.where(is_gap, np.nan, rate)]),
        lost_samples=samples.late + int((~is_read).sum()),
        gaps_ns=gaps_at(at_ns, is_gap, int(samples.t_ns[-1]) if ended else None),
        clock_error_ns=samples.error_ns + late_ns,
        ended=ended,
    )


def means_between(samples: FileSamples, values: Float64Array, t_ns: Int64Array) -> Float64Array:
    """float64 [len(t_ns)]: the mean of `values` (float64 [n], at the samples) since the moment before; first NaN."""
    is_read = np.isfinite(values)
    if not is_read.any():
        return np.full(len(t_ns), np.nan)
    grid = np.union1d(samples.t_ns[is_read], t_ns)
    level = np.interp(grid, samples.t_ns[is_read], values[is_read])
    area = np.concatenate([[0.0], np.cumsum((level[1:] + level[:-1]) / 2 * np.diff(grid))])
    at = np.searchsorted(grid, t_ns)
    return np.concatenate([[np.nan], np.diff(area[at]) / np.diff(t_ns)])


def _steps(
    t_ns: Int64Array, values: Float64Array, kind: CounterKind, was_away: NDArray[np.bool_]
) -> tuple[Float64Array, NDArray[np.bool_]]:
    """What all counters gained from one reading to the next, and where that cannot be known."""
    gained, passed_s = np.diff(values, axis=0), np.diff(t_ns)[:, None] / 1e9
    moduli = np.array(kind.moduli)
    unwrapped = np.where(gained < 0, gained + moduli, gained)
    is_wild = unwrapped > kind.highest_per_s * (passed_s + kind.update_s)
    is_long = passed_s > moduli / kind.highest_per_s / 2  # it may have wrapped more than once
    is_broken = (is_wild | is_long).any(axis=1) | was_away
    return np.where(is_broken, 0.0, unwrapped.sum(axis=1)), is_broken


def _placed(t_ns: Int64Array, moved: NDArray[np.intp], has_repeats: bool) -> NDArray[np.intp]:
    """Which readings are the trace's: updates that were seen soon after they happened.

    Where readings repeat, when the first value came is not known, so the trace begins with the first update.
    """
    if not has_repeats:
        return np.insert(moved, 0, 0)
    step_ns = np.diff(t_ns)
    is_prompt = step_ns[moved - 1] <= 2 * np.median(step_ns)
    is_prompt[-1] = is_prompt[-1] or is_prompt.sum() < 2
    return np.asarray(moved[is_prompt], np.intp)


def _why_stalled(t_ns: Int64Array, at_ns: Int64Array) -> str:
    still_ns = int(t_ns[-1] - at_ns[-1])
    if still_ns <= max(_STALLED_NS, _STALLED_UPDATES * float(np.median(np.diff(at_ns)))):
        return ""
    return f"its counter did not move in the last {still_ns / 1e9:.3g} s"


def _too_few(updates: int, t_ns: Int64Array, least: int, off_reason: str) -> MeasurementError:
    span_s = (t_ns[-1] - t_ns[0]) / 1e9 if len(t_ns) else 0.0
    what = f"the meter's counter moved {updates} times in {span_s:.3g} s, and {max(2, least)} are the least"
    if off_reason:
        what = f"{off_reason}; else {what}"
    return MeasurementError(what, next_step="measure longer; if it never moves, it counts nothing here")
