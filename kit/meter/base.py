"""What a meter is to the rest: power over time. Meters are one small file each, and one row in the registry."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from kit.files import Files
from kit.records import Float64Array, Int64Array, MeterRecord

CpuTime = Callable[[], int]

FLOWS_BACK = "the mean power is negative: current flows the other way; are the meter's leads swapped?"
"""What is said of one: no device that works gives its supply more than it takes."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a meter watches: the CPU time and the process of the work, where there is one here, and its machine's files.

    A meter that needs what is None says so with MeasurementError.
    """

    cpu_time_ns: CpuTime | None = None
    process_id: int | None = None
    files: Files | None = None


def _no_gaps() -> Int64Array:
    return np.empty((0, 2), np.int64)


@dataclass(frozen=True, slots=True)
class PowerTrace:
    """Samples in order: t_ns int64 [n] on the host's time.monotonic_ns; power_w float64 [n], mean since the one before.

    The first sample has none before it, and neither has one after a gap: its power is NaN. current_a, voltage_v:
    float64 [n], likewise, None where the meter has none. trigger: int64 [n], the digital inputs as bits, None likewise.
    lost_samples: how many the meter is known to have taken, or should have, that are not here. gaps_ns: int64
    [gaps, 2], from the last sample before to the first after what was lost. clock_error_ns: how far t_ns may be off
    the host's clock altogether. ended: why the meter ended before it was stopped; what it measured until then is here.
    """

    t_ns: Int64Array
    power_w: Float64Array
    lost_samples: int
    current_a: Float64Array | None = None
    voltage_v: Float64Array | None = None
    trigger: Int64Array | None = None
    gaps_ns: Int64Array = field(default_factory=_no_gaps)
    clock_error_ns: int = 0
    ended: str = ""


@runtime_checkable
class Meter(Protocol):
    """A meter, opened. Raises MeasurementError if it cannot read."""

    def describe(self) -> MeterRecord:
        """Its name, how it obtains its figures (measured, emulated, estimated), its constants and stated accuracy."""
        ...

    def start(self) -> None:
        """Begin sampling; returns when the first sample is on its way."""
        ...

    def stop(self) -> PowerTrace:
        """End sampling and return everything since `start`; a meter that vanished returns what it gave until then."""
        ...

    def close(self) -> None:
        """Release the meter; never raises, may be called twice."""
        ...
