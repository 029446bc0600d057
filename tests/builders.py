"""Synthetic records, profiles and devices for tests: shaped like a wrist sensor's, made from a seed.

`evidence()` gives what judging and reporting look at. Every argument has a default that makes an ordinary run: four
variants of one classifier on 2,008 windows of 56 recordings, of which plain int8 depends on the processor.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kit.records import (
    Arithmetic,
    ColumnRecord,
    Conditions,
    ConversionRecord,
    DatasetRecord,
    DeviceRecord,
    EnergyRecord,
    Evidence,
    Float64Array,
    Int64Array,
    LatencyRecord,
    MemoryRecord,
    MeterRecord,
    ModelRecord,
    Obtained,
    PredictionRecord,
    Recipe,
    SaturationRecord,
    TensorInfo,
    VariantEvidence,
    VariantRecord,
)
from kit.spec.types import BatterySpec, DeviceSpec, Duty, MeasurePlan, MeterSpec, Metric, Profile, Requirement

CLASSES = ("pendulum", "abduction", "elevation", "internal", "external", "trapezius", "row")
BASELINE_BYTES = 40 << 20


@dataclass(frozen=True)
class VariantPlan:
    """How a synthetic variant behaves; `absent` names the VariantEvidence fields that were not obtained.

    to_wrong, to_right: share of all rows that flip from right to wrong and back; `slices` adds (to_wrong, to_right)
    in one slice, keyed "column=value". processor_flips: share of device decisions that differ from exact arithmetic;
    saturating_flips: the same of the computed saturating arithmetic (None: not computed). `flip_clusters` moves whole
    runs of a recording together (0: independent rows; 1: whole recordings).
    """

    name: str = "int8-channel"
    precision: str = "int8"
    size_bytes: int = 70_000
    to_wrong: float = 0.004
    to_right: float = 0.004
    slices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    flip_clusters: float = 0.0
    processor_flips: float = 0.0
    saturating_flips: float | None = 0.0
    can_saturate: bool = False
    latency_s: float = 120e-6
    latency_spread: float = 0.08
    latency_samples: int = 2000
    latency_obtained: Obtained = "measured"
    warmup_count: int = 50
    memory_bytes: int = 3_000_000
    memory_spread: float = 0.01
    sessions: int = 5
    energy_per_inference_j: float = 4e-4
    energy_spread: float = 0.01
    energy_windows: int = 10
    energy_window_s: float = 0.3
    energy_obtained: Obtained = "estimated"
    idle_power_w: float = 0.4
    absent: frozenset[str] = frozenset()


FP32 = VariantPlan("fp32", "fp32", 230_000, 0.0, 0.0, latency_s=150e-6, memory_bytes=3_400_000)
INT8_TENSOR = VariantPlan("int8-tensor", to_wrong=0.03, to_right=0.02, can_saturate=True, saturating_flips=0.6)
INT8_CHANNEL = VariantPlan("int8-channel", size_bytes=71_000, can_saturate=True, saturating_flips=0.65)
INT8_REDUCED = VariantPlan("int8-channel-reduced", size_bytes=71_000, to_wrong=0.005, to_right=0.005)
PLANS = (FP32, INT8_TENSOR, INT8_CHANNEL, INT8_REDUCED)


def digest_of(*parts: object) -> str:
    """A well-formed digest that depends on `parts` only."""
    return "sha256:" + hashlib.sha256(repr(parts).encode()).hexdigest()


def model(name: str, size_bytes: int = 230_000) -> ModelRecord:
    return ModelRecord(
        name=name,
        digest=digest_of("model", name, size_bytes),
        size_bytes=size_bytes,
        format="onnx",
        opset=17,
        inputs=(TensorInfo("window", "float32", ("rows", 100, 6)),),
        outputs=(TensorInfo("scores", "float32", ("rows", len(CLASSES))),),
    )


def dataset(rows: int = 2008, clusters: int = 56, seed: int = 0, *, clustered: bool = True) -> DatasetRecord:
    """Rows of `clusters` recordings of unequal length, with columns exercise, side and subject (constant in each)."""
    rng = np.random.default_rng(seed)
    sizes = 1 + rng.multinomial(rows - clusters, rng.dirichlet(np.full(clusters, 12.0)))
    cluster = np.repeat(np.arange(clusters, dtype=np.int64), sizes)
    exercise = (cluster // 2) % len(CLASSES)
    digest = digest_of("data", rows, clusters, seed)
    return DatasetRecord(
        name="watch",
        digest=digest,
        data_digest=digest_of(digest),
        rows=rows,
        classes=CLASSES,
        labels=exercise.copy(),
        cluster_column="recording" if clustered else None,
        cluster=cluster if clustered else np.arange(rows, dtype=np.int64),
        columns={
            "exercise": ColumnRecord(CLASSES, exercise),
            "side": ColumnRecord(("left", "right"), cluster % 2),
            "subject": ColumnRecord(("7", "8", "9", "10"), (cluster // 14) % 4),
        },
        description="Two-second windows of a wrist sensor",
    )


def slice_mask(data: DatasetRecord, subject: str) -> NDArray[np.bool_]:
    """Rows of a slice named "column=value"; all rows for ""."""
    if not subject:
        return np.ones(data.rows, dtype=np.bool_)
    column, _, value = subject.partition("=")
    record = data.columns[column]
    return np.asarray(record.codes == record.values.index(value))


def decisions_with(right: NDArray[np.bool_], labels: Int64Array, rng: np.random.Generator) -> Int64Array:
    """The label where right, else another class at random."""
    shift = rng.integers(1, len(CLASSES), len(labels))
    return np.where(right, labels, (labels + shift) % len(CLASSES)).astype(np.int64)


def predictions(
    of: ModelRecord,
    data: DatasetRecord,
    decisions: Int64Array,
    *,
    where: str = "device",
    arithmetic: Arithmetic = "default",
    obtained: Obtained = "measured",
) -> PredictionRecord:
    """A record whose scores agree with its decisions."""
    rng = np.random.default_rng(data.rows)
    scores = rng.random((data.rows, len(data.classes)), dtype=np.float32) * np.float32(0.5)
    scores[np.arange(data.rows), decisions] = 1.0
    scores /= scores.sum(axis=1, keepdims=True)
    return PredictionRecord(of.digest, data.data_digest, where, arithmetic, scores, decisions, obtained)


def _uniform(data: DatasetRecord, flip_clusters: float, rng: np.random.Generator) -> Float64Array:
    """Uniforms a row, of which a share `flip_clusters` copies its recording's: the intraclass correlation of flips."""
    own = rng.random(data.rows)
    shared = rng.random(int(data.cluster.max()) + 1)[data.cluster]
    return np.where(rng.random(data.rows) < flip_clusters, shared, own)


