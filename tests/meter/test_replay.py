"""Recorded traces: every format and unit, what they are worth as evidence, and errors that name the line."""

import contextlib
import io
import json
import os
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import EdgeproofError, MeasurementError
from kit.meter import Watched, open_meter, recording
from kit.meter.columns import Column, column_of
from kit.meter.recording import read_recording
from kit.pipeline.trace_file import write_trace
from kit.records import MeterAccuracy, MeterRecord, TraceRecord
from kit.spec.types import MeterSpec
from tests.meter.scripted import check_trace, energy_j


@pytest.fixture
def record():
    """A second at 1 kHz with a gap of 0.2 s, from a meter of known accuracy."""
    t_ns = np.concatenate([np.arange(400), np.arange(600, 1000)]).astype(np.int64) * 1_000_000
    power_w = np.random.default_rng(3).uniform(0.5, 1.5, 800)
    power_w[[0, 400]] = np.nan
    return TraceRecord(
        meter=MeterRecord(
            "ppk2", "measured", "PPK2, source mode", {"voltage_v": 3.3}, MeterAccuracy(0.1, 1e-6, 1e-7, "manual")
        ),
        t_ns=t_ns,
        power_w=power_w,
        current_a=power_w / 3.3,
        voltage_v=np.where(np.isnan(power_w), np.nan, 3.3),
        trigger=(t_ns // 100_000_000 % 2).astype(np.int64),
        lost_samples=200,
        gaps_ns=np.array([[399_000_000, 600_000_000]]),
        command_ns=np.array([0, 10**9]),
        ended="",
        obtained="measured",
    )  # fmt: skip


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


class TestOurOwn:
    @pytest.mark.parametrize("suffix", [".csv", ".json", ".npz"])
    def test_what_was_recorded_is_read_back(self, tmp_path, record, suffix):
        path = tmp_path / f"trace{suffix}"
        write_trace(path, record)
        found = read_recording(path)
        assert found.t_ns.tolist() == record.t_ns.tolist()
        for name in ("power_w", "current_a"):
            np.testing.assert_array_equal(getattr(found, name), getattr(record, name))
        np.testing.assert_array_equal(found.voltage_v, record.voltage_v)
        assert found.trigger.tolist() == record.trigger.tolist()
        assert found.gaps_ns.tolist() == record.gaps_ns.tolist()
        assert found.lost_samples == 200
        assert (found.meter, found.obtained) == ("ppk2", "measured")
        assert found.accuracy == record.meter.accuracy

    @pytest.mark.parametrize("suffix", [".csv", ".json", ".npz"])
    def test_a_counter_s_slow_updates_are_no_gaps(self, tmp_path, record, suffix):
        t_ns = np.concatenate([np.arange(50) * 20, 1000 + np.arange(1, 6) * 900]) * 1_000_000  # busy, then idle
        power_w = np.concatenate([[np.nan], np.full(49, 2.0), np.full(5, 0.5)])
        kept = replace(
            record, t_ns=t_ns, power_w=power_w, current_a=None, voltage_v=None, trigger=None, lost_samples=0,
            gaps_ns=np.empty((0, 2), np.int64),
        )  # fmt: skip
        path = tmp_path / f"trace{suffix}"
        write_trace(path, kept)
        found = read_recording(path)
        assert not len(found.gaps_ns)
        assert energy_j(found) == pytest.approx(4.22)

    @pytest.mark.parametrize("suffix", [".csv", ".json", ".npz"])
    def test_thousands_of_gaps(self, tmp_path, record, suffix):
        count = 10_000
        t_ns, power_w = np.arange(count) * 10_000, np.ones(count)
        after = np.arange(2, count, 2)
        power_w[[0, *after]] = np.nan
        gaps_ns = np.stack([t_ns[after - 1], t_ns[after]], axis=1)
        kept = replace(
            record, t_ns=t_ns, power_w=power_w, current_a=None, voltage_v=None, trigger=None, gaps_ns=gaps_ns
        )
        path = tmp_path / f"trace{suffix}"
        write_trace(path, kept)
        assert read_recording(path).gaps_ns.tolist() == gaps_ns.tolist()

    def test_an_emulated_meter_s_stays_emulated(self, tmp_path, record):
        path = tmp_path / "trace.csv"
        write_trace(path, record)
        path.write_text(path.read_text().replace("obtained: measured", "obtained: emulated"))
        assert read_recording(path).obtained == "emulated"


class TestWhatItIsWorth:
    @pytest.mark.parametrize(
        ("lines", "obtained"),
        [
            ("", "estimated"),
            ("# obtained: measured\n", "estimated"),
            ("# meter: ppk2\n", "estimated"),
            ("# meter: ppk2\n# obtained: measured\n", "measured"),
            ("# meter: model\n# obtained: estimated\n", "estimated"),
            ("# meter: x\n# obtained: computed\n", "estimated"),
            ("# meter: \n# obtained: measured\n", "estimated"),
        ],
    )
    def test_it_is_measured_only_where_it_says_by_what(self, tmp_path, lines, obtained):
        path = write(tmp_path, "t.csv", lines + "t_s,power_w\n0,1\n1,2\n")
        meter = open_meter(MeterSpec("replay", {}, {"file": str(path)}), Watched())
        assert meter.describe().obtained == obtained

    def test_accuracy_is_the_meter_s_that_recorded_it(self, tmp_path):
        accuracy = json.dumps({"gain_share": 0.01, "offset_w": 0, "resolution_w": 0.001, "source": "manual"})
        table = "t_s,power_w\n0,1\n1,2\n"
        named = write(tmp_path, "a.csv", f"# meter: x\n# accuracy: {accuracy}\n{table}")
        assert read_recording(named).accuracy == MeterAccuracy(0.01, 0.0, 0.001, "manual")
        assert read_recording(write(tmp_path, "b.csv", f"# accuracy: {accuracy}\n{table}")).accuracy is None
        for wrong in ('{"gain_share": 1}', "{}", "[]", "NaN"):
            assert (
                read_recording(write(tmp_path, "c.csv", f"# meter: x\n# accuracy: {wrong}\n{table}")).accuracy is None
            )


class TestColumns:
    @pytest.mark.parametrize(
        ("name", "quantity", "scale"),
        [
            ("t_s", "t", 1), ("time_ms", "t", 1e-3), ("Timestamp(ms)", "t", 1e-3), ("Time [us]", "t", 1e-6),
            ("t_ns", "t", 1e-9), ("power_w", "power", 1), ("Power (mW)", "power", 1e-3), ("p_uw", "power", 1e-6),
            ("current_a", "current", 1), ("Current(uA)", "current", 1e-6), ("current [nA]", "current", 1e-9),
            ("Main Current(mA)", "current", 1e-3), ("voltage_v", "voltage", 1), ("Voltage (mV)", "voltage", 1e-3),
            ("current_µA", "current", 1e-6), ("current_\u03bcA", "current", 1e-6), ("trigger", "trigger", 1),
            ("D3", "bit 3", 1),
        ],
    )  # fmt: skip
    def test_units_are_in_their_names(self, name, quantity, scale):
        assert column_of(name) == Column(quantity, pytest.approx(scale))

    @pytest.mark.parametrize(
        "name", ["", "t", "power", "time", "current_w", "voltage_s", "temp_c", "power_s", "D8", "note"]
    )
    def test_without_a_unit_it_is_nothing(self, name):
        assert column_of(name) is None

    @pytest.mark.parametrize(
        "names", ["t,power_w", "t_s,power", "power_w", "t_s,voltage_v", "t_s,t_ms,power_w", "t_s,power_w,power_w"]
    )
    def test_what_is_missing_or_double_is_told(self, tmp_path, names):
        row = ",".join("1" * len(names.split(",")))
        with pytest.raises(MeasurementError, match=r"t\.csv:1: its columns are") as caught:
            read_recording(write(tmp_path, "t.csv", f"{names}\n{row}\n"))
        assert "name each with its unit" in caught.value.next_step


class TestOtherTools:
    def test_current_and_voltage(self, tmp_path):
        found = read_recording(write(tmp_path, "t.csv", "time_ms,current_ma,voltage_mv\n0,100,5000\n10,200,5000\n"))
        assert found.power_w[1] == pytest.approx(1.0)
        assert found.t_ns.tolist() == [0, 10_000_000]

    def test_current_alone_needs_a_voltage(self, tmp_path):
        path = write(tmp_path, "ppk.csv", "Timestamp(ms),Current(uA),D0,D1\n0.01,10,0,1\n0.02,20,1,1\n0.03,30,1,0\n")
        with pytest.raises(MeasurementError, match="a current and no voltage") as caught:
            read_recording(path)
        assert 'voltage = "3.3 V"' in caught.value.next_step
        found = read_recording(path, voltage_v=3.0)
        assert found.power_w[1:] == pytest.approx([60e-6, 90e-6])
        assert found.trigger.tolist() == [2, 3, 1]
        assert found.t_ns.tolist() == [0, 10_000, 20_000]

    def test_a_voltage_in_the_header(self, tmp_path):
        path = write(tmp_path, "t.csv", "# voltage_v: 5\nt_s,current_a\n0,1\n1,2\n")
        assert read_recording(path).power_w[1] == pytest.approx(10.0)

    @pytest.mark.parametrize("mark", [",", ";", "\t"])
    def test_marks_spaces_blank_lines_and_a_byte_order_mark(self, tmp_path, mark):
        lines = [
            mark.join(["t_s", " power_w", "note"]),
            mark.join(["0", " 1", "begin"]),
            "",
            mark.join(["1", "2 ", ""]),
        ]
        path = tmp_path / "t.txt"
        path.write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())
        assert read_recording(path).power_w[1] == 2.0

    def test_a_gap_is_seen_by_its_times(self, tmp_path):
        times = [*range(20), *range(520, 540)]
        rows = "".join(f"{t},1\n" for t in times)
        found = read_recording(write(tmp_path, "t.csv", f"t_ms,power_w\n{rows}"))
        assert found.gaps_ns.tolist() == [[19_000_000, 520_000_000]]
        assert found.lost_samples == 500
        assert np.isnan(found.power_w[20])

    @pytest.mark.parametrize("far", [0, 500], ids=["near", "and nothing for 0.5 s"])
    def test_samples_without_power_are_one_gap(self, tmp_path, far):
        rows = "".join(f"{k + (far if k > 43 else 0)},{'' if 40 <= k < 44 else 1}\n" for k in range(100))
        found = read_recording(write(tmp_path, "t.csv", f"t_ms,power_w\n{rows}"))
        assert found.gaps_ns.tolist() == [[39_000_000, (43 if not far else 44 + far) * 1_000_000]]
        assert found.lost_samples == (504 if far else 4)
        assert energy_j(check_trace(found)) == pytest.approx((94 if far else 95) * 1e-3)

    def test_json_of_lists(self, tmp_path):
        found = read_recording(write(tmp_path, "t.json", json.dumps({"t_s": [0, 1, 2], "power_w": [1, None, 3]})))
        assert np.isnan(found.power_w[1])
        assert found.power_w[2] == 3.0


