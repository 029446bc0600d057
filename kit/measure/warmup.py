"""Where the warm-up of a series ends, found in the series itself."""

import numpy as np

from kit.records import Int64Array

BATCH = 5
METHOD = (
    "MSER-5 (White, Simulation 69(6), 1997) on medians of batches of 5, so that a lone outlier stays in the tail; "
    "at most a quarter is warm-up, so that a disturbance later in the run is kept and counted"
)
MOST = 4
"""At most one in so many samples is warm-up: what comes later is how the device is, not how it starts."""


def warmup_count(samples_ns: Int64Array) -> int:
    """How many leading samples of int64 [n] are warm-up; from 0 to n/4, a multiple of 5.

    Truncating d batches leaves a standard error of the mean; the d with the least squared one is taken.
    """
    batches = len(samples_ns) // BATCH
    if batches < 4:
        return 0
    medians = np.median(samples_ns[: batches * BATCH].reshape(batches, BATCH), axis=1)
    medians -= medians.mean()  # keeps the sums of squares below exact
    left = np.arange(batches, 0, -1)
    sums, squares = np.cumsum(medians[::-1])[::-1], np.cumsum(medians[::-1] ** 2)[::-1]
    error = (squares - sums**2 / left) / left**2
    return int(np.argmin(np.maximum(error, 0)[: batches // MOST + 1])) * BATCH
