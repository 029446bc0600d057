"""The three tiers: by hand, in each other's limits, against a plain simulation in time, and by conservation."""

import math
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kit.battery import LEFT, SELF, Cell, Loads, average_life, current_a, regulated_life, stepped_life
from kit.spec.types import DischargeTable
from tests.battery.cells import cell, coin, flat, loads, one, table

HOUR_S = 3600.0


def stepped(found: Cell, load: Loads, *tables: DischargeTable, capacity_c: float = 800.0) -> float:
    return float(stepped_life(found, load, tables, capacity_c).life_s[0])


def simulated(of: DischargeTable, idle_w: float, work: tuple[float, float, float], cutoff_v: float) -> float:
    """Life in s, phase after phase: work is (power in W, duration, period in s); cycles that use 0.4 C are alike.

    Nothing but Ohm's law and subtraction: another way to the same figure.
    """
    power_w, busy_s, period_s = work
    used_c = life_s = 0.0
    while True:
        volts = float(np.interp(used_c, of.used_c, of.open_circuit_v))
        ohms = float(np.interp(used_c, of.used_c, of.resistance_ohm))
        idle_a, busy_a = (
            float(current_a(one(each), volts, one(ohms), one(1.0))[0]) for each in (idle_w, idle_w + power_w)
        )
        if used_c >= of.used_c[-1] or not math.isfinite(busy_a) or volts - busy_a * ohms < cutoff_v:
            return life_s
        cycle_c = idle_a * (period_s - busy_s) + busy_a * busy_s
        cycles = math.ceil(0.4 / cycle_c)
        used_c += cycles * cycle_c
        life_s += cycles * period_s


def test_tier_1_by_hand() -> None:
    """800 C at 3 V; 3 mW is 1 mA: 800,000 s, less a tenth kept; with a loss of 1 mA by itself, half of that."""
    assert average_life(cell(), loads(3e-3)).life_s == pytest.approx([8e5])
    assert average_life(cell(reserve_share=0.1), loads(3e-3)).life_s == pytest.approx([7.2e5])
    assert average_life(cell(self_discharge_a=1e-3), loads(3e-3)).life_s == pytest.approx([4e5])
    assert average_life(cell(efficiency_share=0.5), loads(3e-3)).life_s == pytest.approx([4e5])


def test_tier_2_by_hand() -> None:
    """56 mW through 10 ohm draw 20 mA from 3 V: 40,000 s; at the nominal voltage it would be 18.7 mA."""
    assert regulated_life(cell(resistance_ohm=10.0), loads(0.056)).life_s == pytest.approx([4e4])
    assert average_life(cell(resistance_ohm=10.0), loads(0.056)).life_s == pytest.approx([800 / (0.056 / 3)])


def test_tier_2_draws_more_in_peaks_than_spread_evenly() -> None:
    """Loss goes with the square of the current: the same mean power costs more in short bursts."""
    weak = cell(resistance_ohm=20.0)
    bursts, even = loads(1e-4, ("inference", 0.1, 0.01)), loads(1e-4, ("inference", 1e-3, 1.0))
    assert bursts.mean_w == pytest.approx(even.mean_w)
    assert regulated_life(weak, bursts).life_s[0] < 0.8 * regulated_life(weak, even).life_s[0]


@pytest.mark.parametrize(("cutoff_v", "lives"), [(2.79, True), (2.81, False)])
def test_tier_2_stops_at_once_where_a_peak_is_below_the_cutoff(cutoff_v: float, lives: bool) -> None:
    """The peak of 56 mW leaves 2.8 V."""
    found = regulated_life(cell(resistance_ohm=10.0, cutoff_v=cutoff_v), loads(0.001, ("inference", 0.055, 0.01)))
    assert (found.life_s[0] > 0, bool(found.by_peak[0])) == (lives, not lives)
    assert sum(float(part[0]) for part in found.parts.values()) == pytest.approx(1.0)


def test_peukert_is_for_what_has_an_exponent() -> None:
    """Lead-acid of 800 C, stated at 20 h: at 16 times that current, 16^-0.25 = half of it is left."""
    rated_a = 800 / (20 * HOUR_S)
    battery = cell(peukert=1.25, rated_a=rated_a)
    assert average_life(battery, loads(16 * rated_a * 3.0)).life_s == pytest.approx([20 * HOUR_S / 16 / 2])
    assert average_life(battery, loads(rated_a * 3.0)).life_s == pytest.approx([20 * HOUR_S])
    assert average_life(battery, loads(rated_a * 0.3)).life_s == pytest.approx([200 * HOUR_S])  # never more than stated