def flipped(
    right: NDArray[np.bool_], data: DatasetRecord, plan: VariantPlan, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which rows the variant gets right: the reference's, with the plan's flips in both directions."""
    result = right.copy()
    for subject, (to_wrong, to_right) in {"": (plan.to_wrong, plan.to_right), **plan.slices}.items():
        mask = slice_mask(data, subject)
        share_right = max(float(right[mask].mean()), 1e-9)
        draw = _uniform(data, plan.flip_clusters, rng)
        result[mask & right & (draw < to_wrong / share_right)] = False
        result[mask & ~right & (draw < to_right / max(1 - share_right, 1e-9))] = True
    return result


def with_changes(decisions: Int64Array, share: float, rng: np.random.Generator) -> Int64Array:
    """Decisions of which exactly round(share x rows) are replaced by another class."""
    result = decisions.copy()
    rows = rng.choice(len(decisions), round(share * len(decisions)), replace=False)
    result[rows] = (result[rows] + rng.integers(1, len(CLASSES), len(rows))) % len(CLASSES)
    return result


def conditions(temperature_celsius: float | None = 41.0) -> Conditions:
    return Conditions("2026-01-15T09:30:00Z", 0.2, 1.5e9, "performance", temperature_celsius, 6 << 30, None)


def latency(
    plan: VariantPlan, digest: str, rng: np.random.Generator, samples_s: Iterable[float] | None = None
) -> LatencyRecord:
    """Log-normal samples about `latency_s`, after a slow warm-up; or `samples_s` as given, without one."""
    if samples_s is None:
        noise = rng.normal(0.0, plan.latency_spread, plan.latency_samples + plan.warmup_count)
        factor = np.exp(noise) * np.r_[np.linspace(4.0, 1.2, plan.warmup_count), np.ones(plan.latency_samples)]
        samples, warmup = plan.latency_s * factor, plan.warmup_count
    else:
        samples, warmup = np.asarray(list(samples_s)), 0
    samples_ns = np.maximum(np.round(samples * 1e9), 1).astype(np.int64)
    return LatencyRecord(
        variant_digest=digest, samples_ns=samples_ns, warmup_count=warmup, warmup_method="change point of the median",
        scenario="single stream", threads=1, clock="perf_counter_ns", clock_resolution_ns=1, load_ns=4_000_000,
        first_run_ns=int(samples_ns[0]) if len(samples_ns) else 0, before=conditions(), after=conditions(44.0),
        obtained=plan.latency_obtained,
    )  # fmt: skip


def memory(plan: VariantPlan, digest: str, rng: np.random.Generator) -> MemoryRecord:
    peak = np.round(plan.memory_bytes * (1 + plan.memory_spread * rng.random(plan.sessions))).astype(np.int64)
    return MemoryRecord(digest, peak, (peak * 0.9).astype(np.int64), BASELINE_BYTES, "VmHWM, fresh process", "measured")


def energy(plan: VariantPlan, digest: str, rng: np.random.Generator) -> EnergyRecord:
    """Windows of back-to-back inferences; gross energy is idle power x time plus the model's."""
    count = max(1, int(plan.energy_window_s / plan.latency_s))
    inferences = np.full(plan.energy_windows, count, dtype=np.int64)
    seconds = np.full(plan.energy_windows, plan.energy_window_s)
    noise = 1 + plan.energy_spread * rng.standard_normal(plan.energy_windows)
    joules = plan.idle_power_w * seconds + plan.energy_per_inference_j * inferences * noise
    power = np.repeat(joules / seconds, 30)
    meter = MeterRecord("model", plan.energy_obtained, "synthetic power", {"idle_power_w": plan.idle_power_w})
    return EnergyRecord(
        variant_digest=digest, meter=meter, window_energy_j=joules, window_s=seconds, window_inferences=inferences,
        idle_power_w=plan.idle_power_w, trace_t_ns=np.arange(len(power), dtype=np.int64) * 10_000_000,
        trace_power_w=power, obtained=plan.energy_obtained,
    )  # fmt: skip


def variant_record(plan: VariantPlan, reference: ModelRecord) -> VariantRecord:
    int8 = plan.precision == "int8"
    recipe = Recipe(
        plan.name, "int8" if int8 else "fp32", int8 and "channel" in plan.name, "reduced" in plan.name,
        "uint8" if int8 else "", "int8" if int8 else "", "minmax" if int8 else "",
    )  # fmt: skip
    worst = 52_000 if plan.can_saturate else 16_000
    nodes = ("conv_1", "dense_1") if plan.can_saturate else ()
    return VariantRecord(
        recipe=recipe,
        model=model(plan.name, plan.size_bytes) if int8 else replace(reference, name=plan.name),
        parent_digest=reference.digest,
        calibration_digest=digest_of("calibration") if int8 else None,
        calibration_rows=512 if int8 else 0,
        left_in_float=(),
        saturation=SaturationRecord(plan.can_saturate, worst if int8 else 0, 32_767, nodes, 6 if int8 else 0),
    )


def variant_evidence(
    plan: VariantPlan, data: DatasetRecord, reference: ModelRecord, decisions: Int64Array, seed: int = 0
) -> VariantEvidence:
    """Everything measured of one variant; `decisions` are the reference's."""
    rng = np.random.default_rng([seed, *plan.name.encode()])
    record = variant_record(plan, reference)
    right = decisions == data.labels
    kept = flipped(right, data, plan, rng)
    exact = np.where(kept == right, decisions, decisions_with(kept, data.labels, rng))
    device = with_changes(exact, plan.processor_flips, rng)
    made = {
        "latency": latency(plan, record.model.digest, rng),
        "memory": memory(plan, record.model.digest, rng),
        "energy": energy(plan, record.model.digest, rng),
        "predictions": predictions(record.model, data, device),
        "exact_predictions": predictions(record.model, data, exact, arithmetic="exact"),
        "saturating_predictions": None
        if plan.saturating_flips is None
        else predictions(
            record.model, data, with_changes(exact, plan.saturating_flips, rng),
            where="host", arithmetic="saturating", obtained="computed",
        ),
    }  # fmt: skip
    return VariantEvidence(record, **{key: None if key in plan.absent else value for key, value in made.items()})  # type: ignore[arg-type]


def device_record(emulated: tuple[str, ...] = ()) -> DeviceRecord:
    return DeviceRecord(
        name="local", link="subprocess:", emulated=emulated, system="Linux", architecture="x86_64",
        cpu_model="Synthetic CPU", instruction_sets=("avx2", "avx512_vnni"), logical_cpus=2, memory_bytes=8 << 30,
        runtime="onnxruntime", runtime_version="1.20.0", providers=("CPUExecutionProvider",), python_version="3.11.2",
        agent_version="0.1.0", agent_digest=digest_of("agent"),
    )  # fmt: skip


def evidence(
    plans: Iterable[VariantPlan] = PLANS,
    *,
    rows: int = 2008,
    clusters: int = 56,
    clustered: bool = True,
    reference_accuracy: float = 0.846,
    emulated: tuple[str, ...] = (),
    seed: int = 0,
) -> Evidence:
    """A whole run's evidence; equal arguments give equal evidence."""
    rng = np.random.default_rng(seed)
    data = dataset(rows, clusters, seed, clustered=clustered)
    reference = model("reference")
    decisions = decisions_with(rng.random(rows) < reference_accuracy, data.labels, rng)
    source = replace(model("source"), format="sklearn", opset=None)
    return Evidence(
        source=source,
        conversion=ConversionRecord(source, reference, "skl2onnx", "1.18.0", rows, 2.4e-7, 1.1e-6, rows, ()),
        reference=reference,
        reference_predictions=predictions(reference, data, decisions, where="host"),
        dataset=data,
        device=device_record(emulated),
        variants=tuple(variant_evidence(plan, data, reference, decisions, seed) for plan in plans),
    )


def requirement(metric: Metric, limit: float, confidence: float = 0.95, **changes: object) -> Requirement:
    """A requirement named after its metric, at most `limit` unless told otherwise."""
    plain = Requirement(metric.replace(".", "-"), metric, "at_most", limit, f"{limit:g}", confidence)
    if metric == "accuracy.value":
        plain = replace(plain, direction="at_least")
    return replace(plain, **changes)  # type: ignore[arg-type]


REQUIREMENTS = (
    requirement("latency.p99", 0.005, 0.99, limit_text="5 ms"),
    requirement("memory.peak", 8e6, limit_text="8 MB"),
    requirement("model.size", 300e3, limit_text="300 kB"),
    requirement("battery.share", 0.05, limit_text="5 %"),
    requirement("accuracy.value", 0.75, limit_text="75 %"),
    requirement("accuracy.drop", 0.02, limit_text="2 points"),
    requirement("accuracy.drop", 0.06, id="slices", by=("exercise", "side"), limit_text="6 points"),
    requirement("fairness.gap_change", 0.05, by=("side",), limit_text="5 points"),
    requirement("numerics.processor_flips", 0.0, limit_text="0"),
)


def profile(requirements: Iterable[Requirement] = REQUIREMENTS, **changes: object) -> Profile:
    plain = Profile(
        name="wearable", description="A synthetic wearable", digest=digest_of("profile"), path="wearable.toml",
        requirements=tuple(requirements), recipes=tuple(plan.name for plan in PLANS), cheapest_by="size",
        duty=Duty(inferences_per_s=0.5), measure=MeasurePlan(),
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def device(emulated: tuple[str, ...] = (), **changes: object) -> DeviceSpec:
    plain = DeviceSpec(
        name="local", description="A separate process on this machine", digest=digest_of("device"), path="local.toml",
        link="subprocess:", emulated=emulated, meter=MeterSpec("cpu-time", {"active_power_w": 1.2}),
        battery=BatterySpec(capacity_j=4_000.0, other_load_w=0.02),
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]
