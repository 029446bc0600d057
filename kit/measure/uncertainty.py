"""How far the energy of an inference above idle may be off, part by part (JCGM 100:2008, 4.3, 4.4 and 5.1).

Every part is a share of that one quantity. A window's energy also varies with how many inferences fit in it, which are
counted and so no error.

Above idle is busy power less idle power, by one meter in one range: an error of gain stays in the difference, one of
offset cancels. What is only known to lie within a bound is taken as rectangular: its standard uncertainty is the bound
over the root of 3 (4.3.7).
"""

import math
from collections.abc import Sequence

import numpy as np

from kit.measure.trace import energies_j
from kit.meter.base import PowerTrace
from kit.records import Float64Array, Int64Array, MeterAccuracy, UncertaintyRecord
from kit.stats.means import batch_mean_bounds
from kit.stats.special import student_t_quantile

LEAST_WINDOWS = 3
"""Fewer windows have no spread to speak of."""


def uncertainty(
    accuracy: MeterAccuracy | None,
    above_idle_j: Float64Array,
    window_s: Float64Array,
    window_inferences: Int64Array,
    idle_window_power_w: Float64Array,
    *,
    error_ns: int,
    split_ns: float,
) -> UncertaintyRecord:
    """Shares of the energy of an inference above idle; above_idle_j float64 [windows] is each window's, in J.

    window_inferences int64 [windows]: how many ran in each, one at least. error_ns: how far an edge may be off;
    split_ns: see `split_time_ns`. All None where energy is not positive.
    """
    energy_j, time_s = float(above_idle_j.mean()), float(window_s.mean())
    if not energy_j > 0:
        return UncertaintyRecord(None, None, None, None, None)
    step_w = energy_j / time_s
    gain = None if accuracy is None else accuracy.gain_share / math.sqrt(3)
    resolution = None if accuracy is None else accuracy.resolution_w / math.sqrt(6) / step_w
    alignment = (2 * error_ns + split_ns) / math.sqrt(3) / (time_s * 1e9)
    sampling = _sampling_share(above_idle_j / window_inferences, window_s, window_inferences, idle_window_power_w)
    return UncertaintyRecord(gain, resolution, alignment, sampling, _combined(gain, resolution, alignment, sampling))


def split_time_ns(traces: Sequence[PowerTrace], windows_ns: Int64Array) -> float:
    """Time at the step's power that samples across windows' ends hide, ns, mean over windows.

    Of a sample of length p that lies to a share f in the window, f of its energy is taken, while all that is above idle
    belongs there: f (1 - f) p of the step is lost.
    """
    lost_ns, seen = np.zeros(len(windows_ns)), np.zeros(len(windows_ns), bool)
    for trace in traces:
        inside = np.isfinite(energies_j([trace], windows_ns)) & ~seen
        t_ns, seen = trace.t_ns, seen | inside
        first, last = (np.searchsorted(t_ns, windows_ns[inside, side]) for side in (0, 1))
        for row, a, b in zip(np.flatnonzero(inside).tolist(), first.tolist(), last.tolist(), strict=True):
            start, end = windows_ns[row].tolist()
            parts = [(a, end - start)] if a == b else [(a, t_ns[a] - start), (b, end - t_ns[b - 1])]
            lost_ns[row] = sum(_hidden(float(part), float(t_ns[i] - t_ns[i - 1])) for i, part in parts if i > 0)
    return float(lost_ns[seen].mean()) if seen.any() else 0.0


def _hidden(part_ns: float, sample_ns: float) -> float:
    share = part_ns / sample_ns
    return share * (1 - share) * sample_ns


def _sampling_share(
    inference_j: Float64Array, window_s: Float64Array, window_inferences: Int64Array, idle_w: Float64Array
) -> float | None:
    """Standard error of the mean of correlated windows, and of idle power over an inference, together."""
    if len(inference_j) < LEAST_WINDOWS:
        return None
    inference_s = float(window_s.sum()) / int(window_inferences.sum())
    idle_j = standard_error(idle_w) * inference_s if len(idle_w) >= LEAST_WINDOWS else 0.0
    return math.hypot(standard_error(inference_j), idle_j) / float(inference_j.mean())


def standard_error(values: Float64Array) -> float:
    """Standard error of the mean of `values` [n >= 3], in order, at the count of independent ones they are worth."""
    bounds = batch_mean_bounds(values, 0.95)
    t = student_t_quantile(0.95, max(1.0, bounds.effective_count - 1.0))
    return (bounds.upper - bounds.lower) / 2 / t


def _combined(*shares: float | None) -> float | None:
    known = [share for share in shares if share is not None]
    return math.hypot(*known) if len(known) == len(shares) else None
