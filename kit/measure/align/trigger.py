"""Alignment by a digital line that is high while an inference, or a window of them, runs.

Pulses closer together than windows are belong to one window. Edges are matched to windows by the offset that most of
them agree on, so that some may be missing and some may be extra; a line through those that agree is offset and drift.
"""

from dataclasses import dataclass

import numpy as np

from kit.errors import MeasurementError
from kit.measure.align.readings import MOST_DRIFT, Line, Prior, fitted, record, text
from kit.meter.base import PowerTrace
from kit.records import AlignmentRecord, Float64Array, Int64Array

GLITCH_NS = 50_000
"""A level that lasts less is a glitch: the edge filter in use in the field."""

JITTER_NS = 20_000
"""How far an edge may be from the moment that the device notes: writing a line from a user program."""

MOST_EDGES = 20_000
MOST_BITS = 16
_LEAST_LINE = 6  # fewer edges than this show no drift: it is bounded instead


@dataclass(frozen=True, slots=True)
class Pulses:
    """When a line rose and fell, float64 [p], ns since `epoch_ns`, each midway between two samples `width_ns` apart."""

    epoch_ns: int
    rises: Float64Array
    falls: Float64Array
    rise_width: Float64Array
    fall_width: Float64Array


def align_trigger(trace: PowerTrace, windows_ns: Int64Array, prior: Prior | None = None) -> AlignmentRecord:
    """Find windows_ns int64 [windows, 2], on the device's clock, by the trace's digital inputs, the best of the lines.

    Raises MeasurementError if no line has edges that match, or more than one place does.
    """
    if trace.trigger is None or len(trace.trigger) < 2:
        raise MeasurementError("the trace has no digital line", next_step="connect the meter's digital input")
    found, refusals = [], []
    for bit in range(MOST_BITS):
        level = (trace.trigger >> bit) & 1
        if (level != level[0]).any():
            try:
                found.append(_align_line(pulses(trace.t_ns, level, _least_pause(windows_ns)), windows_ns, prior, bit))
            except MeasurementError as error:
                refusals.append(f"line {bit}: {error}")
    if not found:
        why = "; ".join(refusals) or "no line changed while the device worked"
        raise MeasurementError(why, next_step="check the wire from the device's pin to the meter's digital input")
    return min(found, key=lambda each: each.error_ns)


def pulses(t_ns: Int64Array, level: Int64Array, pause_ns: float) -> Pulses:
    """High stretches of a line sampled at t_ns, without glitches, those less than `pause_ns` apart taken as one."""
    epoch_ns = int(t_ns[0])
    at = np.flatnonzero(np.diff(level)) + 1
    middle = (t_ns[at - 1] - epoch_ns + t_ns[at] - epoch_ns) / 2
    state = level[at] > 0
    at, middle = _kept(at, middle, state, level[0] > 0, GLITCH_NS)
    state = (np.arange(len(at)) % 2 == 0) ^ bool(level[0])
    rises, falls = at[state], at[~state]
    if len(falls) and (not len(rises) or falls[0] < rises[0]):
        falls = falls[1:]  # it was high from the beginning: when it rose is not known
    rises = rises[: len(falls)]  # and when the last fell, neither
    up, down = ((t_ns[i - 1] + t_ns[i] - 2 * epoch_ns) / 2 for i in (rises, falls))
    apart = np.r_[True, up[1:] - down[:-1] >= pause_ns] if len(up) else np.empty(0, bool)
    last = np.r_[apart[1:], True] if len(up) else apart
    rise_width, fall_width = (np.asarray(t_ns[i] - t_ns[i - 1], np.float64) for i in (rises, falls))
    return Pulses(epoch_ns, up[apart], down[last], rise_width[apart], fall_width[last])


def _kept(
    at: Int64Array, middle: Float64Array, state: np.ndarray, first: bool, glitch_ns: float
) -> tuple[Int64Array, Float64Array]:
    """Changes to a level that lasts `glitch_ns`, and differs from the one that lasted before it."""
    lasts = np.r_[np.diff(middle) >= glitch_ns, True] if len(at) else np.empty(0, bool)
    at, middle, state = at[lasts], middle[lasts], state[lasts]
    new = state != np.r_[first, state[:-1]] if len(at) else np.empty(0, bool)
    return at[new], middle[new]


def _least_pause(windows_ns: Int64Array) -> float:
    """Pulses closer than this belong to one window: half the shortest pause between windows."""
    if len(windows_ns) < 2:
        return float(windows_ns[0, 1] - windows_ns[0, 0]) / 2
    return float((windows_ns[1:, 0] - windows_ns[:-1, 1]).min()) / 2


