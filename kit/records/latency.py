"""Latency as it was measured: every sample in order, under a stated scenario, with the device's state alongside."""

from dataclasses import dataclass
from typing import Literal

from kit.records.base import Float32Array, Int64Array, Obtained
from kit.records.device import Conditions, Telemetry

Scenario = Literal["single stream", "periodic", "burst", "offline", "multi-stream"]


@dataclass(frozen=True, slots=True)
class Workload:
    """How inferences follow each other.

    single stream: each when the one before has ended. periodic: one every `period_ns`, start to start; one that cannot
    start in time starts late and is counted. burst: `burst` back to back every `period_ns`. offline: `batch` rows in
    one call where the model takes them, else one call after the other, all of them one sample. multi-stream: `streams`
    threads, each back to back with buffers of its own; samples are of single inferences, in the order they ended.
    """

    scenario: Scenario = "single stream"
    period_ns: int = 0
    burst: int = 1
    batch: int = 1
    streams: int = 1


SINGLE_STREAM = Workload()


@dataclass(frozen=True, slots=True)
class LatencyRecord:
    """Every latency sample, in order, warm-up included.

    samples_ns: int64 [n]; the first `warmup_count` are warm-up as detected by `warmup_method`. starts_ns: int64 [n],
    when each began on the device's clock. window_counts: int64 [windows], how many samples each window has; their sum
    is n. telemetry: the device's state while it ran, on the same clock as starts_ns. late_count: periodic and burst
    starts that were more than a tenth of the period late, those of warm-up left out where starts_ns tells them.
    """

    variant_digest: str
    samples_ns: Int64Array
    warmup_count: int
    warmup_method: str
    scenario: str
    threads: int
    clock: str
    clock_resolution_ns: int
    load_ns: int
    first_run_ns: int
    before: Conditions
    after: Conditions
    obtained: Obtained
    workload: Workload = SINGLE_STREAM
    starts_ns: Int64Array | None = None
    window_counts: Int64Array | None = None
    telemetry: tuple[Telemetry, ...] = ()
    late_count: int = 0


@dataclass(frozen=True, slots=True)
class ColdStartRecord:
    """From nothing to the first answer, a fresh process a session: int64 [sessions] each.

    ready_ns: from the start of the process until its runtime is imported; load_ns: reading and preparing the model;
    first_run_ns: its first inference. The file may be in the system's cache: `method` says what was done about it.
    """

    variant_digest: str
    ready_ns: Int64Array
    load_ns: Int64Array
    first_run_ns: Int64Array
    method: str
    obtained: Obtained


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """One node of the graph that ran: mean time in it per inference, and its share of all nodes' time."""

    name: str
    op_type: str
    output_shapes: str
    provider: str
    mean_ns: float
    share: float


@dataclass(frozen=True, slots=True)
class OperatorProfile:
    """Time by operator over `inferences` runs under the runtime's profiler, which slows them: never a latency."""

    variant_digest: str
    inferences: int
    operators: tuple[OperatorTime, ...]
    method: str
    obtained: Obtained


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """Whether what was timed is what was scored.

    rows: int64 [k], rows whose outputs were taken while timing; timed_scores, scored: float32 [k, outputs], while
    timing and in accuracy mode. varied_ns, repeated_ns: int64 [n] and [m], latencies with rows in turn, and with one
    row again and again: a device that remembers answers is faster on the latter. rounds: in how many turns each was
    taken, as many samples a turn; doubled for as long as nothing was decided.
    """

    variant_digest: str
    rows: Int64Array
    timed_scores: Float32Array
    scored: Float32Array
    varied_ns: Int64Array
    repeated_ns: Int64Array
    obtained: Obtained
    rounds: int = 8
