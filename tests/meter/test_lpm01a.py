"""The LPM01A: its two formats as the manual has them, what they say besides samples, and a board on a pty."""

import time
from contextlib import closing

import numpy as np
import pytest

from kit.errors import MeasurementError, SpecError
from kit.meter import Watched, open_meter
from kit.meter.lpm01a_samples import assemble, read_ascii, read_binary
from kit.spec.types import MeterSpec
from tests.emulators import lpm01a as emulator
from tests.emulators.pty_meter import running


def ascii_(data, rate_hz=10_000.0, **more):
    return assemble(read_ascii(data), rate_hz, is_binary=False, **more)


def binary(data, rate_hz=100_000.0, **more):
    return assemble(read_binary(data), rate_hz, is_binary=True, **more)


def stamp(ms):
    return b"\xf0\xf3" + ms.to_bytes(4, "big") + b"\x07\xff\xff"


class TestAscii:
    @pytest.mark.parametrize(
        ("line", "current_a"),
        [(b"6409-07", 640.9e-6), (b"0000+00", 0.0), (b"9999-12", 9.999e-9), (b"0012-03", 0.012), (b"0002+00", 2.0)],
        ids=lambda value: str(value),
    )
    @pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
    def test_a_sample(self, line, current_a, end):
        found = ascii_(line + end)
        assert found.current_a == pytest.approx([current_a], rel=1e-12)
        assert found.losses == []

    @pytest.mark.parametrize("word", [b"Timestamp", b"TimeStamp", b"timestamp"])
    def test_timestamps_in_any_case_are_no_samples(self, word):
        found = ascii_(b"0001-03\n" + word + b": 012s 345ms, buff 07%\n0002-03\n")
        assert found.current_a.tolist() == pytest.approx([1e-3, 2e-3])
        assert found.losses == []

    def test_timestamps_tell_what_is_missing(self):
        lines = [b"0001-03"] * 1000
        data = b"\n".join([b"timestamp: 000s 100ms, buff 1%", *lines, b"timestamp: 000s 200ms, buff 1%", *lines[:963]])
        found = ascii_(data + b"\ntimestamp: 000s 300ms, buff 99%\n0001-03\n")
        assert found.losses == [(1963, 37)]

    def test_a_lost_timestamp_is_no_lost_sample(self):
        lines = [b"0001-03"] * 2000
        data = b"\n".join([b"timestamp: 000s 100ms, buff 1%", *lines, b"timestamp: 000s 300ms, buff 1%", b""])
        assert ascii_(data).losses == []

    def test_timestamps_across_a_minute_and_more(self):
        lines = [b"0001-03"] * 1000
        data = b"\n".join([b"timestamp: 059s 950ms, buff 1%", *lines, b"timestamp: 060s 050ms, buff 1%", b""])
        assert ascii_(data).losses == []

    @pytest.mark.parametrize("damaged", [b"64x9-07", b"640-07", b"6409*07", b"16409-07", b"\xff\x00", b"6409-0"])
    def test_a_damaged_line_is_one_lost_sample_in_its_place(self, damaged):
        found = ascii_(b"0001-03\n" + damaged + b"\n0002-03\n")
        assert found.current_a.tolist() == pytest.approx([1e-3, 2e-3])
        assert found.losses == [(1, 1)]

    def test_the_summary_is_no_sample(self):
        found = ascii_(b"summary beg\nmin 0001-09\n0003-03\nmax 0002-03\nsummary end\n0005-03\n")
        assert found.current_a[-1] == pytest.approx(5e-3)
        assert found.losses == []

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (b"end", "ended the acquisition"),
            (b"error: buffer full", "error: buffer full"),
            (b"PowerShield > err start", "err start"),
            (b"overcurrent detected", "overcurrent"),
        ],
        ids=lambda value: str(value),
    )
    def test_why_it_ended(self, line, said):
        found = ascii_(b"0001-03\n0001-03\n" + line + b"\n0009-03\n")
        assert said in found.ended
        assert len(found.current_a) == 2

    @pytest.mark.parametrize("data", [b"", b"\n", b"\n\n\n", b"6409-07", b"\x00" * 50])
    def test_next_to_nothing(self, data):
        assert len(ascii_(data).current_a) == 0

    @pytest.mark.parametrize("seed", range(5))
    def test_noise(self, seed):
        assert len(ascii_(np.random.default_rng(seed).bytes(5000)).current_a) == 0


