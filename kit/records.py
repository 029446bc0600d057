"""What was measured: frozen records with units in their names, and no behaviour.

A record is raw and immutable; every summary can be recomputed from it. Arrays keep their
dtype and shape; a field that was not obtained is None, never zero.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]
Float64Array = NDArray[np.float64]
Float32Array = NDArray[np.float32]

Obtained = Literal["measured", "emulated", "estimated", "computed", "absent"]
"""How a figure was obtained.

measured: by an instrument or clock on the real thing. emulated: by an emulated device or meter.
estimated: from a declared model; it informs and never passes. computed: exactly, from the file alone
or by an exact arithmetic model. absent: not obtained; never zero, never a pass.
"""

Arithmetic = Literal["default", "exact", "saturating"]
"""default: the runtime's own kernels on that processor; exact: integer sums without saturation
(what ARM and VNNI compute); saturating: the 16-bit pair sums of x86 without VNNI, computed."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Name, dtype (numpy's name) and shape of a model's input or output; a named dimension is dynamic."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model file: its name for people, digest, size, format and interface."""

    name: str
    digest: str
    size_bytes: int
    format: str
    opset: int | None = None
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class ConversionRecord:
    """A source model and its ONNX reference, compared on the same rows.

    `differing_rows` are the row numbers whose decision differs; differences are over the scores.
    """

    source: ModelRecord
    model: ModelRecord
    converter: str
    converter_version: str
    rows: int
    max_abs_difference: float
    max_rel_difference: float
    decisions_agree: int
    differing_rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a variant is made from the reference."""

    name: str
    precision: Literal["fp32", "int8"]
    per_channel: bool = False
    reduce_range: bool = False
    activation_dtype: str = ""
    weight_dtype: str = ""
    calibration: str = ""


@dataclass(frozen=True, slots=True)
class SaturationRecord:
    """Static bound on 16-bit pair sums over all inputs: from the weights alone, so a proof."""

    can_saturate: bool
    worst_pair: int
    limit: int
    nodes_at_risk: tuple[str, ...]
    quantized_nodes: int


@dataclass(frozen=True, slots=True)
class VariantRecord:
    """A variant of the reference: recipe, file, lineage, and what stayed in float with the reason."""

    recipe: Recipe
    model: ModelRecord
    parent_digest: str
    calibration_digest: str | None
    calibration_rows: int
    left_in_float: tuple[str, ...]
    saturation: SaturationRecord


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """What a device said of itself, and which of its parts are emulated.

    `limits` are those that were enforced on it, and by what.
    """

    name: str
    link: str
    emulated: tuple[str, ...]
    system: str
    architecture: str
    cpu_model: str
    instruction_sets: tuple[str, ...]
    logical_cpus: int
    memory_bytes: int | None
    runtime: str
    runtime_version: str
    providers: tuple[str, ...]
    python_version: str
    agent_version: str
    agent_digest: str
    board: str | None = None
    free_storage_bytes: int | None = None
    thermal_zones: tuple[str, ...] = ()
    battery: str | None = None
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conditions:
    """The device's state at one moment; None is what it could not tell."""

    utc: str
    load_1min: float | None
    frequency_hz: float | None
    governor: str | None
    temperature_celsius: float | None
    available_memory_bytes: int | None
    battery_share: float | None


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


@dataclass(frozen=True, slots=True)
class ColumnRecord:
    """A metadata column: codes int64 [rows] into `values`."""

    values: tuple[str, ...]
    codes: Int64Array


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """The rows that a verdict rests on, without their inputs: labels, metadata columns and clusters.

    labels: int64 [rows] into `classes`; cluster: int64 [rows], equal for rows that are not independent.
    `cluster_column` is None where every row is its own cluster.
    """

    name: str
    digest: str
    data_digest: str
    rows: int
    classes: tuple[str, ...]
    labels: Int64Array
    cluster_column: str | None
    cluster: Int64Array
    columns: dict[str, ColumnRecord]
    description: str = ""


