"""USB meters: each model's scales and checksum, damaged answers, and a meter on a pty."""

import time
from contextlib import closing

import numpy as np
import pytest

from kit.errors import MeasurementError, SpecError
from kit.meter import Watched, open_meter
from kit.meter.usb_meter import MODELS, parse
from kit.spec.types import MeterSpec
from tests.emulators.pty_meter import running
from tests.emulators.um25c import STEPS, answer

ANSWER = {"group": 2, "charge_mah": 1234, "energy_mwh": 5678}
NAMES = sorted(STEPS)


class TestParse:
    @pytest.mark.parametrize("name", NAMES)
    def test_scales_differ_by_model(self, name):
        found = parse(answer(name, 5.12, 1.234, **ANSWER))
        assert found.model.name == name
        assert found.voltage_v == pytest.approx(5.12, abs=1e-9)
        assert found.current_a == pytest.approx(1.234, abs=1e-9)
        assert found.power_w == pytest.approx(5.12 * 1.234, abs=1e-3)
        assert (found.group, found.charge_mah, found.energy_mwh) == (2, 1234, 5678)

    def test_only_the_um25c_sees_tenths_of_a_milliampere(self):
        steps = {name: parse(answer(name, 5.0, 0.0123, **ANSWER)).current_a for name in NAMES}
        assert steps == pytest.approx({"UM24C": 0.012, "UM25C": 0.0123, "UM34C": 0.012})

    def test_the_ids_are_those_of_the_models(self):
        assert {key: model.name for key, model in MODELS.items()} == {0x0963: "UM24C", 0x09C9: "UM25C", 0x0D4C: "UM34C"}

    @pytest.mark.parametrize("name", NAMES)
    def test_a_spoilt_end_is_no_answer(self, name):
        data = bytearray(answer(name, 5.0, 1.0, **ANSWER))
        data[-1] ^= 0x40
        assert parse(bytes(data)) is None

    @pytest.mark.parametrize("place", [1, 3, 7, 127])
    def test_a_um34c_s_checksum_covers_its_fields(self, place):
        data = bytearray(answer("UM34C", 5.0, 1.0, **ANSWER))
        data[place] ^= 1
        assert parse(bytes(data)) is None

    @pytest.mark.parametrize("size", [0, 1, 129, 131])
    def test_another_length(self, size):
        assert parse(answer("UM25C", 5.0, 1.0, **ANSWER)[:size].ljust(size, b"\0")) is None

    def test_an_unknown_model_and_an_impossible_group(self):
        data = bytearray(answer("UM25C", 5.0, 1.0, **ANSWER))
        data[15] = 10
        assert parse(bytes(data)) is None
        data[15], data[0:2] = 1, b"\x12\x34"
        assert parse(bytes(data)) is None

    def test_noise(self):
        random = np.random.default_rng(0)
        assert all(parse(random.bytes(130)) is None for _ in range(1000))


def open_one(path, **numbers):
    return closing(open_meter(MeterSpec("usb-meter", numbers, {"port": path}), Watched()))


def record(meter, duration_s):
    meter.start()
    time.sleep(duration_s)
    return meter.stop()