class TestBinary:
    def test_the_manual_s_example(self):
        assert binary(b"\x52\xa0").current_a[0] == pytest.approx(640.9e-6, rel=1e-3)

    @pytest.mark.parametrize("current_a", [1e-9, 640.9e-6, 9.99e-3, 0.15])
    def test_there_and_back(self, current_a):
        got = binary(emulator.encode_binary(np.full(5, current_a))).current_a
        assert got == pytest.approx([current_a] * 5, rel=2e-2 if current_a < 1e-8 else 3e-3)

    @pytest.mark.parametrize(
        "frame",
        [
            stamp(99),
            b"\xf0\xf8\x00\x19\xff\xff",
            b"\xf0\xf7\x0c\xe4\xff\xff",
            b"\xf0\xf9\x01\xff\xff",
            b"\xf0\xf2hi\xff\xff",
        ],
        ids=["time", "temperature", "voltage", "power", "text"],
    )
    def test_metadata_between_samples(self, frame):
        found = binary(b"\x52\xa0" * 3 + frame + b"\x52\xf0" * 2)
        assert len(found.current_a) == 5
        assert found.losses == []
        assert not found.ended

    def test_bytes_like_a_frame_s_in_samples_and_in_frames(self):
        data = b"\x10\xf0" + stamp(0xF0F3FFFF) + b"\x1f\xff" * 2 + stamp(0xF0F4FFFF) + b"\x10\xf0\x1f\xf4"
        assert len(binary(data, rate_hz=1.0).current_a) == 5

    @pytest.mark.parametrize(
        ("frame", "said"),
        [
            (b"\xf0\xf4\xff\xff", "ended the acquisition"),
            (b"\xf0\xf5\xff\xff", "overcurrent"),
            (b"\xf0\xf6\xff\xff", "powered the target down"),
            (b"\xf0\xf1no \x1bpower\xff\xff", "no power"),
        ],
        ids=["end", "overcurrent", "down", "error"],
    )
    def test_why_it_ended(self, frame, said):
        found = binary(b"\x52\xa0" * 2 + frame + b"\x00\x00" * 9)
        assert said in found.ended
        assert len(found.current_a) == 2

    @pytest.mark.parametrize("cut", [1, 2, 3, 37, 1998])
    @pytest.mark.parametrize("at", [0, 1, 500, 1001])
    def test_lost_bytes_damage_only_what_is_between_two_timestamps(self, at, cut):
        part = b"\x52\xa0" * 1000
        data = stamp(10) + part + stamp(20) + part[:at] + part[at + cut :] + stamp(30) + part + stamp(40)
        found = binary(data)
        assert found.losses == [(1000, 1000)]
        assert len(found.current_a) == 2000
        assert np.ptp(found.current_a) == 0, "a sample out of step was taken for one"

    @pytest.mark.parametrize("cut", [1, 3, 37])
    def test_a_damaged_stretch_without_a_timestamp_before_or_after_it_is_counted(self, cut):
        part, told = b"\x52\xa0" * 1000, (2001 - cut) // 2
        damaged = part[:70] + part[70 + cut :]
        assert binary(damaged + stamp(10) + part + stamp(20)).losses == [(0, told)]
        found = assemble(read_binary(stamp(10) + part + stamp(20) + damaged + b"\xf0\xf4\xff\xff"), 1e5, is_binary=True)
        assert found.losses == [(1000, told)]

    def test_what_follows_tells_whether_the_last_stretch_is_in_step(self):
        data = stamp(10) + b"\x52\xa0" * 30 + b"\x52" + b"\x52\xa0" * 30 + b"\xf0\xf4\xff\xff"
        found = assemble(read_binary(data, len(stamp(10)) + 90), 1e5, is_binary=True)
        assert len(found.current_a) == 0
        assert found.losses == [(0, 45)]
        assert not found.ended, "what ended it came after it was told to stop"

    def test_the_clock_s_overflow(self):
        part = b"\x52\xa0" * 1000
        assert binary(stamp(0x7FFF_FFFB) + part + stamp(0x8000_0005)).losses == []

    def test_half_a_frame_at_the_end(self):
        for size in range(1, 9):
            found = binary(b"\x52\xa0" * 4 + stamp(5)[:size])
            assert found.current_a == pytest.approx([640.9e-6] * 4, rel=1e-3)

    def test_saturated_samples_are_lost_not_measured(self):
        current_a = np.full(100, 1e-3)
        current_a[40:43] = 10e-3
        found = binary(emulator.encode_binary(current_a), most_a=10e-3)
        assert found.losses == [(40, 3)]
        assert found.current_a == pytest.approx([1e-3] * 97, rel=1e-3)


