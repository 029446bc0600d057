"""What a meter is to the rest: power over time. Meters are one small file each, and one row in the registry."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kit.records import Float64Array, Int64Array, MeterRecord


@dataclass(frozen=True, slots=True)
class PowerTrace:
    """Samples in order: t_ns int64 [n] on the host's time.monotonic_ns; power_w float64 [n], mean since the one before.

    The first sample has none before it: its power is NaN.
    """

    t_ns: Int64Array
    power_w: Float64Array
    lost_samples: int


@runtime_checkable
class Meter(Protocol):
    """A meter, opened for one device. Raises MeasurementError if it cannot read."""

    def describe(self) -> MeterRecord:
        """Its name, how it obtains its figures (measured, emulated, estimated), and its declared constants."""
        ...

    def start(self) -> None:
        """Begin sampling."""
        ...

    def stop(self) -> PowerTrace:
        """End sampling and return everything since `start`."""
        ...

    def close(self) -> None:
        """Release the meter; never raises, may be called twice."""
        ...
