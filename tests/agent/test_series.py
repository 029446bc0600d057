"""Series, kept outputs, patterns and page cache in the agent itself, without a link."""

import os
import time

import numpy as np
import pytest

from kit.agent import coldstart, profile, runner
from kit.agent.bound import Bound
from kit.agent.busy import keep_pattern
from kit.agent.runner import Runner, load
from kit.agent.series import KEPT_OUTPUTS, MAX_SAMPLES, Goal, Kept, Series
from kit.agent.work import CancelledError, RefusalError
from kit.agent.workloads import Workload, time_session, wait_until
from kit.errors import DeviceError
from tests import device_kit as kits

MS = 10**6
SINGLE = Workload("single stream", 1, 1, 1, 1)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(kits.linear())
    return file


def no_tick(done, total):
    pass


def series(count, min_ns=0, tick=no_tick):
    return Series(Goal(count, min_ns), tick, lambda: None)


class TestSeries:
    def test_ends_at_its_count(self):
        found, begun_ns = series(5), time.perf_counter_ns()
        ends = [found.add(begun_ns + 10 * i, begun_ns + 10 * i + 3) for i in range(5)]
        assert ends == [False] * 4 + [True]
        samples, starts = found.taken()
        assert samples.tolist() == [3] * 5
        assert (starts - begun_ns).tolist() == [0, 10, 20, 30, 40]

    def test_goes_on_until_its_time_and_grows(self):
        found, begun_ns = series(2, min_ns=10**9), time.perf_counter_ns()
        for i in range(1000):
            assert not found.add(begun_ns + i, begun_ns + i + 1)
        assert found.add(begun_ns, begun_ns + 2 * 10**9)
        assert len(found.taken()[0]) == 1001

    def test_is_bounded(self):
        found, is_last = series(1, min_ns=10**15), False
        while not is_last:
            is_last = found.add(1, 2)
        assert found.done == MAX_SAMPLES
        assert not found.has_room(1)

    def test_progress_grows_and_is_told_seldom(self):
        told = []
        found, now_ns = series(100, tick=lambda *each: told.append(each)), time.perf_counter_ns()
        for i in range(100):
            found.add(now_ns, now_ns + i * 30 * MS)
        assert told
        assert told == sorted(told)
        assert all(done < total for done, total in told)

    def test_the_model_settles_after_progress_but_not_a_slow_one(self):
        settled = []
        for sample_ns, expected in ((1 * MS, 1), (20 * MS, 0)):
            settled.clear()
            found = Series(Goal(100, 0), no_tick, lambda: settled.append(1))
            later_ns = time.perf_counter_ns() + 200 * MS
            found.add(later_ns - sample_ns, later_ns)
            assert len(settled) == expected


class TestKept:
    @pytest.mark.parametrize("rows", [1, 3, 16, 50, 1000])
    @pytest.mark.parametrize("count", [1, 5, 16, 100, 5000])
    def test_calls_are_spread_and_below_the_count(self, path, rows, count):
        kept, due = Kept(Bound(load(path, 1, exact=False), kits.rows(rows)), count), []
        while kept.due >= 0:
            due.append(kept.due)
            kept.take(kept.due)
        assert due == sorted(set(due))
        assert len(due) <= KEPT_OUTPUTS
        assert max(due) < count
        assert kept.rows == [call % rows for call in due]
        if count >= 10 * rows and rows >= KEPT_OUTPUTS:
            assert len(set(kept.rows)) == KEPT_OUTPUTS

    def test_scores_are_those_of_the_call(self, path):
        inputs = kits.rows(40)
        session = Runner(1).timed("d", path, fresh=True)
        timing = time_session(session, inputs, SINGLE, Goal(80, 0), no_tick)
        np.testing.assert_allclose(timing.scores, inputs[timing.rows] @ kits.weights(), rtol=1e-4, atol=1e-5)
        assert session.first_run_ns > 0


class TestBound:
    @pytest.mark.parametrize("kind", ["float32", "float64", "float16", "int8", "uint8", "int64", "bool"])
    def test_every_row_of_every_type_arrives(self, tmp_path, kind):
        number = kits.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        node = kits.helper.make_node("Identity", ["x"], ["y"])
        ends = [kits.tensor(name, ["rows", 5], number) for name in ("x", "y")]
        (tmp_path / "m.onnx").write_bytes(kits.graph_bytes([node], ends[:1], ends[1:], {}))
        rows = (
            (np.arange(35).reshape(7, 5) % 2).astype(kind)
            if kind == "bool"
            else np.arange(35).reshape(7, 5).astype(kind)
        )
        for batch in (1, 3):
            bound = Bound(load(tmp_path / "m.onnx", 1, exact=False), rows, batch)
            for index in range(9):
                bound.write(index)
                bound.run(bound.binding)
                for place in range(batch):
                    expected = rows[(index * batch + place) % 7].astype(np.float32)
                    np.testing.assert_array_equal(bound.scores(place), expected)

    def test_no_rows_are_refused(self, path):
        with pytest.raises(DeviceError, match="no rows to run"):
            Bound(load(path, 1, exact=False), kits.rows(0))