@given(st.floats(1e-6, 0.05), st.floats(0, 0.01), st.floats(0, 0.5), st.floats(0, 1e-5), st.floats(0.5, 1))
def test_tier_2_without_resistance_is_tier_1(
    idle_w: float, power_w: float, share: float, self_a: float, efficiency: float
) -> None:
    found, load = (
        cell(self_discharge_a=self_a, efficiency_share=efficiency),
        loads(idle_w, ("inference", power_w, share)),
    )
    assert regulated_life(found, load).life_s == pytest.approx(average_life(found, load).life_s, rel=1e-9)


@given(st.floats(1e-6, 0.05), st.floats(0, 0.02), st.floats(0, 0.5), st.floats(0, 1e-5), st.floats(0, 0.5))
def test_tier_3_of_a_flat_curve_without_resistance_is_tier_1(
    idle_w: float, power_w: float, share: float, self_a: float, reserve: float
) -> None:
    found, load = cell(self_discharge_a=self_a, reserve_share=reserve), loads(idle_w, ("inference", power_w, share))
    assert stepped(found, load, flat()) == pytest.approx(float(average_life(found, load).life_s[0]), rel=1e-9)


@given(st.floats(1e-6, 0.05), st.floats(0, 0.02), st.floats(0, 0.5), st.floats(0, 20))
def test_tier_3_of_a_flat_curve_is_tier_2(idle_w: float, power_w: float, share: float, ohms: float) -> None:
    load = loads(idle_w, ("inference", power_w, share))
    expected = float(regulated_life(cell(resistance_ohm=ohms), load).life_s[0])
    assert stepped(cell(), load, flat(resistance_ohm=ohms)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("idle_w", "work", "cutoff_v"),
    [
        pytest.param(3e-5, (0.03, 0.005, 10.0), 2.0, id="small peaks"),
        pytest.param(3e-5, (0.06, 0.05, 20.0), 2.4, id="peaks near the cutoff"),
        pytest.param(1e-3, (0.01, 1.0, 4.0), 0.0, id="busy, no cutoff"),
    ],
)
def test_tier_3_is_what_a_simulation_in_time_finds(
    idle_w: float, work: tuple[float, float, float], cutoff_v: float
) -> None:
    power_w, busy_s, period_s = work
    load = loads(idle_w, ("inference", power_w, busy_s / period_s))
    expected = simulated(coin(), idle_w, work, cutoff_v)
    assert stepped(cell(cutoff_v=cutoff_v), load, coin()) == pytest.approx(expected, rel=5e-3)


@settings(max_examples=40)
@given(st.floats(1e-5, 1e-3), st.floats(1e-3, 0.05), st.floats(1e-4, 0.1))
def test_energy_is_conserved(idle_w: float, power_w: float, share: float) -> None:
    """What the cell gives, the integral of V_oc dq, is what the loads get and what the resistance turns into heat."""
    of, load = coin(), loads(idle_w, ("inference", power_w, share))
    life_s = stepped(cell(cutoff_v=1.0), load, of)
    used, volts, ohms = (np.asarray(each) for each in (of.used_c, of.open_circuit_v, of.resistance_ohm))
    idle_a, busy_a = (current_a(one(p), volts, ohms, one(1.0)) for p in (idle_w, idle_w + power_w))
    assume(np.isfinite(busy_a).all() and (volts - busy_a * ohms > 1.0).all())  # it is drained to the end
    mean_a, heat_w = idle_a * (1 - share) + busy_a * share, (idle_a**2 * (1 - share) + busy_a**2 * share) * ohms
    given_j, heat_j = float(np.trapezoid(volts, used)), float(np.trapezoid(heat_w / mean_a, used))
    assert float(load.mean_w[0]) * life_s + heat_j == pytest.approx(given_j, rel=2e-3)


