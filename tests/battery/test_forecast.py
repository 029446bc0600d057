"""Ranges through the models: what is assumed, every corner, the share, the rate that a budget allows."""

import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.battery import (
    LEFT,
    PEAK,
    SELF,
    Model,
    battery_life,
    corners,
    forecast,
    inputs_of,
    likely_life_s,
    most_often,
    share_of_life,
)
from kit.battery.inputs import CHEMISTRIES, MONTH_S
from kit.spec.battery import Chemistry
from kit.spec.types import BatterySpec, DischargeTable, Duty, Pulse, Range
from tests.battery.cells import coin, profile

DAY_S = 86_400.0


def exactly(value: float) -> Range:
    return Range(value, value, value)


STATED = BatterySpec(
    capacity_j=800.0 * 3.0, other_load_w=30e-6, voltage_v=3.0, capacity_tolerance_share=0.0, health_share=exactly(1.0),
    derating_share=exactly(1.0), self_discharge_share=exactly(0.0), temperature_celsius=exactly(20.0),
)  # fmt: skip
"""Nothing about it is open."""

OPEN = replace(
    STATED, capacity_tolerance_share=0.05, health_share=Range(0.8, 0.9, 1.0), derating_share=Range(0.9, 0.95, 1.0),
    self_discharge_share=Range(0.0, 0.001, 0.002), other_load_tolerance_share=0.1, resistance_ohm=Range(5, 10, 20),
    efficiency_share=Range(0.8, 0.85, 0.9),
)  # fmt: skip
MODEL = Model(Range(50e-6, 60e-6, 70e-6), 0.1, 0.01)


@pytest.mark.parametrize("tier", [1, 2, 3])
def test_where_all_is_known_a_range_is_one_figure(tier: int) -> None:
    battery = replace(STATED, **{2: {"resistance_ohm": exactly(1e-3)}, 3: {"discharge": profile()}}.get(tier, {}))  # type: ignore[arg-type]
    found = forecast(battery, Model(exactly(60e-6), 0.1))
    assert found.tier == tier
    assert found.assumed == ()
    assert found.life_s.low == found.life_s.high == found.life_s.likely
    assert found.share.is_exact
    assert all(part.is_exact for part in found.parts.values())


def test_it_is_the_simple_formula_where_only_capacity_and_loads_are_known() -> None:
    simple = battery_life(60e-6, Duty(0.1), STATED)
    found = forecast(STATED, Model(exactly(60e-6), 0.1))
    assert found.life_s.likely == pytest.approx(simple.life_s)
    assert found.life_without_model_s.likely == pytest.approx(simple.life_without_model_s)
    assert found.share.likely == pytest.approx(simple.share)
    assert found.parts["inference"].likely == pytest.approx(simple.share)


def test_energy_alone_is_enough() -> None:
    """Without a voltage charges are energies: the same lives."""
    known, alone = (forecast(each, MODEL).life_s for each in (STATED, replace(STATED, voltage_v=None)))
    assert (alone.low, alone.likely, alone.high) == pytest.approx((known.low, known.likely, known.high))


@pytest.mark.parametrize("discharge", [None, profile(coin(), cutoff_v=2.0)], ids=["tier 2", "tier 3"])
def test_no_point_of_the_box_is_outside_its_corners(discharge: object) -> None:
    """Inputs drawn at random from their ranges: every life and share lies within what the corners gave."""
    battery = replace(OPEN, discharge=discharge)  # type: ignore[arg-type]
    found, rng = forecast(battery, MODEL), random.Random(3)

    def drawn(of: Range | None) -> Range:
        assert of is not None
        return exactly(rng.uniform(of.low, of.high))

    for _ in range(60):
        one = replace(
            battery, capacity_j=battery.capacity_j * rng.uniform(0.95, 1.05), capacity_tolerance_share=0.0,
            other_load_w=battery.other_load_w * rng.uniform(0.9, 1.1), other_load_tolerance_share=0.0,
            health_share=drawn(battery.health_share), derating_share=drawn(battery.derating_share),
            self_discharge_share=drawn(battery.self_discharge_share), efficiency_share=drawn(battery.efficiency_share),
            resistance_ohm=drawn(battery.resistance_ohm),
        )  # fmt: skip
        point = forecast(one, replace(MODEL, energy_j=drawn(MODEL.energy_j)))
        assert found.life_s.low * (1 - 1e-9) <= point.life_s.likely <= found.life_s.high * (1 + 1e-9)
        assert found.share.low - 1e-9 <= point.share.likely <= found.share.high + 1e-9


