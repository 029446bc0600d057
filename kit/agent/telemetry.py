"""The device's state while it works: sampled between two inferences, never during one, so that no sample is disturbed.

A thread of its own would take the interpreter from a timed inference that ends meanwhile.
"""

import time

from kit.agent import state
from kit.agent.work import Work
from kit.wire import FrameType, Message

DEFAULT_PERIOD_S = 1.0
MIN_PERIOD_S = 0.1


class Telemetry:
    """Sends the conditions every `period_s` of a request, from `tick`; never where that is 0."""

    def __init__(self, work: Work) -> None:
        request = work.request
        period_s = DEFAULT_PERIOD_S if request.absent("telemetry_s") else request.number("telemetry_s", 0, 3600)
        self._work, self._period_ns = work, int(max(period_s, MIN_PERIOD_S) * 1e9) if period_s else 0
        self._due_ns = time.perf_counter_ns()

    def tick(self, done: int, total: int) -> None:
        """Progress, as `Work.tick`, and a sample if one is due."""
        self._work.tick(done, total)
        now_ns = time.perf_counter_ns()
        if self._period_ns and now_ns >= self._due_ns:
            self._due_ns = now_ns + self._period_ns
            self._work.send(FrameType.TELEMETRY, Message("telemetry", {"clock_ns": now_ns, **state.conditions()}))
