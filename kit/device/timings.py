"""What a device answers to measuring, made into samples once it can be true: no device is believed for its own sake."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import fields as fields_of

import numpy as np
from numpy.typing import NDArray

from kit.device.base import BusyWindow, ColdStartSamples, LatencySamples, MemorySamples
from kit.device.texts import text
from kit.errors import DeviceError
from kit.records import Float32Array, Int64Array, OperatorTime, Workload
from kit.spec.text import shown
from kit.wire import Message

MAX_SAMPLES = 1 << 19
"""An agent ends a timing at so many, whatever was asked."""

MAX_KEPT, MAX_OUTPUTS, MAX_NODES = 16, 1 << 20, 20_000
_MEMORY_FIGURES = {each.name for each in fields_of(MemorySamples)} - {"baseline_bytes", "method"}
_CLOCK_SHARE, _CLOCK_SLACK_NS = 0.1, 100_000_000  # how far a device's clock may be from the host's, and its start

Wrong = Callable[[str], DeviceError]
"""The error for an answer that cannot be, which names the device."""


class Answers:
    """Reads the answers to one request, which was asked at the moment that this is made."""

    def __init__(self, wrong: Wrong) -> None:
        self._wrong, self._asked_ns = wrong, time.monotonic_ns()

    def outputs(self, reply: Message, rows: int) -> tuple[Float32Array, Int64Array]:
        """Values float32 [sum of counts] and counts int64 [rows] of some rows. Raises DeviceError if they cannot be."""
        values, counts = reply.tensor(), self._int64(reply, 1)
        if values.dtype != np.float32 or values.ndim != 1 or len(counts) != rows:
            raise self._wrong(f"outputs are {values.dtype} {values.shape} in {len(counts)} rows, not of {rows}")
        if (counts < 0).any() or int(counts.astype(object).sum()) != len(values):
            raise self._wrong(f"counts that do not add up to {len(values)} outputs")
        return values.astype(np.float32), counts

    def latency(
        self, reply: Message, workload: Workload, count: int, min_s: float, rows: NDArray[np.intp]
    ) -> LatencySamples:
        """Samples of a timing. `rows`: which of the caller's rows were sent. Raises DeviceError if they cannot be."""
        samples = self._int64(reply, 0)
        if len(samples) < count:
            raise self._wrong(f"the device timed {len(samples)} inferences, {count} were asked for")
        self._possible(f"{len(samples)} inferences", float(samples.sum(dtype=np.float64)) / workload.streams)
        starts = self._starts(reply, samples, workload, min_s) if len(reply.parts) > 1 else None
        kept, scores, name = self._kept(reply, len(rows))
        return LatencySamples(
            samples_ns=samples,
            clock=text(reply, "clock", 200),
            clock_resolution_ns=reply.integer("clock_resolution_ns", 1),
            load_ns=reply.integer("load_ns"),
            first_run_ns=reply.integer("first_run_ns"),
            cpu_ns=reply.integer("cpu_ns"),
            starts_ns=starts,
            late_count=0 if reply.absent("late_count") else reply.integer("late_count", 0, len(samples)),
            sampled_rows=None if kept is None else rows[kept].astype(np.int64),
            sampled_scores=scores,
            sampled_output=name,
        )

    def first_timing(self, timed: LatencySamples) -> LatencySamples:
        """The same, where the session was made for it: then loading and first run were waited for, too."""
        self._possible("load", timed.load_ns)
        self._possible("first_run", timed.first_run_ns)
        return timed

    def cold_start(self, reply: Message, sessions: int) -> ColdStartSamples:
        """Fresh processes' times. Raises DeviceError if they are not so many, or longer than was waited."""
        ready, load, first_run = (self._int64(reply, index) for index in range(3))
        if not len(ready) == len(load) == len(first_run) == sessions:
            raise self._wrong(f"the device started {len(ready)} processes, {sessions} were asked for")
        self._possible(
            f"{sessions} cold starts", sum(float(times.sum(dtype=np.float64)) for times in (ready, load, first_run))
        )
        return ColdStartSamples(ready, load, first_run, text(reply, "method"))

    def operators(self, reply: Message, inferences: int) -> tuple[OperatorTime, ...]:
        """Mean time by node, longest first. Raises DeviceError for what is no such list."""
        total_ns = self._int64(reply, 1)
        try:
            described = json.loads(reply.blob(0))
        except (ValueError, RecursionError):
            raise self._wrong("its list of operators is no JSON") from None
        if not isinstance(described, list) or not len(described) == len(total_ns) <= MAX_NODES:
            raise self._wrong("its list of operators does not go with their times")
        if not all(isinstance(each, list) and len(each) == 4 and set(map(type, each)) == {str} for each in described):
            raise self._wrong("an operator is described by name, type, output shapes and provider")
        whole_ns = float(total_ns.sum(dtype=np.float64))
        self._possible(f"{inferences} inferences", whole_ns)
        found = [
            OperatorTime(*_four(texts), mean_ns=each_ns / inferences, share=each_ns / max(whole_ns, 1.0))
            for texts, each_ns in zip(described, total_ns.tolist(), strict=True)
        ]
        return tuple(sorted(found, key=lambda operator: -operator.mean_ns))

    def memory(self, reply: Message, sessions: int) -> MemorySamples:
        """Memory by phase, a value a session; phases not known here are left out. Raises DeviceError for others."""
        names = ["peak_bytes", "steady_bytes", *(() if reply.absent("more") else reply.texts("more", limit=8))]
        figures = {name: self._int64(reply, index) for index, name in enumerate(names) if name in _MEMORY_FIGURES}
        if wrong := next((name for name, values in figures.items() if len(values) != sessions), None):
            raise self._wrong(f"{wrong} has {len(figures[wrong])} sessions, {sessions} were asked for")
        return MemorySamples(baseline_bytes=reply.integer("baseline_bytes"), method=text(reply, "method"), **figures)

    def busy(self, reply: Message, duration_s: float) -> BusyWindow:
        """One busy window. Raises DeviceError if it is not as long as was asked, or longer than was waited."""
        start_ns = reply.integer("start_ns")
        ends_ns = start_ns, reply.integer("end_ns", start_ns)
        return self._window(BusyWindow(*ends_ns, reply.integer("inferences"), reply.integer("cpu_ns")), duration_s)

    def pattern(self, reply: Message, pattern_s: Sequence[tuple[float, float]]) -> tuple[BusyWindow, ...]:
        """Busy stretches in order, with the rests that were asked for between them. Raises DeviceError otherwise."""
        table = reply.tensor()
        if table.dtype != np.int64 or table.shape != (len(pattern_s), 4) or table.astype(np.int64).min() < 0:
            raise self._wrong(f"{len(pattern_s)} busy stretches were asked for, found {table.dtype} {table.shape}")
        windows = [
            self._window(BusyWindow(*map(int, row)), busy_s)
            for row, (busy_s, _) in zip(table, pattern_s, strict=True)
        ]  # fmt: skip
        for before, after, (_, idle_s) in zip(windows, windows[1:], pattern_s, strict=False):
            if after.start_ns - before.end_ns < (1 - _CLOCK_SHARE) * idle_s * 1e9:
                raise self._wrong(f"it was asked to rest for {idle_s:g} s, and did not")
        self._possible("its pattern", windows[-1].end_ns - windows[0].start_ns)
        return tuple(windows)

    def _window(self, window: BusyWindow, duration_s: float) -> BusyWindow:
        window_ns, least_ns = window.end_ns - window.start_ns, (1 - _CLOCK_SHARE) * duration_s * 1e9 - _CLOCK_SLACK_NS
        self._possible(f"{window.inferences} inferences", window_ns)
        if window_ns < max(0, least_ns) or window.inferences > window_ns:
            raise self._wrong(
                f"it was asked to work for {duration_s:g} s, and says that it did {window.inferences} inferences "
                f"in {window_ns / 1e9:g} s"
            )
        return window

    def _starts(self, reply: Message, samples: Int64Array, workload: Workload, min_s: float) -> Int64Array:
        """When each sample began: in order, none before the one before it has ended (streams: as they ended)."""
        starts = self._int64(reply, 1)
        if len(starts) != len(samples):
            raise self._wrong(f"it tells {len(starts)} starts of {len(samples)} inferences")
        ends = starts + samples
        is_in_order = (np.diff(ends) >= 0).all() if workload.streams > 1 else (starts[1:] >= ends[:-1]).all()
        if not is_in_order or (ends < starts).any():
            raise self._wrong("its inferences are not in the order of their times")
        span_ns = float(ends[-1]) - float(starts.min())
        periods = 0 if workload.scenario not in ("periodic", "burst") else (len(samples) - 1) // workload.burst
        least_ns = max(
            min_s * 1e9 if len(samples) < MAX_SAMPLES // workload.streams else 0, periods * workload.period_ns
        )
        if span_ns < (1 - _CLOCK_SHARE) * least_ns - _CLOCK_SLACK_NS:
            raise self._wrong(
                f"its inferences lasted {span_ns / 1e9:g} s together, at least {least_ns / 1e9:g} s is due"
            )
        self._possible(f"{len(samples)} inferences", span_ns)
        return starts

    def _kept(self, reply: Message, rows: int) -> tuple[Int64Array | None, Float32Array | None, str | None]:
        """Which rows' outputs were kept, those, and the output's name; None thrice where there are none."""
        if len(reply.parts) < 4 or reply.absent("scores_name"):
            return None, None, None
        kept, scores = self._int64(reply, 2), reply.tensor(3)
        fits = scores.dtype == np.float32 and scores.ndim == 2 and len(scores) == len(kept)
        if not fits or len(kept) > MAX_KEPT or scores.size > MAX_OUTPUTS or kept.max(initial=0) >= rows:
            raise self._wrong(f"outputs kept are {scores.dtype} {scores.shape} of {len(kept)} rows")
        return (kept, scores.astype(np.float32), text(reply, "scores_name", 1000)) if len(kept) else (None, None, None)

    def _possible(self, what: str, took_ns: float) -> None:
        """Raises DeviceError if something took longer than the host itself waited for it."""
        waited_ns = time.monotonic_ns() - self._asked_ns
        if took_ns > (1 + _CLOCK_SHARE) * waited_ns + _CLOCK_SLACK_NS:
            raise self._wrong(
                f"it says that {what} took {took_ns / 1e9:.6g} s, and the host waited {waited_ns / 1e9:.6g} s for them"
            )

    def _int64(self, reply: Message, index: int) -> Int64Array:
        return int64(reply, index, self._wrong)


def _four(texts: list[str]) -> tuple[str, str, str, str]:
    name, op_type, output_shapes, provider = map(shown, texts)
    return name, op_type, output_shapes, provider


def int64(reply: Message, index: int, wrong: Wrong) -> Int64Array:
    """The part at `index`, int64 [n], none of it below 0. Raises DeviceError for anything else."""
    values = reply.tensor(index)
    if values.dtype != np.int64 or values.ndim != 1 or values.astype(np.int64).min(initial=0) < 0:
        raise wrong(f"part {index} is {values.dtype} {values.shape}, not int64 [n] from 0")
    return values.astype(np.int64)
