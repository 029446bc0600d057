"""What a device answers to measuring is taken only where it can be true."""

import json

import numpy as np
import pytest

from kit.device.timings import MAX_KEPT, Answers
from kit.errors import DeviceError, LinkError
from kit.records import SINGLE_STREAM, Workload
from kit.wire import Message

MS = 10**6
TOLD = {"clock": "c", "clock_resolution_ns": 1, "load_ns": 1, "first_run_ns": 1, "cpu_ns": 1, "late_count": 0}
SENT = np.array([0, 5, 9])


def answers():
    return Answers(lambda what: DeviceError(what, where="device d"))


def timing(samples, starts=None, rows=(), scores=None, **fields):
    parts = [np.asarray(samples, np.int64)]
    if starts is not None:
        scores = np.zeros((len(rows), 2), np.float32) if scores is None else scores
        parts += [np.asarray(starts, np.int64), np.asarray(rows, np.int64), scores]
    return Message("time", TOLD | fields, parts)


def read(reply, workload=SINGLE_STREAM, count=3, min_s=0.0):
    return answers().latency(reply, workload, count, min_s, SENT)


class TestSamples:
    def test_samples_starts_and_kept_outputs(self):
        scores = np.arange(4, dtype=np.float32).reshape(2, 2)
        timed = read(timing([5, 5, 5], [10, 20, 30], rows=[0, 2], scores=scores, scores_name="y", late_count=1))
        assert timed.samples_ns.tolist() == [5, 5, 5]
        assert timed.starts_ns.tolist() == [10, 20, 30]
        assert timed.sampled_rows.tolist() == [0, 9]
        np.testing.assert_array_equal(timed.sampled_scores, scores)
        assert (timed.sampled_output, timed.late_count) == ("y", 1)

    def test_an_earlier_release_tells_samples_alone(self):
        reply = Message("time", {name: 1 for name in TOLD if name != "late_count"} | {"clock": "c"}, [np.full(3, 7)])
        timed = read(reply)
        assert timed.starts_ns is timed.sampled_rows is timed.sampled_scores is timed.sampled_output is None
        assert timed.late_count == 0

    def test_outputs_that_are_not_named_are_none(self):
        assert read(timing([5, 5, 5], [10, 20, 30], scores_name=None)).sampled_rows is None

    @pytest.mark.parametrize(
        ("reply", "said"),
        [
            (timing([5, 5]), "timed 2 inferences, 3 were asked for"),
            (timing([5, -5, 5]), "not int64"),
            (timing([5, 5, 5], [10, 20]), "2 starts of 3"),
            (timing([5, 5, 5], [10, 30, 20]), "not in the order"),
            (timing([5, 5, 5], [10, 12, 20]), "not in the order"),
            (timing([5, 5, 5], [-1, 12, 20]), "not int64"),
            (timing([5, 5, 5], [10, 20, 2**63 - 2]), "not in the order"),
            (timing([5, 5, 2**63 - 1], [10, 20, 30]), "the host waited"),
            (timing([5, 5, 5], [10, 20, 60 * 10**9]), "the host waited"),
            (timing([5, 5, 5], [10, 20, 30], late_count=4), "late_count"),
            (timing([5, 5, 5], [10, 20, 30], rows=[3], scores_name="y"), "outputs kept"),
            (timing([5, 5, 5], [10, 20, 30], rows=[0] * (MAX_KEPT + 1), scores_name="y"), "outputs kept"),
            (timing([5] * 3, [10, 20, 30], rows=[0], scores=np.zeros((2, 2), np.float32), scores_name="y"), "kept"),
            (timing([5] * 3, [10, 20, 30], rows=[0], scores=np.zeros((1, 2)), scores_name="y"), "outputs kept"),
            (timing([5] * 3, [10, 20, 30], rows=[0], scores=np.zeros(1, np.float32), scores_name="y"), "kept"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_cannot_be_is_refused(self, reply, said):
        with pytest.raises((DeviceError, LinkError), match=said):
            read(reply)

    def test_streams_overlap_and_come_as_they_ended(self):
        two = Workload("multi-stream", streams=2)
        assert len(read(timing([9, 9, 9], [10, 11, 19]), two).samples_ns) == 3
        with pytest.raises(DeviceError, match="not in the order"):
            read(timing([9, 9, 9], [11, 10, 19]), two)

    @pytest.mark.parametrize(
        ("workload", "min_s"),
        [
            (SINGLE_STREAM, 1.0),
            (Workload("periodic", period_ns=500 * MS), 0.0),
            (Workload("burst", period_ns=1000 * MS, burst=2), 0.0),
        ],
        ids=["time", "period", "bursts"],
    )
    def test_less_time_than_the_work_takes_is_refused(self, workload, min_s):
        with pytest.raises(DeviceError, match="is due"):
            read(timing([5, 5, 5], [10, 20, 30]), workload, min_s=min_s)

    def test_loading_that_took_longer_than_the_host_waited_is_refused_of_a_fresh_session(self):
        reader = answers()
        timed = reader.latency(timing([5, 5, 5], load_ns=60 * 10**9), SINGLE_STREAM, 3, 0.0, SENT)
        with pytest.raises(DeviceError, match="load took 60 s"):
            reader.first_timing(timed)


class TestColdStarts:
    def reply(self, *columns, **fields):
        parts = [np.asarray(column, np.int64) for column in columns]
        return Message("cold", {"method": "a fresh process"} | fields, parts)

    def test_each_session_has_three_times(self):
        found = answers().cold_start(self.reply([1, 2], [3, 4], [5, 6]), 2)
        assert (found.ready_ns.tolist(), found.load_ns.tolist(), found.first_run_ns.tolist()) == (
            [1, 2],
            [3, 4],
            [5, 6],
        )

    @pytest.mark.parametrize(
        "columns",
        [
            ([1], [1], [1]),
            ([1, 1], [1, 1], [1]),
            ([1, 1], [1, 1]),
            ([1, 1], [-1, 1], [1, 1]),
            ([1, 1], [1, 1], [1, 10**11]),
            ([1, 2**62], [1, 2**62], [1, 1]),
        ],
        ids=["few", "uneven", "two", "negative", "long", "beyond 64 bits together"],
    )
    def test_others_are_refused(self, columns):
        with pytest.raises((DeviceError, LinkError)):
            answers().cold_start(self.reply(*columns), 2)


class TestOperators:
    def reply(self, described, total_ns):
        blob = described if isinstance(described, bytes) else json.dumps(described).encode()
        return Message("profile", {}, [blob, np.asarray(total_ns, np.int64)])

    def test_longest_first_with_shares(self):
        first, second = answers().operators(
            self.reply([["a", "Add", "", "P"], ["b", "Mul", "[1]", "P"]], [100, 300]), 10
        )
        assert (first.name, first.op_type, first.output_shapes, first.mean_ns, first.share) == (
            "b",
            "Mul",
            "[1]",
            30,
            0.75,
        )
        assert second.share == 0.25

    def test_nothing_took_time(self):
        assert answers().operators(self.reply([["a", "b", "c", "d"]], [0]), 3)[0].share == 0

    def test_texts_are_fit_to_be_shown(self):
        (found,) = answers().operators(self.reply([["\x1b[2J\n" + "n" * 999, "\u202e", "", ""]], [1]), 1)
        assert found.name.isprintable()
        assert found.op_type.isprintable()
        assert len(found.name) <= 200

    @pytest.mark.parametrize(
        ("described", "total_ns"),
        [
            (b"\xff", [1]),
            (b"[" * 100_000, [1]),
            ({"a": 1}, [1]),
            ([["a", "b", "c", "d"]], [1, 2]),
            ([["a", "b", "c"]], [1]),
            ([["a", "b", "c", 4]], [1]),
            (["abcd"], [1]),
            ([["a", "b", "c", "d"]], [-1]),
            ([["a", "b", "c", "d"]], [10**12]),
            ([["a", "b", "c", "d"]] * 20_001, [0] * 20_001),
        ],
        ids=["bytes", "deep", "object", "uneven", "short", "number", "text", "negative", "long", "many"],
    )
    def test_others_are_refused(self, described, total_ns):
        with pytest.raises((DeviceError, LinkError)):
            answers().operators(self.reply(described, total_ns), 1)


class TestPattern:
    PATTERN = ((0.0, 0.02), (0.0, 0.0))

    def reply(self, rows, dtype=np.int64):
        return Message("pattern", {}, [np.asarray(rows, dtype)])

    def test_stretches_in_order(self):
        windows = answers().pattern(self.reply([[100, 200, 3, 90], [200 + 20 * MS, 300 + 20 * MS, 4, 1]]), self.PATTERN)
        assert [window.inferences for window in windows] == [3, 4]
        assert windows[0].end_ns == 200

    @pytest.mark.parametrize(
        "rows",
        [
            [[100, 200, 3, 90]],
            [[100, 200, 3], [20 * MS, 20 * MS, 1]],
            [[100, 200, 3, 90], [300, 400, 4, 1]],
            [[200, 100, 3, 90], [20 * MS, 20 * MS, 0, 1]],
            [[100, 200, 300, 90], [20 * MS, 20 * MS, 0, 1]],
            [[100, 200, 3, -1], [21 * MS, 21 * MS, 0, 1]],
            [[100, 200, 3, 90], [60 * 10**9, 60 * 10**9, 0, 1]],
        ],
        ids=["few", "narrow", "no rest", "backwards", "too many", "negative", "long"],
    )
    def test_others_are_refused(self, rows):
        with pytest.raises(DeviceError):
            answers().pattern(self.reply(rows), self.PATTERN)

    def test_floats_are_refused(self):
        with pytest.raises(DeviceError):
            answers().pattern(self.reply([[0, 0, 0, 0]] * 2, np.float64), self.PATTERN)
