"""The PPK2: its formulas against plain loops, its counter, its quirks, and a whole instrument on a pty."""

import math
import time
from contextlib import closing

import numpy as np
import pytest

from kit.errors import MeasurementError, SpecError
from kit.meter import Watched, open_meter
from kit.meter.ppk2_samples import Calibration, Decoder, SpikeFilter, parse_calibration
from kit.spec.types import MeterSpec
from tests.emulators import ppk2 as emulator
from tests.emulators.pty_meter import running

VOLTAGE_V = 3.3


def by_hand(adc, which, calibration, voltage_v):
    """The note's formula for one sample."""
    k = min(which, 4)
    x = (adc * 4 - calibration.O[k]) * (1.8 / 163840) / calibration.R[k]
    gain = calibration.GS[k] * x + calibration.GI[k]
    return calibration.UG[k] * (x * gain + calibration.S[k] * voltage_v + calibration.I[k])


def filtered_by_hand(values, ranges):
    """The filter as a loop over samples: what the vectorised one must equal."""
    average = average_top = None
    before, after, since, result = None, 0, 0, []
    for value, which in zip(values, ranges, strict=True):
        kept = average, average_top
        average = value if average is None else 0.18 * value + 0.82 * average
        average_top = value if average_top is None else 0.06 * value + 0.94 * average_top
        before = which if before is None else before
        shown = value
        if before != which or after > 0:
            if before != which:
                since, after = 0, 3
            else:
                since += 1
            if which == 4:
                if since < 2:
                    average, average_top = kept
                shown = average_top
            else:
                shown = average
            after -= 1
        before = which
        result.append(shown)
    return np.array(result)


def words(count, *, start=0, adc=1000, which=1, bits=0):
    """Samples as sent, with a counter that counts."""
    place = np.arange(start, start + count)
    return (np.full(count, adc | which << 14 | bits << 24, np.uint32) | (place & 63).astype(np.uint32) << 18).astype(
        "<u4"
    )


def decoded(data, size=None):
    """All of it, in blocks of `size` bytes: currents, bits and losses."""
    decoder = Decoder(Calibration(), VOLTAGE_V)
    size = size or len(data)
    blocks = [decoder.feed(data[at : at + size], last=at + size >= len(data)) for at in range(0, len(data), size)]
    losses = [loss for block in blocks for loss in block.losses]
    pieces = [piece for block in blocks for piece in block.pieces]
    return np.concatenate([b.current_a for b in blocks]), np.concatenate([b.bits for b in blocks]), losses, pieces


class TestCalibration:
    ANSWER = b"Calibrated: 1\nR0: 1003.35\nR4: 0.05\nGS1: 112.7\nO4: -nan\nUG2: 1.05\nVDD: 3300\nHW: 41172\nIA: 56\nEND"

    def test_values_in_their_places(self):
        found = parse_calibration(self.ANSWER)
        assert (found.R[0], found.R[4], found.GS[1], found.UG[2]) == (1003.35, 0.05, 112.7, 1.05)
        assert found.facts == {"Calibrated": "1", "VDD": "3300", "HW": "41172", "IA": "56"}

    def test_what_is_missing_or_no_number_keeps_the_maker_s_value_and_is_named(self):
        found = parse_calibration(self.ANSWER)
        assert (found.R[1], found.O[4], found.GI[0]) == (101.65, 0.0, 1.0)
        assert {"O4", "R1", "GI0", "I3"} <= set(found.absent)
        assert not {"R0", "R4", "GS1", "UG2"} & set(found.absent)

    @pytest.mark.parametrize("value", ["0", "-1.5", "inf", "-nan", "nan", "0x12", ""])
    def test_a_resistance_that_is_none(self, value):
        found = parse_calibration(f"R2: {value}\nEND".encode())
        assert found.R[2] == 10.15
        assert "R2" in found.absent

    @pytest.mark.parametrize("line", ["R0: 1e-300", "GS1: 1e300", "UG2: 1e9", "S4: 1e12"])
    def test_one_that_makes_no_sense(self, line):
        with pytest.raises(MeasurementError, match="makes no sense"):
            parse_calibration(line.encode()).table(VOLTAGE_V)

    def test_windows_line_ends(self):
        assert parse_calibration(b"R0: 900.5\r\nEND\r\n").R[0] == 900.5

    @pytest.mark.parametrize("junk", [b"", b"\x00\xff" * 500, b"R9: 1\nQ0: 2\n", b"R0 1000\nR0:\n"])
    def test_junk_is_no_calibration(self, junk):
        assert len(parse_calibration(junk).absent) == 35

    @pytest.mark.parametrize("which", range(8))
    def test_every_range_and_code_as_the_formula_says(self, which):
        calibration = parse_calibration(emulator.metadata(emulator_options()))
        table = calibration.table(VOLTAGE_V)
        for adc in (0, 1, 77, 8191, 16383):
            assert table[adc | which << 14] == pytest.approx(by_hand(adc, which, calibration, VOLTAGE_V), rel=1e-12)

    def test_the_emulator_s_codes_give_its_currents_back(self):
        calibration = parse_calibration(emulator.metadata(emulator_options()))
        true_a = emulator.waveform_a("ranges", 3200)
        got = calibration.table(VOLTAGE_V)[emulator.encode(true_a, VOLTAGE_V) & 0x1FFFF]
        for which in range(5):
            level = true_a[np.searchsorted([50e-6, 500e-6, 5e-3, 60e-3], true_a) == which]
            assert len(level)
            step_a = calibration.resolution_a(which)
            assert np.abs(got - true_a)[np.isin(true_a, level)].max() < step_a