def open_one(path, rate_hz, mode="dynamic", voltage_v=3.0, **numbers):
    numbers |= {"voltage_v": voltage_v, "sample_rate_hz": rate_hz}
    return closing(open_meter(MeterSpec("lpm01a", numbers, {"port": path, "mode": mode}), Watched()))


def record(meter, duration_s, least_bytes=0):
    """A trace of so long, and of `least_bytes`, which a busy machine's emulator may send later."""
    meter.start()
    time.sleep(duration_s)
    deadline_s = time.monotonic() + 20
    while len(meter._port._data) < least_bytes and not meter._port._ended and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return meter.stop()


def energy_j(trace):
    return float(np.nansum(trace.power_w[1:] * np.diff(trace.t_ns)) / 1e9)


class TestOnAPty:
    @pytest.mark.parametrize("rate_hz", [100_000.0, 10_000.0])
    def test_the_energy_is_that_which_flowed(self, rate_hz):
        with running("lpm01a", waveform="inference", split=True) as end, open_one(end.path, rate_hz) as meter:
            trace = record(meter, 1.0)
            meter.close()
            assert end.end()["commands"][-1] == "hrc"
        count = len(trace.t_ns)
        true_j = emulator.waveform_a("inference", count, rate_hz)[1:].sum() * 3.0 / rate_hz
        assert count > 0.2 * rate_hz
        assert trace.lost_samples == 0
        assert not trace.ended
        assert energy_j(trace) == pytest.approx(true_j, rel=1e-3)

    def test_losses_are_gaps(self):
        with running("lpm01a", lose="2000:37", byte_loss=5005) as end, open_one(end.path, 10_000.0) as meter:
            trace = record(meter, 1.2)
        assert trace.lost_samples == 38
        assert len(trace.gaps_ns) == 2
        assert np.isnan(trace.power_w).sum() == 3

    @pytest.mark.parametrize(
        ("rate_hz", "duration_s", "at", "count"),
        [(100.0, 3.0, 100, 45), (1000.0, 2.5, 2050, 250), (10_000.0, 1.0, 100, 700)],
        ids=["no timestamp", "after the last", "before the first"],
    )
    def test_losses_where_no_two_timestamps_tell_them_are_told_by_the_clock(self, rate_hz, duration_s, at, count):
        with running("lpm01a", lose=f"{at}:{count}") as end, open_one(end.path, rate_hz) as meter:
            trace = record(meter, duration_s)
            stopped_ns = time.monotonic_ns()
            start_ns = end.end()["start_ns"]
        assert trace.lost_samples == pytest.approx(count, abs=(0.01 + trace.clock_error_ns / 1e9) * rate_hz)
        assert len(trace.gaps_ns) == 1
        place_ns = start_ns + at * 1e9 / rate_hz
        assert trace.gaps_ns[0, 0] == pytest.approx(place_ns, abs=trace.clock_error_ns + 6e7)
        assert abs(trace.t_ns[-1] - stopped_ns) < trace.clock_error_ns + 2e9

    @pytest.mark.parametrize("byte_loss", [300, 19_500], ids=["first", "last"])
    def test_a_byte_lost_in_the_first_or_the_last_stretch_is_told(self, byte_loss):
        with running("lpm01a", byte_loss=byte_loss) as end, open_one(end.path, 20_000.0) as meter:
            trace = record(meter, 0.99, 2 * 19_700)
        assert 0 < trace.lost_samples <= 1000
        assert np.nanmax(np.abs(trace.current_a - 640.9e-6)) < 1e-6

    def test_what_saturates_the_dynamic_mode_is_lost_and_the_static_mode_measures_it(self):
        seen = {}
        for mode in ("dynamic", "static"):
            with running("lpm01a", waveform="peaks") as end, open_one(end.path, 1000.0, mode) as meter:
                seen[mode] = record(meter, 1.0)
        assert seen["dynamic"].lost_samples >= 3
        assert np.nanmax(seen["dynamic"].current_a) == pytest.approx(1e-3)
        assert seen["static"].lost_samples == 0
        assert np.nanmax(seen["static"].current_a) == pytest.approx(30e-3)

    @pytest.mark.parametrize("rate_hz", [100_000.0, 10_000.0])
    def test_an_error_ends_it_and_says_so(self, rate_hz):
        with running("lpm01a", end_at=2000) as end, open_one(end.path, rate_hz) as meter:
            trace = record(meter, 0.6)
        assert "buffer full" in trace.ended
        assert len(trace.t_ns) >= 2000

    def test_an_unplugged_board_gives_what_it_gave_until_then(self):
        with running("lpm01a", unplug_s=0.4) as end, open_one(end.path, 10_000.0) as meter:
            trace = record(meter, 0.8)
        assert "gone" in trace.ended
        assert 1000 < len(trace.t_ns) <= 4100

    def test_every_setting_is_made_and_acknowledged(self):
        with running("lpm01a") as end:
            with open_one(end.path, 50_000.0, "static", 1.8) as meter:
                said = meter.describe()
            commands = end.end()["commands"]
        assert commands[1:10] == [
            "htc", "volt 1800m", "freq 50k", "acqtime inf", "acqmode stat", "funcmode high", "output current",
            "format bin_hexa", "trigsrc sw",
        ]  # fmt: skip
        assert said.obtained == "emulated"
        assert said.accuracy.gain_share == 0.02
        assert "UM2243" in said.accuracy.source

    def test_a_refused_setting_is_named(self):
        with (
            running("lpm01a", refuse="volt") as end,
            pytest.raises(MeasurementError, match="refuses `volt 3000m`"),
            open_one(end.path, 1000.0),
        ):
            pass

    def test_the_dynamic_mode_has_no_stated_accuracy_but_the_device_file_s(self):
        with running("lpm01a") as end:
            with open_one(end.path, 1000.0) as meter:
                assert meter.describe().accuracy is None
            with open_one(end.path, 1000.0, accuracy_share=0.04) as meter:
                assert meter.describe().accuracy.gain_share == 0.04


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"voltage_v": 1.0}, "1 V is not from"),
        ({"voltage_v": 5.0}, "5 V is not from"),
        ({"voltage_v": 3.0, "sample_rate_hz": 30_000.0}, "no rate of 30000 Hz"),
        ({}, "'voltage_v' is missing"),
    ],
    ids=["low", "high", "rate", "missing"],
)
def test_a_spec_that_cannot_be(numbers, said):
    with pytest.raises(SpecError, match=said):
        open_meter(MeterSpec("lpm01a", numbers, {"port": "/dev/ttyNONE"}), Watched())
