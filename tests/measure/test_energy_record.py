"""Energy of windows under a meter: exact on true powers, whichever way windows are found, and honest about faults."""

import time
from contextlib import closing

import numpy as np
import pytest

from kit.device import open_device
from kit.errors import LinkError, MeasurementError
from kit.measure.align import align_signature, pattern_s, to_trace
from kit.measure.energy import measure_energy
from kit.meter import Watched, open_meter
from kit.spec.types import MeasurePlan, MeterSpec
from tests import device_kit as kits
from tests.measure.simulated import IDLE_W, INFERENCE_S, STEP_W, VOLTAGE_V, Device, Meter

PLAN = MeasurePlan(energy_windows=5, energy_window_s=0.1)
ROWS = np.zeros((8, 4), np.float32)
SECONDS = 5_000_000_000
ABOVE_IDLE_J = STEP_W * INFERENCE_S


def measured(device, meter, plan=PLAN):
    return measure_energy(device, meter, "sha256:" + "a" * 64, ROWS, plan)


def above_idle_j(record):
    return (record.window_energy_j - record.idle_power_w * record.window_s) / record.window_inferences


def is_true(record, rel=0.02):
    assert above_idle_j(record) == pytest.approx(ABOVE_IDLE_J, rel=rel)
    assert record.idle_power_w == pytest.approx(IDLE_W, rel=0.01)


class TestAlignment:
    def test_one_clock(self):
        device = Device(process=1)
        record = measured(device, Meter(device))
        assert record.alignment.method == "same clock"
        assert record.alignment.offset_ns == 0
        assert "pattern" not in device.asked
        is_true(record)

    def test_a_process_here_whose_clock_is_another(self):
        device = Device(process=1, offset_ns=SECONDS)
        record = measured(device, Meter(device))
        assert record.alignment.method == "clock offset"
        is_true(record)

    def test_clocks_that_are_close(self):
        device = Device(offset_ns=SECONDS, clock_error_ns=100_000)
        record = measured(device, Meter(device))
        assert record.alignment.method == "clock offset"
        assert abs(record.alignment.offset_ns - SECONDS) <= record.alignment.error_ns
        assert "pattern" not in device.asked
        is_true(record)

    @pytest.mark.parametrize("late_ns", [-8_000_000, 0, 8_000_000])
    def test_a_signature_where_clocks_are_far_apart(self, late_ns):
        device = Device(offset_ns=SECONDS, clock_error_ns=10_000_000)
        record = measured(device, Meter(device, late_ns=late_ns, clock_error_ns=10_000_000))
        assert record.alignment.method == "signature"
        assert abs(record.alignment.offset_ns - SECONDS - late_ns) <= record.alignment.error_ns
        assert record.alignment.error_ns < 2_000_000
        is_true(record)

    def test_the_meters_clock_alone_may_ask_for_a_signature(self):
        device = Device(process=1)
        record = measured(device, Meter(device, late_ns=5_000_000, clock_error_ns=8_000_000))
        assert record.alignment.method == "signature"
        is_true(record)

    def test_a_digital_line_is_best(self):
        device = Device(offset_ns=SECONDS, clock_error_ns=10_000_000)
        record = measured(device, Meter(device, triggered=True, late_ns=3_000_000, clock_error_ns=5_000_000))
        assert record.alignment.method == "trigger"
        assert "line 3" in record.alignment.explanation
        assert abs(record.alignment.offset_ns - SECONDS - 3_000_000) <= record.alignment.error_ns
        is_true(record)

    def test_clocks_do_where_the_device_runs_no_signature_and_the_error_says_so(self):
        device = Device(offset_ns=SECONDS, clock_error_ns=5_000_000, has_pattern=False)
        record = measured(device, Meter(device))
        assert record.alignment.method == "clock offset"
        assert "the device ran no signature" in record.alignment.explanation
        assert record.alignment.error_ns >= 5_000_000
        assert record.uncertainty.alignment_share > 0.05

    def test_windows_that_cannot_be_placed_are_refused(self):
        device = Device(offset_ns=SECONDS, clock_error_ns=80_000_000, has_pattern=False)
        with pytest.raises(MeasurementError, match="are placed to") as caught:
            measured(device, Meter(device))
        assert "digital line" in caught.value.next_step

    def test_a_clock_that_is_set_while_measuring(self):
        device = Device(offset_ns=SECONDS, steps_ns=50_000_000)
        with pytest.raises(MeasurementError, match="clock moved by 50 ms"):
            measured(device, Meter(device))