@settings(max_examples=40)
@given(st.floats(1e-5, 1e-2), st.floats(0, 0.1), st.floats(0, 1), st.floats(0, 1e-5), st.floats(0, 2.9))
def test_every_charge_is_somewhere(idle_w: float, power_w: float, share: float, self_a: float, cutoff_v: float) -> None:
    load = loads(idle_w, ("inference", power_w, share))
    found = cell(cutoff_v=cutoff_v, self_discharge_a=self_a, reserve_share=0.05)
    for drained in (
        average_life(found, load),
        regulated_life(cell(resistance_ohm=10, reserve_share=0.05), load),
        stepped_life(found, load, (coin(),), 800.0),
    ):
        assert sum(float(part[0]) for part in drained.parts.values()) == pytest.approx(1.0, abs=1e-9)
        assert all(-1e-9 <= float(part[0]) <= 1 + 1e-9 for part in drained.parts.values())
        assert float(drained.parts[LEFT][0]) >= 0.05 - 1e-9
        if drained.life_s[0] > 0 and self_a == 0:
            assert float(drained.parts[SELF][0]) == 0.0


def test_peaks_kill_a_coin_cell_with_charge_left() -> None:
    """The same mean power: in bursts of 100 mW the resistance takes the voltage below 2 V long before it is empty."""
    battery = cell(cutoff_v=2.0)
    bursts, even = loads(1e-5, ("transmit", 0.085, 1e-3)), loads(1e-5, ("transmit", 8.5e-5, 1.0))
    early, late = (stepped_life(battery, load, (coin(),), 800.0) for load in (bursts, even))
    assert early.life_s[0] < 0.9 * late.life_s[0]
    assert early.parts[LEFT][0] > late.parts[LEFT][0] + 0.05
    assert bool(early.by_peak[0])


@given(st.floats(1e-5, 1e-2), st.floats(0, 0.05), st.floats(1.0, 3.0))
def test_more_load_or_a_higher_cutoff_never_lasts_longer(idle_w: float, power_w: float, cutoff_v: float) -> None:
    lives = [
        stepped(cell(cutoff_v=cutoff), loads(idle_w, ("inference", power, 0.01)), coin())
        for cutoff, power in ((cutoff_v, power_w), (cutoff_v, power_w * 1.5), (cutoff_v * 1.02, power_w * 1.5))
    ]
    assert all(after <= before * (1 + 1e-9) for before, after in pairwise(lives))


def test_a_stated_capacity_scales_a_profile() -> None:
    assert stepped(cell(charge_c=400.0), loads(3e-4), coin()) == pytest.approx(stepped(cell(), loads(3e-4), coin()) / 2)


def test_tables_are_interpolated_by_the_mean_current() -> None:
    """800 C at 0.1 mA, 600 C at 1 mA, both at 3 V: halfway between, 700 C; beyond either, the nearer one."""
    gentle, hard = (
        table(np.array([0.0, charge]), np.full(2, 3.0), np.zeros(2), current)
        for charge, current in ((800.0, 1e-4), (600.0, 1e-3))
    )
    for current_used_a, charge_c in ((0.55e-3, 700.0), (1e-5, 800.0), (1e-2, 600.0)):
        expected = charge_c / current_used_a
        assert stepped(cell(), loads(3.0 * current_used_a), gentle, hard) == pytest.approx(expected)


def test_nothing_drains_it() -> None:
    for drained in (
        average_life(cell(), loads(0.0)),
        regulated_life(cell(), loads(0.0)),
        stepped_life(cell(), loads(0.0), (coin(),), 800.0),
    ):
        assert np.isinf(drained.life_s[0])


def test_a_cell_that_cannot_deliver_lives_not_at_all() -> None:
    assert stepped(cell(), loads(1e-5, ("transmit", 5.0, 1e-3)), coin()) == 0.0
    assert regulated_life(cell(resistance_ohm=10.0), loads(5.0)).life_s[0] == 0.0


def test_years_of_five_hundred_scenarios_take_well_under_a_second() -> None:
    count = 500
    rng = np.random.default_rng(0)
    many = Cell(
        charge_c=rng.uniform(700, 900, count), reserve_share=0.0, self_discharge_a=np.full(count, 1e-7), voltage_v=3.0,
        resistance_ohm=np.zeros(count), efficiency_share=rng.uniform(0.8, 0.9, count), cutoff_v=2.0,
    )  # fmt: skip
    load = Loads(np.full(count, 2e-5), loads(0, ("inference", 0.02, 1e-4)).work, np.zeros(count))
    started_s = time.process_time()
    found = stepped_life(many, load, (coin(),), 800.0)
    assert time.process_time() - started_s < 1.0
    assert (found.life_s > 2 * 365 * 86_400).all()