class TestOnAPty:
    @pytest.mark.parametrize("name", NAMES)
    def test_five_readings_a_second(self, name):
        with running("um25c", model=name, split=True) as end, open_one(end.path) as meter:
            before_ns = time.monotonic_ns()
            trace = record(meter, 1.1)
            took_s = (time.monotonic_ns() - before_ns) / 1e9
            assert name in meter.describe().description
        assert 4 <= len(trace.t_ns) + trace.lost_samples <= 5 * took_s + 2
        current_a = trace.current_a[1:]
        assert set(np.round(current_a[np.isfinite(current_a)], 6)) <= {0.5, 1.5}
        assert trace.voltage_v == pytest.approx(5.1, nan_ok=True)
        assert trace.power_w[1:] == pytest.approx(5.1 * trace.current_a[1:], nan_ok=True)
        assert np.isnan(trace.power_w[0])
        assert before_ns < trace.t_ns[0]
        assert trace.clock_error_ns > 0

    def test_answers_that_do_not_come_or_are_spoilt_are_lost_and_leave_gaps(self):
        with running("um25c", mute="3", damage="6") as end, open_one(end.path) as meter:
            trace = record(meter, 3.2)
            missing = end.end()["not_answered"]
        assert missing == 2
        assert trace.lost_samples >= 2
        assert len(trace.gaps_ns) >= 2  # more where a busy machine answers late
        assert np.isnan(trace.power_w).sum() == len(trace.gaps_ns) + 1
        assert (np.diff(trace.gaps_ns, axis=1) > 3e8).all()

    @pytest.mark.parametrize("late_s", [1.15, 1.6])
    def test_a_late_answer_is_lost_and_no_other_question_s(self, late_s):
        with running("um25c", ramp=True, late="4", late_s=late_s) as end, open_one(end.path) as meter:
            trace = record(meter, 4.2)
            asked_ns = np.array(end.end()["asked_ns"])
        seen = np.flatnonzero(np.isfinite(trace.current_a))
        question = np.rint(trace.current_a[seen] / 0.01).astype(int)
        assert 4 not in question
        assert question[-1] > 5
        assert (np.abs(trace.t_ns[seen] - asked_ns[question - 1]) <= trace.clock_error_ns).all()
        assert trace.lost_samples >= 5

    def test_the_meter_s_own_accumulator_is_told_beside(self):
        with running("um25c", hurry=200.0) as end, open_one(end.path) as meter:
            trace = record(meter, 1.2)
            parameters = meter.describe().parameters
        span_s = (trace.t_ns[-1] - trace.t_ns[0]) / 1e9
        assert (
            0.5 * 5.1 * 200 * span_s * 0.9 - 4
            <= parameters["accumulated_energy_j"]
            <= 1.5 * 5.1 * 200 * span_s * 1.1 + 4
        )
        assert parameters["accumulated_charge_c"] == pytest.approx(parameters["accumulated_energy_j"] / 5.1, abs=5)

    def test_an_unplugged_meter_gives_what_it_gave_until_then(self):
        with running("um25c", unplug_s=1.0) as end, open_one(end.path) as meter:
            trace = record(meter, 1.6)
        assert "gone" in trace.ended
        assert len(trace.t_ns) >= 2

    def test_accuracy_is_the_device_file_s_or_not_known(self):
        with running("um25c") as end:
            with open_one(end.path) as meter:
                assert meter.describe().accuracy is None
                assert meter.describe().obtained == "emulated"
            with open_one(end.path, accuracy_share=0.01, offset_w=0.002) as meter:
                assert meter.describe().accuracy.offset_w == 0.002
                assert meter.describe().accuracy.resolution_w == pytest.approx(0.0005)

    def test_too_short_to_tell(self):
        with running("um25c") as end, open_one(end.path) as meter, pytest.raises(MeasurementError, match="twice"):
            record(meter, 0.0)

    def test_it_can_be_started_again_and_closed_twice(self):
        with running("um25c") as end, open_one(end.path) as meter:
            first, second = record(meter, 0.5), record(meter, 0.5)
            assert first.t_ns[-1] < second.t_ns[0]
            meter.start()
            with pytest.raises(MeasurementError, match="before it was stopped"):
                meter.start()
            meter.close()
            meter.close()

    def test_stop_before_start(self):
        with (
            running("um25c") as end,
            open_one(end.path) as meter,
            pytest.raises(MeasurementError, match="before it was started"),
        ):
            meter.stop()

    def test_something_else_at_the_port(self):
        with running("ppk2") as end, pytest.raises(MeasurementError, match="does not answer"), open_one(end.path):
            pass


def test_no_port():
    with pytest.raises(SpecError, match="no port"):
        open_meter(MeterSpec("usb-meter"), Watched())
