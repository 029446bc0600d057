"""A bench's run folder as a run leaves it, with samples that are made up and all else real."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from kit.digest import digest_bytes
from kit.pipeline.bench_folder import PLAN, command_words
from kit.pipeline.bench_plan import BenchOrder
from kit.records import Conditions, DeviceRecord, Int64Array, LatencyRecord, ModelRecord, RunRecord
from kit.spec.types import DeviceSpec, MeterSpec
from kit.store import Run

CALM = Conditions("2026-01-01T00:00:00Z", 0.2, 1.8e9, "performance", 41.0, 1 << 30, None, 0.0, 0, 0.0, 0.0)
DEVICE = DeviceRecord(
    name="board", link="subprocess:", emulated=(), system="Linux 6.1", architecture="aarch64", cpu_model="Cortex-A53",
    instruction_sets=(), logical_cpus=4, memory_bytes=1 << 30, runtime="onnxruntime", runtime_version="1.31.0",
    providers=("CPUExecutionProvider",), python_version="3.11.2", agent_version="0.1.0", agent_digest="sha256:0",
)  # fmt: skip
SPEC = DeviceSpec(name="board", description="", digest="sha256:2", path="board.toml", link="subprocess:")
METER = MeterSpec("emulated", {"idle_power_w": 0.01, "active_power_w": 0.2})


def samples(count: int = 2000, median_ns: int = 1_000_000, seed: int = 0, spread: float = 0.02) -> Int64Array:
    """Latencies around a median, int64 [count]."""
    random = np.random.default_rng(seed)
    return np.asarray(median_ns * np.exp(random.normal(0, spread, count)), np.int64)


def window(values: Int64Array, order: BenchOrder, *, warmup: int = 0, late: int = 0) -> LatencyRecord:
    """A window's record, back to back on a clock that starts at 1 s."""
    starts = np.concatenate([[0], np.cumsum(values)[:-1]]) + 10**9
    return LatencyRecord(
        variant_digest="sha256:1", samples_ns=values, warmup_count=warmup, warmup_method="as told", scenario="as told",
        threads=1, clock="a clock", clock_resolution_ns=1, load_ns=2_000_000, first_run_ns=900_000, before=CALM,
        after=CALM, obtained="measured", workload=order.workload, starts_ns=starts.astype(np.int64),
        window_counts=np.array([len(values)], np.int64), late_count=late,
    )  # fmt: skip


def write_run(
    folder: Path, order: BenchOrder, medians_ns: dict[str, int], *, skip: int = 0, spec: DeviceSpec = SPEC,
    device: DeviceRecord = DEVICE, start: Conditions = CALM, count: int = 2000,
) -> Run:  # fmt: skip
    """A run of `order.windows` windows of each model, by label; the last model lacks the last `skip` of them."""
    record = RunRecord(
        run_id="20260101-000000-abcdef", created_utc="2026-01-01T00:00:00Z", tool_version="0.1.0",
        command=command_words(order), seed=order.seed, source_digest="sha256:1", profile_name="", profile_digest="",
        dataset_name="random rows made from the model's input, seed 0", dataset_digest="sha256:3",
        device_name=spec.name, device_digest=spec.digest, recipes=tuple(medians_ns),
    )  # fmt: skip
    run = Run.plan(folder, record)
    for name, value in ((PLAN, order), ("plan/device", spec), ("device/identity", device), ("conditions/start", start)):
        run.put(name, value)
    for number, (label, median_ns) in enumerate(medians_ns.items(), 1):
        model = ModelRecord(label, digest_bytes(label.encode()), 70_700, "onnx")
        run.put(f"model/{number}", model)
        there = order.windows - (skip if number == len(medians_ns) else 0)
        for each in range(1, there + 1):
            values = samples(count, median_ns, seed=100 * number + each)
            run.put(f"latency/{number}/{each}", window(values, order))
    run.release()
    return Run.load(run.path)


def with_record(run: Run, step: str, record: object) -> Run:
    """The same run with one more step, read again."""
    run.put(step, record)
    run.release()
    return Run.load(run.path)


def without_state(conditions: Conditions) -> Conditions:
    """What a device says that tells nothing."""
    return replace(Conditions("", None, None, None, None, None, None), utc=conditions.utc)