class TestFaults:
    def test_a_meter_that_vanishes_keeps_the_windows_before(self):
        device = Device(process=1)
        record = measured(device, Meter(device, ends_s=0.35))
        assert 1 <= len(record.window_energy_j) < 5
        assert record.ended == "the cable was pulled"
        assert record.meter.parameters["left_out_windows"] == 5 - len(record.window_energy_j)
        assert record.windows_ns.shape == (len(record.window_energy_j), 2)
        is_true(record)

    def test_a_meter_that_vanishes_before_any_window(self):
        device = Device(process=1)
        with pytest.raises(MeasurementError, match="any of the 5 busy windows: the cable was pulled"):
            measured(device, Meter(device, ends_s=0.01))

    def test_a_window_with_a_gap_is_left_out_and_never_filled(self):
        device = Device(process=1)
        record = measured(device, Meter(device, gaps=((0.05, 0.06), (0.3, 0.302))))
        assert 3 <= len(record.window_energy_j) < 5
        assert record.meter.parameters["left_out_windows"] == 5 - len(record.window_energy_j)
        assert record.lost_samples > 0
        assert record.gaps_ns.shape == (2, 2)
        for start, end in record.windows_ns:
            assert not any(start < gap_end and gap_start < end for gap_start, gap_end in record.gaps_ns)
        is_true(record)

    def test_a_meter_that_fails_to_start_again_ends(self):
        device = Device(process=1)
        record = measured(device, Meter(device, reads_ends=True, fails_after=8))
        assert 1 <= len(record.window_energy_j) < 5
        assert record.ended == "the meter is gone"

    @pytest.mark.parametrize("after", [0, 1, 2])
    def test_a_meter_that_saw_no_window(self, after):
        device = Device(process=1)
        with pytest.raises(MeasurementError, match="the meter is gone"):
            measured(device, Meter(device, reads_ends=True, fails_after=after))

    def test_a_device_that_refuses_phases_is_measured_without(self):
        device = Device(process=1, refuses=True)
        record = measured(device, Meter(device))
        assert [phase.name for phase in record.phases] == ["idle", "inference"]
        is_true(record)

    def test_a_broken_link_is_no_missing_phase(self):
        device = Device(process=1)

        def predict(*_, **__):
            raise LinkError("the line is cut")

        device.predict = predict
        with pytest.raises(LinkError, match="cut"):
            measured(device, Meter(device))

    @pytest.mark.parametrize("which", ["empty", "backwards"])
    def test_windows_that_are_none(self, which):
        device = Device(process=1)
        run_busy = device.run_busy

        def broken(*arguments, **named):
            window = run_busy(*arguments, **named)
            if not window.inferences:
                return window
            if which == "empty":
                return type(window)(window.start_ns, window.end_ns, 0, 0)
            return type(window)(1000 - len(device.busy_ns), 2000 - len(device.busy_ns), 10, 0)

        device.run_busy = broken
        with pytest.raises(MeasurementError, match="no inference" if which == "empty" else "clock went back"):
            measured(device, Meter(device))

    @pytest.mark.parametrize("says", ["", "# meter: ppk2\n# obtained: measured\n"], ids=["unnamed", "measured"])
    def test_a_trace_recorded_earlier_holds_no_inference_of_this_run(self, tmp_path, says):
        """Even one whose digital line is high: pauses are seeded, so an earlier run's windows would match."""
        path = tmp_path / "trace.csv"
        path.write_text(says + "t_s,power_w,trigger\n" + "".join(f"{i / 100},1,{i // 10 % 2}\n" for i in range(500)))
        device = Device(process=1)
        with (
            closing(open_meter(MeterSpec("replay", {}, {"file": str(path)}), Watched())) as meter,
            pytest.raises(MeasurementError, match=r"trace\.csv.*cannot hold this run's inferences") as caught,
        ):
            measured(device, meter)
        assert "name the meter itself" in caught.value.next_step
        assert device.asked == []


