"""What calibration keeps of one tensor: sums, extremes and counts, of a fixed size however many rows there are."""

import numpy as np

from kit.errors import ModelError
from kit.model.calibrate.histogram import Histogram
from kit.model.rows import Array
from kit.records import Float32Array

_WAITING_VALUES = 1 << 15
"""Values of small rows that are counted together: counting costs as much as some thousand values besides."""


class TensorStatistics:
    """Extremes and, where a method needs them, counts of all values that a float tensor had so far.

    Attributes:
        rows: rows in which it had values.
        lowest, highest: over all rows.
        sum_of_lowest, sum_of_highest: over rows, of each row's lowest and highest value.
    """

    __slots__ = (
        "_histogram",
        "_waiting",
        "_waiting_count",
        "highest",
        "lowest",
        "rows",
        "sum_of_highest",
        "sum_of_lowest",
    )

    def __init__(self, *, counted: bool) -> None:
        self.rows = 0
        self.lowest, self.highest = float("inf"), float("-inf")
        self.sum_of_lowest = self.sum_of_highest = 0.0
        self._histogram = Histogram() if counted else None
        self._waiting: Float32Array = np.empty(0, dtype=np.float32)
        self._waiting_count = 0

    @property
    def histogram(self) -> Histogram | None:
        """Of all values so far; None if no method asked for it."""
        self._count(self._waiting[: self._waiting_count])
        self._waiting_count = 0
        return self._histogram

    def add_row(self, values: Array) -> None:
        """Take in the tensor's values (of any float dtype and shape) of one row.

        Raises:
            ModelError: a value is not finite, or beyond float32.
        """
        if values.size == 0:
            return
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            flat: Float32Array = np.ravel(values).astype(np.float32, copy=False)
        lowest, highest = float(flat.min()), float(flat.max())  # NaN comes through both
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            bad = flat[~np.isfinite(flat)][0]
            raise ModelError(f"it holds {bad}", next_step="look at this row's inputs, or leave the row out")
        self.rows += 1
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self.sum_of_lowest += lowest
        self.sum_of_highest += highest
        if self._histogram is not None:
            self._take(flat)

    def _take(self, values: Float32Array) -> None:
        """Count large rows at once, and small ones together."""
        if values.size > _WAITING_VALUES // 2:
            self._count(values)
            return
        if self._waiting_count + values.size > _WAITING_VALUES:
            self._count(self._waiting[: self._waiting_count])
            self._waiting_count = 0
        if not self._waiting.size:
            self._waiting = np.empty(_WAITING_VALUES, dtype=np.float32)
        end = self._waiting_count + values.size
        self._waiting[self._waiting_count : end] = values
        self._waiting_count = end

    def _count(self, values: Float32Array) -> None:
        if self._histogram is not None and values.size:
            self._histogram.add(values)
