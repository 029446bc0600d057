"""What a device is to the rest: load a model by digest, run it, time it, tell its state. Drivers are one file each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kit.files import Files
from kit.records import (
    SINGLE_STREAM,
    Conditions,
    DeviceRecord,
    Float32Array,
    Int64Array,
    OperatorTime,
    Telemetry,
    Workload,
)

Progress = Callable[[int, int], None]
"""Called with (done, total) in the unit of the work: bytes sent, rows predicted, inferences timed."""


@dataclass(frozen=True, slots=True)
class LatencySamples:
    """What a device's clock said: samples_ns, starts_ns int64 [n] in order; `cpu_ns` is the process's over the loop.

    sampled_rows: int64 [k], which of the given rows had their outputs kept; sampled_scores: float32 [k, outputs], those
    of the output `sampled_output`. None: the device cannot tell.
    """

    samples_ns: Int64Array
    clock: str
    clock_resolution_ns: int
    load_ns: int
    first_run_ns: int
    cpu_ns: int
    starts_ns: Int64Array | None = None
    late_count: int = 0
    sampled_rows: Int64Array | None = None
    sampled_scores: Float32Array | None = None
    sampled_output: str | None = None


@dataclass(frozen=True, slots=True)
class ColdStartSamples:
    """A fresh process a session, int64 [sessions] each: until its runtime is there, loading, first inference."""

    ready_ns: Int64Array
    load_ns: Int64Array
    first_run_ns: Int64Array
    method: str


@dataclass(frozen=True, slots=True)
class MemorySamples:
    """Bytes above the baseline, one value a fresh session: int64 [sessions]; see MemoryRecord for what each is."""

    peak_bytes: Int64Array
    steady_bytes: Int64Array
    baseline_bytes: int
    method: str
    load_peak_bytes: Int64Array | None = None
    first_run_peak_bytes: Int64Array | None = None
    steady_proportional_bytes: Int64Array | None = None
    arena_bytes: Int64Array | None = None


@dataclass(frozen=True, slots=True)
class BusyWindow:
    """A window of back-to-back inferences on the device: its clock at start and end, count, CPU time used."""

    start_ns: int
    end_ns: int
    inferences: int
    cpu_ns: int


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

    def outputs(
        self,
        digest: str,
        inputs: NDArray[np.generic],
        *,
        output: str | None,
        exact: bool,
        progress: Progress | None = None,
    ) -> tuple[Float32Array, Int64Array]:
        """Every value of one output of any shape: float32 [sum of counts] row after row, and counts int64 [rows].

        Raises DeviceError where the device can only give scores.
        """
        ...

    def time_inferences(
        self,
        digest: str,
        inputs: NDArray[np.generic],
        *,
        count: int,
        min_s: float,
        workload: Workload = SINGLE_STREAM,
        fresh: bool = True,
        progress: Progress | None = None,
    ) -> LatencySamples:
        """Time inferences under `workload`, rows in turn, with bound buffers, on the device's monotonic clock.

        At least `count` samples and `min_s` seconds. `fresh`: in a session made for it, alone on the device; else in
        that of the last timing of the model, if the device kept it. Raises DeviceError for a workload that it cannot.
        """
        ...

    def measure_cold_start(self, digest: str, inputs: NDArray[np.generic], *, sessions: int) -> ColdStartSamples | None:
        """From a fresh process to the first answer; None where the device has no method."""
        ...

    def profile_operators(
        self, digest: str, inputs: NDArray[np.generic], *, inferences: int
    ) -> tuple[OperatorTime, ...] | None:
        """Mean time by node, longest first, in a session of its own; None where the device has no method."""
        ...

    def measure_memory(self, digest: str, inputs: NDArray[np.generic], *, sessions: int) -> MemorySamples | None:
        """Peak and steady memory of fresh sessions; None where the device has no method."""
        ...

    def run_busy(self, digest: str, inputs: NDArray[np.generic], *, duration_s: float) -> BusyWindow:
        """Run back to back for `duration_s` so that a meter can watch; duration 0 s loads the model and stays idle."""
        ...

    def run_pattern(
        self, digest: str, inputs: NDArray[np.generic], *, pattern_s: Sequence[tuple[float, float]]
    ) -> tuple[BusyWindow, ...] | None:
        """Work and rest by `pattern_s` ([busy, idle] in s, in turn): each busy stretch as it was; None: it cannot."""
        ...

    def telemetry(self) -> list[Telemetry]:
        """Its state while it worked, in order, since this was last asked; empty where it does not tell."""
        ...

    def files(self) -> Files | None:
        """Its files that tell power; None where it does not let them be read."""
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