class TestRecord:
    def test_a_meter_that_reads_at_its_ends_is_started_for_each_stretch(self):
        device = Device(process=1)
        meter = Meter(device, reads_ends=True)
        record = measured(device, meter)
        assert meter.starts == 4 + 1 + 5 + 5 + 1
        assert len(record.window_energy_j) == 5
        is_true(record, rel=0.05)

    def test_phases(self):
        device = Device(process=1)
        record = measured(device, Meter(device, has_current=True))
        phases = {phase.name: phase for phase in record.phases}
        assert list(phases) == ["idle", "load request", "inference", "transmit"]
        assert phases["idle"].mean_power_w == pytest.approx(IDLE_W, rel=0.01)
        assert phases["inference"].mean_power_w == pytest.approx(IDLE_W + STEP_W, rel=0.02)
        assert phases["inference"].duration_s == pytest.approx(float(record.window_s.sum()), rel=1e-3)
        for phase in phases.values():
            assert phase.mean_current_a == pytest.approx(phase.mean_power_w / VOLTAGE_V, rel=0.01)
            assert phase.peak_power_w >= phase.mean_power_w * 0.999
            assert phase.peak_current_a == pytest.approx(phase.peak_power_w / VOLTAGE_V)
        for name in ("load request", "transmit"):
            assert 0.015 <= phases[name].duration_s < 0.2
            assert phases[name].energy_j > 0.02 * STEP_W

    def test_idle_is_seen_before_between_and_after(self):
        device = Device(process=1)
        record = measured(device, Meter(device))
        assert record.idle_window_power_w.shape == (9,)
        assert record.idle_window_power_w == pytest.approx(IDLE_W, rel=0.01)

    def test_the_pauses_between_windows_are_uneven_and_seeded(self):
        device = Device(process=1)
        record = measured(device, Meter(device))
        pauses = np.diff(record.windows_ns.ravel())[1::2]
        assert np.ptp(pauses) > 2e6
        assert (pauses > 15e6).all()

    def test_current_stays_absent(self):
        device = Device(process=1)
        record = measured(device, Meter(device))
        assert record.trace_current_a is None
        assert all(phase.mean_current_a is None and phase.peak_current_a is None for phase in record.phases)

    def test_uncertainty_has_its_parts(self):
        device = Device(process=1)
        known = measured(device, Meter(device)).uncertainty
        assert known.accuracy_share == pytest.approx(0.01 / 3**0.5)
        assert 0 < known.resolution_share < 1e-3
        assert 0 < known.alignment_share < 0.01
        assert 0 < known.sampling_share < 0.05
        parts = (known.accuracy_share, known.resolution_share, known.alignment_share, known.sampling_share)
        assert known.combined_share == pytest.approx(np.hypot.reduce(parts))

    def test_an_accuracy_that_nobody_states_is_not_known(self):
        device = Device(process=1)
        known = measured(device, Meter(device, accuracy=None)).uncertainty
        assert (known.accuracy_share, known.resolution_share, known.combined_share) == (None, None, None)
        assert known.alignment_share > 0

    def test_it_is_as_weak_as_its_meter(self):
        device = Device(process=1)
        assert measured(device, Meter(device, obtained="estimated")).obtained == "estimated"
        assert measured(device, Meter(device)).obtained == "measured"


TICK_NS = 10_000_000
"""The kernel's coarsest tick: another process's CPU clock, which this meter reads, may be as late as that."""


class TestRealAgent:
    """A real agent's process under the emulated meter, whose clock is the host's: the truth is 0 to 1 tick."""

    def test_its_signature_is_found_where_its_clock_says(self):
        """A machine that is busy with other work may hide it for a while: then it is refused, never misplaced."""
        device = open_device(kits.device_spec())
        spec = MeterSpec("emulated", {"idle_power_w": 0.05, "active_power_w": 0.4, "sample_rate_hz": 500.0})
        with closing(device), closing(open_meter(spec, Watched(device.cpu_time_ns, device.process_id()))) as meter:
            digest = device.deploy(kits.heavy(1 << 20))
            device.run_busy(digest, kits.rows(), duration_s=0.0)
            assert any(self.is_found(device, meter, digest) for _ in range(25))

    def is_found(self, device, meter, digest):
        meter.start()
        time.sleep(0.3)
        stretches = device.run_pattern(digest, kits.rows(), pattern_s=pattern_s(0.043))
        time.sleep(0.3)
        trace = meter.stop()
        busy_ns = np.array([(each.start_ns, each.end_ns) for each in stretches])
        try:
            found = align_signature(trace, busy_ns)
        except MeasurementError:
            return False
        assert found.error_ns < 86_000_000
        assert np.abs(to_trace(found, busy_ns) - busy_ns).max() <= found.error_ns + TICK_NS
        return True
