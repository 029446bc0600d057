"""How many rows go to a device at once, which ones where not all are needed, and progress over messages."""

import numpy as np
from numpy.typing import NDArray

from kit.device.base import Progress
from kit.errors import DeviceError
from kit.records import Workload

ROWS_BYTES = 4 << 20
"""Most that the rows of one message take; on a slow line, what it moves in about a second."""

MAX_TIMED_ROWS = 1024


def rows_a_message(inputs: NDArray[np.generic], bytes_per_s: float | None, where: str) -> int:
    """How many of inputs [rows, *shape] one message carries over a line of `bytes_per_s`; None: a fast one.

    Raises DeviceError, which names `where`, if there are no rows.
    """
    if inputs.ndim < 1 or not len(inputs):
        raise DeviceError("there are no rows to send", where=where, next_step="check the dataset")
    size_bytes = min(ROWS_BYTES, bytes_per_s or ROWS_BYTES)
    return max(1, int(size_bytes) // max(1, inputs[:1].nbytes))


def chosen_rows(inputs: NDArray[np.generic], most: int) -> NDArray[np.intp]:
    """At most `most` rows, and at most 1024, evenly spread over all: their numbers, rising."""
    few = min(len(inputs), MAX_TIMED_ROWS, most)
    return np.linspace(0, len(inputs) - 1, few).astype(np.intp)


def least_s(workload: Workload, count: int) -> float:
    """How long `count` samples take at least."""
    return -(-count // max(1, workload.burst)) * workload.period_ns / 1e9


def shifted(progress: Progress | None, start: int, total: int) -> Progress:
    """Progress within one message as progress of the whole."""

    def told(done: int, _: int) -> None:
        if progress is not None:
            progress(start + done, total)

    return told
