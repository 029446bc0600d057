"""Average-power battery life: by hand, and its laws."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.battery import battery_life
from kit.spec.types import BatterySpec, Duty

positive = st.floats(1e-9, 1e3)


def test_by_hand() -> None:
    """1 mJ at 10 a second is 10 mW beside 90 mW: a tenth of the drain; 3,600 J less a tenth kept last 9 h."""
    life = battery_life(1e-3, Duty(10.0), BatterySpec(3600.0, 0.09, reserve_share=0.1))
    assert life.model_power_w == pytest.approx(0.01)
    assert life.share == pytest.approx(0.1)
    assert life.life_s == pytest.approx(9 * 3600)
    assert life.life_without_model_s == pytest.approx(10 * 3600)


@given(positive, positive, positive, positive, st.floats(0, 0.9))
def test_the_share_of_drain_is_the_share_of_life(
    energy_j: float, rate: float, capacity_j: float, load_w: float, reserve: float
) -> None:
    life = battery_life(energy_j, Duty(rate), BatterySpec(capacity_j, load_w, reserve))
    assert life.share == pytest.approx(1 - life.life_s / life.life_without_model_s, abs=1e-9)
    assert 0 <= life.share <= 1


@given(positive, positive, positive)
def test_more_energy_never_costs_less(one: float, two: float, rate: float) -> None:
    battery = BatterySpec(1000.0, 0.05)
    less, more = (battery_life(energy_j, Duty(rate), battery).share for energy_j in sorted((one, two)))
    assert less <= more


def test_energy_below_idle_counts_as_none() -> None:
    life = battery_life(-1e-3, Duty(1.0), BatterySpec(1000.0, 0.05))
    assert (life.share, life.model_power_w) == (0.0, 0.0)


def test_nothing_drains_it() -> None:
    life = battery_life(0.0, Duty(1.0), BatterySpec(1000.0, 0.0))
    assert life.share == 0.0
    assert math.isinf(life.life_s)
