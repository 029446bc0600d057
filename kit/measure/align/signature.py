"""Alignment by a signature: a known busy/idle pattern that the device runs and the host finds in the trace.

The pattern is a maximal-length sequence, whose edges agree with themselves at one shift only (S. W. Golomb, Shift
Register Sequences, 1967). It is found by normalised cross-correlation of the steps that the trace takes at the edges;
then each edge is placed below one sample by the energy on both sides of it, and a line through all of them is offset
and drift.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kit.errors import MeasurementError
from kit.measure.align.readings import MOST_DRIFT, Prior, fitted, record, text
from kit.measure.trace import Integral
from kit.meter.base import PowerTrace
from kit.records import AlignmentRecord, Float64Array, Int64Array

LEAST_EDGES = 12
STEP_SIGMAS = 6.0
"""The mean step at the edges is at least this many standard errors, or nothing was found."""
RIVAL_SIGMAS = 4.0
RIVAL_SHARE = 0.8
"""Steps at any other place are smaller by so many standard errors, and at most this share, or it is ambiguous."""

_LEVEL_HALVES = 16  # a level is taken over at most this many half-windows beside its edge
_LEAST_SAMPLES = 4.0  # fewest samples in the shortest stretch
_MOST_STEPS = 4_000_000
_REFINEMENTS = 8
_WILD = 6.0


def pattern_s(chip_s: float, *, taps: tuple[int, ...] = (5, 3)) -> tuple[tuple[float, float], ...]:
    """One period of the maximal-length sequence of a register with `taps`, as (busy, idle) in s, each chip `chip_s`.

    31 chips in 8 busy stretches of 1 to 5 chips for the taps of x^5 + x^3 + 1.
    """
    length = max(taps)
    register, bits = [1] * length, []
    for _ in range(2**length - 1):
        bits.append(register[-1])
        register = [sum(register[tap - 1] for tap in taps) % 2, *register[:-1]]
    first = next(i for i in range(len(bits)) if bits[i] and not bits[i - 1])
    turned = bits[first:] + bits[:first]
    starts = [i for i in range(len(turned)) if turned[i] and not turned[i - 1]] + [len(turned)]
    runs = [(sum(turned[a:b]), b - a) for a, b in pairwise(starts)]
    return tuple((chip_s * busy, chip_s * (whole - busy)) for busy, whole in runs)


@dataclass(frozen=True, slots=True)
class _Edges:
    """Edges in s since the first: when, +1 up or -1 down, and how long it is to the edge before and after."""

    t: Float64Array
    sign: Float64Array
    before: Float64Array
    after: Float64Array

    @property
    def half_s(self) -> float:
        """Half the shortest stretch: within it of an edge there is no other."""
        return float(self.after.min(initial=np.inf)) / 2


def align_signature(trace: PowerTrace, busy_ns: Int64Array, prior: Prior | None = None) -> AlignmentRecord:
    """Find busy_ns int64 [stretches, 2], in order on the device's clock, in the trace's power.

    The error bound is of the whole line through the edges, by what they scatter about it.
    Raises MeasurementError if the signature is too short for the meter, not to be seen, or in more than one place.
    """
    busy_ns = busy_ns[busy_ns[:, 1] > busy_ns[:, 0]]
    edges, base_ns = _edges(busy_ns), int(busy_ns[0, 0]) if len(busy_ns) else 0
    period_s = float(np.median(np.diff(trace.t_ns))) * 1e-9 if len(trace.t_ns) > 1 else np.inf
    if len(edges.t) < LEAST_EDGES or 2 * edges.half_s < _LEAST_SAMPLES * period_s:
        raise MeasurementError(
            f"{len(edges.t)} edges, {text(edges.half_s * 2e9)} apart or more, are no signature for samples "
            f"{text(period_s * 1e9) if np.isfinite(period_s) else 'that are not there'} apart",
            next_step="run a longer pattern, or use a faster meter",
        )
    power = Integral(trace.t_ns, trace.power_w)
    near = None if prior is None else ((base_ns - prior.offset_ns - power.epoch_ns) * 1e-9, prior.error_ns * 1e-9)
    at_s, drift, ratio = _found(power, edges, near)
    level, slope, error_s, count = _placed(power, edges, at_s, drift)
    words = (
        f"{count} of {len(edges.t)} edges of the signature found, samples {text(period_s * 1e9)} apart, "
        f"correlation {ratio:.2f}"
    )
    offset_ns = base_ns - power.epoch_ns - level * 1e9
    return record("signature", base_ns, offset_ns, -slope * 1e6, error_s * 1e9 + 1, words)


def _edges(busy_ns: Int64Array) -> _Edges:
    t = (busy_ns - busy_ns[0, 0]).ravel() * 1e-9 if len(busy_ns) else np.empty(0)
    if len(t) and (np.diff(t) <= 0).any():
        raise MeasurementError("busy stretches overlap", next_step="check the device's clock")
    gap = np.diff(t)
    outer = gap.min(initial=np.inf)  # what happens beyond the pattern is not known
    far = np.r_[outer, gap, outer]
    return _Edges(t, np.tile([1.0, -1.0], len(busy_ns)), far[:-1], far[1:])


def _found(power: Integral, edges: _Edges, near: tuple[float, float] | None) -> tuple[float, float, float]:
    """Where the first edge is (s since the trace's epoch), drift, and correlation: coarsely, by the steps at the edges.

    A step is mean power within half a stretch after a moment less that before it. At the right shift every edge of the
    pattern has the same one, at others they cancel.
    """
    half, (first, last), length = edges.half_s, power.span_s, float(edges.t[-1])
    grid = half / 8
    times = np.arange(first + half, last - half, grid)
    if len(times) > _MOST_STEPS or not len(times):
        raise MeasurementError("the trace is too long or too short for its signature", next_step="measure again")
    steps = (power.between(times, times + half) - power.between(times - half, times)) / half
    lowest, highest = first - length / 4, last - 0.75 * length
    if near is not None:
        lowest, highest = max(lowest, near[0] - near[1] - half), min(highest, near[0] + near[1] + half)
    shifts = np.arange(np.floor((lowest - times[0]) / grid), np.ceil((highest - times[0]) / grid) + 1).astype(np.int64)
    drifts = np.linspace(-MOST_DRIFT, MOST_DRIFT, 2 * int(2 * MOST_DRIFT * length / half) + 1)
    best = (-np.inf, 0, 0.0, np.zeros(0))
    for drift in drifts.tolist():
        mean = _mean_steps(steps, edges, shifts, drift, grid)
        if len(mean) and mean.max() > best[0]:
            best = (float(mean.max()), int(mean.argmax()), drift, mean)
    if not np.isfinite(best[0]):
        raise MeasurementError("the signature is not where the clocks say", next_step="measure again")
    _, where, drift, mean = best
    at = times[0] + shifts[where] * grid
    ratio = _check(power, edges, at, drift, np.delete(mean, np.flatnonzero(np.abs(shifts - shifts[where]) <= 12)))
    return float(at), drift, ratio


def _mean_steps(steps: Float64Array, edges: _Edges, shifts: Int64Array, drift: float, grid: float) -> Float64Array:
    """Mean of the signed steps at the edges for each shift, float64 [shifts]; -inf where too few edges were seen."""
    total, seen = np.zeros(len(shifts)), np.zeros(len(shifts))
    for t, sign in zip(edges.t.tolist(), edges.sign.tolist(), strict=True):
        index = shifts + round(t * (1 + drift) / grid)
        inside = (index >= 0) & (index < len(steps))
        value = np.where(inside, steps[np.clip(index, 0, len(steps) - 1)], np.nan)
        known = np.isfinite(value)
        total += np.where(known, sign * value, 0.0)
        seen += known
    return np.where(seen >= max(LEAST_EDGES, 0.75 * len(edges.t)), total / np.maximum(seen, 1), -np.inf)


def _check(power: Integral, edges: _Edges, at: float, drift: float, others: Float64Array) -> float:
    """The correlation there. Raises MeasurementError where it could be chance, or could be elsewhere."""
    half, t = edges.half_s, at + edges.t * (1 + drift)
    step = edges.sign * (power.between(t, t + half) - power.between(t - half, t)) / half
    step = step[np.isfinite(step)]
    mean, error = float(step.mean()), float(step.std(ddof=1)) / np.sqrt(len(step))
    rival = float(others.max()) if len(others) else -np.inf
    if mean < STEP_SIGMAS * error:
        raise MeasurementError(
            "the signature cannot be told from noise in the trace",
            next_step="check that the meter supplies this device; use a longer pattern or a finer meter",
        )
    if rival > RIVAL_SHARE * mean or mean - rival < RIVAL_SIGMAS * error:
        raise MeasurementError("the signature fits in more than one place", next_step="use a longer pattern")
    return float(step.mean() / np.sqrt((step**2).mean()))


def _placed(power: Integral, edges: _Edges, at: float, drift: float) -> tuple[float, float, float, int]:
    """Place of the first edge, drift, error bound over the pattern (s), and how many edges: the line through them all.

    Every edge is placed by the energy around it: what is missing of the higher level is how late it is. The powers of
    all edges share one step, so that the noise of none is divided by its own. Work that starts harder than it goes on
    moves rising edges and not falling ones: what they differ by is in the bound.
    """
    level, slope, first, last = at, drift, float(edges.t[0]), float(edges.t[-1])
    for _ in range(_REFINEMENTS):
        late = _lateness(power, edges, level + edges.t * (1 + slope))
        known = np.isfinite(late)
        known[known] &= _is_tame(late[known])
        if known.sum() < LEAST_EDGES:
            raise MeasurementError("too few edges of the signature were seen", next_step="measure again without gaps")
        # the whole drift is fitted, not its change: a level, where it is one, has none
        fit = fitted(edges.t[known], late[known] + slope * edges.t[known], first, last)
        change, level, slope = float(fit.at(0.0)), level + float(fit.at(0.0)), fit.slope
        if abs(change) < 1e-3 * edges.half_s:
            break
    if abs(slope) > 2 * MOST_DRIFT:
        raise MeasurementError("the signature drifts more than clocks do", next_step="measure again")
    up, down = (late[known & (edges.sign == sign)] for sign in (1.0, -1.0))
    lean = abs(float(up.mean() - down.mean())) if len(up) and len(down) else 0.0
    return level, slope, fit.error + lean, int(known.sum())


def _is_tame(late: Float64Array) -> NDArray[np.bool_]:
    """Not an edge with other work or a burst of noise beside it: within 6 robust standard deviations of the others."""
    far = np.abs(late - np.median(late))
    return np.asarray(far <= _WILD * 1.4826 * np.median(far) + 1e-9)


def _lateness(power: Integral, edges: _Edges, t: Float64Array) -> Float64Array:
    """How much later than `t` each edge is, s, float64 [edges]; NaN where the trace has a gap beside it."""
    quarter = edges.half_s / 2
    before = np.minimum(edges.before - 2 * quarter, _LEVEL_HALVES * quarter)
    after = np.minimum(edges.after - 2 * quarter, _LEVEL_HALVES * quarter)
    low = power.between(t - quarter - before, t - quarter) / before
    high = power.between(t + quarter, t + quarter + after) / after
    step = float(np.nanmedian(edges.sign * (high - low))) if np.isfinite(high - low).any() else np.nan
    around = power.between(t - quarter, t + quarter)
    late = edges.sign * ((low + high) * quarter - around) / step
    return np.where(np.abs(late) < 64 * quarter, late, np.nan)
