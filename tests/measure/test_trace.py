"""Integrals of traces: exact, additive, and absent wherever anything was not seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import MeasurementError
from kit.measure.trace import (
    Integral,
    charges_c,
    energies_j,
    integrals,
    joined,
    mean_power_w,
    peak,
    period_ns,
    thinned,
)
from kit.meter.base import PowerTrace

MS = 1_000_000
UPTIME_NS = 400 * 86_400 * 1_000_000_000


def trace(t_ns, power_w, **more):
    return PowerTrace(np.array(t_ns, np.int64), np.r_[np.nan, np.array(power_w, float)], 0, **more)


def spans(*each):
    return np.array(each, np.int64).reshape(-1, 2)


RAMP = trace(np.arange(11) * MS, np.arange(1.0, 11.0))


def test_many_spans_at_once():
    found = energies_j(
        [RAMP], spans((0, 10 * MS), (0, MS), (9 * MS, 10 * MS), (MS // 2, 3 * MS // 2), (4 * MS, 4 * MS))
    )
    assert found == pytest.approx([0.055, 0.001, 0.01, 0.0015, 0.0])


def test_a_machine_that_has_run_for_a_year_loses_no_digits():
    late = trace(UPTIME_NS + np.arange(11) * 1000, np.ones(10))
    assert energies_j([late], spans((UPTIME_NS + 1500, UPTIME_NS + 1600))) == pytest.approx([1e-7], rel=1e-9)


@pytest.mark.parametrize(
    ("start", "end", "is_seen"),
    [(0, 4, True), (0, 5, False), (4, 5, False), (4.2, 4.8, False), (5, 10, True), (3.9, 4.1, False), (4, 4, True)],
)
def test_a_gap_is_never_filled(start, end, is_seen):
    power = np.ones(10)
    power[4] = np.nan
    found = energies_j([trace(np.arange(11) * MS, power)], spans((start * MS, end * MS)))
    assert np.isfinite(found[0]) == is_seen
    assert not is_seen or found[0] == pytest.approx((end - start) * 1e-3)


@pytest.mark.parametrize(
    ("start", "end", "error", "seen_ms"),
    [(-1, 5, 0, None), (-1, 5, 1, 5), (5, 11, 1, 5), (5, 12, 1, None), (-1, 11, 1, 10), (12, 13, 5, None)],
)
def test_ends_that_clocks_cannot_tell(start, end, error, seen_ms):
    one = trace(np.arange(11) * MS, np.ones(10))
    found = energies_j([one], spans((start * MS, end * MS)), error * MS)[0]
    assert np.isnan(found) if seen_ms is None else found == pytest.approx(seen_ms * 1e-3)


@given(st.lists(st.floats(0, 10) | st.just(float("nan")), min_size=4, max_size=30), st.data())
def test_windows_add_up_or_are_absent(powers_w, data):
    whole, end_ns = trace(np.arange(len(powers_w) + 1) * MS, powers_w), len(powers_w) * MS
    a, b, c = sorted(data.draw(st.lists(st.integers(0, end_ns), min_size=3, max_size=3)))
    first, second, both = energies_j([whole], spans((a, b), (b, c), (a, c)))
    if np.isnan(both):
        assert np.isnan(first) or np.isnan(second)
    else:
        assert first + second == pytest.approx(both, abs=1e-12)


def test_the_trace_that_saw_a_span_tells_it():
    first, second = trace([0, 10 * MS], [1.0]), trace([20 * MS, 30 * MS], [3.0])
    found = energies_j([first, second], spans((2 * MS, 8 * MS), (21 * MS, 22 * MS), (5 * MS, 25 * MS)))
    np.testing.assert_allclose(found, [0.006, 0.003, np.nan])


def test_joined_traces_have_nothing_between_them():
    gaps = spans((3 * MS, 5 * MS))
    parts = [
        trace([0, 10 * MS], [1.0], gaps_ns=gaps, clock_error_ns=5, ended="pulled"),
        trace([20 * MS, 30 * MS], [3.0], clock_error_ns=9, ended="pulled", current_a=np.array([np.nan, 1.0])),
    ]
    whole = joined(parts)
    assert np.isnan(energies_j([whole], spans((5 * MS, 25 * MS))))[0]
    assert energies_j([whole], spans((20 * MS, 30 * MS)))[0] == pytest.approx(0.03)
    assert (whole.clock_error_ns, whole.ended, whole.current_a) == (9, "pulled", None)
    np.testing.assert_array_equal(whole.gaps_ns, gaps)


def test_no_trace_at_all():
    with pytest.raises(MeasurementError, match="no trace"):
        joined([])


def test_charge():
    with_current = trace(np.arange(11) * MS, np.ones(10), current_a=np.r_[np.nan, np.full(10, 0.2)])
    assert charges_c([with_current], spans((0, 5 * MS))) == pytest.approx([0.001])
    assert charges_c([RAMP], spans((0, 5 * MS))) is None


@pytest.mark.parametrize(
    ("start", "end", "largest"), [(0, 10, 10.0), (0, 1, 1.0), (0.5, 1.5, 2.0), (3, 3.5, 4.0), (20, 30, np.nan)]
)
def test_a_peak_is_of_samples_that_overlap(start, end, largest):
    found = peak([RAMP], [RAMP.power_w], spans((start * MS, end * MS)))
    assert found == pytest.approx(largest, nan_ok=True)


def test_a_peak_skips_what_was_not_seen():
    gappy = trace(np.arange(4) * MS, [1.0, np.nan, 2.0])
    assert peak([gappy], [gappy.power_w], spans((0, 3 * MS))) == 2.0


def test_the_mean_is_of_what_was_seen():
    assert mean_power_w(trace([0, MS, 5 * MS, 6 * MS], [1.0, np.nan, 3.0])) == pytest.approx(2.0)
    with pytest.raises(MeasurementError, match="holds no power"):
        mean_power_w(trace([0, MS], [np.nan]))


def test_the_period_is_the_longest_traces():
    assert period_ns([trace([0, 7], [1.0]), RAMP]) == MS
    assert period_ns([]) == period_ns([trace([5], [])]) == 0


@pytest.mark.parametrize("most", [1, 7, 100, 999])
def test_thinning_keeps_energy(most):
    rng = np.random.default_rng(most)
    t_ns = np.cumsum(rng.integers(1000, 5000, 1001))
    whole = trace(t_ns, rng.uniform(0, 1, 1000), trigger=np.zeros(1001, np.int64))
    thin = thinned(whole, most)
    assert len(thin.t_ns) <= most + 2
    assert (thin.t_ns[0], thin.t_ns[-1]) == (t_ns[0], t_ns[-1])
    assert mean_power_w(thin) == pytest.approx(mean_power_w(whole))
    ends = np.stack([thin.t_ns[:-1], thin.t_ns[1:]], axis=1)
    assert energies_j([thin], ends) == pytest.approx(energies_j([whole], ends))


def test_thinning_keeps_what_is_unknown_and_leaves_short_traces_alone():
    power = np.ones(100)
    power[50] = np.nan
    thin = thinned(trace(np.arange(101) * MS, power), 10)
    assert np.isnan(thin.power_w).sum() == 2
    assert thinned(RAMP) is RAMP


@pytest.mark.parametrize("count", [0, 1])
def test_a_trace_without_a_course(count):
    t_ns, values = np.arange(count, dtype=np.int64), np.full(count, np.nan)
    assert np.isnan(integrals(t_ns, values, spans((0, 1)))).all()
    assert np.isnan(Integral(t_ns, values).between(0.0, 0.0))
