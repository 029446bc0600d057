"""Workloads, cold starts, operators and patterns on a real agent: what is timed, kept, told, and refused."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from kit.device import open_device
from kit.device.conversation import RefusedError
from kit.errors import DeviceError, LinkError
from kit.records import SINGLE_STREAM, Workload
from tests import device_kit as kits
from tests.signals import heard

OLD = str(Path(__file__).parent / "old_agent.py")
MS = 10**6
WORKLOADS = {
    "single stream": SINGLE_STREAM,
    "periodic": Workload("periodic", period_ns=5 * MS),
    "burst": Workload("burst", period_ns=20 * MS, burst=5),
    "offline": Workload("offline", batch=8),
    "multi-stream": Workload("multi-stream", streams=3),
}


@pytest.fixture(scope="module")
def shared():
    opened = open_device(kits.device_spec(timeout_s=60.0))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def old():
    search = f"PYTHONPATH={Path(__file__).parents[2]}"
    opened = open_device(kits.device_spec(command=("env", search, sys.executable, OLD, "--stdio"), timeout_s=60.0))
    yield opened
    opened.close()


class TestWorkloads:
    @pytest.mark.parametrize("scenario", WORKLOADS)
    @pytest.mark.parametrize("batch", ["rows", 1], ids=["dynamic", "fixed"])
    def test_samples_starts_and_outputs_of_each(self, shared, scenario, batch):
        inputs, digest = kits.rows(50), shared.deploy(kits.linear(batch=batch))
        timed = shared.time_inferences(digest, inputs, count=60, min_s=0.05, workload=WORKLOADS[scenario])
        assert len(timed.samples_ns) == len(timed.starts_ns) >= 60
        assert (timed.samples_ns > 0).all()
        ends = timed.starts_ns + timed.samples_ns
        assert (np.diff(ends) >= 0).all()
        assert ends[-1] - timed.starts_ns.min() >= 0.04e9
        assert 8 <= len(timed.sampled_rows) <= 16
        assert timed.sampled_output == "scores"
        np.testing.assert_allclose(
            timed.sampled_scores, inputs[timed.sampled_rows] @ kits.weights(), rtol=1e-4, atol=1e-5
        )

    def test_sampled_rows_are_spread(self, shared):
        digest = shared.deploy(kits.linear())
        timed = shared.time_inferences(digest, kits.rows(200), count=400, min_s=0)
        assert len(set(timed.sampled_rows.tolist())) == 16
        assert timed.sampled_rows.min() < 20
        assert timed.sampled_rows.max() > 180

    def test_a_period_is_kept_from_start_to_start(self, shared):
        workload = Workload("periodic", period_ns=10 * MS)
        digest = shared.deploy(kits.linear())
        for _ in range(8):  # a busy machine wakes one late, which is no sample's fault
            timed = shared.time_inferences(digest, kits.rows(), count=40, min_s=0, workload=workload)
            assert len(timed.starts_ns) == 40
            whole_ns = timed.starts_ns[-1] - timed.starts_ns[0]
            assert whole_ns > 0.8 * 39 * 10 * MS
            on_grid = (timed.starts_ns - timed.starts_ns[0]) / workload.period_ns
            punctual = (np.abs(np.round(on_grid) - on_grid) < 0.1).sum()
            if whole_ns < 1.2 * 39 * 10 * MS and punctual >= 40 - timed.late_count - 2:
                break
        assert whole_ns < 1.2 * 39 * 10 * MS
        assert punctual >= 40 - timed.late_count - 2

    def test_a_period_shorter_than_an_inference_makes_all_late(self, shared):
        digest, workload = shared.deploy(kits.slow(300)), Workload("periodic", period_ns=100_000)
        timed = shared.time_inferences(digest, kits.rows(2), count=20, min_s=0, workload=workload)
        assert timed.late_count >= 18

    def test_a_burst_is_whole_and_its_inferences_back_to_back(self, shared):
        workload = Workload("burst", period_ns=50 * MS, burst=7)
        digest, apart_ns = shared.deploy(kits.linear()), []
        for _ in range(8):
            timed = shared.time_inferences(digest, kits.rows(), count=10, min_s=0, workload=workload)
            assert len(timed.samples_ns) == 14
            firsts = timed.starts_ns.reshape(2, 7)[:, 0]
            apart_ns.append(firsts[1] - firsts[0])
        assert np.median(apart_ns) == pytest.approx(50 * MS, rel=0.5)  # a busy machine wakes some late

    def test_a_batch_is_one_sample_of_all_its_rows(self, shared):
        """Where the model takes one row, a batch is so many calls; where it takes many, it is one call, and cheaper."""
        medians = {}
        for batch in ("rows", 1):
            digest, workload = shared.deploy(kits.linear(batch=batch)), Workload("offline", batch=500)
            timed = shared.time_inferences(digest, kits.rows(), count=30, min_s=0, workload=workload)
            medians[batch] = np.median(timed.samples_ns)
        one = np.median(shared.time_inferences(digest, kits.rows(), count=200, min_s=0).samples_ns)
        assert medians[1] > 100 * one
        assert medians["rows"] < medians[1] / 4

    def test_streams_run_at_the_same_time(self, shared):
        digest = shared.deploy(kits.slow(300))
        workload = Workload("multi-stream", streams=3)
        timed = shared.time_inferences(digest, kits.rows(4), count=30, min_s=0, workload=workload)
        overlapping = timed.starts_ns[1:] < (timed.starts_ns + timed.samples_ns)[:-1]
        assert overlapping.sum() > len(overlapping) / 4, "one after the other, none would"

    def test_progress_is_told_and_rows_that_do_not_fit_are_refused(self, shared):
        told = []
        for workload in WORKLOADS.values():
            told.clear()
            digest = shared.deploy(kits.linear())
            shared.time_inferences(
                digest, kits.rows(), count=1, min_s=0.7, workload=workload, progress=lambda *each: told.append(each)
            )
            assert told
            assert all(done <= total for done, total in told)
            with pytest.raises(DeviceError, match="does not take rows"):
                shared.time_inferences(digest, kits.rows()[:, :5], count=1, min_s=0, workload=workload)

    def test_a_long_sample_of_many_calls_tells_progress_and_can_be_ended(self, shared):
        digest, told = shared.deploy(kits.slow(300)), []
        workload = Workload("offline", batch=1 << 16)  # minutes

        def stop(done, total):
            told.append((done, total))
            if len(told) == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            shared.time_inferences(digest, kits.rows(2), count=1, min_s=0, workload=workload, progress=stop)
        assert told == sorted(told)
        assert {total for _, total in told} == {1 << 16}
        start_s = time.monotonic()
        assert len(shared.time_inferences(digest, kits.rows(2), count=1, min_s=0).samples_ns) == 1
        assert time.monotonic() - start_s < 10

    @pytest.mark.parametrize(
        ("workload", "said"),
        [
            (Workload("sideways"), "cannot run a workload as sideways"),  # type: ignore[arg-type]
            (Workload("periodic"), "period_ns must be"),
            (Workload("periodic", period_ns=10**12), "period_ns must be"),
            (Workload("burst", period_ns=MS, burst=0), "burst must be"),
            (Workload("offline", batch=1 << 20), "batch must be"),
            (Workload("multi-stream", streams=1000), "streams must be"),
        ],
        ids=["scenario", "no period", "long period", "no burst", "batch", "streams"],
    )
    def test_a_workload_that_cannot_be_is_refused(self, shared, workload, said):
        digest = shared.deploy(kits.linear())
        with pytest.raises(DeviceError, match=said):
            shared.time_inferences(digest, kits.rows(), count=1, min_s=0, workload=workload)
        assert len(shared.time_inferences(digest, kits.rows(), count=5, min_s=0).samples_ns) == 5

    def test_a_batch_beyond_its_memory_is_refused(self, shared):
        digest, workload = shared.deploy(kits.linear()), Workload("offline", batch=1 << 16)
        wide = np.zeros((2, kits.FEATURES * 100), np.float32)
        model = kits.graph_bytes(
            [kits.helper.make_node("Identity", ["x"], ["scores"])],
            [kits.tensor("x", ["rows", wide.shape[1]])], [kits.tensor("scores", ["rows", wide.shape[1]])], {},
        )  # fmt: skip
        with pytest.raises(RefusedError, match="over 67108864 bytes"):
            shared.time_inferences(shared.deploy(model), wide, count=1, min_s=0, workload=workload)
        assert shared.predict(digest, kits.rows(2), output=None, exact=False).shape == (2, kits.CLASSES)

    @pytest.mark.parametrize("scenario", ["periodic", "multi-stream"])
    def test_an_interrupt_ends_it_and_the_agent_goes_on(self, shared, scenario):
        digest = shared.deploy(kits.linear())
        workload = Workload("periodic", period_ns=60_000 * MS) if scenario == "periodic" else WORKLOADS[scenario]
        timer = threading.Timer(0.5, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
        with heard(signal.SIGINT, signal.default_int_handler):
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                shared.time_inferences(digest, kits.rows(), count=100, min_s=60.0, workload=workload)
            timer.join()
        start_s = time.monotonic()
        assert len(shared.time_inferences(digest, kits.rows(), count=5, min_s=0).samples_ns) == 5
        assert time.monotonic() - start_s < 10

    def test_an_agent_killed_meanwhile_gives_a_clear_error(self):
        device = open_device(kits.device_spec())
        digest = device.deploy(kits.linear())
        timer = threading.Timer(0.5, lambda: os.kill(device.process_id(), signal.SIGKILL))
        timer.start()
        with pytest.raises(LinkError, match="stopped answering"):
            device.time_inferences(digest, kits.rows(), count=1, min_s=30.0, workload=WORKLOADS["multi-stream"])
        timer.join()
        device.close()


class TestSessions:
    def test_a_session_goes_on_in_the_next_window_unless_it_is_to_be_fresh(self, shared):
        inputs = kits.rows()
        digests = [shared.deploy(kits.linear(seed)) for seed in (0, 1)]

        def load_ns(digest, fresh):
            return shared.time_inferences(digest, inputs, count=20, min_s=0, fresh=fresh).load_ns

        first, second = load_ns(digests[0], True), load_ns(digests[1], False)
        assert [load_ns(digests[0], False), load_ns(digests[1], False)] == [first, second]
        assert load_ns(digests[0], True) != first
        assert load_ns(digests[1], False) != second
        kept = load_ns(digests[1], False)
        shared.predict(digests[0], inputs, output=None, exact=False)
        assert load_ns(digests[1], False) != kept


class TestOutputs:
    def test_the_score_output_is_kept_and_not_the_label(self, shared):
        timed = shared.time_inferences(shared.deploy(kits.classifier()), kits.rows(9), count=20, min_s=0)
        assert timed.sampled_output == "scores"
        assert timed.sampled_scores.shape[1] == kits.CLASSES

    def test_the_first_of_several_is_kept_by_name(self, shared):
        timed = shared.time_inferences(shared.deploy(kits.two_scores()), kits.rows(9), count=20, min_s=0)
        assert timed.sampled_output == "scores"

    def test_an_output_that_is_no_row_of_scores_is_not_kept(self, shared):
        node = kits.helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)
        model = kits.graph_bytes([node], [kits.tensor("x", ["rows", 4])], [kits.tensor("total", [])], {})
        timed = shared.time_inferences(shared.deploy(model), np.ones((3, 4), np.float32), count=20, min_s=0)
        assert timed.sampled_rows is timed.sampled_scores is timed.sampled_output is None


class TestColdStart:
    def test_every_session_is_a_process_of_its_own(self, shared):
        digest = shared.deploy(kits.heavy(8 << 20))
        found = shared.measure_cold_start(digest, kits.rows(3), sessions=2)
        for times in (found.ready_ns, found.load_ns, found.first_run_ns):
            assert times.shape == (2,)
            assert (times > 0).all()
        assert (found.ready_ns > 20 * MS).all()
        assert "fresh process" in found.method
        assert "of the system's cache before" in found.method

    def test_rows_that_do_not_fit_are_refused(self, shared):
        with pytest.raises(DeviceError, match="does not take rows"):
            shared.measure_cold_start(shared.deploy(kits.linear()), kits.rows()[:, :3], sessions=1)


class TestProfile:
    def test_nodes_with_their_shapes_and_shares(self, shared):
        digest = shared.deploy(kits.slow(200))
        found = shared.profile_operators(digest, kits.rows(3), inferences=12)
        assert {each.op_type for each in found} >= {"MatMul", "Slice"}
        assert sum(each.share for each in found) == pytest.approx(1)
        assert [each.mean_ns for each in found] == sorted((each.mean_ns for each in found), reverse=True)
        products = [each for each in found if each.op_type == "MatMul"]
        assert len(products) == 4
        assert all(each.output_shapes == "float [200, 200]" for each in products)
        assert sum(each.share for each in products) > 0.8
        assert {each.provider for each in found} == {"CPUExecutionProvider"}

    def test_its_session_leaves_timing_alone(self, shared):
        digest = shared.deploy(kits.linear())
        before = np.median(shared.time_inferences(digest, kits.rows(), count=500, min_s=0).samples_ns)
        shared.profile_operators(digest, kits.rows(), inferences=5)
        after = np.median(shared.time_inferences(digest, kits.rows(), count=500, min_s=0).samples_ns)
        assert after < 3 * before


class TestPattern:
    def test_work_and_rest_in_turn(self, shared):
        pattern_s = ((0.1, 0.1), (0.0, 0.05), (0.05, 0.0))
        windows = shared.run_pattern(shared.deploy(kits.linear()), kits.rows(), pattern_s=pattern_s)
        assert len(windows) == 3
        for window, (busy_s, _) in zip(windows, pattern_s, strict=True):
            assert window.end_ns - window.start_ns >= busy_s * 1e9
            assert (window.inferences > 0) is (busy_s > 0)
        for before, after, (_, idle_s) in zip(windows, windows[1:], pattern_s, strict=False):
            assert after.start_ns - before.end_ns >= idle_s * 1e9

    @pytest.mark.parametrize(
        "pattern_s", [(), ((1.0, -1.0),), ((400.0, 400.0),), ((0.0, 0.0),) * 257], ids=["none", "back", "long", "many"]
    )
    def test_a_pattern_that_cannot_be_is_refused(self, shared, pattern_s):
        with pytest.raises(RefusedError, match="pattern_s must be"):
            shared.run_pattern(shared.deploy(kits.linear()), kits.rows(), pattern_s=pattern_s)


class TestEarlierRelease:
    def test_times_a_single_stream(self, old):
        timed = old.time_inferences(old.deploy(kits.linear()), kits.rows(), count=20, min_s=0)
        assert len(timed.samples_ns) == 20
        assert timed.starts_ns is timed.sampled_rows is timed.sampled_scores is None
        assert old.time_inferences(old.deploy(kits.linear()), kits.rows(), count=20, min_s=0, fresh=False).load_ns > 0

    @pytest.mark.parametrize("scenario", [name for name in WORKLOADS if name != "single stream"])
    def test_is_not_asked_for_another_workload(self, old, scenario):
        with pytest.raises(DeviceError, match=f"earlier release, which cannot run a workload as {scenario}") as caught:
            old.time_inferences(old.deploy(kits.linear()), kits.rows(), count=5, min_s=0, workload=WORKLOADS[scenario])
        assert "this release" in caught.value.next_step

    def test_has_no_other_methods(self, old):
        digest = old.deploy(kits.linear())
        assert old.measure_cold_start(digest, kits.rows(), sessions=1) is None
        assert old.profile_operators(digest, kits.rows(), inferences=1) is None
        assert old.run_pattern(digest, kits.rows(), pattern_s=[(0.1, 0.1)]) is None
