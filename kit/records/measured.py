"""What else was measured: memory and predictions."""

from dataclasses import dataclass

from kit.records.base import Arithmetic, Float32Array, Float64Array, Int64Array, Obtained
from kit.records.data import RaggedRecord


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
    """What a model said of every row of a dataset part.

    scores: float32 [rows, classes] (or outputs of a regression, dimensions of an embedding, one score of an anomaly);
    decisions: int64 [rows], index of the class, empty for a task that names none. `items`: a task's answers that are no
    table (tokens, boxes); `scores` is then float32 [rows, 0].
    """

    model_digest: str
    data_digest: str
    where: str
    arithmetic: Arithmetic
    scores: Float32Array
    decisions: Int64Array
    obtained: Obtained
    items: RaggedRecord | None = None


@dataclass(frozen=True, slots=True)
class LossRecord:
    """What each row loses under a measure, so that any slice can be judged later: losses float64 [rows], more is worse.

    The measure over some rows is the sum of their losses over the sum of their `sizes` (float64 [rows], such as words;
    None: each row counts once). `low` and `high` bound a row's loss, None where nothing does.
    """

    measure: str
    model_digest: str
    data_digest: str
    losses: Float64Array
    sizes: Float64Array | None
    low: float | None
    high: float | None
    obtained: Obtained


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """A device run that stopped as soon as its requirements were decided.

    order: int64 [n], rows in the random order in which they crossed the link (without replacement, by `seed`);
    scores: float32 [n, classes] and decisions: int64 [n] of the device on them; `twin`: the same file's predictions on
    all rows, by this host under the device's arithmetic, None where there is no such twin.
    """

    model_digest: str
    data_digest: str
    where: str
    seed: int
    order: Int64Array
    scores: Float32Array
    decisions: Int64Array
    obtained: Obtained
    twin: PredictionRecord | None
    stopped: str
