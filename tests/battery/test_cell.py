"""Current at constant power: by hand, against the iteration that it solves, and where the cell cannot deliver."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kit.battery import current_a
from tests.battery.cells import loads, one


def iterated_a(power_w: float, volts: float, ohms: float, efficiency: float) -> float:
    """I = P / (efficiency V), V = V_oc - I R, until it no longer changes."""
    current = 0.0
    for _ in range(100_000):
        following = power_w / efficiency / (volts - current * ohms)
        if abs(following - current) <= 1e-13 * following:
            return following
        current = following
    raise AssertionError("the iteration did not settle")


def drawn(power_w: float, volts: float, ohms: float, efficiency: float = 1.0) -> float:
    return float(current_a(one(power_w), volts, one(ohms), one(efficiency))[0])


def test_by_hand() -> None:
    """10 ohm at 3 V: 20 mA leave 2.8 V, which is 56 mW; behind 80 % that is 44.8 mW."""
    assert drawn(0.056, 3.0, 10.0) == pytest.approx(0.02)
    assert drawn(0.0448, 3.0, 10.0, 0.8) == pytest.approx(0.02)
    assert drawn(0.3, 3.0, 0.0) == pytest.approx(0.1)
    assert drawn(0.0, 3.0, 10.0) == 0.0


@given(st.floats(1e-9, 10), st.floats(1.0, 20), st.floats(0, 100), st.floats(0.3, 1))
def test_it_is_what_the_iteration_comes_to(power_w: float, volts: float, ohms: float, efficiency: float) -> None:
    assume(4 * ohms * power_w / efficiency < 0.95 * volts**2)
    assert drawn(power_w, volts, ohms, efficiency) == pytest.approx(iterated_a(power_w, volts, ohms, efficiency))


@given(st.floats(1e-6, 1), st.floats(1.0, 20))
def test_the_most_that_a_cell_delivers_is_at_half_its_voltage(ohms: float, volts: float) -> None:
    """Maximum power transfer: V^2 / 4 R, at V / 2."""
    most_w = volts**2 / (4 * ohms)
    assert drawn(most_w * (1 - 1e-9), volts, ohms) == pytest.approx(volts / (2 * ohms), rel=1e-3)
    assert math.isinf(drawn(most_w * (1 + 1e-9), volts, ohms))


def test_a_tiny_resistance_keeps_its_digits() -> None:
    assert drawn(1e-6, 3.0, 1e-12) == pytest.approx(1e-6 / 3.0, rel=1e-12)


def test_an_empty_cell_delivers_nothing() -> None:
    assert math.isinf(drawn(1e-6, 0.0, 0.0))
    assert drawn(0.0, 0.0, 0.0) == 0.0


def test_mean_and_peak_of_a_duty_cycle() -> None:
    cycle = loads(1e-3, ("inference", 0.02, 0.1), ("transmit", 0.1, 0.01))
    assert cycle.mean_w == pytest.approx([1e-3 + 2e-3 + 1e-3])
    assert cycle.peak_w == pytest.approx([0.101])


@pytest.mark.parametrize(("overlap", "peak_w"), [(0.0, 0.101), (1.0, 0.121), (0.5, 0.111)])
def test_work_that_may_run_at_once_adds_to_the_peak(overlap: float, peak_w: float) -> None:
    cycle = loads(1e-3, ("inference", 0.02, 0.1), ("transmit", 0.1, 0.01), overlap=overlap)
    assert cycle.peak_w == pytest.approx([peak_w])


def test_what_is_spread_evenly_is_part_of_every_peak_and_what_never_runs_of_none() -> None:
    assert loads(1e-3, ("inference", 0.02, 1.0), ("transmit", 0.1, 0.01)).peak_w == pytest.approx([0.121])
    assert loads(1e-3, ("inference", 0.02, 0.0)).peak_w == pytest.approx([1e-3])
    assert loads(1e-3).peak_w == pytest.approx([1e-3])


def test_many_scenarios_at_once_are_each_their_own() -> None:
    powers, ohms = np.array([0.01, 0.05, 3.0]), np.array([0.0, 10.0, 10.0])
    together = current_a(powers, 3.0, ohms, np.ones(3))
    assert together == pytest.approx([drawn(float(p), 3.0, float(r)) for p, r in zip(powers, ohms, strict=True)])
    assert np.isinf(together[2])