def emulator_options(*, quirks=False):
    return type("Options", (), {"quirks": quirks})


class TestSpikeFilter:
    @pytest.mark.parametrize("seed", range(8))
    def test_it_equals_the_loop_in_blocks_of_any_size(self, seed):
        random = np.random.default_rng(seed)
        ranges = np.repeat(random.integers(0, 5, 600), random.integers(1, [3, 40, 800][seed % 3], 600))[:9000]
        values = 10.0 ** random.uniform(-7, 0, len(ranges))
        want, spikes, at, got = filtered_by_hand(values, ranges.tolist()), SpikeFilter(), 0, []
        while at < len(values):
            size = int(random.integers(1, 700))
            got.append(spikes.feed(values[at : at + size], ranges[at : at + size].astype(np.int8)))
            at += size
        got = np.concatenate(got)
        assert (want != values).any()
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13 * values.max())

    def test_nothing_is_filtered_where_the_range_stays(self):
        values = np.random.default_rng(0).random(500)
        assert (SpikeFilter().feed(values, np.full(500, 4, np.int8)) == values).all()

    def test_no_samples(self):
        assert len(SpikeFilter().feed(np.empty(0), np.empty(0, np.int8))) == 0


class TestDecoder:
    @pytest.mark.parametrize("size", [1, 2, 3, 5, 63, 64, 4096])
    def test_samples_split_over_reads(self, size):
        random = np.random.default_rng(size)
        raw = words(1000) | random.integers(0, 1 << 14, 1000).astype(np.uint32)
        whole, split = decoded(raw.tobytes()), decoded(raw.tobytes(), size)
        assert len(split[0]) == 1000
        np.testing.assert_allclose(split[0], whole[0], rtol=1e-12)
        assert (split[1] == whole[1]).all()
        assert split[2] == whole[2] == []

    def test_inputs_are_bits(self):
        raw = words(200)
        raw[100:] |= np.uint32(0b1010_0001 << 24)
        assert decoded(raw.tobytes())[1].tolist() == [0] * 100 + [0b1010_0001] * 100

    @pytest.mark.parametrize("size", [None, 7, 64, 1001])
    @pytest.mark.parametrize("lost", [1, 2, 31, 63, 65, 130])
    def test_lost_samples_are_counted_modulo_64(self, lost, size):
        raw = np.concatenate([words(500), words(500, start=500 + lost)])
        current_a, _, losses, _ = decoded(raw.tobytes(), size)
        assert len(current_a) == 1000
        assert losses == [(500, lost % 64)]

    def test_a_multiple_of_64_is_not_seen_here(self):
        raw = np.concatenate([words(500), words(500, start=500 + 128)])
        assert decoded(raw.tobytes())[2] == []

    @pytest.mark.parametrize("size", [None, 11, 256])
    @pytest.mark.parametrize("garbage", [1, 2, 3, 4, 7, 40, 1003])
    def test_garbage_before_the_first_sample(self, garbage, size):
        junk = np.random.default_rng(garbage).bytes(garbage)
        current_a, _, losses, pieces = decoded(junk + words(800).tobytes(), size)
        assert 800 <= len(current_a) <= 801  # a last word of garbage may count right by chance
        assert losses == []
        assert abs(pieces[0][0] - garbage) <= 4
        assert np.ptp(current_a[1:]) == 0

    @pytest.mark.parametrize("size", [None, 13, 100, 4096])
    @pytest.mark.parametrize("cut", [1, 2, 3, 5, 4001])
    def test_bytes_lost_in_the_middle_cost_no_more_than_what_they_hit(self, cut, size):
        data = words(4000).tobytes()
        data = data[:8041] + data[8041 + cut :]
        current_a, _, losses, pieces = decoded(data, size)
        assert np.ptp(current_a) == 0, "a sample out of step was taken for one"
        touched = math.ceil((cut + 1) / 4)
        assert 4000 - touched - 1 <= len(current_a) + 0 <= 4000
        missing = 4000 - len(current_a)
        assert sum(lost for _, lost in losses) % 64 == missing % 64
        assert len(pieces) == (2 if cut % 4 else 1)

    def test_a_range_beyond_the_last_is_the_last(self):
        for which in (4, 5, 6, 7):
            assert decoded(words(50, which=which).tobytes())[0][0] == decoded(words(50, which=4).tobytes())[0][0]

    def test_noise_is_no_samples(self):
        current_a, *_ = decoded(np.random.default_rng(1).bytes(20_000))
        assert len(current_a) < 100

    def test_nothing(self):
        block = Decoder(Calibration(), VOLTAGE_V).feed(b"", last=True)
        assert len(block.current_a) == 0
        assert block.top == -1


