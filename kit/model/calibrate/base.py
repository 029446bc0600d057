"""What calibration takes and gives: methods, and ranges of tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

from kit.records import CalibrationMethod

DEFAULT_PERCENTILE = 99.999
"""Share of magnitudes inside the range, in %: onnxruntime's default."""

ENTROPY_BINS = 2048
"""Bins over a tensor's full range that the entropy method searches (Migacz 2017, "8-bit inference with TensorRT")."""


@dataclass(frozen=True, slots=True)
class Method:
    """A way to find ranges.

    `percentile` in %, for that method alone (None: `DEFAULT_PERCENTILE`). `bins` for entropy alone: 128 is the
    default of onnxruntime, which then has one candidate only, the full range.
    """

    name: CalibrationMethod
    percentile: float | None = None
    bins: int = ENTROPY_BINS


Ranges = Mapping[str, tuple[float, float]]
"""By tensor name: the lowest and the highest value that int8 shall hold."""
