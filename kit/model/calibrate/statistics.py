"""What calibration keeps of one tensor: sums, extremes and counts, of a fixed size however many rows there are."""

import numpy as np

from kit.errors import ModelError
from kit.model.calibrate.histogram import Histogram
from kit.model.rows import Array


class TensorStatistics:
    """Extremes and, where a method needs them, counts of all values that a float tensor had so far.

    Attributes:
        rows: rows in which it had values.
        lowest, highest: over all rows.
        sum_of_lowest, sum_of_highest: over rows, of each row's lowest and highest value.
        histogram: of all values; None if no method asked for it.
    """

    __slots__ = ("highest", "histogram", "lowest", "rows", "sum_of_highest", "sum_of_lowest")

    def __init__(self, *, counted: bool) -> None:
        self.rows = 0
        self.lowest, self.highest = float("inf"), float("-inf")
        self.sum_of_lowest = self.sum_of_highest = 0.0
        self.histogram = Histogram() if counted else None

    def add_row(self, values: Array) -> None:
        """Take in the tensor's values (of any float dtype and shape) of one row.

        Raises:
            ModelError: a value is not finite, or beyond float32.
        """
        if values.size == 0:
            return
        values = np.ascontiguousarray(values, dtype=np.float32)
        lowest, highest = float(values.min()), float(values.max())  # NaN comes through both
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            bad = values[~np.isfinite(values)].flat[0]
            raise ModelError(f"it holds {bad}", next_step="look at this row's inputs, or leave the row out")
        self.rows += 1
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self.sum_of_lowest += lowest
        self.sum_of_highest += highest
        if self.histogram is not None:
            self.histogram.add(values, max(-lowest, highest))