class TestWaiting:
    def test_ends_at_its_time_and_not_before(self):
        for wait_ns in (0, 100_000, 3 * MS):
            due_ns = time.perf_counter_ns() + wait_ns
            wait_until(due_ns, lambda now_ns: None)
            assert time.perf_counter_ns() >= due_ns

    def test_a_long_wait_can_be_ended(self):
        def cancel(now_ns):
            raise CancelledError("enough")

        start_s = time.monotonic()
        with pytest.raises(CancelledError):
            wait_until(time.perf_counter_ns() + 60 * 10**9, cancel)
        assert time.monotonic() - start_s < 5

    def test_so_can_a_pattern(self, path):
        def cancel(done, total):
            raise CancelledError("enough")

        with pytest.raises(CancelledError):
            keep_pattern(load(path, 1, exact=False), kits.rows(2), [(0.0, 60.0)], cancel)


class TestColdStart:
    @pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs posix_fadvise")
    def test_a_file_leaves_the_page_cache(self, tmp_path):
        file = tmp_path / "big"
        file.write_bytes(os.urandom(4 << 20))
        with file.open("rb") as opened:
            assert coldstart.cached_pages(opened.fileno()) == 1024
            left = coldstart.evict(file)
            assert left is (coldstart.cached_pages(opened.fileno()) == 0)

    def test_no_file_and_an_empty_one(self, tmp_path):
        assert not coldstart.evict(tmp_path / "none")
        (tmp_path / "empty").touch()
        assert coldstart.evict(tmp_path / "empty")

    def test_a_worker_that_fails_tells_its_last_words(self, tmp_path):
        (tmp_path / "broken.onnx").write_bytes(b"no model")
        with pytest.raises(DeviceError, match="the coldstart worker failed"):
            coldstart.measure_start(tmp_path / "broken.onnx", 1, kits.rows(1))

    def test_a_worker_out_of_memory_is_told_so(self, tmp_path):
        (tmp_path / "hungry.onnx").write_bytes(kits.hungry())
        with pytest.raises(RefusalError, match="out of memory") as caught:
            coldstart.measure_start(tmp_path / "hungry.onnx", 1, kits.rows(1))
        assert caught.value.reason == "memory"

    def test_a_worker_can_be_ended(self, path):
        def cancel():
            raise CancelledError("enough")

        with pytest.raises(CancelledError):
            coldstart.measure_start(path, 1, kits.rows(1), cancel)


class TestProfile:
    def test_many_inferences_take_several_sessions(self, tmp_path, monkeypatch):
        (tmp_path / "m.onnx").write_bytes(kits.two_scores())
        monkeypatch.setattr(profile, "MAX_EVENTS", 20)
        loads = []
        monkeypatch.setattr(profile, "load", lambda *a, **b: loads.append(1) or load(*a, **b))
        nodes = profile.profile(tmp_path / "m.onnx", 1, kits.rows(4), 30, no_tick)
        assert {node.op_type for node in nodes} == {"MatMul", "Softmax"}
        assert len(loads) == 1 + -(-29 // 7)
        assert all(node.total_ns > 0 for node in nodes)
        assert nodes[0].total_ns >= nodes[1].total_ns

    def test_what_the_runtime_writes_is_bounded_and_checked(self, tmp_path):
        written = tmp_path / "p.json"
        for text in ("", "[\n{\n]", '[\n{"cat": "Node"}\n]', "[\n[1]\n]"):
            written.write_text(text)
            with pytest.raises((ValueError, KeyError, TypeError)):
                profile._add(written, {}, 1)

    def test_over_many_nodes_are_refused(self, tmp_path, monkeypatch):
        (tmp_path / "m.onnx").write_bytes(kits.two_scores())
        monkeypatch.setattr(profile, "MAX_NODES", 1)
        with pytest.raises(RefusalError, match="over 1 nodes"):
            profile.profile(tmp_path / "m.onnx", 1, kits.rows(4), 3, no_tick)

    def test_nothing_of_it_stays(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TMPDIR", str(tmp_path / "t"))
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        (tmp_path / "m.onnx").write_bytes(kits.linear())
        profile.profile(tmp_path / "m.onnx", 1, kits.rows(4), 3, no_tick)
        assert [each.name for each in tmp_path.iterdir()] == ["m.onnx"]


class TestRunner:
    def test_timed_sessions_are_few_and_end_with_other_work(self, path):
        found = Runner(1)
        first = found.timed("0", path, fresh=True)
        assert found.timed("0", path, fresh=False) is first
        for name in "1234":
            found.timed(name, path, fresh=False)
        assert found.timed("4", path, fresh=False).load_ns > 0
        assert found.timed("0", path, fresh=False) is not first
        again = found.timed("0", path, fresh=False)
        found.session("0", path, exact=False)
        assert found.timed("0", path, fresh=False) is not again

    def test_the_runtime_s_refusal_is_one_line(self, tmp_path):
        (tmp_path / "broken.onnx").write_bytes(b"no model")
        with pytest.raises(DeviceError, match="the runtime refuses the model") as caught:
            Runner(1).timed("d", tmp_path / "broken.onnx", fresh=True)
        assert "\n" not in caught.value.what
        assert len(caught.value.what) < 400
        assert runner.one_line(ValueError("a\n b")) == "a b"
