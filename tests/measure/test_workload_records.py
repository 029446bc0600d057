"""Windows, cold starts, operators and audits as records, on real agents, honest and not."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from kit.device import open_device
from kit.errors import MeasurementError
from kit.judge.audit import judge_audit
from kit.measure import audit, measure_cold_start, measure_latency, measure_operators
from kit.measure.latency import _late_count, scenario_text
from kit.records import Workload
from kit.spec.types import MeasurePlan
from tests import device_kit as kits

CHEATING = str(Path(__file__).parent / "cheating_agent.py")
OLD = str(Path(__file__).parents[1] / "device" / "old_agent.py")
SPEC = kits.device_spec(timeout_s=60.0)
PLAN = MeasurePlan(latency_inferences=300, latency_min_s=0.3)


def spec_of(script, *arguments):
    search = f"PYTHONPATH={Path(__file__).parents[2]}"
    return dataclasses.replace(SPEC, command=("env", search, sys.executable, script, *arguments, "--stdio"))


@pytest.fixture(scope="module")
def device():
    opened = open_device(SPEC)
    yield opened
    opened.close()


class Altered:
    """A device whose timings are altered."""

    def __init__(self, device, **changes):
        self._device, self._changes, self.asked = device, changes, []

    def __getattr__(self, name):
        return getattr(self._device, name)

    def time_inferences(self, *arguments, **named):
        self.asked.append(named)
        timed = self._device.time_inferences(*arguments, **named)
        return dataclasses.replace(timed, **{name: change(timed) for name, change in self._changes.items()})


class TestLateStarts:
    """Made-up starts: five late ones in warm-up, three after, on a grid of 1 ms."""

    @staticmethod
    def samples(device, count=40, late=(0, 1, 2, 3, 4, 20, 30, 35), told=8, burst=1):
        samples_ns = np.full(count * burst, 100_000)
        samples_ns[: 5 * burst] = 400_000
        begun_ns = 10**9 + 10**6 * np.arange(count)
        begun_ns[list(late)] += 150_000
        starts_ns = (begun_ns[:, None] + 100_000 * np.arange(burst)).ravel()
        timed = device.time_inferences(device.deploy(kits.linear()), kits.rows(), count=1, min_s=0)
        return dataclasses.replace(timed, samples_ns=samples_ns, starts_ns=starts_ns, late_count=told)

    @pytest.mark.parametrize(("warmup", "burst", "late"), [(5, 1, 3), (0, 1, 8), (21, 1, 2), (5, 4, 6), (8, 4, 6)])
    def test_warm_up_is_not_counted(self, device, warmup, burst, late):
        window = self.samples(device, burst=burst)
        workload = Workload("burst" if burst > 1 else "periodic", period_ns=10**6, burst=burst)
        assert _late_count([window], warmup, workload) == late

    def test_each_window_has_a_grid_of_its_own(self, device):
        one = self.samples(device)
        other = dataclasses.replace(one, starts_ns=one.starts_ns + 123_456_789)
        assert _late_count([one, other], 5, Workload("periodic", period_ns=10**6)) == 3 + 8

    def test_the_device_s_own_count_is_the_most(self, device):
        workload = Workload("periodic", period_ns=10**6)
        assert _late_count([self.samples(device, told=2)], 5, workload) == 2
        untold = dataclasses.replace(self.samples(device, told=7), starts_ns=None)
        assert _late_count([untold], 5, workload) == 7


class TestWindows:
    def test_windows_share_the_plan_and_one_session(self, device):
        told, watched = [], Altered(device)
        digest, plan = device.deploy(kits.linear()), dataclasses.replace(PLAN, latency_windows=3)
        record = measure_latency(watched, SPEC, digest, kits.rows(), plan, lambda *each: told.append(each))
        assert [each["fresh"] for each in watched.asked] == [True, False, False]
        assert {(each["count"], round(each["min_s"], 6)) for each in watched.asked} == {(100, 0.1)}
        assert len(record.window_counts) == 3
        assert record.window_counts.min() >= 100
        assert record.window_counts.sum() == len(record.samples_ns) == len(record.starts_ns)
        assert (np.diff(record.starts_ns) > 0).all()
        assert record.warmup_count <= record.window_counts[0] / 4
        assert told == sorted(told, key=lambda each: each[0])

    def test_one_window_is_as_before(self, device):
        record = measure_latency(device, SPEC, device.deploy(kits.linear()), kits.rows(), PLAN)
        assert record.window_counts.tolist() == [len(record.samples_ns)]
        assert record.scenario == "single stream, back to back, rows in turn"
        assert record.late_count == 0

    def test_the_device_s_state_is_on_the_clock_of_the_starts(self, device):
        plan = dataclasses.replace(PLAN, latency_min_s=1.5)
        device.run_busy(device.deploy(kits.linear()), kits.rows(), duration_s=0.2)  # its telemetry is not ours
        record = measure_latency(device, SPEC, device.deploy(kits.linear()), kits.rows(), plan)
        assert record.telemetry
        clocks = [sample.clock_ns for sample in record.telemetry]
        assert record.starts_ns[0] - 1e9 < min(clocks) <= max(clocks) < record.starts_ns[-1] + 1e9

    def test_the_state_is_told_several_times_in_a_short_window(self, device):
        plan = dataclasses.replace(PLAN, latency_min_s=1.0)
        record = measure_latency(device, SPEC, device.deploy(kits.linear()), kits.rows(), plan)
        assert 2 <= len(record.telemetry) <= 10

    @pytest.mark.parametrize(
        ("workload", "words"),
        [
            (Workload("periodic", period_ns=5_000_000), "periodic, one every 5 ms, rows in turn"),
            (Workload("burst", period_ns=20_000_000, burst=4), "burst, 4 back to back every 20 ms, rows in turn"),
            (Workload("offline", batch=16), "offline, batches of 16, each one sample, rows in turn"),
            (Workload("multi-stream", streams=2), "multi-stream, 2 threads, each back to back, rows in turn"),
        ],
        ids=["periodic", "burst", "offline", "multi-stream"],
    )
    def test_every_workload_is_recorded_and_kept(self, device, workload, words):
        plan = dataclasses.replace(PLAN, latency_inferences=40, latency_min_s=0.05)
        record = measure_latency(device, SPEC, device.deploy(kits.linear()), kits.rows(), plan, workload=workload)
        assert record.scenario == words == scenario_text(workload)
        assert record.workload == workload
        assert len(record.samples_ns) >= 40

    def test_an_earlier_release_tells_no_starts(self):
        spec = spec_of(OLD)
        old = open_device(spec)
        try:
            record = measure_latency(old, spec, old.deploy(kits.linear()), kits.rows(), PLAN)
        finally:
            old.close()
        assert record.starts_ns is None
        assert record.window_counts.tolist() == [len(record.samples_ns)]

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"samples_ns": lambda t: t.samples_ns[:10]}, "a window has 10 samples, 300 were asked for"),
            ({"samples_ns": lambda t: np.zeros_like(t.samples_ns)}, "every latency sample is 0 ns"),
            ({"starts_ns": lambda t: np.full(len(t.samples_ns), 5)}, "a window lasted"),
        ],
        ids=["few", "zero", "short"],
    )
    def test_a_window_that_is_not_what_was_asked_for_is_refused(self, device, changes, said):
        plan = dataclasses.replace(PLAN, latency_min_s=1.0)
        with pytest.raises(MeasurementError, match=said):
            measure_latency(Altered(device, **changes), SPEC, device.deploy(kits.linear()), kits.rows(), plan)


class TestOthers:
    def test_cold_starts(self, device):
        record = measure_cold_start(device, SPEC, device.deploy(kits.linear()), kits.rows(), sessions=2)
        assert record.ready_ns.shape == record.load_ns.shape == record.first_run_ns.shape == (2,)
        assert record.obtained == "measured"
        emulated = dataclasses.replace(SPEC, timing_is_real=False)
        record = measure_cold_start(device, emulated, device.deploy(kits.linear()), kits.rows(), sessions=1)
        assert record.obtained == "emulated"

    def test_operators(self, device):
        record = measure_operators(device, SPEC, device.deploy(kits.two_scores()), kits.rows(), inferences=9)
        assert record.inferences == 9
        assert {each.op_type for each in record.operators} == {"MatMul", "Softmax"}
        assert "no latency" in record.method

    def test_an_earlier_release_has_neither(self):
        spec = spec_of(OLD)
        old = open_device(spec)
        try:
            digest = old.deploy(kits.linear())
            assert measure_cold_start(old, spec, digest, kits.rows(), sessions=1) is None
            assert measure_operators(old, spec, digest, kits.rows(), inferences=1) is None
            found = judge_audit(audit(old, spec, digest, kits.rows(), PLAN))
        finally:
            old.close()
        assert found.state in ("undecided", "failed")
        assert found.rows_compared == 0
        assert "no outputs were kept" in found.reasons[0]


class TestAudit:
    @pytest.mark.parametrize("model", [kits.linear, kits.classifier, kits.two_scores], ids=lambda make: make.__name__)
    def test_an_honest_agent_has_equal_outputs(self, device, model):
        digest, inputs = device.deploy(model()), kits.rows(100)
        record = audit(device, SPEC, digest, inputs, PLAN)
        assert len(record.rows) == 16
        assert record.rows.max() > 80
        np.testing.assert_array_equal(record.timed_scores, record.scored)
        found = judge_audit(record)
        assert (found.rows_compared, found.rows_different, found.largest_difference) == (16, 0, 0.0)
        assert found.faster_share is not None
        assert len(record.varied_ns) == len(record.repeated_ns)

    @pytest.mark.parametrize(
        ("cheat", "said"),
        [("remembers", "answers may be remembered"), ("approximates", "16 of 16 rows had other outputs while timing")],
    )
    def test_a_cheat_is_caught(self, cheat, said):
        """As a bench does, it goes on while a busy machine leaves it undecided."""
        spec = spec_of(CHEATING, cheat)
        cheating = open_device(spec)
        more = {"is_decided": lambda record: judge_audit(record).state != "undecided", "most_s": 30.0}
        try:
            record = audit(cheating, spec, cheating.deploy(kits.slow(200)), kits.rows(20), PLAN, **more)
        finally:
            cheating.close()
        found = judge_audit(record)
        assert found.state == "failed"
        assert any(said in reason for reason in found.reasons)

    def test_it_goes_on_while_undecided_and_as_long_as_it_may(self, device):
        digest, inputs, seen = device.deploy(kits.linear()), kits.rows(20), []

        def decided(record):
            seen.append((record.rounds, len(record.varied_ns), len(record.repeated_ns)))
            return len(seen) == 3

        plan = dataclasses.replace(PLAN, latency_min_s=0.05)
        record = audit(device, SPEC, digest, inputs, plan, is_decided=decided, most_s=60.0)
        assert [rounds for rounds, _, _ in seen] == [16, 32, 64]
        assert {varied // rounds for rounds, varied, _ in seen} == {seen[0][1] // 16}
        assert all(varied == repeated for _, varied, repeated in seen)
        assert record.rounds == 64
        assert audit(device, SPEC, digest, inputs, plan, is_decided=lambda _: False, most_s=0.0).rounds == 16
