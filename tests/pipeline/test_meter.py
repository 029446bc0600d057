"""Recording commands: known powers come back, gaps stay gaps, and a trace that was written plays again."""

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kit.errors import EdgeproofError, InterruptError, MeasurementError, StoreError, UsageError
from kit.meter import METERS, PowerTrace, Watched, open_meter
from kit.meter.recording import read_recording
from kit.pipeline.meter import look, record, stretch
from kit.pipeline.trace_file import SUFFIXES, check_place, write_trace
from kit.records import MeterAccuracy, MeterRecord, TraceRecord
from kit.spec.meter import meter_at
from kit.spec.types import MeterSpec
from tests.emulators.pty_meter import running

IDEAL = {"idle_power": "50mW", "active_power": "400mW", "noise": "0W", "resolution": "0W", "accuracy": "0"}
SPIN = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"


def span(start_s: float, end_s: float) -> np.ndarray:
    return np.array([start_s * 1e9, end_s * 1e9]).astype(np.int64)


def trace(t_s: list[float], power_w: list[float], **more: object) -> PowerTrace:
    return PowerTrace((np.array(t_s) * 1e9).astype(np.int64), np.array(power_w), 0, **more)  # type: ignore[arg-type]


class TestStretch:
    """A sample's power is the mean since the sample before it, so parts of samples count for their part."""

    RAMP = trace([0, 1, 2, 3], [np.nan, 1, 2, 3])

    @pytest.mark.parametrize(
        ("start_s", "end_s", "energy_j", "seen_s", "peak_w"),
        [
            (0, 3, 6, 3, 3),
            (1, 2, 2, 1, None),
            (0.5, 1.5, 1.5, 1, 2),
            (2.9, 3, 0.3, 0.1, None),
            (-1, 1, 1, 1, None),
            (2, 9, 3, 1, None),
        ],
    )
    def test_energy_is_of_what_was_seen(
        self, start_s: float, end_s: float, energy_j: float, seen_s: float, peak_w: float | None
    ) -> None:
        found = stretch(self.RAMP, span(start_s, end_s))
        assert found.duration_s == pytest.approx(end_s - start_s)
        assert found.energy_j == pytest.approx(energy_j)
        assert found.seen_s == pytest.approx(seen_s)
        assert found.peak_power_w == peak_w
        assert found.mean_power_w == pytest.approx(energy_j / seen_s)

    def test_a_gap_is_not_filled(self) -> None:
        found = stretch(trace([0, 1, 2, 3], [np.nan, 1, np.nan, 3]), span(0, 3))
        assert (found.energy_j, found.seen_s) == (4, 2)

    @pytest.mark.parametrize(
        "seen", [trace([0], [np.nan]), trace([], []), trace([0, 1], [np.nan, np.nan]), trace([8, 9], [np.nan, 1])]
    )
    def test_nothing_seen_is_no_zero(self, seen: PowerTrace) -> None:
        found = stretch(seen, span(0, 3))
        assert found.seen_s == 0
        assert found.energy_j is found.mean_power_w is found.peak_power_w is found.mean_current_a is None

    def test_current_is_weighed_by_time(self) -> None:
        found = stretch(trace([0, 1, 3], [np.nan, 3, 6], current_a=np.array([np.nan, 1.0, 2.0])), span(0, 3))
        assert found.mean_current_a == pytest.approx(5 / 3)
        assert found.peak_current_a == 2
        assert found.current_seen_s == found.seen_s == 3

    def test_current_is_of_the_time_in_which_it_was_known(self) -> None:
        """Power of all three seconds, current of the last alone."""
        found = stretch(trace([0, 2, 3], [np.nan, 3, 6], current_a=np.array([1.0, np.nan, 2.0])), span(0, 3))
        assert (found.mean_current_a, found.peak_current_a) == (2, None), "one sample has no peak"
        assert (found.current_seen_s, found.seen_s) == (1, 3)

    @pytest.mark.parametrize("current_a", [np.full(3, np.nan), None], ids=["never known", "no column"])
    def test_no_current_is_none(self, current_a: np.ndarray | None) -> None:
        found = stretch(trace([0, 1, 3], [np.nan, 3, 6], current_a=current_a), span(0, 3))
        assert (found.energy_j, found.mean_current_a, found.peak_current_a, found.current_seen_s) == (15, None, None, 0)


