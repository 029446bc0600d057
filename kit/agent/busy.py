"""Work for a meter to watch: back to back for a while, or by a pattern of work and rest."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.agent.bound import Bound
from kit.agent.runner import PROGRESS_NS, Tick
from kit.agent.series import no_garbage_collection
from kit.agent.work import RefusalError
from kit.agent.workloads import wait_until
from kit.wire import Message

MAX_BUSY_S = 600.0
MAX_STRETCHES = 256


def keep_busy(session: Any, rows: NDArray[np.generic], duration_s: float, tick: Tick) -> tuple[int, int, int, int]:
    """Run back to back for `duration_s`: clock at start and end in ns, inferences, CPU time in ns."""
    ((start_ns, end_ns, inferences, cpu_ns),) = keep_pattern(session, rows, [(duration_s, 0.0)], tick)
    return start_ns, end_ns, inferences, cpu_ns


def keep_pattern(
    session: Any, rows: NDArray[np.generic], pattern_s: Sequence[tuple[float, float]], tick: Tick
) -> list[tuple[int, int, int, int]]:
    """Work and rest in turn, each busy stretch as `keep_busy` tells it.

    A rest is counted from the end of the work before, which ends with an inference; its own end is that of the clock.
    """
    bound, stretches = Bound(session, rows), []
    total_ns = max(1, int(sum(map(sum, pattern_s)) * 1e9))
    with no_garbage_collection():
        begun_ns = told_ns = time.perf_counter_ns()

        def tell(now_ns: int) -> None:
            nonlocal told_ns
            if now_ns - told_ns > PROGRESS_NS:
                tick(min(now_ns - begun_ns, total_ns), total_ns)
                told_ns = now_ns

        for busy_s, idle_s in pattern_s:
            stretches.append(_work(bound, int(busy_s * 1e9), tell))
            if idle_s:
                wait_until(stretches[-1][1] + int(idle_s * 1e9), tell)
    return stretches


def _work(bound: Bound, duration_ns: int, tell: Callable[[int], None]) -> tuple[int, int, int, int]:
    clock, write, run, binding, done = time.perf_counter_ns, bound.write, bound.run, bound.binding, 0
    cpu_start_ns = time.process_time_ns()
    start_ns = now_ns = told_ns = clock()
    while now_ns - start_ns < duration_ns:
        write(done)
        run(binding)
        done += 1
        now_ns = clock()
        if now_ns - told_ns > PROGRESS_NS:
            tell(now_ns)
            told_ns = now_ns
    return start_ns, now_ns, done, time.process_time_ns() - cpu_start_ns


def pattern_of(request: Message) -> list[tuple[float, float]]:
    """[busy, idle] in s, in turn. Raises RefusalError for anything else."""
    pattern = request.fields.get("pattern_s")
    if isinstance(pattern, list) and 0 < len(pattern) <= MAX_STRETCHES:
        pairs = [tuple(pair) for pair in pattern if isinstance(pair, list) and len(pair) == 2]
        numbers = [n for pair in pairs for n in pair if isinstance(n, int | float) and not isinstance(n, bool)]
        if len(numbers) == 2 * len(pattern) and min(numbers) >= 0 and sum(numbers) <= MAX_BUSY_S:
            return [(float(busy_s), float(idle_s)) for busy_s, idle_s in pairs]
    raise RefusalError(
        f"pattern_s must be 1 to {MAX_STRETCHES} pairs [busy, idle] in s, at most {MAX_BUSY_S:g} s together",
        next_step="use the same edgeproof release on host and device",
    )
