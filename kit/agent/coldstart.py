"""From nothing to the first answer, in a fresh process a session: ``python -m kit.agent.coldstart MODEL THREADS``.

One row arrives on standard input as .npy, from the agent itself; the answer is one line of JSON.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

METHOD = (
    "a fresh process a session, on the agent's clock: ready from before the process is made until its interpreter has "
    "imported numpy and onnxruntime, whose own files may be in the system's cache; then load from file, then one run"
)


def available() -> bool:
    """Whether `time.perf_counter_ns` is one clock for all processes: the system's monotonic one."""
    return "CLOCK_MONOTONIC" in time.get_clock_info("perf_counter").implementation


def measure_start(
    path: Path, threads: int, row: "NDArray[np.generic]", tick: Callable[[], None] = lambda: None
) -> tuple[int, int, int]:
    """ready, load and first run in ns of one fresh process.

    `tick` is called while it works, and may raise, which ends it. Raises DeviceError if the worker fails.
    """
    import numpy

    from kit.agent.worker import run_worker

    stream = io.BytesIO()
    numpy.save(stream, row, allow_pickle=False)
    arguments = [os.fspath(path), str(threads)]
    start_ns = time.perf_counter_ns()
    out = run_worker("kit.agent.coldstart", arguments, stream.getvalue(), tick, {"ORT_DISABLE_TELEMETRY": "1"})
    answer = json.loads(out)
    return max(0, answer["ready_clock_ns"] - start_ns), answer["load_ns"], answer["first_run_ns"]


def evict(path: Path) -> bool:
    """Ask the system to drop the file from its page cache (posix_fadvise(2)); whether every page has left it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        os.fsync(descriptor)  # a page that is not yet on storage stays
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return cached_pages(descriptor) == 0
    except (OSError, AttributeError):  # not this system
        return False
    finally:
        os.close(descriptor)


def cached_pages(descriptor: int) -> int | None:
    """How many pages of an open file are in the system's cache (mincore(2)); None where it does not tell."""
    import ctypes
    import mmap

    size_bytes = os.fstat(descriptor).st_size
    if not size_bytes:
        return 0
    states = ctypes.create_string_buffer(-(-size_bytes // mmap.PAGESIZE))
    libc = ctypes.CDLL(None, use_errno=True)
    with mmap.mmap(descriptor, size_bytes, access=mmap.ACCESS_COPY) as mapped:
        first = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(first)), ctypes.c_size_t(size_bytes), states)
        del first  # the map cannot be closed while it is pointed to
    return None if failed else sum(state & 1 for state in states.raw)


def _work(path: str, threads: int) -> None:
    import numpy
    import onnxruntime as ort

    ready_ns = time.perf_counter_ns()
    row = numpy.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    load_ns = -time.perf_counter_ns()
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    load_ns += time.perf_counter_ns()
    feed = {session.get_inputs()[0].name: row}
    first_run_ns = -time.perf_counter_ns()
    session.run(None, feed)
    first_run_ns += time.perf_counter_ns()
    answer = {"ready_clock_ns": ready_ns, "load_ns": load_ns, "first_run_ns": first_run_ns}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    _work(sys.argv[1], int(sys.argv[2]))
