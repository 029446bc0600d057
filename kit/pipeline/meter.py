"""Measure any command with a meter: its energy, power and duration, above idle if that was measured before it."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.errors import EdgeproofError, MeasurementError
from kit.files import LocalFiles
from kit.meter import Meter, PowerTrace, Watched, open_meter
from kit.pipeline.command import HeldCommand, SignalledError, passing_on, terminal_of
from kit.records import Float64Array, Int64Array, MeterRecord, TraceRecord
from kit.spec.types import MeterSpec

_MOST_REST_S = 0.5


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a meter saw of a stretch of time; `seen_s` of its `duration_s`, and energy only of that.

    Currents are of the `current_seen_s` in which one was known too, and None where it never was; every figure is None
    where the meter saw nothing. The peak is the highest of the samples, None of a single one: that is just the mean.
    """

    duration_s: float
    seen_s: float
    energy_j: float | None
    mean_power_w: float | None
    peak_power_w: float | None
    mean_current_a: float | None
    peak_current_a: float | None
    current_seen_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """A command that was measured: its exit status (-n: signal n), its stretch of the trace, and idle before it.

    above_idle_j: energy less what the idle power takes in the time that was seen. interrupted_by: the signal's name.
    """

    command: tuple[str, ...]
    status: int
    trace: TraceRecord
    whole: Stretch
    idle: Stretch | None
    above_idle_j: float | None
    interrupted_by: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """A meter that was read for a while: what it says of itself, its rate in samples a second, and what it saw."""

    meter: MeterRecord
    rate_hz: float | None
    lost_samples: int
    gaps: int
    seen: Stretch
    ended: str


def look(spec: MeterSpec, duration_s: float) -> Look:
    """Open a meter and read it for `duration_s`; one that watches a process watches this one.

    Raises what opening and reading a meter raise.
    """
    with closing(open_meter(spec, Watched(time.process_time_ns, os.getpid(), LocalFiles()))) as meter:
        trace, span_ns = _watch_idle(meter, duration_s)
        record = meter.describe()  # after the run: some learn their accuracy from it
    found = stretch(trace, span_ns)
    rate_hz = None if len(trace.t_ns) < 2 else 1e9 * (len(trace.t_ns) - 1) / int(trace.t_ns[-1] - trace.t_ns[0])
    return Look(record, rate_hz, trace.lost_samples, len(trace.gaps_ns), found, trace.ended)


def record(spec: MeterSpec, command: Sequence[str], *, idle_s: float = 0.0, to_stderr: bool = False) -> Recorded:
    """Run `command` and measure it; before it, `idle_s` without it. It is held until the meter runs.

    A signal is passed on to the command, and what was measured until then is returned; before it begins, InterruptError
    is raised. Raises what opening and reading a meter raise (`kept` then says how the command ended), and UsageError
    for no such command.
    """
    held = HeldCommand(command, to_stderr=to_stderr)
    try:
        watched = Watched(held.cpu_time_ns, held.process_id, LocalFiles())
        with passing_on(held), closing(open_meter(spec, watched)) as meter:
            idle = stretch(*_watch_idle(meter, idle_s)) if idle_s else None
            trace, span_ns, interrupted_by = _measured(meter, held)
            description = meter.describe()  # after the run: some learn their accuracy from it
    except EdgeproofError as error:
        error.kept = error.kept or held.fate()
        raise
    finally:
        status = held.close()
    if status == -signal.SIGINT:  # on a terminal, Ctrl-C is the command's alone to hear
        interrupted_by = interrupted_by or signal.SIGINT.name
    whole = stretch(trace, span_ns)
    above = None
    if idle is not None and idle.mean_power_w is not None and whole.energy_j is not None:
        above = whole.energy_j - idle.mean_power_w * whole.seen_s
    return Recorded(tuple(command), status, _as_record(trace, description, span_ns), whole, idle, above, interrupted_by)


def _measured(meter: Meter, held: HeldCommand) -> tuple[PowerTrace, Int64Array, str]:
    """The trace, when the command began and ended, and the signal that ended it, if one did."""
    interrupted_by, rest_s = "", _rest_s(meter.describe())
    meter.start()
    with terminal_of(held):
        start_ns = held.release()
        try:
            end_ns = held.wait()
        except SignalledError as interrupt:
            end_ns, interrupted_by = held.stop(interrupt.number), signal.Signals(interrupt.number).name
    time.sleep(rest_s)
    return meter.stop(), np.array([start_ns, end_ns], np.int64), interrupted_by


def _watch_idle(meter: Meter, duration_s: float) -> tuple[PowerTrace, Int64Array]:
    meter.start()
    start_ns = time.monotonic_ns()
    time.sleep(duration_s)
    end_ns = time.monotonic_ns()
    return meter.stop(), np.array([start_ns, end_ns], np.int64)


def _rest_s(meter: MeterRecord) -> float:
    """How long a sampling meter goes on after the command, so that its last sample lies beyond the command's end."""
    rate_hz = meter.parameters.get("sample_rate_hz", 0.0)
    return min(_MOST_REST_S, 2 / rate_hz) if rate_hz > 0 else 0.0


def stretch(trace: PowerTrace, span_ns: Int64Array) -> Stretch:
    """What `trace` saw of span_ns int64 [2]: each sample counts for the time since the one before that lies in it."""
    duration_s = float(span_ns[1] - span_ns[0]) / 1e9
    edges_ns = np.clip(trace.t_ns, *span_ns)
    step_s, power_w = np.diff(edges_ns) / 1e9, trace.power_w[1:]
    is_seen = np.isfinite(power_w) & (step_s > 0)
    seen_s = float(step_s[is_seen].sum())
    if not seen_s:
        return Stretch(duration_s, 0.0, None, None, None, None, None)
    energy_j = float(power_w[is_seen] @ step_s[is_seen])
    peak_w = _peak(power_w[is_seen])
    current = _current(trace, step_s, is_seen)
    return Stretch(duration_s, seen_s, energy_j, energy_j / seen_s, peak_w, *current)


def _current(
    trace: PowerTrace, step_s: Float64Array, is_seen: NDArray[np.bool_]
) -> tuple[float | None, float | None, float]:
    """Mean and peak in A of what is known where power is seen, and for how many seconds that is."""
    if trace.current_a is None:
        return None, None, 0.0
    is_known = is_seen & np.isfinite(trace.current_a[1:])
    current_a, step_s = trace.current_a[1:][is_known], step_s[is_known]
    known_s = float(step_s.sum())
    return (float(current_a @ step_s) / known_s, _peak(current_a), known_s) if known_s else (None, None, 0.0)


def _peak(values: Float64Array) -> float | None:
    return float(values.max()) if len(values) > 1 else None


def _as_record(trace: PowerTrace, meter: MeterRecord, span_ns: Int64Array) -> TraceRecord:
    if not len(trace.t_ns):
        raise MeasurementError("the meter gave no sample", next_step="look at it with: edgeproof meter show")
    epoch_ns = trace.t_ns[0]
    return TraceRecord(
        meter=meter, t_ns=trace.t_ns - epoch_ns, power_w=trace.power_w, current_a=trace.current_a,
        voltage_v=trace.voltage_v, trigger=trace.trigger, lost_samples=trace.lost_samples,
        gaps_ns=trace.gaps_ns - epoch_ns, command_ns=span_ns - epoch_ns, ended=trace.ended, obtained=meter.obtained,
    )  # fmt: skip