def test_corners_are_every_combination_after_the_likely_one() -> None:
    at = corners({"a": Range(1, 2, 3), "b": exactly(5.0), "c": Range(0, 0, 1)})
    rows = set(zip(at["a"][1:], at["b"][1:], at["c"][1:], strict=True))
    assert (at["a"][0], at["b"][0], at["c"][0]) == (2, 5, 0)
    assert rows == set(itertools.product((1, 3), (5,), (0, 1)))
    assert [len(values) for values in at.values()] == [5, 5, 5]
    assert corners({"b": exactly(5.0)})["b"].tolist() == [5.0, 5.0]


def test_self_discharge_doubles_for_ten_degrees() -> None:
    """2 % a month at 20 °C is 4 % at 30 °C: alone, 25 months (of what was in it, at a constant rate)."""
    battery = replace(STATED, other_load_w=0.0, self_discharge_share=exactly(0.02))
    for celsius, months in ((20.0, 50.0), (30.0, 25.0), (10.0, 100.0)):
        at = replace(battery, temperature_celsius=exactly(celsius))
        found = forecast(at, Model(exactly(0.0), 1.0))
        assert found.life_s.likely == pytest.approx(months * MONTH_S)
        assert found.dominant == SELF


@pytest.mark.parametrize("chemistry", ["", *Chemistry.__args__])
def test_what_is_not_stated_is_assumed_and_said(chemistry: str) -> None:
    battery = BatterySpec(2400.0, 1e-3, voltage_v=3.0, chemistry=chemistry)
    found = inputs_of(battery)
    assert set(found.assumed) >= {"tolerance", "health", "temperature", "self_discharge", "derating"}
    assert ("peukert" in found.assumed) == (chemistry == "lead-acid")
    for each in found.ranges.values():
        assert each.low <= each.likely <= each.high
    assert found.ranges["self_hz"].low == 0.0  # an assumption never makes a model look cheaper


def test_every_chemistry_that_a_file_may_name_is_known() -> None:
    assert set(CHEMISTRIES) == {"", *Chemistry.__args__}


def test_each_input_is_assumed_until_it_is_stated() -> None:
    bare = BatterySpec(2400.0, 1e-3, voltage_v=3.0)
    for field, name in (
        ("capacity_tolerance_share", "tolerance"), ("health_share", "health"), ("derating_share", "derating"),
        ("self_discharge_share", "self_discharge"), ("temperature_celsius", "temperature"),
    ):  # fmt: skip
        assert name in inputs_of(bare).assumed
        assert name not in inputs_of(replace(bare, **{field: getattr(STATED, field)})).assumed


def test_cold_takes_from_what_can_be_drawn() -> None:
    battery = replace(STATED, derating_share=None, chemistry="alkaline")
    warm, cold = (forecast(replace(battery, temperature_celsius=exactly(celsius)), MODEL) for celsius in (20.0, -20.0))
    assert warm.assumed == ()
    assert cold.assumed == ("derating",)
    assert cold.life_s.high < 0.35 * warm.life_s.low


def test_a_profile_holds_at_the_temperature_that_it_was_taken_at() -> None:
    table = coin()
    tables = (
        replace(table, temperature_celsius=-10.0, used_c=tuple(0.5 * each for each in table.used_c)),
        replace(table, temperature_celsius=20.0),
    )
    battery = replace(STATED, derating_share=None, discharge=profile(*tables))
    warm = forecast(battery, MODEL)
    cold = forecast(replace(battery, temperature_celsius=exactly(-10.0)), MODEL)
    assert warm.assumed == cold.assumed == ()
    assert cold.life_s.likely < 0.6 * warm.life_s.likely
    between = forecast(replace(battery, temperature_celsius=exactly(0.0)), MODEL)
    assert between.assumed == ("derating",)
    nowhere = inputs_of(replace(battery, temperature_celsius=None, discharge=profile(tables[0])))
    assert {each.source for each in nowhere.statements if each.name == "temperature"} == {"profile"}


