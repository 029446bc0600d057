"""Samples of one timed loop, in order: what it adds to, what tells it that it may end, and which outputs are kept."""

import gc
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.agent.bound import Bound
from kit.agent.runner import PROGRESS_NS, Tick

MAX_SAMPLES = 1 << 19
"""So that samples and starts fit into one answer."""

KEPT_OUTPUTS = 16
_SETTLED_NS = 10_000_000


@dataclass(frozen=True, slots=True)
class Goal:
    """A loop ends once it has `count` samples and has lasted `min_ns`, or at MAX_SAMPLES."""

    count: int
    min_ns: int


class Series:
    """Samples and starts in ns of `time.perf_counter_ns`, and the time to tell progress.

    `settle` runs the model once, untimed, after whatever came between two samples: what that displaced from the
    processor's caches is back before the next. `each` is how many inferences a sample has, for progress.
    """

    __slots__ = (
        "_begun_ns", "_goal", "_settle", "_told_ns", "done", "each", "late_count", "next_done", "next_ns", "samples",
        "starts", "tick",
    )  # fmt: skip

    def __init__(self, goal: Goal, tick: Tick, settle: Callable[[], object], each: int = 1) -> None:
        room = bytes(8 * min(MAX_SAMPLES, goal.count))  # written to now, so that no page is new in the loop
        self.samples, self.starts = array("q", room), array("q", room)
        self.done = self.late_count = 0
        self.tick, self.each, self._goal, self._settle = tick, each, goal, settle
        self._begun_ns = self._told_ns = time.perf_counter_ns()
        self.next_done, self.next_ns = len(self.samples), self._begun_ns

    def add(self, before_ns: int, after_ns: int) -> bool:
        """One more sample; whether it was the last."""
        self.samples[self.done] = after_ns - before_ns
        self.starts[self.done] = before_ns
        self.done += 1
        return (self.done >= self.next_done or after_ns >= self.next_ns) and self.pause(after_ns)

    def pause(self, now_ns: int) -> bool:
        """Whether it is over; else room is made and progress told, as needed.

        To be called when `done` is `next_done` or the clock `next_ns`, which it then sets.
        """
        if self.done >= self._goal.count and (now_ns - self._begun_ns >= self._goal.min_ns or self.done >= MAX_SAMPLES):
            return True
        if self.done == len(self.samples):
            self._grow()
        if now_ns - self._told_ns > PROGRESS_NS:
            self.tell(now_ns)
            self.settle(self.samples[self.done - 1])
        end_ns = self._begun_ns + self._goal.min_ns
        self.next_done, self.next_ns = len(self.samples), self._told_ns + PROGRESS_NS
        if end_ns > now_ns:
            self.next_ns = min(self.next_ns, end_ns)
        return False

    def has_room(self, count: int) -> bool:
        """Whether so many samples more are within MAX_SAMPLES; then there is room for them."""
        while self.done + count > len(self.samples) < MAX_SAMPLES:
            self._grow()
        return self.done + count <= len(self.samples)

    def tell(self, now_ns: int, part: int = 0) -> None:
        """Progress, at most every PROGRESS_NS: how many inferences there were, and will be at the present rate.

        part: inferences of the sample under way.
        """
        if now_ns - self._told_ns > PROGRESS_NS:
            expected = self.done * self._goal.min_ns // max(now_ns - self._begun_ns, 1)
            samples = min(MAX_SAMPLES, max(self._goal.count, expected, self.done + 1))
            self.tick(self.done * self.each + part, samples * self.each)
            self._told_ns = time.perf_counter_ns()

    def settle(self, sample_ns: int) -> None:
        """Run once, untimed; not where an inference lasts so long that caches are no matter."""
        if sample_ns < _SETTLED_NS:
            self._settle()

    def taken(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Samples and starts, int64 [done]."""
        return np.array(self.samples[: self.done], np.int64), np.array(self.starts[: self.done], np.int64)

    def _grow(self) -> None:
        more = bytes(8 * (min(2 * len(self.samples), MAX_SAMPLES) - len(self.samples)))
        self.samples.frombytes(more)
        self.starts.frombytes(more)


class Kept:
    """Outputs of a few calls, evenly spread over rows and samples, read from the bound buffers after their sample.

    `due` is the next call whose output is to be kept, -1 for none.
    """

    def __init__(self, bound: Bound, count: int) -> None:
        self.rows: list[int] = []
        self.scores: list[NDArray[np.float32]] = []
        self._bound, self._left = bound, iter(_schedule(bound, count) if bound.scores_name is not None else ())
        self.due = next(self._left, -1)

    def take(self, index: int) -> None:
        """Keep the output of call `index`, which is over; the next call settles before it is timed."""
        place = len(self.rows) * self._bound.batch // KEPT_OUTPUTS
        self.rows.append((index * self._bound.batch + place) % self._bound.rows)
        self.scores.append(self._bound.scores(place))
        self.due = next(self._left, -1)
        self._bound.run(self._bound.binding)


def _schedule(bound: Bound, count: int) -> list[int]:
    """At most KEPT_OUTPUTS calls below `count`, spread, each with a row of its own where the rows are enough."""
    many = min(KEPT_OUTPUTS, count)
    calls = set()
    for turn in range(many):
        call, wanted = turn * count // many, turn * bound.rows // many
        shifted = call + (wanted - call) % bound.rows if bound.batch == 1 else call
        calls.add(shifted if shifted < count else call)
    return sorted(calls)


class no_garbage_collection:  # noqa: N801
    """Collect now, then not until the block ends: a collection in a timed loop is no latency of the model."""

    def __enter__(self) -> None:
        gc.collect()
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._was_enabled:
            gc.enable()
