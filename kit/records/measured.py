"""What was measured: latency, memory, energy, predictions."""

from dataclasses import dataclass

from kit.records.base import Arithmetic, Float32Array, Float64Array, Int64Array, Obtained
from kit.records.device import Conditions


@dataclass(frozen=True, slots=True)
class LatencyRecord:
    """Every latency sample, in order, warm-up included.

    samples_ns: int64 [n]; the first `warmup_count` are warm-up as detected by `warmup_method`.
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


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """Memory that the model adds to the process, one value a fresh session, and the method.

    peak_bytes, steady_bytes: int64 [sessions], above `baseline_bytes` of the runtime without a model.
    """

    variant_digest: str
    peak_bytes: Int64Array
    steady_bytes: Int64Array
    baseline_bytes: int
    method: str
    obtained: Obtained


@dataclass(frozen=True, slots=True)
class MeterRecord:
    """Where power figures come from; `parameters` are the meter's declared constants with units in their names."""

    name: str
    obtained: Obtained
    description: str
    parameters: dict[str, float]


@dataclass(frozen=True, slots=True)
class EnergyRecord:
    """Energy of timed windows of back-to-back inferences, and the trace that it was integrated from.

    window_energy_j: float64 [windows], gross; window_s: float64 [windows]; window_inferences: int64 [windows].
    idle_power_w: mean power with the model loaded and idle. trace_t_ns: int64 [samples], host clock;
    trace_power_w: float64 [samples].
    """

    variant_digest: str
    meter: MeterRecord
    window_energy_j: Float64Array
    window_s: Float64Array
    window_inferences: Int64Array
    idle_power_w: float
    trace_t_ns: Int64Array
    trace_power_w: Float64Array
    obtained: Obtained


@dataclass(frozen=True, slots=True)
class PredictionRecord:
    """Scores and decisions on every row of a dataset part.

    scores: float32 [rows, classes]; decisions: int64 [rows], index of the class.
    """

    model_digest: str
    data_digest: str
    where: str
    arithmetic: Arithmetic
    scores: Float32Array
    decisions: Int64Array
    obtained: Obtained