@given(st.floats(1e-9, 1e-2), st.floats(1e-3, 10), st.floats(1e-7, 1e-2))
def test_share_of_life_is_what_is_lost_of_it(energy_j: float, rate: float, load_w: float) -> None:
    battery = replace(OPEN, other_load_w=load_w, resistance_ohm=None)
    found = forecast(battery, Model(exactly(energy_j), rate))
    assert 0 <= found.share.low <= found.share.likely <= found.share.high <= 1
    lost = 1 - found.life_s.likely / found.life_without_model_s.likely
    assert found.share.likely == pytest.approx(lost, abs=1e-9)
    assert share_of_life(exactly(energy_j), Duty(rate), battery) == found.share


def test_energy_below_idle_counts_as_none() -> None:
    found = forecast(STATED, Model(Range(-3e-6, -1e-6, 1e-6), 0.1))
    assert (found.share.low, found.share.likely) == (0.0, 0.0)
    assert found.share.high > 0


def test_nothing_drains_it() -> None:
    idle = replace(STATED, other_load_w=0.0)
    found = forecast(idle, Model(exactly(0.0), 1.0))
    assert math.isinf(found.life_s.likely)
    assert found.share.likely == 0.0
    assert forecast(idle, Model(exactly(1e-3), 1.0)).share.likely == 1.0


def test_a_battery_that_carries_nothing_is_no_cheap_model() -> None:
    """Dead without the model already: what it costs of no life is all of it, never a pass."""
    dead = replace(STATED, resistance_ohm=exactly(100.0), other_load_w=1.0)
    found = forecast(dead, MODEL)
    assert (found.life_without_model_s.likely, found.share.likely) == (0.0, 1.0)


def test_a_model_that_takes_longer_than_its_period_is_said_to() -> None:
    assert forecast(STATED, Model(exactly(1e-3), 10.0, 0.2)).overloaded
    assert not forecast(STATED, Model(exactly(1e-3), 10.0, 0.05)).overloaded


@pytest.mark.parametrize("battery", [STATED, replace(STATED, discharge=profile(cutoff_v=2.2))], ids=["1", "3"])
@pytest.mark.parametrize("inference_s", [0.3, 0.7, 5.0])
def test_a_model_that_cannot_keep_its_rate_runs_always_and_no_more(battery: BatterySpec, inference_s: float) -> None:
    """50 mJ in 5 s is 10 mW, however often it is asked; just as if its mean power were spread."""
    asked = forecast(battery, Model(exactly(1e-3), 10.0, inference_s))
    always = forecast(battery, Model(exactly(1e-3), 1.0 / inference_s))
    for name in ("life_s", "share"):
        assert getattr(asked, name).likely == pytest.approx(getattr(always, name).likely)
    assert likely_life_s(battery, Model(exactly(1e-3), 10.0, inference_s)) == pytest.approx(asked.life_s.likely)


def test_what_runs_at_once_is_known_at_worst_only() -> None:
    """Transmission and inference may meet: the likely end is without, the least life with both at once."""
    pulse = Pulse(0.05, 0.01, 1 / 60)
    battery = replace(STATED, discharge=profile(cutoff_v=2.2), transmit=pulse)
    found = forecast(battery, Model(exactly(500e-6), 0.1, 0.01))
    assert found.life_s.low < found.life_s.likely == found.life_s.high
    assert found.parts[LEFT].high > found.parts[LEFT].likely
    assert found.parts["transmit"].likely > 0


BUDGETS = [
    pytest.param(STATED, id="tier 1"),
    pytest.param(OPEN, id="tier 2"),
    pytest.param(replace(OPEN, resistance_ohm=None, discharge=profile()), id="tier 3"),
]


@pytest.mark.parametrize("battery", BUDGETS)
def test_at_the_rate_that_is_found_the_budget_is_just_met(battery: BatterySpec) -> None:
    rate = most_often(battery, MODEL, share=0.15)
    assert 0 < rate.low <= rate.likely <= rate.high
    assert forecast(battery, replace(MODEL, rate_hz=rate.low)).share.high == pytest.approx(0.15, rel=1e-3)
    assert forecast(battery, replace(MODEL, rate_hz=rate.likely)).share.likely == pytest.approx(0.15, rel=1e-3)
    assert forecast(battery, replace(MODEL, rate_hz=rate.high)).share.low == pytest.approx(0.15, rel=1e-3)


