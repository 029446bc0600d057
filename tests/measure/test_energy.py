"""Energy from a trace and two moments: exact on traces whose truth is known, refused where the trace has gaps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import MeasurementError
from kit.measure.energy import integrate_j, mean_power_w
from kit.meter.base import PowerTrace


def trace(t_ns, power_w):
    return PowerTrace(np.array(t_ns, np.int64), np.r_[np.nan, np.array(power_w, float)], 0)


MS = 1_000_000


def test_a_constant_power():
    constant = trace(np.arange(0, 1001) * MS, np.full(1000, 0.25))
    assert integrate_j(constant, 100 * MS, 600 * MS) == pytest.approx(0.125)
    assert mean_power_w(constant) == pytest.approx(0.25)


def test_parts_of_samples_count_in_part():
    steps = trace([0, 10 * MS, 20 * MS], [1.0, 3.0])
    assert integrate_j(steps, 5 * MS, 12 * MS) == pytest.approx(0.005 * 1 + 0.002 * 3)


def test_irregular_samples_hold_since_the_one_before():
    steps = trace([0, 1 * MS, 50 * MS, 51 * MS], [2.0, 1.0, 5.0])
    assert integrate_j(steps, 0, 51 * MS) == pytest.approx(0.002 + 0.049 + 0.005)
    assert mean_power_w(steps) == pytest.approx(0.056 / 0.051)


@given(st.lists(st.floats(0, 10), min_size=4, max_size=30), st.data())
def test_windows_add_up(powers_w, data):
    whole = trace(np.arange(len(powers_w) + 1) * MS, powers_w)
    end_ns = len(powers_w) * MS
    cut_ns = data.draw(st.integers(0, end_ns))
    parts = integrate_j(whole, 0, cut_ns) + integrate_j(whole, cut_ns, end_ns)
    assert parts == pytest.approx(integrate_j(whole, 0, end_ns), abs=1e-12)


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "error_ms"), [(-2, 5, 0), (5, 12, 0), (-2, 12, 1), (-3, 5, 2), (5, 13, 2)]
)
def test_a_window_that_is_not_covered(start_ms, end_ms, error_ms):
    with pytest.raises(MeasurementError, match="does not cover") as caught:
        integrate_j(trace(np.arange(11) * MS, np.ones(10)), start_ms * MS, end_ms * MS, error_ms * MS)
    assert caught.value.exit_code == 5


def test_what_the_clocks_cannot_tell_is_forgiven():
    assert integrate_j(trace(np.arange(11) * MS, np.ones(10)), -1 * MS, 11 * MS, 1 * MS) == pytest.approx(0.010)


def test_an_overflow_of_the_meter_is_no_power():
    with pytest.raises(MeasurementError, match="no number"):
        integrate_j(trace(np.arange(4) * MS, [1.0, np.nan, 1.0]), 0, 3 * MS)


def test_an_empty_trace():
    with pytest.raises(MeasurementError):
        integrate_j(trace([5], []), 0, 1)
