"""A meter at work: all along where it samples, or anew for each stretch where it reads only at start and stop."""

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from kit.errors import MeasurementError
from kit.meter.base import Meter, PowerTrace
from kit.records import Int64Array

LEAST_SAMPLES = 3
"""A trace with fewer samples has no course: the meter reads at its ends only."""

T = TypeVar("T")


class Watch:
    """Traces of a meter, in order. `ended` says why it gave no more, after which nothing is watched."""

    def __init__(self, meter: Meter) -> None:
        self.traces: list[PowerTrace] = []
        self.ended = ""
        self._meter, self._is_running = meter, False

    @property
    def can_sample(self) -> bool:
        """Whether its last trace shows a course of power."""
        return bool(self.traces) and len(self.traces[-1].t_ns) >= LEAST_SAMPLES

    def run(self) -> None:
        """From now on the meter runs until `stop`."""
        self._meter.start()
        self._is_running = True

    def around(self, work: Callable[[], T]) -> tuple[T, tuple[int, int]]:
        """Do `work`; when it began and ended on the host's clock, ns.

        A meter that fails after it gave a trace has ended; before, its MeasurementError is raised.
        """
        watched = not self._is_running and self._start()
        start_ns = time.monotonic_ns()
        done = work()
        span_ns = start_ns, time.monotonic_ns()
        if watched:
            self._stop()
        return done, span_ns

    def stop(self) -> None:
        """The meter has run until now."""
        if self._is_running:
            self._is_running = False
            self._stop()

    def _start(self) -> bool:
        if self.ended:
            return False
        try:
            self._meter.start()
        except MeasurementError as error:
            self._end(error)
        return not self.ended

    def _stop(self) -> None:
        try:
            trace = self._meter.stop()
        except MeasurementError as error:
            self._end(error)
            return
        self.traces.append(trace)
        self.ended = self.ended or trace.ended

    def _end(self, error: MeasurementError) -> None:
        if not self.traces:
            raise error
        self.ended = str(error)


def rest(duration_s: float) -> Callable[[], None]:
    """Work that is none: the device stays idle, and nothing crosses its link."""
    return lambda: time.sleep(duration_s)


def middle(span_ns: tuple[int, int]) -> tuple[int, int]:
    """The middle half of a stretch: what its clocks and the work beside it cannot reach."""
    quarter_ns = (span_ns[1] - span_ns[0]) // 4
    return span_ns[0] + quarter_ns, span_ns[1] - quarter_ns


def spans(of: list[tuple[int, int]]) -> Int64Array:
    """As int64 [n, 2]."""
    return np.array(of, np.int64).reshape(-1, 2)
