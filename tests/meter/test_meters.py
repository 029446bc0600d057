"""Meters: what they declare, what they refuse, and how close the emulated one comes to a known truth."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kit.errors import EdgeproofError, MeasurementError, SpecError
from kit.meter import Watched, open_meter
from kit.meter.emulated import placed
from kit.meter.model import PowerModel
from kit.spec.types import MeterSpec

POWERS = {"idle_power_w": 0.05, "active_power_w": 0.4}


def open_one(driver, process_id=None, cpu_time_ns=time.process_time_ns, **parameters):
    return open_meter(MeterSpec(driver, POWERS | parameters), Watched(cpu_time_ns, process_id or os.getpid()))


@pytest.fixture
def spinner():
    """A process that computes all the time."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        time.sleep(0.1)
        yield process
        process.kill()


@pytest.fixture
def sleeper():
    """A process that computes nothing."""
    with subprocess.Popen(["sleep", "60"]) as process:
        at_rest = 0
        while at_rest < 5:  # until it has been loaded
            state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            at_rest = at_rest + 1 if state == "S" else 0
            time.sleep(0.01)
        yield process
        process.kill()


def cpu_ns(process_id):
    return time.clock_gettime_ns((~process_id << 3) | 2)


def energy_j(trace):
    return float(np.sum(trace.power_w[1:] * np.diff(trace.t_ns)) / 1e9)


@pytest.mark.parametrize("driver", ["emulated", "estimate"])
class TestEveryMeter:
    def test_a_trace_is_in_order_on_the_host_s_clock(self, driver):
        meter = open_one(driver)
        before_ns = time.monotonic_ns()
        meter.start()
        time.sleep(0.05)
        trace = meter.stop()
        after_ns = time.monotonic_ns()
        meter.close()
        assert trace.t_ns.dtype == np.int64
        assert trace.power_w.dtype == np.float64
        assert len(trace.t_ns) == len(trace.power_w) >= 2
        assert (np.diff(trace.t_ns) > 0).all()
        assert before_ns <= trace.t_ns[0] < trace.t_ns[-1] <= after_ns
        assert np.isnan(trace.power_w[0])
        assert np.isfinite(trace.power_w[1:]).all()

    def test_it_can_be_started_again(self, driver):
        meter = open_one(driver)
        ends = []
        for _ in range(3):
            meter.start()
            time.sleep(0.01)
            ends.extend(meter.stop().t_ns[[0, -1]])
        meter.close()
        meter.close()
        assert ends == sorted(ends)

    def test_stop_without_start_is_told(self, driver):
        with pytest.raises(MeasurementError, match="before it was started"):
            open_one(driver).stop()

    def test_close_while_it_samples(self, driver):
        meter = open_one(driver)
        meter.start()
        meter.close()

    def test_it_never_claims_to_have_measured(self, driver):
        record = open_one(driver).describe()
        assert record.name == driver
        assert record.obtained in ("estimated", "emulated")
        assert record.parameters.items() >= POWERS.items()
        words = record.description + (record.accuracy.source if record.accuracy else "")
        assert "agent" not in words, "what it watches may be any command"
        assert "device file" not in words

    @pytest.mark.parametrize("missing", sorted(POWERS))
    def test_a_missing_constant(self, driver, missing):
        parameters = {name: value for name, value in POWERS.items() if name != missing}
        with pytest.raises(SpecError, match=f"parameter '{missing}' is missing") as caught:
            open_meter(MeterSpec(driver, parameters), Watched(time.process_time_ns, os.getpid()))
        assert missing in caught.value.next_step

    def test_an_unknown_constant(self, driver):
        with pytest.raises(SpecError, match="unknown parameter 'idle_power'") as caught:
            open_one(driver, idle_power=1.0)
        assert "idle_power_w" in caught.value.next_step

    @pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
    def test_a_constant_that_is_no_power(self, driver, value):
        with pytest.raises(SpecError, match="is not a number from 0 up"):
            open_one(driver, active_power_w=value)


def test_an_unknown_meter_lists_the_known():
    with pytest.raises(SpecError, match="unknown meter 'voltmeter'") as caught:
        open_meter(MeterSpec("voltmeter"), Watched(time.process_time_ns, None))
    assert "emulated, estimate" in caught.value.next_step


@pytest.mark.parametrize(("share", "power_w"), [(0, 0.05), (0.5, 0.25), (1, 0.45), (2, 0.85)])
def test_the_power_model(share, power_w):
    assert PowerModel(**POWERS).power_w(share * 1e9, 1e9) == pytest.approx(power_w)


class TestEstimate:
    def test_power_follows_the_agent_s_cpu_time(self):
        told = iter([1_000_000_000, 1_000_000_000 + 25_000_000])
        meter = open_one("estimate", cpu_time_ns=lambda: next(told))
        meter.start()
        time.sleep(0.05)
        trace = meter.stop()
        wall_s = (trace.t_ns[-1] - trace.t_ns[0]) / 1e9
        assert energy_j(trace) == pytest.approx(0.05 * wall_s + 0.4 * 0.025)

    def test_it_needs_no_process_here(self):
        meter = open_meter(MeterSpec("estimate", POWERS), Watched(lambda: 0, None))
        meter.start()
        assert meter.stop().power_w[1] == pytest.approx(0.05)


