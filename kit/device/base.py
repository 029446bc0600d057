"""What a device is to the rest: load a model by digest, run it, time it, tell its state. Drivers are one file each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kit.records import Conditions, DeviceRecord, Float32Array, Int64Array

Progress = Callable[[int, int], None]
"""Called with (done, total) in the unit of the work: bytes sent, rows predicted, inferences timed."""


@dataclass(frozen=True, slots=True)
class LatencySamples:
    """What a device's clock said: samples_ns int64 [n] in order; `cpu_ns` is the process's CPU time over the loop."""

    samples_ns: Int64Array
    clock: str
    clock_resolution_ns: int
    load_ns: int
    first_run_ns: int
    cpu_ns: int


@dataclass(frozen=True, slots=True)
class MemorySamples:
    """Bytes above the baseline, one value a fresh session: int64 [sessions]."""

    peak_bytes: Int64Array
    steady_bytes: Int64Array
    baseline_bytes: int
    method: str


@dataclass(frozen=True, slots=True)
class BusyWindow:
    """A window of back-to-back inferences on the device: its clock at start and end, count, CPU time used."""

    start_ns: int
    end_ns: int
    inferences: int
    cpu_ns: int


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A device's state at `clock_ns` of its own monotonic clock, while it worked."""

    clock_ns: int
    conditions: Conditions


@runtime_checkable
class Device(Protocol):
    """An opened device. Every method raises LinkError if the stream fails and DeviceError if the device refuses."""

    def identify(self) -> DeviceRecord:
        """Who the device is."""
        ...

    def conditions(self) -> Conditions:
        """Its state now: load, frequency, temperature, memory."""
        ...

    def deploy(self, model: bytes, progress: Progress | None = None) -> str:
        """Put a model there by digest, sending only what it has not; the device verifies the digest, returned."""
        ...

    def predict(
        self,
        digest: str,
        inputs: NDArray[np.generic],
        *,
        output: str | None,
        exact: bool,
        progress: Progress | None = None,
    ) -> Float32Array:
        """Scores float32 [rows, classes] on inputs [rows, *shape]; `exact` asks for integer sums without saturation."""
        ...

    def time_inferences(
        self, digest: str, inputs: NDArray[np.generic], *, count: int, min_s: float, progress: Progress | None = None
    ) -> LatencySamples:
        """Time single inferences, one row each in turn, with bound buffers, on the device's monotonic clock."""
        ...

    def measure_memory(self, digest: str, inputs: NDArray[np.generic], *, sessions: int) -> MemorySamples | None:
        """Peak and steady memory of fresh sessions; None where the device has no method."""
        ...

    def run_busy(self, digest: str, inputs: NDArray[np.generic], *, duration_s: float) -> BusyWindow:
        """Run back to back for `duration_s` so that a meter can watch; duration 0 s loads the model and stays idle."""
        ...

    def clock_offset_ns(self) -> tuple[int, int]:
        """Device clock less host's time.monotonic_ns, and its error bound (half the best round trip), ns."""
        ...

    def cpu_time_ns(self) -> int:
        """CPU time that the agent's process has used since it started."""
        ...

    def process_id(self) -> int | None:
        """The agent's process on this machine, if it runs here; None otherwise."""
        ...

    def close(self) -> None:
        """End the session and release the device; never raises, may be called twice."""
        ...
