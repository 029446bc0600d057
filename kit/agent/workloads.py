"""Time inferences as they follow each other in use: back to back, at a period, in bursts, in batches, in streams."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.agent.bound import Bound
from kit.agent.runner import PROGRESS_NS, Tick, TimedSession
from kit.agent.series import MAX_SAMPLES, Goal, Kept, Series, no_garbage_collection
from kit.agent.work import RefusalError
from kit.wire import Message

SCENARIOS = ("single stream", "periodic", "burst", "offline", "multi-stream")
MAX_PERIOD_NS = 600 * 10**9
MAX_BURST, MAX_BATCH, MAX_STREAMS = 10_000, 1 << 16, 64
SPIN_NS = 200_000
"""A sleep ends so long before its time, which the clock then decides: the system's timers are not that exact."""

_SLICE_NS = 100_000_000
_LOOK_S = 0.02


@dataclass(frozen=True, slots=True)
class Workload:
    """As kit.records.Workload, which the host sends."""

    scenario: str
    period_ns: int
    burst: int
    batch: int
    streams: int


@dataclass(frozen=True, slots=True)
class Timing:
    """samples_ns, starts_ns int64 [n]; cpu_ns is this process's over the loop; outputs of kept rows float32 [k, m]."""

    samples_ns: NDArray[np.int64]
    starts_ns: NDArray[np.int64]
    late_count: int
    cpu_ns: int
    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    scores_name: str | None


def workload_of(request: Message) -> Workload:
    """What a request asks for; without `scenario`, a single stream. Raises LinkError, or RefusalError."""
    scenario = "single stream" if request.absent("scenario") else request.text("scenario", limit=32)
    if scenario not in SCENARIOS:
        known = ", ".join(SCENARIOS)
        raise RefusalError(f"unknown scenario {scenario!r}", next_step=f"this agent knows {known}", reason="scenario")

    def number(name: str, most: int, scenarios: tuple[str, ...]) -> int:
        return request.integer(name, 1, most) if scenario in scenarios else 1

    return Workload(
        scenario,
        number("period_ns", MAX_PERIOD_NS, ("periodic", "burst")),
        number("burst", MAX_BURST, ("burst",)),
        number("batch", MAX_BATCH, ("offline",)),
        number("streams", MAX_STREAMS, ("multi-stream",)),
    )


