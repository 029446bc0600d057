"""Power told at each reading, as a trace: what holds, what is lost, what is a gap."""

import numpy as np
import pytest

from kit.errors import MeasurementError
from kit.meter.readings import trace_of_readings
from kit.meter.series import numbers
from tests.meter.scripted import check_trace, energy_j, samples_of


def trace_of(values, is_off=None, **options):
    samples = samples_of(values, **options)
    off = None if is_off is None else np.array(is_off, bool)
    return check_trace(trace_of_readings(samples, numbers(samples, 0), is_off=off, off_reason="it was off"))


def test_each_holds_since_the_one_before():
    trace = trace_of([9, 1, 2, 3])
    assert trace.power_w[1:].tolist() == [1, 2, 3]
    assert energy_j(trace) == pytest.approx(0.06)
    assert trace.clock_error_ns == 1000


def test_a_failed_reading_is_lost_but_no_gap():
    trace = trace_of([1, 1, None, 1, 1], late=2)
    assert trace.lost_samples == 3
    assert not len(trace.gaps_ns)
    assert energy_j(trace) == pytest.approx(0.04)


def test_a_long_silence_is_a_gap_that_nothing_fills():
    trace = trace_of([1] * 20 + [None] * 20 + [1] * 20)
    assert trace.gaps_ns.tolist() == [[10**12 + 190_000_000, 10**12 + 400_000_000]]
    assert energy_j(trace) == pytest.approx(0.38)
    assert not trace.ended


def test_late_readings_may_leave_a_gap_too():
    t_s = [*np.arange(20) * 0.01, *(1 + np.arange(20) * 0.01)]
    assert len(trace_of([1] * 40, t_s=t_s, late=80).gaps_ns) == 1


def test_one_that_vanishes():
    trace = trace_of([2] * 20 + [None] * 10)
    assert "could not be read any more" in trace.ended
    assert trace.gaps_ns.tolist() == [[10**12 + 190_000_000, 10**12 + 290_000_000]]
    assert trace.lost_samples == 10


def test_what_is_not_the_work_s_is_a_gap_however_short():
    trace = trace_of([1, 1, 50, 1, 1], is_off=[0, 0, 1, 0, 0])
    assert len(trace.gaps_ns) == 1
    assert energy_j(trace) == pytest.approx(0.02)
    assert not trace.ended


def test_off_at_the_end():
    trace = trace_of([1, 1, 1, 50, 50], is_off=[0, 0, 0, 1, 1])
    assert trace.ended == "it was off"
    assert energy_j(trace) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("values", "is_off", "why"),
    [([1], None, "stopped at once"), (["x", None], None, "no numbers"), ([1, 1, 1], [1, 1, 0], "it was off")],
)
def test_fewer_than_two(values, is_off, why):
    with pytest.raises(MeasurementError, match=why):
        trace_of(values, is_off)


def test_current_and_voltage_have_the_same_gaps():
    samples = samples_of([1] * 20 + [None] * 20 + [1] * 20)
    power_w = numbers(samples, 0)
    trace = trace_of_readings(samples, power_w, current_a=power_w / 2, voltage_v=power_w * 2)
    assert np.isnan(trace.current_a).tolist() == np.isnan(trace.power_w).tolist()
    assert np.isnan(trace.voltage_v).tolist() == np.isnan(trace.power_w).tolist()
    assert np.nanmax(trace.voltage_v) == 2.0


def test_how_old_a_reading_may_be_is_part_of_the_clock_s_error():
    samples = samples_of([1, 1, 1])
    assert trace_of_readings(samples, numbers(samples, 0), age_ns=5000).clock_error_ns == 6000
