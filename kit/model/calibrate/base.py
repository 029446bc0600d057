"""What calibration gives: ranges of tensors."""

from collections.abc import Mapping
from dataclasses import dataclass

from kit.records import CalibrationMethod


@dataclass(frozen=True, slots=True)
class Method:
    """A way to find ranges; `percentile` in %, for that method alone."""

    name: CalibrationMethod
    percentile: float | None = None


Ranges = Mapping[str, tuple[float, float]]
"""By tensor name: the lowest and the highest value that int8 shall hold."""
