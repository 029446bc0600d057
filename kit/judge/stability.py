"""Whether a latency record is of one and the same device from beginning to end, and what changed it if not.

The samples decide; what the device told of itself names the cause. Pure.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kit.judge.strain import Cause, Interval, Kind, causes, moments_ns, strain_in
from kit.records import Float64Array, LatencyRecord
from kit.stats.changes import (
    MATTERS,
    Batches,
    Shift,
    batched,
    episodes,
    has_order,
    is_step,
    level_shift,
    level_trend,
)
from kit.words import count, number, percent, quantity

TREND_CONFIDENCE = 0.995
SURE_ERRORS = 2.5
LATE_SHARE = 0.05
"""Starts of which more than this share came late are not the workload that was asked for."""

CROWDED_SHARE = 0.2
"""Of the time tasks waited for a processor: where it is more, a slowing that nothing explains is others' work."""

__all__ = ["Cause", "Kind", "Stability", "assess"]


@dataclass(frozen=True, slots=True)
class Stability:
    """The state of a run, what it is put down to, the likeliest first, and where its level changed.

    "unknown": too few samples to tell. `boundaries`: indices into samples_ns, rising, between stretches that differ.
    "stable" says nothing of a change in about the last or first tenth of the run: such a stretch is the tail's.
    """

    state: Literal["stable", "unstable", "unknown"]
    causes: tuple[Cause, ...] = ()
    boundaries: tuple[int, ...] = ()