@pytest.mark.parametrize("battery", BUDGETS)
def test_a_budget_may_be_a_life(battery: BatterySpec) -> None:
    alone = forecast(battery, MODEL).life_without_model_s
    rate = most_often(battery, MODEL, life_s=alone.low * 0.7)
    assert forecast(battery, replace(MODEL, rate_hz=rate.low)).life_s.low == pytest.approx(alone.low * 0.7, rel=1e-3)


@pytest.mark.parametrize("battery", BUDGETS)
def test_the_likely_life_is_the_forecasts(battery: BatterySpec) -> None:
    assert likely_life_s(battery, MODEL) == pytest.approx(forecast(battery, MODEL).life_s.likely, rel=1e-12)


def test_by_hand_a_share_of_a_fifth_is_a_quarter_of_the_load() -> None:
    """Beside 30 uW, 7.5 uW are a fifth of all: 0.15 a second of 50 uJ."""
    assert most_often(STATED, Model(exactly(50e-6), 1.0), share=0.2).likely == pytest.approx(0.15, rel=1e-3)


def test_budgets_that_are_always_or_never_met() -> None:
    free = Model(exactly(0.0), 1.0)
    assert most_often(STATED, free, share=0.1).low == math.inf
    assert most_often(STATED, MODEL, share=1.0).low == 100.0  # never more than one after the other
    alone = forecast(STATED, MODEL).life_without_model_s.likely
    assert most_often(STATED, MODEL, life_s=alone * 1.01).high == 0.0
    weak: DischargeTable = replace(coin(), resistance_ohm=(1000.0,) * len(coin().used_c))
    killed = replace(STATED, discharge=profile(weak))
    assert most_often(killed, Model(exactly(1e-3), 1.0, 0.01), share=0.15).high == 0.0  # one peak is too many


@settings(max_examples=25)
@given(st.floats(1e-6, 1e-3), st.floats(1e-6, 1e-3), st.floats(1e-3, 1))
def test_more_energy_never_allows_a_higher_rate(one: float, two: float, share: float) -> None:
    less, more = (most_often(STATED, Model(exactly(each), 1.0), share=share).likely for each in sorted((one, two)))
    assert more <= less * (1 + 1e-9)


@pytest.mark.parametrize("reserve", [0.0, 0.3], ids="reserve {}".format)
def test_a_peak_that_leaves_most_of_the_charge_dominates(reserve: float) -> None:
    """7 MW through 10 Ohm: the first inference stops the device, which says nothing of its idle load."""
    weak = replace(STATED, resistance_ohm=exactly(10.0), cutoff_v=2.0, reserve_share=reserve)
    assert forecast(weak, Model(exactly(7.0), 0.1, 1e-6)).dominant == PEAK
    assert forecast(weak, Model(exactly(1e-6), 0.1, 0.01)).dominant == "idle"


def test_an_idle_load_that_stops_it_is_no_peak() -> None:
    found = forecast(replace(STATED, other_load_w=1.0, resistance_ohm=exactly(10.0), cutoff_v=2.0), MODEL)
    assert (found.life_s.likely, found.by_peak, found.dominant) == (0.0, (False, False), "idle")


@pytest.mark.parametrize(("reserve", "blamed"), [(0.0, PEAK), (0.5, "idle")], ids=["wasted", "reserved"])
def test_what_a_reserve_keeps_is_not_blamed_on_a_peak(reserve: float, blamed: str) -> None:
    parts = {"idle": exactly(0.3), "inference": exactly(0.1), LEFT: exactly(0.6)}
    found = replace(forecast(STATED, MODEL), parts=parts, by_peak=(True, True), reserve_share=reserve)
    assert found.dominant == blamed


def test_peukert_is_for_lead_acid_alone() -> None:
    heavy = replace(STATED, other_load_w=3.0)
    lives = {
        name: forecast(replace(heavy, chemistry=name), Model(exactly(60e-6), 0.1)).life_s for name in Chemistry.__args__
    }
    assert all(life.is_exact for name, life in lives.items() if name != "lead-acid")
    assert lives["lead-acid"].high < 0.9 * lives["lithium-ion"].likely
    assert np.isfinite(lives["lead-acid"].low)