@dataclass(frozen=True, slots=True)
class VariantEvidence:
    """All that is known of one variant on one device; what was not obtained is None or missing."""

    variant: VariantRecord
    latency: LatencyRecord | None
    memory: MemoryRecord | None
    energy: EnergyRecord | None
    predictions: PredictionRecord | None
    exact_predictions: PredictionRecord | None
    saturating_predictions: PredictionRecord | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What judging looks at, with a profile: nothing else.

    `not_made` names recipes that could not be applied to this model, and why.
    """

    source: ModelRecord
    conversion: ConversionRecord | None
    reference: ModelRecord
    reference_predictions: PredictionRecord
    dataset: DatasetRecord
    device: DeviceRecord
    variants: tuple[VariantEvidence, ...]
    not_made: dict[str, str] = field(default_factory=dict)


class Verdict(StrEnum):
    """PASS: the bound clears the limit. FAIL: the opposite bound does. INCONCLUSIVE: neither, or absent."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Finding:
    """One requirement judged on one subject (the whole, or one slice).

    estimate, lower, upper and limit are in `unit` (SI: s, B, J, W; a share or a difference of shares is 0 to 1,
    unit "share" or "points"; a count has unit "1"). The interval is [lower, upper]; None where there is none.
    `direction` says on which side of the limit the requirement wants the value. `reason` is one sentence for
    people; `need` says what would decide an INCONCLUSIVE one; `evidence` names the digests that it rests on.
    """

    requirement: str
    metric: str
    subject: str
    verdict: Verdict
    direction: Literal["at_most", "at_least"]
    limit: float
    estimate: float | None
    lower: float | None
    upper: float | None
    unit: str
    confidence: float
    method: str
    rows: int
    clusters: int | None
    obtained: Obtained
    reason: str
    need: str = ""
    evidence: tuple[str, ...] = ()
    details: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VariantJudgement:
    """Every finding on one variant; its verdict is the worst of them (FAIL, then INCONCLUSIVE, then PASS)."""

    variant: str
    digest: str
    verdict: Verdict
    findings: tuple[Finding, ...]
    cost: float
    cost_unit: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The run's verdict: that of the chosen variant, the cheapest that passes.

    If none passes, `chosen` is the cheapest undecided one, else the one that breaks least.
    """

    verdict: Verdict
    chosen: str
    why_chosen: str
    variants: tuple[VariantJudgement, ...]
    profile_digest: str


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run was asked to do, written before anything is measured: digests of every input, seed, command."""

    run_id: str
    created_utc: str
    tool_version: str
    command: tuple[str, ...]
    seed: int
    source_digest: str
    profile_name: str
    profile_digest: str
    dataset_name: str
    dataset_digest: str
    device_name: str
    device_digest: str
    recipes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinkTrial:
    """What a link did while it was tried.

    round_trips_ns: int64 [n], of the smallest request, host clock. echo_sizes_bytes: int64 [m], payloads that were
    sent, returned and compared; `wrong_bytes` of them came back altered or not at all. Goodput is payload, not what
    framing adds; `nominal_bytes_per_s` is the line's own limit each way. Resent bytes and damaged packets are None
    where the system makes the stream reliable, and tells of neither.
    """

    round_trips_ns: Int64Array
    echo_sizes_bytes: Int64Array
    wrong_bytes: int
    to_device_bytes_per_s: float | None
    from_device_bytes_per_s: float | None
    nominal_bytes_per_s: float | None
    sent_bytes: int | None
    resent_bytes: int | None
    damaged_packets: int | None


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """What was seen of a device and its link in a test of `duration_s`; what was not obtained is None or empty.

    clock_t_ns, clock_offset_ns, clock_error_ns: int64 [k], host time, device clock less host's, and its error bound.
    window_s: float64 [w] and window_inferences: int64 [w] are windows of back-to-back inferences of one small model,
    in order; moment_s: float64 [c], since the start, of each of `conditions`. `right_answers` of `asked_answers`
    values of a model of known answer were exact. `host_agent_digest` is that of the agent in this host's release.
    `not_done` says why a check cannot be made on this device, by the check's name.
    """

    device: DeviceRecord
    protocol: str
    duration_s: float
    timeout_s: float
    timing_is_real: bool
    host_agent_digest: str | None
    link: LinkTrial
    clock_t_ns: Int64Array
    clock_offset_ns: Int64Array
    clock_error_ns: Int64Array
    asked_answers: int
    right_answers: int
    window_s: Float64Array
    window_inferences: Int64Array
    moment_s: Float64Array
    conditions: tuple[Conditions, ...]
    not_done: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """One check of a device: what was seen (`value`, in `unit`: s, B, share, ppm, celsius, "1"), held to a limit.

    Unit "" is of what is right (0) or wrong (1).

    "cannot tell" is not "ok": a required check that cannot be told leaves the whole undecided. `why` says why it
    matters and where the limit is from; `follows_from` names bad checks that explain this one.
    """

    name: str
    status: Literal["ok", "bad", "cannot tell"]
    required: bool
    direction: Literal["at_most", "at_least"]
    value: float | None
    limit: float
    unit: str
    detail: str
    why: str
    next_step: str
    follows_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthJudgement:
    """FAIL if a check is bad, else INCONCLUSIVE if a required one cannot be told, else PASS; causes come first."""

    verdict: Verdict
    findings: tuple[HealthFinding, ...]