def assess(record: LatencyRecord, *, of_sessions: bool = False) -> Stability:
    """Stability of the samples after warm-up: a change of level, a trend or slow stretches, each of 10 % or more.

    Below 100 samples it takes the device's own word and slower samples, and no boundary is told. `of_sessions`: the
    samples are of several sessions, which differ by themselves, so that a step is no sign of a changed clock.
    """
    late, samples = _late(record), np.maximum(record.samples_ns[record.warmup_count :].astype(np.float64), 1.0)
    batches = batched(samples)
    if batches is None:
        told = _confirmed(record, np.log(samples), is_ordered=False)
        return Stability("unstable" if late or told else "unknown", (*late, *told))
    is_ordered = has_order(batches)
    found, boundaries = _changes(record, batches, of_sessions) if is_ordered else ((), ())
    if not found and (found := _confirmed(record, np.log(batches.level), is_ordered)):
        boundaries = _indices(record, batches, (len(batches.level) // 2,))
    return Stability("unstable" if late or found else "stable", (*found, *late), boundaries)


def _late(record: LatencyRecord) -> tuple[Cause, ...]:
    share = record.late_count / max(len(record.samples_ns), 1)
    if share <= LATE_SHARE:
        return ()
    late = f"{count(record.late_count, 'start')} of {len(record.samples_ns):,} ({percent(min(share, 1.0))}) came late"
    return (Cause("late starts", f"{late}: the device cannot keep this pace, or is kept from it"),)


def _told(record: LatencyRecord) -> tuple[tuple[Cause, ...], bool]:
    """What the device told of one half of the run and not of the other, and whether of the second."""
    if len(record.telemetry) < 4:
        return (), False
    start, end = record.telemetry[0].clock_ns, record.telemetry[-1].clock_ns
    middle = (start + end) // 2
    halves = [strain_in(record.telemetry, [part]) for part in ((start, middle), (middle, end))]
    later = causes(*halves)
    found = later or causes(*reversed(halves))
    return tuple(cause for cause in found if cause.kind in ("throttling", "clock change", "memory pressure")), bool(
        later
    )


def _changes(record: LatencyRecord, of: Batches, of_sessions: bool) -> tuple[tuple[Cause, ...], tuple[int, ...]]:
    """Causes of the plainest change that there is, and its boundaries in the samples; neither where there is none."""
    shift, slope = level_shift(of), level_trend(of, TREND_CONFIDENCE)
    rises, falls = slope.change >= MATTERS - 1 and slope.lower > 0, slope.change <= 1 / MATTERS - 1 and slope.upper < 0
    if (rises or falls) and not (shift.matters and is_step(of, shift)):
        third = len(of.level) // 3
        parts = (0, third), (len(of.level) - third, len(of.level))
        fast, slow = parts if rises else parts[::-1]
        seen = f"inferences got {'slower' if rises else 'faster'} by {percent(abs(slope.change))} from first to last"
        return (Cause("trend", seen), *_why(record, of, [fast], [slow])), _indices(record, of, (third, 2 * third))
    if shift.matters:
        return _shifted(record, of, shift, of_sessions), _indices(record, of, (shift.start, shift.batch, shift.end))
    slow_stretches = episodes(of)
    if slow_stretches:
        edges = tuple(edge for stretch in slow_stretches for edge in stretch)
        rest = list(zip((0, *edges[1::2]), (*edges[::2], len(of.level)), strict=True))
        seen = _told_stretches(record, of, slow_stretches)
        return (Cause("bursts", seen), *_why(record, of, rest, slow_stretches)), _indices(record, of, edges)
    return (), ()


def _confirmed(record: LatencyRecord, levels: Float64Array, is_ordered: bool) -> tuple[Cause, ...]:
    """A change that noise hides and the device tells of: its word is the evidence, the halves' log levels the effect.

    Where the levels are not known to have an order, the effect is at least 2.5 of its standard errors.
    """
    told, later = _told(record)
    if not told or len(levels) < 4:
        return ()
    halves = np.split(levels, [len(levels) // 2])
    rise = float(halves[1].mean() - halves[0].mean())
    error = 0.0 if is_ordered else math.sqrt(sum(float(half.var(ddof=1)) / len(half) for half in halves))
    if (rise if later else -rise) < max(math.log(MATTERS), SURE_ERRORS * error):
        return ()
    seen = f"in its second half inferences took {number(math.exp(rise), 3)} times as long as in its first"
    return (Cause(told[0].kind, f"{seen}; {told[0].sentence}"), *told[1:])


def _shifted(record: LatencyRecord, of: Batches, shift: Shift, of_sessions: bool) -> tuple[Cause, ...]:
    before, after = (shift.start, shift.batch), (shift.batch, shift.end)
    slower = shift.ratio > 1
    fast, slow = (before, after) if slower else (after, before)
    levels = [float(np.median(of.level[start:end])) * 1e-9 for start, end in (before, after)]
    when = _moment_s(record, _indices(record, of, (shift.batch,))[0])
    seen = (
        f"{quantity(when, 's')} in, inferences became {'slower' if slower else 'faster'} to stay: "
        f"{quantity(levels[0], 's')} before, {quantity(levels[1], 's')} after ({number(shift.ratio, 3)} times)"
    )
    why = _why(record, of, [fast], [slow]) or (_unexplained(record, shift, of_sessions),)
    return (Cause(why[0].kind, f"{seen}; {why[0].sentence}"), *why[1:])


def _unexplained(record: LatencyRecord, shift: Shift, of_sessions: bool) -> Cause:
    """What it looks like where the telemetry explains nothing: work that interrupts leaves the fastest alone."""
    states = (record.before, record.after, *(each.conditions for each in record.telemetry))
    pressure = max((each.cpu_pressure_share or 0.0 for each in states), default=0.0)
    if pressure >= CROWDED_SHARE:
        told = f"tasks waited for a processor up to {percent(pressure)} of the time: other work probably disturbed it"
        return Cause("interference", told)
    if of_sessions:
        return Cause("sessions", "nothing that the device told explains it, and each session differs")
    size, floor = max(shift.ratio, 1 / shift.ratio), max(shift.floor_ratio, 1 / shift.floor_ratio)
    if floor < 1 + (size - 1) / 3:
        return Cause("interference", "the fastest stayed as they were, so something else probably ran meanwhile")
    if shift.ratio > 1:
        return Cause("throttling", "even the fastest did, so its clock was probably lowered; nothing else was seen")
    return Cause("clock change", "even the fastest did, so its clock was probably raised; nothing else was seen")


def _why(record: LatencyRecord, of: Batches, fast: Iterable[Interval], slow: Iterable[Interval]) -> tuple[Cause, ...]:
    """Causes that the telemetry shows, for stretches of batches."""
    moments = moments_ns(record)

    def within(stretches: Iterable[Interval]) -> list[Interval]:
        indices = [_indices(record, of, stretch) for stretch in stretches if stretch[0] < stretch[1]]
        return [(int(moments[start]), int(moments[min(end, len(moments) - 1)])) for start, end in indices]

    return causes(strain_in(record.telemetry, within(fast)), strain_in(record.telemetry, within(slow)))


def _indices(record: LatencyRecord, of: Batches, batches: Iterable[int]) -> tuple[int, ...]:
    """Where batches begin in samples_ns; the one after the last begins at the end."""
    first = (*of.first, len(record.samples_ns) - record.warmup_count)
    return tuple(record.warmup_count + first[batch] for batch in batches)


def _moment_s(record: LatencyRecord, index: int) -> float:
    moments = moments_ns(record)
    return float(moments[min(index, len(moments) - 1)] - moments[0]) / 1e9


def _told_stretches(record: LatencyRecord, of: Batches, stretches: Iterable[Interval]) -> str:
    usual = float(np.median(of.level)) * 1e-9
    told = []
    for stretch in stretches:
        start, end = _indices(record, of, stretch)
        level = float(np.median(of.level[slice(*stretch)])) * 1e-9
        told.append(f"{quantity(level, 's')} from {quantity(_moment_s(record, start), 's')} in, for {end - start:,}")
    return f"inferences took {quantity(usual, 's')}, and in some stretches longer: {'; '.join(told)} of them"