class TestWrong:
    @pytest.mark.parametrize(
        ("text", "line", "why"),
        [
            ("t_s,power_w\n0,1\n1,x\n", 3, "power_w is 'x', which is no number"),
            ("t_s,power_w\n0,1\n1\n", 3, "it has 1 values, and there are 2 columns"),
            ("# meter: x\n\nt_s,power_w\n0,1\n1,2,3\n", 5, "it has 3 values"),
            ("t_s,power_w\n0,1\n1,'=cmd'\n", 3, "no number"),
            ("", 1, "its columns are"),
            ("t_s,power_w\n0,1\n1,2_0\n", 3, "power_w is '2_0', which is no number"),
            ("t_s,power_w\n0,1\n1_0,2\n", 3, "t_s is '1_0'"),
        ],
        ids=["text", "short", "long", "formula", "empty", "underscore", "underscore in time"],
    )
    def test_the_line_is_named(self, tmp_path, text, line, why):
        path = write(tmp_path, "t.csv", text)
        with pytest.raises(MeasurementError, match=why) as caught:
            read_recording(path)
        assert caught.value.where == f"{path}:{line}"
        assert caught.value.next_step

    def test_an_underscore_in_a_column_that_is_not_used(self, tmp_path):
        found = read_recording(write(tmp_path, "t.csv", "t_s,power_w,note\n0,1,a\n1,20,1_0\n"))
        assert found.power_w[1] == 20.0

    @pytest.mark.parametrize("value", ["true", '"2"', "[2]", "{}"])
    @pytest.mark.parametrize("column", ["t_s", "power_w"])
    def test_json_that_only_looks_like_a_number(self, tmp_path, column, value):
        columns = {"t_s": "[0, 1, 2]", "power_w": "[1, 1, 1]", column: f"[0, {value}, 2]"}
        text = ", ".join(f'"{name}": {values}' for name, values in columns.items())
        with pytest.raises(MeasurementError, match=f"{column} holds what is no number"):
            read_recording(write(tmp_path, "t.json", f"{{{text}}}"))

    @pytest.mark.parametrize(
        ("rows", "why"),
        [
            ("0,1\n", "it has 1 samples"),
            ("0,1\n0,1\n", "sample 2 is at 0 s, not after"),
            ("0,1\n2,1\n1,1\n", "sample 3 is at 1 s, not after"),
            ("0,1\nnan,1\n", "a time is missing"),
            ("0,1\n1e300,1\n", "too large"),
            ("0,1\n1,inf\n", "infinite"),
            ("0,1\n1,\n", "nowhere known"),
        ],
    )
    def test_times_and_powers_that_cannot_be(self, tmp_path, rows, why):
        with pytest.raises(MeasurementError, match=why):
            read_recording(write(tmp_path, "t.csv", f"t_s,power_w\n{rows}"))

    @pytest.mark.parametrize("name", ["t.xlsx", "t", "gone.csv"])
    def test_files_that_are_none(self, tmp_path, name):
        with pytest.raises(MeasurementError):
            read_recording(tmp_path / name)

    @pytest.mark.parametrize(
        "text",
        ["{", "[]", "3", '{"t_s": [0, 1], "power_w": [1]}', '{"t_s": [0, 1], "power_w": [1, "x"]}',
         '{"t_s": [0, 1], "power_w": [[1], [2]]}', '{"columns": 3}', "[" * 100_000],
        ids=range(8),
    )  # fmt: skip
    def test_json_that_is_no_trace(self, tmp_path, text):
        with pytest.raises(MeasurementError):
            read_recording(write(tmp_path, "t.json", text))

    def test_an_npz_that_is_none_holds_pickles_or_claims_too_much(self, tmp_path):
        path = tmp_path / "t.npz"
        path.write_bytes(b"PK\x03\x04 not really")
        with pytest.raises(MeasurementError, match="no NPZ file"):
            read_recording(path)
        np.savez(path, t_s=np.array([0, 1], object), power_w=np.ones(2))
        with pytest.raises(MeasurementError, match="no NPZ file"):
            read_recording(path)
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("t_s.npy", stream.getvalue())
            archive.writestr("power_w.npy", stream.getvalue())
        with pytest.raises(MeasurementError, match="no NPZ file"):
            read_recording(path)

    def test_an_npz_in_an_npz(self, tmp_path):
        inner, path = io.BytesIO(), tmp_path / "t.npz"
        np.savez(inner, a=np.zeros(3))
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("t_s.npy", inner.getvalue())
            archive.writestr("power_w.npy", inner.getvalue())
        with pytest.raises(MeasurementError, match="no NPZ file"):
            read_recording(path)

    @pytest.mark.parametrize("header", ["{}", "{[]: 1}", "{'descr': [", "(" * 200, "\\", "1" * 5000])
    def test_an_npz_whose_array_has_a_header_of_any_text(self, tmp_path, header):
        path = tmp_path / "t.npz"
        text = header.encode()
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("t_s", "power_w"):
                archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        with pytest.raises(MeasurementError, match="no NPZ file"):
            read_recording(path)

    def test_numbers_without_end(self, tmp_path):
        huge = "1" + "0" * 400
        with pytest.raises(MeasurementError, match="no number"):
            read_recording(write(tmp_path, "a.json", f'{{"t_s": [0, 1, 2], "power_w": [1, {huge}, 1]}}'))
        with pytest.raises(MeasurementError, match="no voltage"):
            read_recording(write(tmp_path, "b.csv", f"# voltage_v: {huge}\nt_s,current_a\n0,1\n1,1\n"))

    @pytest.mark.parametrize(
        ("name", "value"),
        [("gain_share", "5"), ("gain_share", "-1"), ("gain_share", "1" + "0" * 400), ("offset_w", "1e300"),
         ("offset_w", "1e999"), ("resolution_w", "true"), ("resolution_w", '"1"')],
        ids=["gain 5", "negative", "huge", "offset 1e300", "infinite", "true", "text"],
    )  # fmt: skip
    def test_an_accuracy_that_no_meter_has(self, tmp_path, name, value):
        figures = {"gain_share": "0.01", "offset_w": "0", "resolution_w": "0", name: value}
        stated = ", ".join(f'"{key}": {text}' for key, text in figures.items())
        header = f"# meter: x\n# obtained: measured\n# accuracy: {{{stated}}}\n"
        with pytest.raises(MeasurementError, match=f"accuracy has {name}"):
            read_recording(write(tmp_path, "t.csv", f"{header}t_s,power_w\n0,1\n1,1\n"))

    @pytest.mark.parametrize(
        "table",
        ["t_s,power_w\n0,1\n1,{}\n", "t_s,current_a,voltage_v\n0,1,1\n1,{},1\n"],
        ids=["power", "current and voltage"],
    )
    def test_a_power_that_no_device_draws(self, tmp_path, table):
        for power in ("100001", "-1e6", "1e300"):
            with pytest.raises(MeasurementError, match="100000 W is the most"):
                read_recording(write(tmp_path, "t.csv", table.format(power)))
        assert read_recording(write(tmp_path, "t.csv", table.format("1e5"))).power_w[1] == 1e5

    @pytest.mark.parametrize("lost", [-1, 9 * 10**18, int("9" * 40)], ids=["negative", "9e18", "1e40"])
    def test_more_lost_than_a_meter_takes(self, tmp_path, lost):
        with pytest.raises(MeasurementError, match=r"lost_samples is .* the trace is 1 s long"):
            read_recording(write(tmp_path, "t.csv", f"# lost_samples: {lost}\nt_s,power_w\n0,1\n1,1\n"))

    @pytest.mark.parametrize("suffix", [".csv", ".json", ".npz"])
    def test_only_plain_files_are_read(self, tmp_path, suffix):
        pipe, endless, folder = (tmp_path / f"{name}{suffix}" for name in ("pipe", "endless", "folder"))
        os.mkfifo(pipe)
        endless.symlink_to("/dev/zero")
        folder.mkdir()
        for path, why in ((pipe, "no plain file"), (endless, "no plain file"), (folder, "cannot be read")):
            with pytest.raises(MeasurementError, match=why):
                read_recording(path)

    def test_what_is_too_long_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setattr(recording, "_MAX_LINE", 100)
        with pytest.raises(MeasurementError, match="the line is over") as caught:
            read_recording(write(tmp_path, "a.csv", f"t_s,power_w\n0,1\n1,{'1' * 200}\n"))
        assert caught.value.where.endswith("a.csv:3")
        monkeypatch.setattr(recording, "MAX_FILE_BYTES", 1000)
        with pytest.raises(MeasurementError, match="over 1 GiB"):
            read_recording(write(tmp_path, "b.csv", "t_s,power_w\n" + "".join(f"{k},1\n" for k in range(1000))))

    @given(st.binary(max_size=200))
    @settings(max_examples=150, deadline=None)
    def test_any_bytes_are_read_or_refused(self, tmp_path_factory, data):
        folder = tmp_path_factory.getbasetemp()
        for suffix in (".csv", ".json", ".npz"):
            path = folder / f"any{suffix}"
            path.write_bytes(data if suffix != ".csv" else b"t_s,power_w\n0,1\n" + data)
            with contextlib.suppress(EdgeproofError):
                assert len(read_recording(path).t_ns) >= 2


