"""What `edgeproof bench` prints: fits 80 columns, says what it rests on, and nothing that was not measured."""

import io
import json
import re
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.cli.bench import show_bench
from kit.cli.bench_energy import amperes, energy_rows
from kit.cli.bench_text import _LETTERS
from kit.errors import EdgeproofError
from kit.pipeline.bench_figures import read_report
from kit.pipeline.bench_plan import MOST_MODELS, BenchOrder
from kit.records import (
    AuditRecord,
    ColdStartRecord,
    EnergyRecord,
    MemoryRecord,
    MeterRecord,
    OperatorProfile,
    OperatorTime,
    PhaseRecord,
    Workload,
)
from kit.store import Run
from tests.bench_case import CALM, DEVICE, METER, SPEC, samples, window, with_record, without_state, write_run
from tests.cli.words import is_for_people

ORDER = BenchOrder(models=("/a/net.onnx",), device="board", windows=5, audit=False, memory=False)
TWO = replace(ORDER, models=("/a/net.onnx", "/a/small.onnx"), windows=6)


def said(run: Run, *, code: int = 0, verbose: bool = False) -> str:
    """The text, as lines that were joined, once it is known to be fit to read; the last has a path of any length."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with redirect_stdout(stream):
        assert show_bench(run, as_json=False, verbose=verbose) == code
    stream.flush()
    text, _, path = stream.buffer.getvalue().decode().partition("\nrun ")  # type: ignore[attr-defined]
    assert path.strip() == str(run.path)
    assert is_for_people(text), text
    return " ".join(text.split())


def parsed(run: Run) -> dict[str, Any]:
    stream = io.StringIO()
    with redirect_stdout(stream):
        show_bench(run, as_json=True)
    loaded: dict[str, Any] = json.loads(stream.getvalue())
    return loaded


def energy(**changes: object) -> EnergyRecord:
    windows = np.array([1.0, 1.02, 0.98, 1.01, 0.99, 1.0, 1.0, 1.01, 0.99, 1.0])
    trace = np.array([np.nan, 0.2, 0.25, 0.2])
    record = EnergyRecord(
        variant_digest="sha256:1", meter=MeterRecord("ppk2", "measured", "a bench meter", {}), window_energy_j=windows,
        window_s=np.full(10, 5.0), window_inferences=np.full(10, 5000, np.int64), idle_power_w=0.01,
        trace_t_ns=np.arange(4, dtype=np.int64), trace_power_w=trace, obtained="measured",
    )  # fmt: skip
    return replace(record, **changes)  # type: ignore[arg-type]


def memory() -> MemoryRecord:
    peaks = np.arange(3_000_000, 3_070_000, 10_000, dtype=np.int64)
    return MemoryRecord(
        "sha256:1", peaks, peaks - 500_000, 41_000_000, "VmHWM of fresh processes", "measured",
        load_peak_bytes=peaks - 100_000, model_bytes=70_700, weight_bytes=60_000,
    )  # fmt: skip


def test_one_model_on_one_screen(tmp_path: Path) -> None:
    text = said(write_run(tmp_path, ORDER, {"net.onnx": 2_000_000}))
    for part in (
        "device board: Cortex-A53, 4 CPUs; 1 thread",
        "single stream, back to back; 5 windows a model, at least 2 s and 64 samples each",
        "rows random rows made from the model's input, seed 0",
        "net.onnx 70.7 kB 2 ms",
        "throughput 500 inferences/s [",
        "10,000 in 5 windows, none trimmed",
        "load 2 ms before a first inference of 900 µs",
        "conditions governor performance; load 0.20 → 0.20; 1.80 GHz → 1.80 GHz; 41.0 °C → 41.0 °C",
        "onnxruntime 1.31.0, Python 3.11.2",
        "energy – (the device has no meter)",
        "-v says how",
    ):
        assert part in text, part
    assert "MLPerf" not in text
    assert "warning" not in text
    assert "INVALID" not in text
    assert "cold" not in text


def test_percentiles_have_their_bounds_or_what_is_missing(tmp_path: Path) -> None:
    text = said(write_run(tmp_path, ORDER, {"net.onnx": 2_000_000}, count=30))
    for name in ("p50", "p90", "p95", "p99", "p99.9"):
        assert f" {name} " in text
    missing = [
        int(each.replace(",", "")) for each in re.findall(r", –] about ([0-9,]+) more windows for both ends", text)
    ]
    assert [30 * each >= least for each, least in zip(missing, (299 - 150, 2995 - 150), strict=True)] == [True, True]


def test_an_end_that_is_not_known_is_absent_and_not_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path, replace(ORDER, windows=3), {"net.onnx": 10**6})
    for number, median_ns in enumerate((10**6, 8 * 10**6, 3 * 10**6), 1):
        run.put(f"latency/1/{number}", window(samples(24_000, median_ns, seed=number), ORDER))
    text, found = said(run), parsed(run)["models"][0]["latency"]
    assert re.search(r" p50 3 ms \[–, –\] about \d+ more windows for both ends", text)
    assert re.search(r" throughput \d+ inferences/s \[–, [0-9,]+\] about \d+ more windows? for both ends", text)
    assert "[0" not in text
    assert found["throughput_per_s"]["lower"] is None
    assert found["throughput_per_s"]["windows_missing"] >= 1
    assert (found["percentiles"][0]["lower_s"], found["percentiles"][0]["windows_missing"] >= 1) == (None, True)


def test_gross_energy_that_may_be_nothing_has_no_lower_end(tmp_path: Path) -> None:
    each_j = np.array([0.01, 3.0, 0.2])
    record = energy(
        window_energy_j=each_j,
        window_s=np.full(3, 0.001),
        window_inferences=np.full(3, 5000, np.int64),
        idle_power_w=0.0,
    )
    run = with_record(write_run(tmp_path, ORDER, {"net.onnx": 10**6}), "energy/1", record)
    assert re.search(r"above idle, 214 µJ \[–, [0-9.]+ mJ\] gross, an inference; measured, 3 windows", said(run))
    assert parsed(run)["models"][0]["energy"]["per_inference_j"]["gross"]["lower"] is None


def test_what_several_models_are_warned_of_is_said_once(tmp_path: Path) -> None:
    estimated = energy(obtained="estimated", meter=MeterRecord("estimate", "estimated", "CPU time", {}))
    run = write_run(tmp_path, TWO, {"net.onnx": 10**6, "small.onnx": 10**6})
    for model in (1, 2):
        run.put(f"latency/{model}/6", window(samples(median_ns=1_300_000, seed=model), TWO))
        run = with_record(run, f"energy/{model}", estimated)
    text = said(run)
    assert "warning A and B: energy is an estimate and certifies nothing: CPU time" in text
    assert re.search("warning A: its windows together are unstable: .* warning B: its windows together are", text)
    assert "warning where it is unstable, try --stable" in text
    assert text.count("try --stable") == 1
    assert len(set(parsed(run)["warnings"])) == 4


def test_two_models_side_by_side(tmp_path: Path) -> None:
    text = said(write_run(tmp_path, TWO, {"net.onnx": 2_000_000, "small.onnx": 1_600_000}))
    assert "A net.onnx 70.7 kB 2 ms" in text
    assert "B small.onnx 70.7 kB 1.6 ms" in text
    assert "in turn (A B, then B A)" in text
    assert "B to A 0.8 of its median latency [" in text or "B to A 0.799 of its median latency [" in text
    assert "(6 rounds, 95 %): B is faster by 20 %" in text


def test_models_that_are_alike_are_not_told_apart(tmp_path: Path) -> None:
    text = said(write_run(tmp_path, TWO, {"net.onnx": 2_000_000, "net.onnx (2)": 2_000_000}))
    assert "no difference can be told" in text


def test_too_few_rounds_are_said(tmp_path: Path) -> None:
    text = said(write_run(tmp_path, replace(TWO, windows=2), {"a.onnx": 10**6, "b.onnx": 9 * 10**5}))
    assert "too few rounds to compare: 3 windows of each are needed" in text


def test_a_name_too_long_has_its_own_line(tmp_path: Path) -> None:
    name = "a-model-with-a-name-that-is-much-too-long-for-a-table.onnx"
    text = said(write_run(tmp_path, TWO, {name: 10**6, "b.onnx": 10**6}))
    assert f"A {name} 70.7 kB" in text


def test_every_model_has_a_letter() -> None:
    assert len(_LETTERS) >= MOST_MODELS


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (Workload("periodic", period_ns=20_000_000), "periodic, one every 20 ms"),
        (Workload("burst", period_ns=10**9, burst=5), "bursts of 5 every 1 s"),
        (Workload("offline", batch=64), "offline, 64 rows a batch"),
        (Workload("multi-stream", streams=4), "multi-stream, 4 threads side by side"),
    ],
    ids=lambda value: value.scenario if isinstance(value, Workload) else "",
)
def test_the_scenario_is_said(tmp_path: Path, workload: Workload, words: str) -> None:
    text = said(write_run(tmp_path, replace(ORDER, workload=workload), {"net.onnx": 10**6}))
    assert words in text
    assert ("] a batch" in text) is (workload.scenario == "offline")


def test_memory_with_its_bounds_and_phases(tmp_path: Path) -> None:
    run = with_record(write_run(tmp_path, replace(ORDER, memory=True), {"net.onnx": 10**6}), "memory/1", memory())
    text = said(run)
    assert "peak 3.03 MB [3 MB, 3.06 MB], steady 2.53 MB" in text
    assert "above the runtime's 41 MB, 7 fresh sessions" in text
    assert "load peak 2.93 MB; weights 84.9 % of the file" in text
    assert "VmHWM" not in text
    assert "memory by VmHWM of fresh processes" in said(run, verbose=True)


def test_energy_gross_and_above_idle(tmp_path: Path) -> None:
    run = with_record(
        write_run(tmp_path, ORDER, {"net.onnx": 10**6}, spec=replace(SPEC, meter=METER)), "energy/1", energy()
    )
    text = said(run)
    assert "energy 190 µJ [" in text
    assert "above idle, 200 µJ [" in text
    assert "gross, an inference; measured, 10 windows" in text
    assert "idle 10 mW, mean 200 mW while inferring, peak 250 mW" in text
    assert "4 samples, no sample lost" in text
    assert "accuracy is not stated" in text
    assert "~" not in text


def test_an_estimate_of_energy_is_marked(tmp_path: Path) -> None:
    estimated = energy(obtained="estimated", meter=MeterRecord("estimate", "estimated", "CPU time", {}))
    text = said(with_record(write_run(tmp_path, ORDER, {"net.onnx": 10**6}), "energy/1", estimated))
    assert "~190 µJ" in text
    assert "energy is an estimate and certifies nothing" in text


def test_current_gaps_and_an_early_end_are_said(tmp_path: Path) -> None:
    record = energy(
        phases=(PhaseRecord("inference", 50.0, 10.0, 0.2, 0.25, 0.0412, 0.0533),), lost_samples=12,
        gaps_ns=np.array([[1, 2]], np.int64), ended="the cable was pulled",
    )  # fmt: skip
    run = with_record(write_run(tmp_path, ORDER, {"net.onnx": 10**6}), "energy/1", record)
    rows = dict(energy_rows(read_report(run).models[0]))
    assert rows["current"] == "inference mean 41.2 mA, peak 53.3 mA"
    text = said(run)
    assert "12 samples lost" in text
    assert "the meter lost 12 samples, with 1 gap" in text
    assert "the meter ended early: the cable was pulled" in text


@pytest.mark.parametrize(("current_a", "text"), [(1.5, "1.5 A"), (0.0412, "41.2 mA"), (3.4e-6, "3.4 µA")], ids=str)
def test_currents(current_a: float, text: str) -> None:
    assert amperes(current_a) == text


def test_a_cold_start_apart_from_the_rest(tmp_path: Path) -> None:
    ready, load, first = (np.full(5, value, np.int64) for value in (180_000_000, 3_000_000, 1_000_000))
    record = ColdStartRecord("sha256:1", ready, load, first, "file evicted from the cache", "measured")
    run = with_record(write_run(tmp_path, replace(ORDER, cold=True), {"net.onnx": 10**6}), "cold/1", record)
    text = said(run, verbose=True)
    assert "cold start 184 ms in 5 fresh processes: runtime 180 ms, load 3 ms, first run 1 ms" in text
    assert "cold by file evicted from the cache" in text


def test_operators_by_share(tmp_path: Path) -> None:
    nodes = [OperatorTime(f"node{i}", "Conv", "[1, 8]", "CPU", 1000.0 - i, (20 - i) / 210) for i in range(20)]
    record = OperatorProfile("sha256:1", 100, tuple(nodes), "the runtime's profiler", "measured")
    run = with_record(write_run(tmp_path, replace(ORDER, operators=True), {"net.onnx": 10**6}), "operators/1", record)
    text = said(run)
    assert "operators of 100 inferences, slowed by profiling to 0.0198 times the p50 9.52 % 1 µs Conv" in text
    assert "26.2 % 10 other operators" in text
    assert "node10" not in text
    assert "profiled by the runtime's profiler" in said(run, verbose=True)


def test_an_audit_that_fails_makes_it_invalid(tmp_path: Path) -> None:
    rows = np.arange(4, dtype=np.int64)
    scores = np.eye(4, dtype=np.float32)
    record = AuditRecord("sha256:1", rows, 1 - scores, scores, samples(500), samples(500, seed=1), "measured")
    run = with_record(write_run(tmp_path, replace(ORDER, audit=True), {"net.onnx": 10**6}), "audit/1", record)
    text = said(run, code=5)
    assert "INVALID the audit failed: " in text
    found = parsed(run)
    assert found["valid"] is False
    assert len(found["invalid"]) == 1


def test_what_is_emulated_stands_above_everything(tmp_path: Path) -> None:
    device = replace(DEVICE, emulated=("device", "meter"))
    text = said(write_run(tmp_path, ORDER, {"net.onnx": 10**6}, device=device))
    assert text.startswith("EMULATED: device, meter; no figure")


def test_a_device_that_tells_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6}, start=without_state(CALM))
    for each in range(1, 6):
        run.put(f"latency/1/{each}", replace(window(samples(), ORDER), after=without_state(CALM)))
    assert "conditions the device tells nothing of its state" in said(run)


def test_a_hostile_name_steers_no_terminal(tmp_path: Path) -> None:
    assert "\ufffd[2Jnet.onnx" in said(write_run(tmp_path, ORDER, {"\x1b[2Jnet.onnx": 10**6}))


def test_an_ascii_terminal_has_arrows_that_it_can_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="replace")
    monkeypatch.setattr(sys, "stdout", stream)
    show_bench(write_run(tmp_path, ORDER, {"net.onnx": 10**6}), as_json=False)
    stream.flush()
    assert "load 0.20 -> 0.20" in stream.buffer.getvalue().decode("latin-1")  # type: ignore[attr-defined]


def test_the_object_has_every_figure_with_its_unit(tmp_path: Path) -> None:
    run = write_run(tmp_path, replace(TWO, memory=True), {"net.onnx": 10**6, "small.onnx": 8 * 10**5})
    run = with_record(with_record(run, "memory/1", memory()), "energy/1", energy())
    found = parsed(run)
    assert (found["schema"], found["valid"], found["confidence"]) == ("edgeproof/bench/1", True, 0.95)
    assert found["work"]["scenario"] == "single stream"
    first, second = found["models"]
    assert [each["name"] for each in first["latency"]["percentiles"]] == ["p50", "p90", "p95", "p99", "p99.9"]
    median = first["latency"]["percentiles"][0]
    assert median["lower_s"] < median["estimate_s"] < median["upper_s"]
    assert median["samples_missing"] == 0
    assert median["estimate_s"] < median["mlperf_early_stopping_s"] < 1.01e-3
    assert (first["latency"]["samples"], len(first["latency"]["windows"])) == (12_000, 6)
    assert first["latency"]["throughput_per_s"]["estimate"] == pytest.approx(1000, rel=0.01)
    assert first["memory"]["peak"]["median_bytes"] == 3_030_000
    assert first["memory"]["arena"] is None
    assert first["energy"]["per_inference_j"]
    assert first["energy"]["idle_power_w"] == 0.01
    assert second["ratio_to_first"]["differs"] is True
    assert second["ratio_to_first"]["estimate"] == pytest.approx(0.8, rel=0.01)
    assert second["memory"] is None
    assert second["absent"]["memory"] == "not measured yet"
    assert first["ratio_to_first"] is None


def test_the_object_of_a_bound_that_is_missing_has_null(tmp_path: Path) -> None:
    found = parsed(write_run(tmp_path, ORDER, {"net.onnx": 10**6}, count=30))
    last = found["models"][0]["latency"]["percentiles"][-1]
    assert (last["upper_s"], last["samples_missing"] >= 2845) == (None, True)
    assert last["mlperf_early_stopping_s"] is None


def test_what_mlperf_would_say_is_for_comparison(tmp_path: Path) -> None:
    text = said(write_run(tmp_path, ORDER, {"net.onnx": 2_000_000}), verbose=True)
    assert "by MLPerf p50 2 ms, p90 2.05 ms, p95 2.07 ms, p99 2.1 ms, p99.9 2.1" in text
    few = said(write_run(tmp_path / "few", ORDER, {"net.onnx": 2_000_000}, count=2), verbose=True)
    assert "by MLPerf too few samples: early stopping" in few


@pytest.mark.parametrize("windows", [1, 2], ids=["one window", "two windows"])
def test_too_few_windows_of_energy_have_no_interval(tmp_path: Path, windows: int) -> None:
    record = energy(
        window_energy_j=np.ones(windows), window_s=np.full(windows, 5.0),
        window_inferences=np.full(windows, 5000, np.int64),
    )  # fmt: skip
    run = with_record(write_run(tmp_path, ORDER, {"net.onnx": 10**6}), "energy/1", record)
    text, found = said(run), parsed(run)["models"][0]["energy"]
    assert "190 µJ above idle, 200 µJ gross, an inference; measured" in text
    assert f"{windows} window{'s' * (windows > 1)} (bounds need 3)" in text
    assert found["per_inference_j"]["above_idle"]["lower"] is None
    assert found["minimum_windows"] == 3


@pytest.mark.parametrize(("sessions", "is_few"), [(4, True), (5, False)], ids=["few", "enough"])
def test_too_few_sessions_of_memory_say_how_many_bound_it(tmp_path: Path, sessions: int, is_few: bool) -> None:
    peaks = np.full(sessions, 3_000_000, np.int64)
    record = MemoryRecord("sha256:1", peaks, peaks, 41_000_000, "VmHWM of fresh processes", "measured")
    run = with_record(write_run(tmp_path, ORDER, {"net.onnx": 10**6}), "memory/1", record)
    text, found = said(run), parsed(run)["models"][0]["memory"]["peak"]
    assert (f"{sessions} fresh sessions (bounds need 5)" in text) is is_few
    assert "[–, –]" not in text
    assert (found["lower_bytes"] is None) is is_few
    assert found["minimum_sessions"] == 5


@pytest.mark.parametrize(
    "change",
    [
        {"window_energy_j": np.empty(0), "window_s": np.empty(0), "window_inferences": np.empty(0, np.int64)},
        {"phases": (PhaseRecord("load", float("nan"), 1.0, 1.0, 1.0),)},
        {"gaps_ns": np.zeros(3, np.int64)},
        {"lost_samples": -1, "gaps_ns": np.zeros((1, 2), np.int64)},
        {"idle_power_w": float("nan")},
    ],
    ids=["no window", "a phase of no length", "no gaps", "found samples", "no idle"],
)
def test_energy_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6})
    with pytest.raises(EdgeproofError):
        parsed(with_record(run, "energy/1", energy(**change)))
