"""A recorded trace, played from its beginning each time that the meter starts.

It is "measured" only where its file says what measured it; else it is an estimate, which certifies nothing. Nothing
ties its time to this run's: the clock error is the whole of it, and it tells no inference's energy.
"""

import time
from pathlib import Path

import numpy as np

from kit.errors import MeasurementError
from kit.meter.base import PowerTrace, Watched
from kit.meter.polling import stated_accuracy
from kit.meter.recording import read_recording
from kit.records import Int64Array, MeterRecord
from kit.spec.types import MeterSpec


class ReplayMeter:
    """words: file. parameters: voltage_v, for a file with current alone."""

    def __init__(self, spec: MeterSpec, watched: Watched) -> None:  # noqa: ARG002  it watches nothing
        path = Path(spec.words["file"])
        self._recording = read_recording(path, voltage_v=spec.parameters.get("voltage_v"))
        by = f"recorded by {self._recording.meter}" if self._recording.meter else "which does not say what recorded it"
        self._record = MeterRecord(
            spec.driver,
            self._recording.obtained,
            f"trace {path.name}, {by}",
            {"duration_s": float(self._recording.t_ns[-1]) / 1e9, "samples": float(len(self._recording.t_ns))},
            stated_accuracy(spec) or self._recording.accuracy,
        )
        self._start_ns: int | None = None

    def describe(self) -> MeterRecord:
        """See Meter."""
        return self._record

    def start(self) -> None:
        """See Meter."""
        self._start_ns = time.monotonic_ns()

    def stop(self) -> PowerTrace:
        """See Meter: what of the trace was played since `start`."""
        if self._start_ns is None:
            raise MeasurementError("the meter was stopped before it was started", where="meter replay")
        start_ns, self._start_ns = self._start_ns, None
        whole = self._recording
        played_ns = time.monotonic_ns() - start_ns
        count = int(np.searchsorted(whole.t_ns, played_ns, side="right"))
        if count < 2:
            what = f"{played_ns / 1e9:.3g} s of the trace were played, less than two samples"
            raise MeasurementError(what, where="meter replay", next_step="measure longer")
        is_over = played_ns > whole.t_ns[-1] + 2 * float(np.median(np.diff(whole.t_ns)))
        gaps_ns = played_gaps(whole.gaps_ns, int(whole.t_ns[count - 1]))
        return PowerTrace(
            t_ns=whole.t_ns[:count] + start_ns,
            power_w=whole.power_w[:count],
            lost_samples=round(whole.lost_samples * self._lost_share(count, gaps_ns)),
            current_a=None if whole.current_a is None else whole.current_a[:count],
            voltage_v=None if whole.voltage_v is None else whole.voltage_v[:count],
            trigger=None if whole.trigger is None else whole.trigger[:count],
            gaps_ns=gaps_ns + start_ns,
            clock_error_ns=int(whole.t_ns[-1]),
            ended=(whole.ended or "the recorded trace is over") if is_over else "",
        )

    def _lost_share(self, count: int, gaps_ns: Int64Array) -> float:
        """How much of what was lost was played: what is lost is lost in the gaps, if there are any."""
        whole = self._recording
        if not len(whole.gaps_ns):
            return count / len(whole.t_ns)
        return float(np.diff(gaps_ns).sum() / np.diff(whole.gaps_ns).sum())

    def close(self) -> None:
        """See Meter."""
        self._start_ns = None


def played_gaps(gaps_ns: Int64Array, last_ns: int) -> Int64Array:
    """int64 [gaps, 2]: those that began before the last sample that was played, and until it."""
    return np.minimum(gaps_ns[gaps_ns[:, 0] < last_ns], last_ns)