def _align_line(seen: Pulses, windows_ns: Int64Array, prior: Prior | None, bit: int) -> AlignmentRecord:
    if not 0 < len(seen.rises) <= MOST_EDGES:
        raise MeasurementError(f"{len(seen.rises)} pulses", next_step="one pulse an inference, or a window")
    base_ns = int(windows_ns[0, 0])
    device = (windows_ns - base_ns).astype(np.float64)
    width = np.concatenate([seen.rise_width, seen.fall_width])
    step = float(np.median(width))
    reach = 2 * JITTER_NS + 2 * step + MOST_DRIFT * float(device[-1, 1])
    near = None if prior is None else (-prior.offset_ns - seen.epoch_ns + base_ns, prior.error_ns + reach)
    where, count = _agreed(seen, device, reach, near)
    x, y, w = _matched(seen, device, where, reach)
    good = w <= 4 * step  # an edge across lost samples is not known well enough
    if good.sum() < max(2, len(windows_ns)):
        raise MeasurementError(f"edges match {count} of {device.size} ends", next_step="check the wire")
    offset, drift, error = _fitted(x[good], y[good], w[good], float(device[-1, 1]))
    # y is trace less device: t_trace = epoch + device + y, with offset_ns = -(y at the epoch)
    words = f"{int(good.sum())} of {device.size} edges of digital line {bit} found, samples {text(step)} apart"
    total = base_ns - seen.epoch_ns
    return record("trigger", base_ns, total - offset, -drift * 1e6, error, words)


def _agreed(seen: Pulses, device: Float64Array, reach: float, near: tuple[float, float] | None) -> tuple[float, int]:
    """The offset (trace less device) that most edges agree on within `reach`, and how many. Raises if two do."""
    shifts, edges = [], []
    for column, times in ((0, seen.rises), (1, seen.falls)):
        each = times[:, None] - device[None, :, column]
        shifts.append(each.ravel())
        edges.append(np.broadcast_to(np.arange(len(device)) * 2 + column, each.shape).ravel())
    shift, edge = np.concatenate(shifts), np.concatenate(edges)
    if near is not None:
        close = np.abs(shift - near[0]) <= near[1]
        shift, edge = shift[close], edge[close]
    if not len(shift):
        raise MeasurementError("no edge is where the clocks say", next_step="check the wire")
    order = np.argsort(shift)
    shift, edge = shift[order], edge[order]
    last = np.searchsorted(shift, shift + reach, side="right")
    votes = _distinct(edge, last, device.size)
    best = int(np.argmax(votes))
    where = float(np.median(shift[best : last[best]]))
    others = votes[np.abs(shift + reach / 2 - where) > 2 * reach]
    rival = int(others.max()) if len(others) else 0
    if rival > 0.8 * votes[best] and rival > votes[best] - 4:
        raise MeasurementError(
            f"edges match in more than one place ({int(votes[best])} and {rival} of {device.size})",
            next_step="measure more windows, or read the device's clock",
        )
    return where, int(votes[best])


def _distinct(edge: Int64Array, last: Int64Array, kinds: int) -> Int64Array:
    """How many different edges lie from each place up to `last`: int64 [n]."""
    votes = np.zeros(len(edge), np.int64)
    inside, start, count = np.zeros(kinds, np.int64), 0, 0
    for i in range(len(edge)):
        while start < last[i]:
            count += inside[edge[start]] == 0
            inside[edge[start]] += 1
            start += 1
        votes[i] = count
        inside[edge[i]] -= 1
        count -= inside[edge[i]] == 0
    return votes


def _matched(
    seen: Pulses, device: Float64Array, where: float, reach: float
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """For each window's end with an edge within `reach` of its place: the end, the edge less it, the edge's width."""
    x, y, w = [], [], []
    for column, times, widths in ((0, seen.rises, seen.rise_width), (1, seen.falls, seen.fall_width)):
        due = device[:, column]
        after = np.clip(np.searchsorted(times, due + where), 1, max(1, len(times) - 1))
        before = after - 1
        after = np.minimum(after, len(times) - 1)
        nearest = np.where(np.abs(times[after] - due - where) < np.abs(times[before] - due - where), after, before)
        shift = times[nearest] - due
        is_near = np.abs(shift - where) <= reach
        x.append(due[is_near])
        y.append(shift[is_near])
        w.append(widths[nearest][is_near])
    return np.concatenate(x), np.concatenate(y), np.concatenate(w)


def _fitted(x: Float64Array, y: Float64Array, width: Float64Array, span: float) -> tuple[float, float, float]:
    """Offset at 0, drift, and error bound of the line through edges that agree; wild ones are left out.

    Each edge is within half its width and JITTER_NS of the truth, and the line within the largest residual of
    it; a band about the line says how far it may be off where few edges were found.
    """
    keep = np.ones(len(x), bool)
    for _ in range(4):
        fit = _through(x[keep], y[keep], span)
        residual = np.abs(y - fit.at(x))
        allowed = width / 2 + JITTER_NS + 3 * 1.4826 * float(np.median(residual[keep]))
        keep = residual <= np.maximum(allowed, np.sort(residual)[len(x) // 2])
    fit = _through(x[keep], y[keep], span)
    error = max(float(np.abs(y - fit.at(x))[keep].max()), fit.error)
    return float(fit.at(0.0)), fit.slope, error + float(width[keep].max()) / 2


def _through(x: Float64Array, y: Float64Array, span: float) -> Line:
    """The line through the edges; few show neither scatter nor drift, which are then bounded."""
    if len(x) >= _LEAST_LINE:
        return fitted(x, y, 0.0, span)
    middle = float(x.mean())
    return Line(float(y.mean()), 0.0, middle, JITTER_NS + MOST_DRIFT * max(middle, span - middle))
