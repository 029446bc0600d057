"""What else was measured: memory and predictions."""

from dataclasses import dataclass

from kit.records.base import Arithmetic, Float32Array, Int64Array, Obtained


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """Memory that the model adds to the process, one value a fresh session, and the method.

    peak_bytes, steady_bytes: int64 [sessions], above `baseline_bytes` of the runtime without a model; the highest of
    all phases, and resident after the last run. load_peak_bytes, first_run_peak_bytes: the high-water marks of loading
    and of the first inference alone. steady_proportional_bytes: shared pages counted by their sharers' number (PSS),
    above the baseline's. arena_bytes: what the runtime's arena holds, in itself. model_bytes: the file on storage;
    weight_bytes: of those, initializers.
    """

    variant_digest: str
    peak_bytes: Int64Array
    steady_bytes: Int64Array
    baseline_bytes: int
    method: str
    obtained: Obtained
    load_peak_bytes: Int64Array | None = None
    first_run_peak_bytes: Int64Array | None = None
    steady_proportional_bytes: Int64Array | None = None
    arena_bytes: Int64Array | None = None
    model_bytes: int | None = None
    weight_bytes: int | None = None


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