def open_one(path, *, voltage_v=VOLTAGE_V, words=None, **numbers):
    spec = MeterSpec("ppk2", {"voltage_v": voltage_v} | numbers, {"port": path} | (words or {}))
    return closing(open_meter(spec, Watched()))


def record(meter, duration_s, least=0):
    """A trace of so long, and of `least` samples, which a busy machine's emulator may send later."""
    meter.start()
    time.sleep(duration_s)
    deadline_s = time.monotonic() + 20
    while len(meter._port._data) < 4 * least and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return meter.stop()


def energy_j(trace):
    return float(np.nansum(trace.power_w[1:] * np.diff(trace.t_ns)) / 1e9)


class TestOnAPty:
    @pytest.mark.parametrize("waveform", ["steady", "inference"])
    def test_the_energy_is_that_which_flowed(self, waveform):
        with running("ppk2", waveform=waveform, split=True) as end, open_one(end.path) as meter:
            before_ns = time.monotonic_ns()
            trace = record(meter, 1.0, least=50_100)
            assert before_ns <= trace.t_ns[0]
        count = len(trace.t_ns) + trace.lost_samples
        true_j = emulator.waveform_a(waveform, count)[1:].sum() * VOLTAGE_V / 1e5
        assert count > 50_000
        assert trace.lost_samples == 0
        step_j = Calibration().resolution_a(3) * VOLTAGE_V * count / 1e5  # where nothing dithers, codes are rounded
        rounding_j = step_j / 2 if waveform == "steady" else 0.0
        assert energy_j(trace) == pytest.approx(true_j, abs=1e-3 * true_j + rounding_j)
        assert np.isnan(trace.power_w[0])
        assert np.isfinite(trace.power_w[1:]).all()
        assert (np.diff(trace.t_ns) > 0).all()
        np.testing.assert_allclose(trace.power_w[1:], trace.current_a[1:] * VOLTAGE_V, rtol=1e-6)
        assert (trace.voltage_v == VOLTAGE_V).all()
        assert trace.gaps_ns.shape == (0, 2)
        assert not trace.ended
        assert trace.trigger is None

    def test_lost_samples_leave_a_gap_of_their_length(self):
        with running("ppk2", lose="20000:37,40000:6400", trigger=5) as end, open_one(end.path, trigger_line=5) as meter:
            trace = record(meter, 2.5, least=200_000)
        assert trace.lost_samples % 64 == (37 + 6400) % 64
        error = trace.clock_error_ns // 640_000 * 64  # whole rounds of the counter are told by the clock
        assert abs(trace.lost_samples - 37 - 6400) <= error
        lengths_ns = np.diff(trace.gaps_ns, axis=1)[:, 0]
        assert lengths_ns == pytest.approx([38e4, 6401e4], rel=1e-3, abs=error * 1e4)
        assert np.isnan(trace.power_w[np.searchsorted(trace.t_ns, trace.gaps_ns[:, 1])]).all()
        assert np.isnan(trace.power_w).sum() == 3
        assert set(np.unique(trace.trigger)) == {0, 1 << 5}

    def test_an_unplugged_meter_gives_what_it_gave_until_then(self):
        with running("ppk2", unplug_s=0.5) as end, open_one(end.path) as meter:
            trace = record(meter, 1.0)
        assert 20_000 < len(trace.t_ns) <= 50_500
        assert "gone" in trace.ended

    def test_a_meter_that_falls_silent_is_told(self):
        with running("ppk2", silent_s=0.3) as end, open_one(end.path) as meter:
            trace = record(meter, 1.5)
        assert len(trace.t_ns) <= 30_500
        assert "the meter sent nothing of the last 1" in trace.ended

    def test_a_meter_that_sends_nothing_is_an_error(self):
        with (
            running("ppk2", silent_s=1e-9) as end,
            open_one(end.path) as meter,
            pytest.raises(MeasurementError, match="it sent no samples"),
        ):
            record(meter, 0.2)

    def test_a_full_memory_ends_it_and_says_so(self):
        with running("ppk2") as end, open_one(end.path) as meter:
            meter._port._most_bytes = 1 << 16
            trace = record(meter, 0.6)
        assert "MiB at most" in trace.ended
        assert 1 << 14 <= len(trace.t_ns) < 1 << 16

    def test_quirks_of_the_calibration_are_said(self):
        with running("ppk2", quirks=True, waveform="ranges") as end, open_one(end.path) as meter:
            trace = record(meter, 0.3)
            said = meter.describe()
        assert "maker's values for O4, S3, UG4" in said.description
        assert np.isfinite(trace.power_w[1:]).all()
        assert trace.current_a[1:].max() == pytest.approx(0.4, rel=0.1)  # range 5 is read as range 4

    def test_averaged_to_a_lower_rate_the_energy_stays(self):
        with running("ppk2", waveform="inference") as end, open_one(end.path, sample_rate_hz=1000.0) as meter:
            trace = record(meter, 0.6)
            assert meter.describe().parameters["sample_rate_hz"] == 1000
        count = round((trace.t_ns[-1] - trace.t_ns[0]) / 1e4) + 1
        assert np.diff(trace.t_ns)[:-1] == pytest.approx(1e6, abs=2)
        true_j = emulator.waveform_a("inference", count)[1:].sum() * VOLTAGE_V / 1e5
        assert energy_j(trace) == pytest.approx(true_j, rel=1e-3)

    def test_it_can_be_started_again_and_garbage_is_no_sample(self):
        with running("ppk2", garbage=13) as end, open_one(end.path) as meter:
            traces = [record(meter, 0.2) for _ in range(3)]
            meter.close()
        for trace in traces:
            assert trace.lost_samples == 0
            np.testing.assert_allclose(trace.current_a[1:], 8.5e-3, rtol=0.01)
        assert traces[0].t_ns[-1] < traces[1].t_ns[0]

    def test_commands_of_the_source_mode(self):
        with running("ppk2") as end:
            with open_one(end.path, voltage_v=1.8, words={"mode": "source"}) as meter:
                assert "source mode" in meter.describe().description
                record(meter, 0.1)
            commands = end.end()["commands"]
        assert commands[:6] == ["07", "19", "1102", "0d0708", "0c01", "19"]
        assert commands[-1] == "0c00", "the supply was left on"

    def test_the_ampere_mode_leaves_the_device_s_supply_alone(self):
        with running("ppk2") as end:
            with open_one(end.path):
                pass
            commands = end.end()["commands"]
        assert "1101" in commands
        assert "0c00" not in commands

    def test_it_is_called_emulated_and_its_accuracy_is_what_was_stated(self):
        with running("ppk2") as end, open_one(end.path, accuracy_share=0.02, offset_w=1e-6) as meter:
            record(meter, 0.1)
            said = meter.describe()
        assert said.obtained == "emulated"
        assert said.description.startswith("emulated Nordic PPK2")
        assert (said.accuracy.gain_share, said.accuracy.offset_w) == (0.02, 1e-6)
        assert said.accuracy.source == "the device file"
        assert 0 < said.accuracy.resolution_w < 1e-3

    def test_nobody_states_an_accuracy(self):
        with running("ppk2") as end, open_one(end.path) as meter:
            assert meter.describe().accuracy is None

    def test_stop_before_start_and_start_twice(self):
        with running("ppk2") as end, open_one(end.path) as meter:
            with pytest.raises(MeasurementError, match="before it was started"):
                meter.stop()
            meter.start()
            with pytest.raises(MeasurementError, match="before it was stopped"):
                meter.start()

    def test_close_while_it_records(self):
        with running("ppk2") as end, open_one(end.path) as meter:
            meter.start()
            meter.close()
            meter.close()

    def test_another_program_s_port_is_refused(self):
        with (
            running("ppk2") as end,
            open_one(end.path),
            pytest.raises(MeasurementError, match="in use") as caught,
            open_one(end.path),
        ):
            pass
        assert "no other program" in caught.value.next_step