class TestPlaying:
    @pytest.fixture
    def path(self, tmp_path):
        rows = "".join(f"{k},{2 if k % 20 < 10 else 1}\n" for k in range(300))
        return write(tmp_path, "t.csv", f"# meter: ppk2\n# obtained: measured\nt_ms,power_w\n{rows}")

    def test_it_runs_from_its_beginning_each_time_and_as_fast_as_it_was(self, tmp_path):
        rows = "".join(f"{k},1\n" for k in range(60_000))
        path = write(tmp_path, "long.csv", f"t_ms,power_w\n{rows}")
        meter = open_meter(MeterSpec("replay", {}, {"file": str(path)}), Watched())
        for _ in range(2):
            start_ns = time.monotonic_ns()
            meter.start()
            started_ns = time.monotonic_ns()
            time.sleep(0.1)
            trace = check_trace(meter.stop())
            assert start_ns <= trace.t_ns[0] <= started_ns
            assert trace.t_ns[-1] <= time.monotonic_ns()
            assert 90 <= len(trace.t_ns) <= (time.monotonic_ns() - start_ns) / 1e6 + 2
            assert not trace.ended
        meter.close()

    def test_its_clock_is_no_clock_of_this_run(self, path):
        meter = open_meter(MeterSpec("replay", {}, {"file": str(path)}), Watched())
        meter.start()
        time.sleep(0.02)
        assert meter.stop().clock_error_ns == 299_000_000

    def test_it_ends(self, path):
        meter = open_meter(MeterSpec("replay", {}, {"file": str(path)}), Watched())
        meter.start()
        time.sleep(0.35)
        trace = check_trace(meter.stop())
        assert trace.ended == "the recorded trace is over"
        assert energy_j(trace) == pytest.approx(0.448)

    def test_stopped_at_once_or_before_it_was_started(self, path):
        rows = "# meter: x\nt_s,power_w\n0,1\n10,1\n"
        meter = open_meter(MeterSpec("replay", {}, {"file": str(write(path.parent, "slow.csv", rows))}), Watched())
        with pytest.raises(MeasurementError, match="before it was started"):
            meter.stop()
        meter.start()
        with pytest.raises(MeasurementError, match="less than two samples"):
            meter.stop()

    @pytest.mark.parametrize(("play_s", "lost", "gaps"), [(0.1, 0, 0), (0.45, 19, 1), (0.8, 38, 2)])
    def test_what_was_lost_where_it_was_not_played_is_not_told(self, tmp_path, monkeypatch, play_s, lost, gaps):
        """Two holes of nineteen samples each: from 0.2 to 0.4 s, and from 0.5 to 0.7 s."""
        rows = "".join(f"{k / 100},1\n" for k in range(100) if not 20 < k < 40 and not 50 < k < 70)
        meter = open_meter(MeterSpec("replay", {}, {"file": str(write(tmp_path, "t.csv", "t_s,power_w\n" + rows))}),
                           Watched())  # fmt: skip
        clock = iter([0, int(play_s * 1e9)])
        monkeypatch.setattr(time, "monotonic_ns", lambda: next(clock))
        meter.start()
        trace = meter.stop()
        assert (trace.lost_samples, len(trace.gaps_ns)) == (lost, gaps)

    def test_what_it_says_of_itself(self, path):
        record = open_meter(MeterSpec("replay", {}, {"file": str(path)}), Watched()).describe()
        assert record.name == "replay"
        assert record.description == "trace t.csv, recorded by ppk2"
        assert record.parameters == {"duration_s": pytest.approx(0.299), "samples": 300}