class TestEmulated:
    def test_an_ideal_one_sees_the_true_energy(self, spinner):
        meter = open_one("emulated", spinner.pid, accuracy_share=0.0, noise_w=0.0, resolution_w=0.0)
        outer_start_ns = cpu_ns(spinner.pid)
        meter.start()
        inner_start_ns = cpu_ns(spinner.pid)
        time.sleep(0.3)
        inner_s = (cpu_ns(spinner.pid) - inner_start_ns) / 1e9
        trace = meter.stop()
        outer_s = (cpu_ns(spinner.pid) - outer_start_ns) / 1e9
        wall_s = (trace.t_ns[-1] - trace.t_ns[0]) / 1e9
        # The trace begins and ends somewhere between the two readings of the true CPU time at each end.
        active_j = energy_j(trace) - 0.05 * wall_s
        assert 0.4 * (inner_s - 0.045) <= active_j <= 0.4 * outer_s * 1.001
        # Every point of its grid, up to the last that it saw, was sampled or is counted as lost, however late it ran.
        grid_s = (trace.t_ns[-2] - trace.t_ns[0]) / 1e9
        assert len(trace.t_ns) - 2 + trace.lost_samples == pytest.approx(250 * grid_s, abs=1)

    def test_one_thread_never_draws_more_than_one_core(self, spinner):
        """The kernel tells another's CPU time at its own tick, which is slower than this meter."""
        meter = open_one(
            "emulated", spinner.pid, accuracy_share=0.0, noise_w=0.0, resolution_w=0.0, sample_rate_hz=1000
        )
        meter.start()
        time.sleep(0.3)
        power_w = meter.stop().power_w[1:]
        assert power_w.max() <= 0.45 + 1e-9
        assert power_w.mean() > 0.06, "it computed all the time that it was let"

    @pytest.mark.parametrize(
        ("used", "room", "wanted"),
        [
            ([0, 0, 0, 4, 0, 0, 0, 4], [1] * 8, [1] * 8),
            ([0, 0, 0, 2, 0], [1] * 5, [0, 0, 1, 1, 0]),
            ([1, 0, 0, 4, 1], [1, 1, 1, 2, 1], [1, 1, 1, 2, 1]),
            ([3, 0, 1], [1, 1, 1], [1, 0, 1]),
            ([0, 4], [2, 2], [2, 2]),
            ([], [], []),
        ],
        ids=["ticks", "late", "full", "before the first", "two threads", "none"],
    )
    def test_cpu_time_is_placed_where_it_can_have_been_used(self, used, room, wanted):
        assert placed(np.array(used, np.int64), np.array(room, np.int64)).tolist() == wanted

    def test_idle_is_idle(self, sleeper):
        meter = open_one("emulated", sleeper.pid, accuracy_share=0.0, noise_w=0.0, resolution_w=0.0)
        meter.start()
        time.sleep(0.1)
        np.testing.assert_allclose(meter.stop().power_w[1:], 0.05)

    def test_gain_error_stays_in_its_class_and_depends_on_the_seed(self, sleeper):
        powers_w = []
        for seed in range(12):
            meter = open_one("emulated", sleeper.pid, accuracy_share=0.05, noise_w=0.0, resolution_w=0.0, seed=seed)
            meter.start()
            time.sleep(0.01)
            powers_w.append(meter.stop().power_w[-1])
        assert all(0.95 * 0.05 <= power_w <= 1.05 * 0.05 for power_w in powers_w)
        assert len(set(powers_w)) == 12

    def test_readings_are_quantized_and_noisy(self, sleeper):
        meter = open_one("emulated", sleeper.pid, noise_w=0.01, resolution_w=0.004, sample_rate_hz=1000)
        meter.start()
        time.sleep(0.2)
        steps = meter.stop().power_w[1:] / 0.004
        np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
        assert len(np.unique(np.round(steps))) > 3

    def test_a_halt_of_the_sampler_is_counted_as_lost(self, sleeper, monkeypatch):
        meter = open_one("emulated", sleeper.pid, sample_rate_hz=200)
        read, calls = meter._read, []

        def stalls_once():
            calls.append(1)
            if len(calls) == 5:
                time.sleep(0.1)
            return read()

        monkeypatch.setattr(meter, "_read", stalls_once)
        meter.start()
        while len(calls) < 7:
            time.sleep(0.01)
        trace = meter.stop()
        assert trace.lost_samples >= 18
        assert np.diff(trace.t_ns).max() > 0.09e9

    def test_a_process_that_vanishes(self, spinner):
        meter = open_one("emulated", spinner.pid)
        meter.start()
        spinner.kill()
        spinner.wait()
        time.sleep(0.05)
        with pytest.raises(MeasurementError, match="process is gone"):
            meter.stop()

    def test_a_device_elsewhere_cannot_be_watched(self):
        with pytest.raises(MeasurementError, match="runs elsewhere") as caught:
            open_meter(MeterSpec("emulated", POWERS), Watched(lambda: 0, None))
        assert "estimate" in caught.value.next_step

    @pytest.mark.parametrize("wrong", [{"sample_rate_hz": 0.0}, {"sample_rate_hz": 1e6}, {"accuracy_share": 1.0}])
    def test_constants_out_of_range(self, wrong):
        with pytest.raises(EdgeproofError, match="out of range"):
            open_one("emulated", **wrong)