class TestRefused:
    def test_a_port_that_is_not_there(self):
        with pytest.raises(MeasurementError, match="there is no port /dev/ttyNONE") as caught, open_one("/dev/ttyNONE"):
            pass
        assert "edgeproof meter list" in caught.value.next_step

    def test_a_file_that_is_no_port(self, tmp_path):
        path = tmp_path / "file"
        path.write_text("x")
        with pytest.raises(MeasurementError, match="no serial port"), open_one(str(path)):
            pass

    def test_something_else_at_the_port(self):
        with (
            running("um25c") as end,
            pytest.raises(MeasurementError, match="does not answer") as caught,
            open_one(end.path),
        ):
            pass
        assert "`port`" in caught.value.next_step

    @pytest.mark.parametrize(
        ("numbers", "word", "said"),
        [
            ({"voltage_v": 0.5}, {}, "0.5 V is not from"),
            ({"voltage_v": 5.5}, {}, "5.5 V is not from"),
            ({"voltage_v": 3.0, "trigger_line": 8.0}, {}, "trigger 8 is no input"),
            ({"voltage_v": 3.0, "trigger_line": 0.5}, {}, "trigger 0.5 is no input"),
            ({"voltage_v": 3.0, "sample_rate_hz": 30_000.0}, {}, "no whole part"),
            ({"voltage_v": 3.0, "sample_rate_hz": 0.0}, {}, "no whole part"),
            ({"voltage_v": 3.0, "sample_rate_hz": 200_000.0}, {}, "no whole part"),
            ({"voltage_v": 3.0}, {"mode": "both"}, "mode is 'both'"),
            ({}, {}, "'voltage_v' is missing"),
            ({"voltage_v": 3.0, "gain": 1.0}, {}, "unknown parameter 'gain'"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_a_spec_that_cannot_be(self, numbers, word, said):
        with pytest.raises(SpecError, match=said):
            open_meter(MeterSpec("ppk2", numbers, {"port": "/dev/ttyNONE"} | word), Watched())

    def test_no_port(self):
        with pytest.raises(SpecError, match="no port"):
            open_meter(MeterSpec("ppk2", {"voltage_v": 3.0}), Watched())
