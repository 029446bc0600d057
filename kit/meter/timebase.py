"""When samples were taken: a meter's own even steps, laid on the host's clock from when its bytes arrived."""

from dataclasses import dataclass

import numpy as np

from kit.records import Float64Array, Int64Array

_DRIFT_SPAN_S, _MOST_DRIFT, _CRYSTAL, _PARTS = 10.0, 500e-6, 100e-6, 8
_BINS = 4096
_FINE_NS = 50_000_000
_WINDOW_NS, _AROUND, _FEW, _STEADY, _DRIFT = 250_000_000, 8, 2, 5, 2e-4


@dataclass(frozen=True, slots=True)
class TimeBase:
    """Sample k was taken at start_ns + k * period_ns of the host's monotonic clock, within error_ns.

    drift_ppm: how much longer the meter's second is than the host's; None where the run was too short to tell.
    """

    start_ns: float
    period_ns: float
    error_ns: int
    drift_ppm: float | None


def fit(arrival_ns: Int64Array, index: Float64Array, rate_hz: float, sent_ns: int) -> TimeBase:
    """Samples cannot arrive before they are taken, nor be taken before the meter was told to start.

    arrival_ns: int64 [reads]; index: float64 [reads], number of the last sample that had arrived, negative where none
    had. The line under all arrivals that is nearest to them (a side of their lower convex hull: Moon, Skelly and
    Towsley, "Estimation and removal of clock skew from network delay measurements", INFOCOM 1999) is the latest that
    the samples can have been taken; `sent_ns` is the earliest. The truth is between: half way is told, and half the
    difference is the error. How far the line may be tilted, told by how far the arrivals of any eighth of the run
    keep from it, is added; and in a run that is too short to tell a drift, that of a crystal.
    """
    period_ns, drift_ppm = 1e9 / rate_hz, None
    some = index >= 0
    x, y = _least(index[some], (arrival_ns[some] - sent_ns).astype(np.float64))
    if (x[-1] - x[0]) / rate_hz >= _DRIFT_SPAN_S:
        slope = _slope_under(x, y)
        if abs(slope / period_ns - 1) <= _MOST_DRIFT:
            period_ns, drift_ppm = slope, (slope * rate_hz / 1e9 - 1) * 1e6
    rest = y - x * period_ns
    latest_ns = float(np.min(rest))  # below 0 only where losses were placed too early
    if drift_ppm is None:
        tilt_ns = _CRYSTAL * (x[-1] - x[0]) * period_ns
    else:
        tilt_ns = 2 * (max(np.min(part) for part in np.array_split(rest, _PARTS)) - latest_ns)
    error_ns = abs(latest_ns) / (2 if latest_ns > 0 else 1) + tilt_ns + period_ns
    return TimeBase(sent_ns + max(0.0, latest_ns) / 2, period_ns, int(np.ceil(error_ns)), drift_ppm)


def unseen_losses(
    arrival_ns: Int64Array, index: Float64Array, rate_hz: float, quantum: int, *, least: int = 1, fine: bool = False
) -> list[tuple[int, int]]:
    """Losses of whole multiples of `quantum` samples, `least` of them or more, which a counter modulo it does not see.

    Each is (read, samples): so many are missing among what arrived around that read. The shortest delay of a quarter
    of a second hardly changes; where samples are missing it grows by the time that they took, and never shrinks
    again. Told from three quarters of a quantum on, where delays are that steady, and not in the first and last half
    second; a slow drift of the clocks is none. `fine`: by the twentieth of a second, from the second one on.
    """
    if len(arrival_ns) == 0:
        return []
    late_ns = arrival_ns - index * (1e9 / rate_hz)
    window_ns, few = (_FINE_NS, 1) if fine else (_WINDOW_NS, _FEW)
    starts = np.flatnonzero(np.diff((arrival_ns - arrival_ns[0]) // window_ns, prepend=-1))
    floor_ns, step_ns = np.minimum.reduceat(late_ns, starts), quantum * 1e9 / rate_hz
    drift_ns = _DRIFT * (arrival_ns[starts] - arrival_ns[0])
    rest_ns = np.minimum.accumulate((floor_ns + drift_ns)[::-1])[::-1] - drift_ns  # of this window and all after it
    found: list[tuple[int, int]] = []
    for at in few + np.flatnonzero(_rises(floor_ns, rest_ns)[few : len(starts) - _FEW + 1] >= (least - 0.25) * step_ns):
        before, after = floor_ns[max(0, at - _AROUND) : at], floor_ns[at : at + _AROUND]
        low_ns, high_ns = before.min(), rest_ns[at]
        count = int(np.floor((high_ns - low_ns) / step_ns + 0.25))
        scatter_ns = max(np.median(before) - low_ns, np.median(after) - high_ns)
        if count >= least and high_ns - low_ns > _STEADY * scatter_ns:
            read = _last_early(late_ns, starts[at - 1], starts[at], low_ns + count * step_ns)
            found.append((read, count * quantum))
            floor_ns[at:] -= count * step_ns
            rest_ns[at:] -= count * step_ns
            late_ns[read + 1 :] -= count * step_ns
    return found


def _rises(floor_ns: Float64Array, rest_ns: Float64Array) -> Float64Array:
    """How much later the rest of the windows is than those just before each, float64 [windows]: what a loss can be."""
    padded = np.concatenate([np.full(_AROUND, np.inf), floor_ns])
    before_ns = np.lib.stride_tricks.sliding_window_view(padded, _AROUND)[:-1].min(axis=1)
    rises: Float64Array = rest_ns - before_ns
    return rises


def _last_early(late_ns: Float64Array, start: int, stop: int, limit_ns: float) -> int:
    """The last read before `stop` that would have come too early for samples after the loss."""
    early = np.flatnonzero(late_ns[start:stop] < limit_ns)
    return int(start + early[-1]) if len(early) else int(start)


def _least(x: Float64Array, y: Float64Array) -> tuple[Float64Array, Float64Array]:
    """At most _BINS points: of neighbours, the one that arrived with the least delay."""
    size = -(-len(x) // _BINS)
    if size <= 1:
        return x, y
    delay = y - x * ((y[-1] - y[0]) / max(1.0, x[-1] - x[0]))
    keep = np.array([i + int(np.argmin(delay[i : i + size])) for i in range(0, len(x), size)])
    return x[keep], y[keep]


def _slope_under(x: Float64Array, y: Float64Array) -> float:
    """Slope of the side of the lower convex hull (Andrew's monotone chain) that is under the middle of x."""
    hull: list[int] = []
    for i in range(len(x)):
        while len(hull) > 1 and _turns_down(x, y, hull[-2], hull[-1], i):
            hull.pop()
        hull.append(i)
    middle = float(np.mean(x))
    side = next(k for k in range(1, len(hull)) if x[hull[k]] >= middle)
    a, b = hull[side - 1], hull[side]
    return float((y[b] - y[a]) / (x[b] - x[a]))


def _turns_down(x: Float64Array, y: Float64Array, a: int, b: int, c: int) -> bool:
    return bool((x[b] - x[a]) * (y[c] - y[a]) <= (y[b] - y[a]) * (x[c] - x[a]))
