"""Pure operations on a meter's trace: integrals between moments, means, peaks. What was not seen is NaN, never filled.

A sample's power is the mean since the sample before, so the integral up to any moment is a line between samples, and
energy is exact between any two of them.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kit.errors import MeasurementError
from kit.meter.base import PowerTrace
from kit.records import Float64Array, Int64Array

MOST_SAMPLES = 500_000
"""A record keeps at most this many samples of a trace; neighbours are merged beyond, their energy kept exactly."""


class Integral:
    """A column of a trace, integrated from its first sample: value x s at any moment, and how much of it is unknown."""

    def __init__(self, t_ns: Int64Array, values: Float64Array) -> None:
        """`values` float64 [n], each the mean since the sample before; NaN where there is none."""
        self.epoch_ns = int(t_ns[0]) if len(t_ns) else 0
        self._t_s = (t_ns - self.epoch_ns) * 1e-9
        step_s, known = np.diff(self._t_s), np.isfinite(values[1:])
        self._sum = np.concatenate([[0.0], np.cumsum(np.where(known, values[1:], 0.0) * step_s)])
        self._unknown_s = np.concatenate([[0.0], np.cumsum(np.where(known, 0.0, step_s))])

    def between(self, start_s: ArrayLike, end_s: ArrayLike) -> NDArray[np.float64]:
        """Integral from `start_s` to `end_s`, arrays of one shape in s since `epoch_ns`; NaN where not all is known."""
        start, end = np.asarray(start_s, np.float64), np.asarray(end_s, np.float64)
        if len(self._t_s) < 2:
            return np.full(start.shape, np.nan)
        unknown = np.interp(end, self._t_s, self._unknown_s) - np.interp(start, self._t_s, self._unknown_s)
        total = np.interp(end, self._t_s, self._sum) - np.interp(start, self._t_s, self._sum)
        outside = (start < self._t_s[0]) | (end > self._t_s[-1]) | (end < start)
        return np.where(outside | (unknown > 0), np.nan, total)

    @property
    def span_s(self) -> tuple[float, float]:
        """First and last moment, s since `epoch_ns`."""
        return (float(self._t_s[0]), float(self._t_s[-1])) if len(self._t_s) else (0.0, 0.0)


def integrals(t_ns: Int64Array, values: Float64Array, spans_ns: Int64Array, error_ns: int = 0) -> Float64Array:
    """Integral of a column over each of spans_ns int64 [k, 2], in value x s, float64 [k]; NaN where not all was seen.

    A span that the trace lacks at most `error_ns` of at either end is taken as far as the trace goes.
    """
    whole = Integral(t_ns, values)
    if not len(t_ns):
        return np.full(len(spans_ns), np.nan)
    start_ns, end_ns = spans_ns[:, 0], spans_ns[:, 1]
    start_ns = np.where(start_ns >= t_ns[0] - error_ns, np.maximum(start_ns, t_ns[0]), start_ns)
    end_ns = np.where(end_ns <= t_ns[-1] + error_ns, np.minimum(end_ns, t_ns[-1]), end_ns)
    start_s, end_s = ((each - whole.epoch_ns) * 1e-9 for each in (start_ns, end_ns))
    return whole.between(start_s, end_s)


def energies_j(traces: Sequence[PowerTrace], spans_ns: Int64Array, error_ns: int = 0) -> Float64Array:
    """Energy of each span in J, float64 [k], from the one of `traces` that saw all of it; NaN where none did."""
    return _seen(traces, [trace.power_w for trace in traces], spans_ns, error_ns)


def charges_c(traces: Sequence[PowerTrace], spans_ns: Int64Array, error_ns: int = 0) -> Float64Array | None:
    """Charge through each span in C, likewise; None for meters that give power alone."""
    with_current = [(trace, trace.current_a) for trace in traces if trace.current_a is not None]
    if not with_current:
        return None
    return _seen([trace for trace, _ in with_current], [current for _, current in with_current], spans_ns, error_ns)


def peak(traces: Sequence[PowerTrace], columns: Sequence[Float64Array], spans_ns: Int64Array) -> float:
    """Largest sample of the columns [n] of `traces` that overlaps any of the spans; NaN where none does."""
    largest = float("nan")
    for trace, values in zip(traces, columns, strict=True):
        first = np.maximum(np.searchsorted(trace.t_ns, spans_ns[:, 0], side="right"), 1)
        last = np.searchsorted(trace.t_ns, spans_ns[:, 1], side="left") + 1
        for a, b in zip(first.tolist(), last.tolist(), strict=True):
            known = values[a:b][np.isfinite(values[a:b])]
            largest = float(np.fmax(largest, known.max())) if len(known) else largest
    return largest


def integrate_j(trace: PowerTrace, start_ns: int, end_ns: int, error_ns: int = 0) -> float:
    """Energy in J between two moments of the trace's clock.

    Raises MeasurementError if the trace lacks more than `error_ns` of it at either end, or has a gap in it.
    """
    if len(trace.t_ns) < 2 or trace.t_ns[0] > start_ns + error_ns or trace.t_ns[-1] < end_ns - error_ns:
        raise MeasurementError(
            "the meter's trace does not cover the busy window",
            next_step="check that the meter runs, and that device and meter have not lost samples or time",
        )
    energy_j = float(energies_j([trace], np.array([[start_ns, end_ns]]), error_ns)[0])
    if not np.isfinite(energy_j):
        raise MeasurementError(
            "the meter's trace has samples that are no number", next_step="check the meter's range and its connection"
        )
    return energy_j


def mean_power_w(trace: PowerTrace) -> float:
    """Mean power in W over all of the trace that was seen. Raises MeasurementError if nothing was."""
    step_s, known = np.diff(trace.t_ns) * 1e-9, np.isfinite(trace.power_w[1:])
    if not known.any() or step_s[known].sum() <= 0:
        raise MeasurementError("the meter's trace holds no power", next_step="check that the meter runs")
    return float((trace.power_w[1:][known] * step_s[known]).sum() / step_s[known].sum())


def period_ns(traces: Sequence[PowerTrace]) -> int:
    """The median distance of samples in the trace with the most of them, ns; 0 where there are fewer than two."""
    longest = max((trace.t_ns for trace in traces), key=len, default=np.empty(0, np.int64))
    return int(np.median(np.diff(longest))) if len(longest) > 1 else 0


def joined(traces: Sequence[PowerTrace]) -> PowerTrace:
    """Traces of one meter, one after the other, as one: between two of them nothing was seen (NaN, no gap of theirs).

    Columns that not all of them have are None. Raises MeasurementError where there is none.
    """
    if not traces:
        raise MeasurementError("the meter gave no trace", next_step="check that the meter runs")

    def column(name: str) -> Float64Array | None:
        parts = [getattr(trace, name) for trace in traces]
        return None if any(part is None for part in parts) else np.concatenate(parts)

    return PowerTrace(
        t_ns=np.concatenate([trace.t_ns for trace in traces]),
        power_w=np.concatenate([np.r_[np.nan, trace.power_w[1:]] for trace in traces]),
        lost_samples=sum(trace.lost_samples for trace in traces),
        current_a=column("current_a"),
        voltage_v=column("voltage_v"),
        gaps_ns=np.concatenate([trace.gaps_ns for trace in traces]).astype(np.int64).reshape(-1, 2),
        clock_error_ns=max(trace.clock_error_ns for trace in traces),
        ended="; ".join(dict.fromkeys(trace.ended for trace in traces if trace.ended)),
    )


def thinned(trace: PowerTrace, most: int = MOST_SAMPLES) -> PowerTrace:
    """At most about `most` samples: groups of neighbours become their mean, so that energy between those kept is exact.

    A group that holds anything unknown is unknown. Triggers are not kept. A trace that is short enough stays as it is.
    """
    group = -(-(len(trace.t_ns) - 1) // most)
    if group <= 1:
        return trace
    kept = np.unique(np.r_[np.arange(0, len(trace.t_ns), group), len(trace.t_ns) - 1])
    spans_ns = np.stack([trace.t_ns[kept[:-1]], trace.t_ns[kept[1:]]], axis=1)
    lengths_s = np.diff(trace.t_ns[kept]) * 1e-9

    def means(values: Float64Array | None) -> Float64Array | None:
        return None if values is None else np.r_[np.nan, integrals(trace.t_ns, values, spans_ns) / lengths_s]

    power_w = np.r_[np.nan, integrals(trace.t_ns, trace.power_w, spans_ns) / lengths_s]
    return replace(
        trace, t_ns=trace.t_ns[kept], power_w=power_w, current_a=means(trace.current_a),
        voltage_v=means(trace.voltage_v), trigger=None,
    )  # fmt: skip


def _seen(
    traces: Sequence[PowerTrace], columns: Sequence[Float64Array], spans_ns: Int64Array, error_ns: int
) -> Float64Array:
    found = np.full(len(spans_ns), np.nan)
    for trace, values in zip(traces, columns, strict=True):
        found = np.where(np.isnan(found), integrals(trace.t_ns, values, spans_ns, error_ns), found)
    return found