def time_session(timed: TimedSession, rows: NDArray[np.generic], workload: Workload, goal: Goal, tick: Tick) -> Timing:
    """Time a session under `workload`; the runtime's calls alone, on rows written before each.

    Where an offline batch is one call after the other, writing the rows is part of its sample.
    """
    batch = workload.batch if takes_batches(timed.session) else 1
    streams = [Bound(timed.session, rows, batch) for _ in range(workload.streams)]
    bound = streams[0]
    if timed.first_run_ns is None:
        timed.first_run_ns = bound.first_run_ns
    kept = Kept(bound, max(1, goal.count // len(streams)))
    cpu_start_ns = time.process_time_ns()
    with no_garbage_collection():
        if len(streams) > 1:
            samples_ns, starts_ns, late_count = _multi_stream(streams, kept, goal, tick)
        else:
            series = Series(goal, tick, lambda: bound.run(bound.binding), workload.batch)
            if workload.scenario in ("periodic", "burst"):
                _paced(bound, kept, series, workload)
            elif workload.batch > batch:
                _one_after_the_other(bound, kept, series)
            else:
                _back_to_back(bound, kept, series)
            (samples_ns, starts_ns), late_count = series.taken(), series.late_count
    cpu_ns = time.process_time_ns() - cpu_start_ns
    scores = np.array(kept.scores, np.float32) if kept.scores else np.empty((0, 0), np.float32)
    return Timing(
        samples_ns, starts_ns, late_count, cpu_ns, np.array(kept.rows, np.int64), scores, bound.scores_name
    )  # fmt: skip


def takes_batches(session: Any) -> bool:
    """Whether the first dimension of the model's input is dynamic."""
    shape = session.get_inputs()[0].shape if session.get_inputs() else []
    return bool(shape) and not isinstance(shape[0], int)


def _back_to_back(bound: Bound, kept: Kept, series: Series) -> None:
    """The loop that adds least: what is not for every turn is done where `next_done` or `next_ns` is reached."""
    clock, write, run, binding = time.perf_counter_ns, bound.write, bound.run, bound.binding
    samples, starts, done, next_done, next_ns = series.samples, series.starts, 0, 1, 0
    while True:
        write(done)
        before_ns = clock()
        run(binding)
        after_ns = clock()
        samples[done] = after_ns - before_ns
        starts[done] = before_ns
        done += 1
        if done >= next_done or after_ns >= next_ns:
            series.done = done
            if kept.due == done - 1:
                kept.take(kept.due)
            if series.pause(after_ns):
                return
            next_done, next_ns = series.next_done, series.next_ns
            if kept.due >= 0:
                next_done = min(next_done, kept.due + 1)


def _one_after_the_other(bound: Bound, kept: Kept, series: Series) -> None:
    """A sample of `series.each` calls; where it lasts long, progress is told and cancelling heard during it."""
    clock, write, run, binding, batch = time.perf_counter_ns, bound.write, bound.run, bound.binding, series.each
    step, index, is_last = max(1, PROGRESS_NS // max(1, bound.first_run_ns)), 0, False
    while not is_last:
        before_ns = clock()
        for first in range(0, batch, step):
            for row in range(index * batch + first, index * batch + min(first + step, batch)):
                write(row)
                run(binding)
            series.tell(clock(), min(first + step, batch) - 1)
        after_ns = clock()
        if index == kept.due:
            kept.take((index + 1) * batch - 1)
        index += 1
        is_last = series.add(before_ns, after_ns)


def _paced(bound: Bound, kept: Kept, series: Series, workload: Workload) -> None:
    """Bursts (of one, if periodic) on a fixed grid; after a late one the next follow at once until they catch up."""
    clock, write, run, binding = time.perf_counter_ns, bound.write, bound.run, bound.binding
    index, due_ns, is_last = 0, clock() + SPIN_NS, False
    while not is_last and series.has_room(workload.burst):
        write(index)
        wait_until(due_ns, series.tell)
        series.late_count += clock() - due_ns > workload.period_ns // 10
        for _ in range(workload.burst):
            before_ns = clock()
            run(binding)
            after_ns = clock()
            if index == kept.due:
                kept.take(index)
            index += 1
            write(index)
            is_last = series.add(before_ns, after_ns) or is_last
        due_ns += workload.period_ns


def wait_until(due_ns: int, tell: Callable[[int], None]) -> None:
    """Sleep until just before `due_ns` of `time.perf_counter_ns`, then spin; `tell` is called ten times a second."""
    clock = time.perf_counter_ns
    while (left_ns := due_ns - clock()) > SPIN_NS:
        time.sleep(min(left_ns - SPIN_NS, _SLICE_NS) / 1e9)
        if left_ns > _SLICE_NS:
            tell(clock())
    while clock() < due_ns:
        pass


def _multi_stream(
    streams: list[Bound], kept: Kept, goal: Goal, tick: Tick
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """A thread a stream, each back to back, until together they have reached the goal; samples as they ended."""
    most, ended, errors = MAX_SAMPLES // len(streams), threading.Event(), list[BaseException]()
    each = [Series(Goal(most, 0), _no_tick, lambda: None) for _ in streams]

    def work(bound: Bound, series: Series, keep: Kept | None) -> None:
        clock, write, run, binding, index = time.perf_counter_ns, bound.write, bound.run, bound.binding, 0
        try:
            while not ended.is_set():
                write(index)
                before_ns = clock()
                run(binding)
                after_ns = clock()
                if keep is not None and index == keep.due:
                    keep.take(index)
                index += 1
                if series.add(before_ns, after_ns):
                    return
        except BaseException as error:  # told by the thread that waits
            errors.append(error)

    pairs = zip(streams, each, strict=True)
    threads = [
        threading.Thread(target=work, args=(bound, series, kept if bound is streams[0] else None), name="stream")
        for bound, series in pairs
    ]
    begun_ns = time.perf_counter_ns()
    try:
        for thread in threads:
            thread.start()
        while not errors and any(thread.is_alive() for thread in threads):
            time.sleep(_LOOK_S)
            done, lasted_ns = sum(series.done for series in each), time.perf_counter_ns() - begun_ns
            if kept.due < 0 and done >= goal.count and lasted_ns >= goal.min_ns:
                break
            tick(done, max(goal.count, done * goal.min_ns // max(lasted_ns, 1), done + 1))
    finally:
        ended.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    if errors:
        raise errors[0]
    samples, starts = (np.concatenate(part) for part in zip(*(series.taken() for series in each), strict=True))
    order = np.argsort(samples + starts, kind="stable")
    return samples[order], starts[order], 0


def _no_tick(done: int, total: int) -> None:
    """The thread that waits for the streams tells progress."""
