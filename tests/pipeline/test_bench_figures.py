"""The figures of a bench follow from its records, and nothing is told that they do not carry."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kit.errors import MeasurementError, StoreError, UsageError
from kit.pipeline.bench_figures import NOT_YET, LatencyFigures, read_report
from kit.pipeline.bench_folder import PLAN, command_words, resumed_order
from kit.pipeline.bench_plan import BenchOrder, labels
from kit.pipeline.bench_trust import trust_of
from kit.pipeline.stable import Held
from kit.records import (
    AuditRecord,
    ColdStartRecord,
    EnergyRecord,
    MemoryRecord,
    MeterAccuracy,
    MeterRecord,
    OperatorProfile,
    OperatorTime,
    RunRecord,
    Workload,
)
from kit.store import Run
from tests.bench_case import CALM, METER, SPEC, samples, window, with_record, write_run

ORDER = BenchOrder(models=("/a/net.onnx",), device="board", windows=5, audit=False, memory=False)
TWO = replace(ORDER, models=("/a/net.onnx", "/a/small.onnx"), windows=6)


def latency_of(run: Run, index: int = 0) -> LatencyFigures:
    found = read_report(run).models[index].latency
    assert found is not None
    return found


def test_percentiles_are_of_all_windows_after_warm_up(tmp_path: Path) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 1_000_000})
    slow = np.concatenate([np.full(100, 50_000_000), samples(1900, 1_000_000, seed=9)])
    run = with_record(run, "latency/1/5", window(slow, ORDER, warmup=100))
    found = latency_of(run)
    assert found.count == 4 * 2000 + 1900
    assert found.warmup_counts == (0, 0, 0, 0, 100)
    assert found.slowest_s < 0.002
    kept = np.concatenate([each.steady_s for each in found.windows])
    for bounds in found.percentiles:
        assert bounds.estimate == np.quantile(kept, bounds.probability, method="inverted_cdf")
        assert bounds.lower is not None
        assert bounds.upper is not None
        assert bounds.lower < bounds.estimate < bounds.upper
    assert [each.probability for each in found.percentiles] == [0.5, 0.9, 0.95, 0.99, 0.999]


def test_an_outlier_stays(tmp_path: Path) -> None:
    values = samples(2000)
    values[1234] = 987_654_321
    run = with_record(write_run(tmp_path, ORDER, {"net.onnx": 10**6}), "latency/1/3", window(values, ORDER))
    assert latency_of(run).slowest_s == pytest.approx(0.987654321)
    assert latency_of(run).count == 10_000


def test_too_few_samples_have_no_upper_bound(tmp_path: Path) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6}, count=30)
    by_name = {each.probability: each for each in latency_of(run).percentiles}
    assert by_name[0.5].upper is not None
    assert by_name[0.99].upper is None
    assert by_name[0.99].minimum_count == 299


def test_throughput_counts_the_time_between_inferences(tmp_path: Path) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6})
    record = window(np.full(100, 10**6, np.int64), ORDER)
    apart = replace(record, starts_ns=10**9 + 4 * 10**6 * np.arange(100, dtype=np.int64))
    for each in range(1, 6):
        run.put(f"latency/1/{each}", apart)
    assert latency_of(run).rate_per_s == pytest.approx(100 / (99 * 4e-3 + 1e-3))


@pytest.mark.parametrize("warmup", [0, 7, 10], ids="{} of warm-up".format)
@pytest.mark.parametrize("burst", [1, 10], ids=["periodic", "bursts of 10"])
def test_throughput_is_of_whole_periods(tmp_path: Path, burst: int, warmup: int) -> None:
    paced = Workload("burst" if burst > 1 else "periodic", period_ns=500_000_000, burst=burst)
    run = write_run(tmp_path, replace(ORDER, workload=paced), {"net.onnx": 10**6})
    count = 3 * burst if burst > 1 else 20
    places = np.arange(count, dtype=np.int64)
    starts = 10**9 + 500_000_000 * (places // burst) + 10**6 * (places % burst)
    record = replace(window(np.full(count, 10**6), replace(ORDER, workload=paced), warmup=warmup), starts_ns=starts)
    for each in range(1, 6):
        run.put(f"latency/1/{each}", record)
    assert latency_of(run).rate_per_s == pytest.approx(2 * burst)


def test_a_single_window_differs_from_none(tmp_path: Path) -> None:
    assert latency_of(write_run(tmp_path, replace(ORDER, windows=1), {"net.onnx": 10**6})).spread is None


def test_a_batch_is_as_many_inferences(tmp_path: Path) -> None:
    order = replace(ORDER, workload=Workload("offline", batch=32))
    assert latency_of(write_run(tmp_path, order, {"net.onnx": 10**6})).rate_per_s == pytest.approx(32_000, rel=0.02)


def test_without_starts_inferences_follow_each_other(tmp_path: Path) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6})
    for each in range(1, 6):
        run.put(f"latency/1/{each}", replace(window(samples(), ORDER), starts_ns=None))
    assert latency_of(run).rate_per_s == pytest.approx(1000, rel=0.01)


def test_models_are_compared_by_round(tmp_path: Path) -> None:
    report = read_report(write_run(tmp_path, TWO, {"net.onnx": 1_000_000, "small.onnx": 800_000}))
    first, second = report.models
    assert first.ratio is None
    assert second.ratio is not None
    assert second.ratio.lower < 0.8 < second.ratio.upper
    assert second.ratio.differs
    assert second.ratio.pairs == 6


def test_a_round_that_one_model_lacks_is_no_pair(tmp_path: Path) -> None:
    report = read_report(write_run(tmp_path, TWO, {"net.onnx": 10**6, "small.onnx": 10**6}, skip=2))
    assert report.models[1].ratio is not None
    assert report.models[1].ratio.pairs == 4
    assert report.missing_windows == 2
    assert "2 windows of latency; --resume" in " ".join(trust_of(report).warnings)


def test_two_rounds_are_too_few_to_compare(tmp_path: Path) -> None:
    run = write_run(tmp_path, replace(TWO, windows=2), {"net.onnx": 10**6, "small.onnx": 8 * 10**5})
    assert read_report(run).models[1].ratio is None


def test_more_comparisons_need_more_confidence_each(tmp_path: Path) -> None:
    order = replace(TWO, models=("/a", "/b", "/c"))
    report = read_report(write_run(tmp_path, order, {"a": 10**6, "b": 10**6, "c": 10**6}))
    assert report.models[2].ratio is not None
    assert report.models[2].ratio.confidence == pytest.approx(0.975)


def test_why_something_is_absent(tmp_path: Path) -> None:
    order = replace(ORDER, memory=True, audit=True)
    run = write_run(tmp_path, order, {"net.onnx": 10**6})
    run.put("memory/1", None)
    run.put("absent/audit/1", "the model has no output to compare")
    run.put("audit/1", None)
    report = read_report(run)
    assert trust_of(report).warnings == ("audit was not obtained: the model has no output to compare",)
    assert report.models[0].absent == {
        "memory": "the device has no method",
        "energy": "the device has no meter",
        "cold": "not asked for",
        "operators": "not asked for",
        "audit": "the model has no output to compare",
    }
    metered = write_run(tmp_path / "metered", order, {"net.onnx": 10**6}, spec=replace(SPEC, meter=METER))
    report = read_report(metered)
    assert report.models[0].absent["energy"] == report.models[0].absent["memory"] == NOT_YET
    assert "memory of net.onnx, energy of net.onnx, audit of net.onnx" in " ".join(trust_of(report).warnings)


def test_a_run_that_is_whole_and_calm_has_no_warning(tmp_path: Path) -> None:
    report = read_report(write_run(tmp_path, ORDER, {"net.onnx": 10**6}))
    trust = trust_of(report)
    assert trust.warnings == ()
    assert trust.is_valid


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"clock_resolution_ns": 1_000_000}, "steps of 1 ms"),
        ({"late_count": 7}, "35 starts came late"),
        ({"obtained": "emulated"}, "latency is emulated"),
    ],
    ids=["coarse clock", "late", "emulated"],
)
def test_what_is_to_be_known_of_latency(tmp_path: Path, change: dict[str, object], warning: str) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6})
    for each in range(1, 6):
        record = window(samples(seed=each), ORDER)
        run.put(f"latency/1/{each}", replace(record, **change))  # type: ignore[arg-type]
    (told,) = trust_of(read_report(run)).warnings
    assert warning in told


def test_windows_that_differ_are_said(tmp_path: Path) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6}, count=12)
    run.put("latency/1/3", window(samples(12, median_ns=1_300_000), ORDER))
    short, differ = trust_of(read_report(run)).warnings
    assert short.startswith("too few samples to tell whether it was stable")
    assert differ.startswith("its windows' medians differ by 3")


def test_a_last_window_that_is_slower_is_told_though_each_is_stable(tmp_path: Path) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6})
    run.put("latency/1/5", window(samples(median_ns=1_300_000), ORDER))
    report = read_report(run)
    assert report.models[0].latency is not None
    assert {each.stability.state for each in report.models[0].latency.windows} == {"stable"}
    (told,) = trust_of(report).warnings
    assert told.startswith("its windows together are unstable: ")
    assert "nothing that the device told explains it, and each session differs" in told
    assert "clock" not in told
    assert told.endswith("; try --stable")


def test_a_step_in_one_session_is_put_down_to_its_clock(tmp_path: Path) -> None:
    slower = np.concatenate([samples(1000, 10**6), samples(1000, 1_500_000, seed=1)])
    run = write_run(tmp_path, replace(ORDER, windows=1), {"net.onnx": 10**6})
    run.put("latency/1/1", window(slower, ORDER))
    (told,) = trust_of(read_report(run)).warnings
    assert "its clock was probably lowered" in told


@pytest.mark.parametrize("stable", [False, True], ids=["as it comes", "held"])
def test_a_window_that_got_slower_half_way(tmp_path: Path, stable: bool) -> None:
    slower = np.concatenate([samples(1000, 10**6), samples(1000, 1_500_000, seed=1)])
    order = replace(ORDER, stable=stable)
    run = with_record(write_run(tmp_path, order, {"net.onnx": 10**6}), "latency/1/2", window(slower, order))
    trust = trust_of(read_report(run))
    told, whole = trust.invalid if stable else trust.warnings
    assert whole.startswith(f"its windows together are also {'still ' if stable else ''}unstable: ")
    assert told.startswith(f"window 2 is {'still ' if stable else ''}unstable: ")
    assert trust.is_valid is not stable


def test_windows_that_are_unstable_alike_are_told_together(tmp_path: Path) -> None:
    slower = np.concatenate([samples(1000, 10**6), samples(1000, 1_500_000, seed=1)])
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6})
    for each in (2, 4):
        run.put(f"latency/1/{each}", window(slower, ORDER))
    told, whole = trust_of(read_report(run)).warnings
    assert whole.startswith("its windows together are also unstable: ")
    assert told.startswith("windows 2, 4 are unstable: in the first, 999 ms in, inferences became slower")


def test_starts_that_come_late_are_told_once(tmp_path: Path) -> None:
    order = replace(ORDER, workload=Workload("periodic", period_ns=10**7))
    run = write_run(tmp_path, order, {"net.onnx": 10**6})
    run.put("latency/1/2", window(samples(), order, late=300))
    (told,) = trust_of(read_report(run)).warnings
    assert told.startswith("window 2 is unstable: 300 starts of 2,000")


def test_windows_that_were_taken_again_are_said(tmp_path: Path) -> None:
    slower = np.concatenate([samples(1000, 10**6), samples(1000, 1_500_000, seed=1)])
    order = replace(ORDER, stable=True)
    run = with_record(write_run(tmp_path, order, {"net.onnx": 10**6}), "rejected/1/2/1", window(slower, order))
    (rejected,) = latency_of(run).rejected
    assert (rejected.number, rejected.stability.state) == (2, "unstable")
    assert latency_of(run).count == 10_000
    assert trust_of(read_report(run)).is_valid
    assert trust_of(read_report(run)).warnings == (
        "1 window unstable and taken again; what was measured is kept in the run",
    )


def test_a_busy_start_and_a_wait_in_vain_are_said(tmp_path: Path) -> None:
    run = write_run(tmp_path, replace(ORDER, stable=True), {"net.onnx": 10**6}, start=replace(CALM, load_1min=3.5))
    run.put("held/1/1/1", Held(0.1, CALM, ()))
    run.put("held/1/2/1", Held(60.2, CALM, ("load 9.0, not 1.0",)))
    busy, vain = trust_of(read_report(run)).warnings
    assert busy == "other work was running when it began: load 3.5 on 4 CPUs"
    assert vain.startswith("before 1 window, 60.2 s of waiting did not calm the device: ")
    assert vain.endswith("load 9.0, not 1.0")


def test_an_emulated_processor_has_no_latency(tmp_path: Path) -> None:
    spec = replace(SPEC, timing_is_real=False, emulated=("processor",))
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6}, spec=spec)
    assert "no latency of any hardware" in " ".join(trust_of(read_report(run)).warnings)


def test_memory_is_as_it_was_stored(tmp_path: Path) -> None:
    peaks = np.array([5, 3, 4, 4, 4, 4, 9], np.int64)
    stored = MemoryRecord("sha256:1", peaks, peaks, 10, "a way", "measured")
    run = with_record(write_run(tmp_path, ORDER, {"net.onnx": 10**6}), "memory/1", stored)
    found = read_report(run).models[0].memory
    assert found is not None
    np.testing.assert_array_equal(found.peak_bytes, peaks)


def test_a_run_without_a_window_is_no_measurement(tmp_path: Path) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6}, skip=5)
    with pytest.raises(MeasurementError, match="no window") as caught:
        read_report(run)
    assert "edgeproof bench --resume 20260101-000000-abcdef --runs " in caught.value.next_step


def test_a_model_without_a_window_makes_it_invalid(tmp_path: Path) -> None:
    trust = trust_of(read_report(write_run(tmp_path, TWO, {"net.onnx": 10**6, "small.onnx": 10**6}, skip=6)))
    assert trust.invalid == ("small.onnx: no window was measured",)


def test_a_run_of_another_command_is_named(tmp_path: Path) -> None:
    record = RunRecord("1", "", "0", ("edgeproof", "certify", "x"), 0, "", "", "", "", "", "", "", ())
    run = Run.plan(tmp_path, record)
    run.put("plan/order", "x")
    with pytest.raises(UsageError, match="a run of edgeproof certify"):
        resumed_order(run)


@pytest.mark.parametrize(
    "change",
    [
        {"samples_ns": np.empty(0, np.int64), "starts_ns": None},
        {"warmup_count": 2000},
        {"warmup_count": -1},
        {"samples_ns": -samples()},
        {"starts_ns": np.zeros(3, np.int64)},
        {"starts_ns": np.zeros(2000)},
        {"samples_ns": np.full(2000, 2**63 - 1)},
        {"samples_ns": np.full(2000, 10**13), "starts_ns": None},
        {"starts_ns": samples() - 10**9},
        {"starts_ns": samples() + 2**62},
        {"load_ns": -5},
        {"load_ns": 2**70},
        {"first_run_ns": 10**14},
        {"workload": Workload("offline", batch=-1)},
        {"workload": Workload("offline", batch=10**400)},
    ],
    ids=[
        "empty",
        "all warm-up",
        "negative warm-up",
        "negative",
        "few moments",
        "no moments",
        "centuries",
        "longer together than a day",
        "before its clock",
        "after its clock",
        "load",
        "long load",
        "long first run",
        "batch",
        "large batch",
    ],
)
def test_a_window_that_cannot_be_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6})
    run.put("latency/1/3", replace(window(samples(), ORDER), **change))  # type: ignore[arg-type]
    with pytest.raises(MeasurementError) as caught:
        read_report(run)
    assert "latency/1/3" in caught.value.where


ONE = np.ones(3, np.int64)


@pytest.mark.parametrize(
    ("step", "record"),
    [
        ("cold/1", ColdStartRecord("x", ONE, ONE[:2], ONE, "a way", "measured")),
        ("cold/1", ColdStartRecord("x", ONE[:0], ONE[:0], ONE[:0], "a way", "measured")),
        ("cold/1", ColdStartRecord("x", ONE, ONE, ONE << 62, "a way", "measured")),
        ("cold/1", ColdStartRecord("x", -ONE, ONE, ONE, "a way", "measured")),
        ("operators/1", OperatorProfile("x", 5, (OperatorTime("n", "t", "", "", -1.0, 0.5),), "a way", "measured")),
        (
            "audit/1",
            AuditRecord("x", ONE, np.ones((2, 2), np.float32), np.ones((3, 2), np.float32), ONE, ONE, "measured"),
        ),
        ("memory/1", MemoryRecord("x", -ONE, ONE, 10, "a way", "measured")),
    ],
    ids=["uneven cold", "no cold", "long cold", "negative cold", "operator", "audit", "memory"],
)
def test_a_record_that_cannot_be_is_refused(tmp_path: Path, step: str, record: object) -> None:
    run = with_record(write_run(tmp_path, ORDER, {"net.onnx": 10**6}), step, record)
    with pytest.raises(MeasurementError) as caught:
        read_report(run)
    assert step in caught.value.where


@pytest.mark.parametrize("windows", [0, -1, 10**9], ids=str)
def test_a_plan_that_cannot_be_is_refused(tmp_path: Path, windows: int) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6})
    run = with_record(run, PLAN, replace(ORDER, windows=windows))
    with pytest.raises(StoreError, match="a plan of"):
        read_report(run)


def test_a_sample_that_was_changed_is_found_out(tmp_path: Path) -> None:
    run = write_run(tmp_path, ORDER, {"net.onnx": 10**6})
    (largest, *_) = sorted((run.path / "objects").rglob("*"), key=lambda path: -path.stat().st_size * path.is_file())
    data = bytearray(largest.read_bytes())
    data[-1] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(bytes(data))
    with pytest.raises(StoreError):
        read_report(Run.load(run.path))


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("/a/net.onnx",), ("net.onnx",)),
        (("/a/net.onnx", "/a/small.onnx"), ("net.onnx", "small.onnx")),
        (("/a/net.onnx", "/b/net.onnx", "/b/x.onnx"), ("a/net.onnx", "b/net.onnx", "x.onnx")),
        (("/a/net.onnx", "/a/net.onnx"), ("net.onnx", "net.onnx (2)")),
        (("/c/a/n.onnx", "/d/a/n.onnx"), ("a/n.onnx", "a/n.onnx (2)")),
    ],
    ids=["one", "two", "same name", "same file", "same folder's name"],
)
def test_what_models_are_called(paths: tuple[str, ...], names: tuple[str, ...]) -> None:
    assert labels(paths) == names


def test_a_rate_that_may_be_nothing_has_no_lower_end_and_says_what_would_give_it(tmp_path: Path) -> None:
    run = write_run(tmp_path, replace(ORDER, windows=3), {"net.onnx": 10**6})
    run.put("latency/1/2", window(samples(20, median_ns=10**9), ORDER))
    found = latency_of(run).rate_bounds
    assert found is not None
    assert found.lower is None
    assert found.upper > latency_of(run).rate_per_s
    assert 1 <= found.windows_missing <= 10


def test_percentiles_of_windows_that_differ_need_about_as_many_windows_as_samples(tmp_path: Path) -> None:
    """Three levels of 24,000 samples each are worth about three, also of a tail that is all of the slowest window."""
    run = write_run(tmp_path, replace(ORDER, windows=3), {"net.onnx": 10**6})
    for number, median_ns in enumerate((10**6, 2 * 10**6, 1_500_000), 1):
        run.put(f"latency/1/{number}", window(samples(24_000, median_ns, seed=number), ORDER))
    found = latency_of(run)
    assert found.percentiles[0].lower is None
    told = [found.windows_missing(each) for each in found.percentiles]
    least = [each.minimum_count - 3 for each in found.percentiles]
    assert least[0] == 2
    assert all(low <= each <= 2 * low for low, each in zip(least, told, strict=True))


def test_percentiles_that_have_both_ends_lack_no_window(tmp_path: Path) -> None:
    found = latency_of(write_run(tmp_path, ORDER, {"net.onnx": 10**6}))
    assert [found.windows_missing(each) for each in found.percentiles] == [0] * 5


def test_energy_that_changed_its_level_is_said(tmp_path: Path) -> None:
    each_j = np.r_[np.full(5, 1e-3), np.full(5, 1.5e-3)] * np.random.default_rng(0).lognormal(0, 0.01, 10)
    meter = MeterRecord("ppk2", "measured", "a meter", {}, MeterAccuracy(0.01, 0.0, 0.0, "stated"))
    record = EnergyRecord(
        variant_digest="sha256:1", meter=meter, window_energy_j=500 * each_j, window_s=np.full(10, 0.5),
        window_inferences=np.full(10, 500), idle_power_w=0.001, trace_t_ns=np.arange(3), trace_power_w=np.ones(3),
        obtained="measured", windows_ns=np.arange(20).reshape(10, 2),
    )  # fmt: skip
    run = with_record(write_run(tmp_path, replace(ORDER, energy=True), {"net.onnx": 10**6}), "energy/1", record)
    (told,) = trust_of(read_report(run)).warnings
    assert told.startswith("its energy windows are unstable: an inference took 1")
    assert "up to window 5 and" in told


def test_energy_that_flows_back_is_said(tmp_path: Path) -> None:
    meter = MeterRecord("ppk2", "measured", "a meter", {}, MeterAccuracy(0.01, 0.0, 0.0, "stated"))
    record = EnergyRecord(
        variant_digest="sha256:1", meter=meter, window_energy_j=np.full(10, -0.01), window_s=np.full(10, 0.5),
        window_inferences=np.full(10, 500), idle_power_w=-0.01, trace_t_ns=np.arange(3), trace_power_w=-np.ones(3),
        obtained="measured",
    )  # fmt: skip
    run = with_record(write_run(tmp_path, replace(ORDER, energy=True), {"net.onnx": 10**6}), "energy/1", record)
    assert any(told.startswith("the mean power is negative") for told in trust_of(read_report(run)).warnings)


@pytest.mark.parametrize(
    ("median_ns", "workload", "says"),
    [
        (1_000_000, Workload(), ""),
        (700_000, Workload(), ""),
        (600_000, Workload(), "pauses or other work; try a longer --energy-window-time"),
        (1_600_000, Workload("periodic", 10**8), "is of inferences back to back"),
        (100_000_000, Workload("offline", batch=64), ""),
    ],
    ids=["the same", "near", "slower", "faster", "a batch"],
)
def test_energy_of_another_pace_than_the_latency_s_is_said(
    median_ns: int, workload: Workload, says: str, tmp_path: Path
) -> None:
    order = replace(ORDER, energy=True, workload=workload)
    meter = MeterRecord("ppk2", "measured", "a meter", {}, MeterAccuracy(0.01, 0.0, 0.0, "stated"))
    record = EnergyRecord(
        variant_digest="sha256:1", meter=meter, window_energy_j=np.full(10, 0.1), window_s=np.full(10, 0.5),
        window_inferences=np.full(10, 500), idle_power_w=0.001, trace_t_ns=np.arange(3), trace_power_w=np.ones(3),
        obtained="measured", windows_ns=np.arange(20).reshape(10, 2),
    )  # fmt: skip
    run = with_record(write_run(tmp_path, order, {"net.onnx": median_ns}), "energy/1", record)
    told = [each for each in trust_of(read_report(run)).warnings if "under the meter" in each]
    assert len(told) == bool(says)
    assert not told or (told[0].startswith("an inference took 1 ms under the meter and ") and says in told[0])


def test_a_longer_audit_is_advised_where_only_times_are_not_sure(tmp_path: Path) -> None:
    scores = np.zeros((3, 2), np.float32)
    record = AuditRecord("sha256:1", np.arange(3), scores, scores, samples(20), samples(20), "measured", rounds=16)
    order = replace(ORDER, audit=True)
    run = with_record(write_run(tmp_path / "one", order, {"net.onnx": 10**6}), "audit/1", record)
    (told,) = trust_of(read_report(run)).warnings
    assert told.endswith("; a longer --audit-time may decide it")
    none = replace(record, rows=np.arange(0), timed_scores=scores[:0], scored=scores[:0])
    run = with_record(write_run(tmp_path / "other", order, {"net.onnx": 10**6}), "audit/1", none)
    (told,) = trust_of(read_report(run)).warnings
    assert "--audit-time" not in told


def test_the_command_that_is_kept_says_what_was_asked() -> None:
    usual, words = command_words(ORDER), {"--memory-sessions", "--energy-windows", "--energy-window-time"}
    assert not words & set(usual)
    order = replace(ORDER, memory_sessions=9, energy_windows=20, energy_window_s=0.25, audit_s=30.0)
    said = " ".join(command_words(order))
    assert "--audit-time 30s --memory-sessions 9 --energy-windows 20 --energy-window-time 0.25s" in said
    plan = order.plan
    assert (plan.memory_sessions, plan.energy_windows, plan.energy_window_s) == (9, 20, 0.25)