class TestRecord:
    def test_energy_is_that_of_the_command_s_cpu_time(self) -> None:
        """An ideal ammeter of idle 50 mW and 400 mW a busy core, over a command that uses 0.5 s of one."""
        found = record(meter_at("emulated", IDEAL), [sys.executable, "-c", SPIN])
        assert found.status == 0
        assert found.trace.obtained == found.trace.meter.obtained == "emulated"
        used_s = (found.whole.energy_j - 0.05 * found.whole.seen_s) / 0.4
        assert 0.5 * 0.99 <= used_s < 0.8
        assert found.whole.seen_s == pytest.approx(found.whole.duration_s, rel=0.02)
        assert found.idle is found.above_idle_j is None

    def test_above_idle_is_what_the_command_adds(self) -> None:
        found = record(meter_at("emulated", IDEAL), [sys.executable, "-c", SPIN], idle_s=0.3)
        assert found.idle is not None
        assert found.idle.duration_s >= 0.3
        assert 0.05 * 0.999 <= found.idle.mean_power_w < 0.052
        assert 0.5 * 0.4 * 0.98 < found.above_idle_j < 0.8 * 0.4

    def test_an_estimate_counts_children_and_stays_one(self) -> None:
        script = f"{sys.executable} -c '{SPIN}'; true"
        found = record(meter_at("estimate", {"idle_power": "0W", "active_power": "1W"}), ["sh", "-c", script])
        assert found.trace.obtained == "estimated"
        assert 0.48 < found.whole.energy_j < 0.8

    def test_the_trace_begins_at_0_and_holds_the_command(self) -> None:
        found = record(meter_at("emulated", IDEAL), ["sleep", "0.3"]).trace
        assert found.t_ns[0] == 0
        assert found.t_ns.dtype == np.int64
        assert found.command_ns.shape == (2,)
        assert 0 <= found.command_ns[0] < found.command_ns[1] <= found.t_ns[-1]
        assert np.diff(found.command_ns)[0] > 0.29e9
        assert np.isnan(found.power_w[0])

    def test_a_status_that_is_not_0_is_told_and_measured(self) -> None:
        found = record(meter_at("emulated", IDEAL), ["sh", "-c", "sleep 0.1; exit 7"])
        assert found.status == 7
        assert found.whole.energy_j > 0

    def test_a_meter_that_cannot_be_opened_starts_no_command(self, tmp_path: Path) -> None:
        mark = tmp_path / "mark"
        with pytest.raises(EdgeproofError) as caught:
            record(meter_at("ppk2", {"port": "/dev/no-such-port", "voltage": "3V"}), ["touch", str(mark)])
        assert caught.value.kept == "the command was not started"
        assert not mark.exists()

    def test_no_such_command_leaves_no_meter_running(self) -> None:
        with pytest.raises(UsageError, match="there is no such command"):
            record(meter_at("emulated", IDEAL), ["/no/such/command"])

    def test_a_meter_that_fails_at_the_end_tells_how_the_command_did(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from kit.meter.emulated import EmulatedMeter

        def stop(self: EmulatedMeter) -> PowerTrace:
            raise MeasurementError("unplugged")

        monkeypatch.setattr(EmulatedMeter, "stop", stop)
        with pytest.raises(MeasurementError, match="unplugged") as caught:
            record(meter_at("emulated", IDEAL), ["sh", "-c", "exit 4"])
        assert caught.value.kept == "the command ended with status 4"

    def test_a_signal_that_comes_while_the_meter_stops_loses_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from kit.meter.emulated import EmulatedMeter

        real = EmulatedMeter.stop

        def stop(self: EmulatedMeter) -> PowerTrace:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            return real(self)

        monkeypatch.setattr(EmulatedMeter, "stop", stop)
        found = record(meter_at("emulated", IDEAL), ["sleep", "0.2"])
        assert (found.status, found.interrupted_by) == (0, "")
        assert found.whole.energy_j > 0.05 * 0.19

    def test_a_signal_before_the_command_starts_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from kit.meter.emulated import EmulatedMeter

        monkeypatch.setattr(EmulatedMeter, "start", lambda self: signal.raise_signal(signal.SIGTERM))
        mark = tmp_path / "mark"
        with pytest.raises(InterruptError, match="interrupted by SIGTERM") as caught:
            record(meter_at("emulated", IDEAL), ["touch", str(mark)], idle_s=1)
        assert caught.value.kept == "the command was not started"
        assert not mark.exists()

    def test_what_a_meter_learns_from_the_run_is_told(self) -> None:
        """A PPK2's step is that of the coarsest range that it used."""
        with running("ppk2", waveform="ranges") as meter:
            spec = meter_at("ppk2", {"port": str(meter.path), "voltage": "3.3V", "accuracy": "1%"})
            found = record(spec, ["sleep", "1"]).trace.meter
            seen = look(spec, 1.0).meter
        for each in (found, seen):
            assert each.accuracy is not None
            assert each.accuracy.resolution_w > 1e-3


def test_a_look_at_a_meter_tells_its_rate_and_power() -> None:
    found = look(meter_at("emulated", IDEAL | {"sample_rate": "100Hz"}), 0.4)
    assert found.meter.name == "emulated"
    assert 5 < found.rate_hz <= 110  # a grid point that passes while a busy machine runs others is lost
    assert 0.05 * 0.99 <= found.seen.mean_power_w < 0.5
    assert found.ended == ""


ACCURACY = MeterAccuracy(0.02, 1e-6, 1e-7, "a calibration: of 2026")
METER = MeterRecord("ppk2", "measured", "two lines,\nand a comma", {"voltage_v": 3.3}, ACCURACY)


def recorded(**changes: object) -> TraceRecord:
    """A hundred samples with all columns, a gap after the 50th, and a command in it."""
    rng = np.random.default_rng(0)
    t_ns = np.arange(100, dtype=np.int64) * 10_001_000
    t_ns[50:] += 500_000_123
    power_w, current_a = rng.random(100), rng.random(100)
    power_w[[0, 50]] = current_a[[0, 50]] = np.nan
    values: dict[str, object] = {
        "meter": METER, "t_ns": t_ns, "power_w": power_w, "current_a": current_a, "voltage_v": np.full(100, 3.3),
        "trigger": np.arange(100, dtype=np.int64) % 4, "lost_samples": 49,
        "gaps_ns": np.array([[t_ns[49], t_ns[50]]]), "command_ns": np.array([5_000_000, 900_000_000]), "ended": "",
        "obtained": "measured",
    }  # fmt: skip
    return TraceRecord(**values | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", SUFFIXES)
class TestTraceFiles:
    def test_what_is_written_is_read_again(self, suffix: str, tmp_path: Path) -> None:
        given = recorded()
        write_trace(tmp_path / f"t{suffix}", given)
        found = read_recording(tmp_path / f"t{suffix}")
        assert found.t_ns.tolist() == given.t_ns.tolist()
        assert np.array_equal(found.power_w, given.power_w, equal_nan=True)
        assert found.current_a is not None
        assert np.array_equal(found.current_a, given.current_a, equal_nan=True)
        assert found.voltage_v is not None
        assert found.voltage_v[1] == 3.3
        assert found.trigger is not None
        assert found.trigger.tolist() == given.trigger.tolist()
        assert found.gaps_ns.tolist() == given.gaps_ns.tolist()
        assert (found.meter, found.obtained, found.lost_samples, found.accuracy) == ("ppk2", "measured", 49, ACCURACY)
        assert [path.name for path in tmp_path.iterdir()] == [f"t{suffix}"]

    def test_columns_that_a_meter_has_not_are_not_there(self, suffix: str, tmp_path: Path) -> None:
        write_trace(tmp_path / f"t{suffix}", recorded(current_a=None, voltage_v=None, trigger=None, ended="unplugged"))
        found = read_recording(tmp_path / f"t{suffix}")
        assert found.current_a is found.voltage_v is found.trigger is None
        assert found.ended == "unplugged"

    def test_what_is_emulated_stays_so_when_it_is_played(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"t{suffix}"
        found = record(meter_at("emulated", IDEAL), ["sleep", "0.5"])
        write_trace(path, found.trace)
        meter = open_meter(MeterSpec("replay", {}, {"file": str(path)}), Watched())
        assert meter.describe().obtained == "emulated"
        meter.start()
        time.sleep(found.trace.t_ns[-1] / 1e9 + 0.1)
        played = meter.stop()
        meter.close()
        assert np.array_equal(played.power_w, found.trace.power_w, equal_nan=True)

    def test_a_file_that_cannot_be_written_is_told_and_leaves_nothing(self, suffix: str, tmp_path: Path) -> None:
        (tmp_path / f"t{suffix}").mkdir()
        with pytest.raises(StoreError, match="cannot be written"):
            write_trace(tmp_path / f"t{suffix}", recorded())
        assert [path.name for path in tmp_path.iterdir()] == [f"t{suffix}"]


def test_json_holds_no_number_that_json_has_not(tmp_path: Path) -> None:
    def refuse(name: str) -> float:
        raise AssertionError(name)

    write_trace(tmp_path / "t.json", recorded())
    value = json.loads((tmp_path / "t.json").read_text(), parse_constant=refuse)
    assert value["schema"] == "edgeproof/trace/1"
    assert value["columns"]["power_w"][0] is None
    assert value["command_s"] == [0.005, 0.9]


def test_a_description_cannot_break_out_of_its_line(tmp_path: Path) -> None:
    write_trace(tmp_path / "t.csv", recorded())
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert "# description: two lines, and a comma" in lines
    assert sum(not line.startswith("#") for line in lines) == 101


def test_a_place_is_tried_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "t.npz").write_text("what is there")
    for right in ("t.npz", "t.CSV", "n" * 251 + ".csv"):
        check_place(tmp_path / right)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["what is there"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("t.xlsx", "not '.xlsx'"),
        ("t", "suffix"),
        ("no/t.csv", "No such file or directory"),
        ("folder.npz", "Is a directory"),
        ("file/t.csv", "Not a directory"),
        ("/proc/t.csv", "cannot be written"),
        ("n" * 252 + ".csv", "too long"),
        ("n" * 300 + "/t.csv", "too long"),
    ],
    ids=["another suffix", "no suffix", "no folder", "a folder", "in a file", "proc", "long name", "long folder"],
)
def test_a_place_where_no_trace_can_be_is_refused(path: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises((UsageError, StoreError), match=says) as caught:
        check_place(tmp_path / path)
    assert caught.value.exit_code == 2


def test_a_name_as_long_as_can_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".csv")
    write_trace(path, recorded())
    assert len(read_recording(path).t_ns) == 100


def test_every_driver_of_the_registry_has_words() -> None:
    from kit.pipeline.meter_list import DRIVERS
    from kit.spec.meter import METER_KEYS

    assert set(METERS) <= set(DRIVERS) == set(METER_KEYS)
