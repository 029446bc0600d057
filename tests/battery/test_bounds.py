"""The share of life in a box: its range holds whatever is drawn from the box, jumps too, and is not far wider."""

import random
from dataclasses import replace

import pytest

from kit.battery import Model, forecast, most_often
from kit.spec.types import BatterySpec, DischargeTable, Pulse, Range
from tests.battery.cells import profile

CHARGE_C = 828.0
JUMPS = BatterySpec(
    capacity_j=CHARGE_C * 3.0, other_load_w=1e-4, voltage_v=3.0, capacity_tolerance_share=0.0,
    health_share=Range(1.0, 1.0, 1.0), derating_share=Range(1.0, 1.0, 1.0), self_discharge_share=Range(0.0, 0.0, 0.0),
    temperature_celsius=Range(20.0, 20.0, 20.0), efficiency_share=Range(0.547, 0.748, 0.949), cutoff_v=2.0,
    transmit=Pulse(56.3e-3, 0.01, 1 / 3600),
)  # fmt: skip
"""Only the efficiency is open; it decides whether the model's peak, or the radio's too, ends the life early."""


def exactly(value: float) -> Range:
    return Range(value, value, value)


ASKED = Model(exactly(179e-6), 1 / 60, 0.04137)


def falling(rng: random.Random, current_a: float | None = None, worse: float = 1.0) -> DischargeTable:
    """A fall at the start, a long plateau, a knee."""
    first_ohm, sag_v, start = rng.uniform(5, 20) * worse, rng.uniform(0.1, 0.6), rng.uniform(2, 60)
    used_c = tuple(3.6 * each / worse for each in (0.0, start, 200.0, 220.0, 230.0))
    ohms = (first_ohm, 1.1 * first_ohm, 1.3 * first_ohm, 2.0 * first_ohm, 40.0 * worse)
    return DischargeTable(used_c, (3.2, 3.2 - sag_v, 3.1 - sag_v, 2.4, 2.0), ohms, current_a)


def battery(rng: random.Random, kind: str) -> BatterySpec:
    """A battery of which almost all is open."""
    tables = {
        "tier 3, one table": (falling(rng),),
        "tier 3, two tables": (falling(rng, 5e-5), falling(rng, 3e-3, 1.1)),
    }.get(kind)
    low, high = rng.uniform(0.4, 0.7), rng.uniform(0.75, 0.95)
    return replace(
        JUMPS, other_load_w=rng.uniform(2e-5, 3e-4), capacity_tolerance_share=0.05, other_load_tolerance_share=0.1,
        health_share=Range(0.8, 0.9, 1.0), self_discharge_share=Range(0.0, 0.01, 0.02),
        efficiency_share=Range(low, (low + high) / 2, high),
        resistance_ohm=None if tables else Range(5.0, 10.0, rng.uniform(16, 60)),
        transmit=Pulse(rng.uniform(0.01, 0.09), 0.01, 1 / 3600) if rng.random() < 0.8 else None,
        chemistry="lead-acid" if kind == "lead-acid" else "",
        discharge=profile(*tables, capacity_c=CHARGE_C) if tables else None,
    )  # fmt: skip


def drawn(rng: random.Random, box: BatterySpec) -> BatterySpec:
    """One battery of the box: each input at an end or anywhere between."""

    def of(span: Range | None) -> Range:
        assert span is not None
        return exactly(rng.choice([span.low, span.high, rng.uniform(span.low, span.high)]))

    return replace(
        box, capacity_j=box.capacity_j * rng.uniform(0.95, 1.05), capacity_tolerance_share=0.0,
        other_load_w=box.other_load_w * rng.uniform(0.9, 1.1), other_load_tolerance_share=0.0,
        health_share=of(box.health_share), self_discharge_share=of(box.self_discharge_share),
        efficiency_share=of(box.efficiency_share),
        resistance_ohm=of(box.resistance_ohm) if box.resistance_ohm else None,
    )  # fmt: skip


def holds(outer: Range, inner: Range) -> bool:
    return outer.low * (1 - 1e-9) <= inner.low + 1e-12 and inner.high <= outer.high * (1 + 1e-9) + 1e-12


KINDS = ["tier 2", "lead-acid", "tier 3, one table", "tier 3, two tables"]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_drawn_from_the_box_is_within_the_range(kind: str) -> None:
    rng = random.Random(kind)
    for _ in range(8):
        box, model = battery(rng, kind), Model(Range(150e-6, 200e-6, 250e-6), 1 / 60, rng.uniform(0.005, 0.05))
        found = forecast(box, model)
        for _ in range(25):
            one = forecast(drawn(rng, box), replace(model, energy_j=exactly(rng.uniform(150e-6, 250e-6))))
            assert holds(found.share, one.share)
            assert holds(found.life_s, one.life_s)
            assert holds(found.life_without_model_s, one.life_without_model_s)


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_least_rate_the_budget_is_met_anywhere(kind: str) -> None:
    rng, rates = random.Random(kind), []
    for _ in range(2):
        box, model = battery(rng, kind), Model(exactly(200e-6), 1.0, 0.01)
        rates.append(most_often(box, model, share=0.3))
        if rates[-1].low > 0:
            at = replace(model, rate_hz=rates[-1].low)
            assert all(forecast(drawn(rng, box), at).share.high <= 0.3 for _ in range(10))
    assert all(0 <= rate.low <= rate.likely <= rate.high for rate in rates)
    assert any(rate.high > 0 for rate in rates)


def jumping() -> BatterySpec:
    """Past a first fall of voltage, the model and the radio at once are too much, at some efficiencies."""
    used_c, volts = (0.0, 26.57, 720.0, 792.0, 828.0), (3.2, 2.7052, 2.6052, 2.4, 2.0)
    table = DischargeTable(used_c, volts, (12.612, 13.873, 16.396, 25.224, 40.0))
    return replace(JUMPS, discharge=profile(table, capacity_c=CHARGE_C))


def test_a_jump_inside_the_range_is_in_it() -> None:
    """At both ends of the efficiency the share is small; between, the model's peak alone ends the life early."""
    box = jumping()
    ends = [forecast(replace(box, efficiency_share=exactly(each)), ASKED).share.high for each in (0.547, 0.949)]
    between = max(
        forecast(replace(box, efficiency_share=exactly(0.547 + 0.402 * step / 40)), ASKED).share.high
        for step in range(41)
    )
    found = forecast(box, ASKED).share
    assert max(ends) < 0.2 < 0.8 < between <= found.high
    assert 0.7 * min(ends) < found.low <= min(ends)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_the_range_is_not_much_wider_than_what_is_in_it(kind: str) -> None:
    """Where nothing jumps: 10 % of load and 5 points of efficiency open, against the corners themselves."""
    rng = random.Random(7)
    box = replace(
        battery(rng, kind), transmit=None, efficiency_share=Range(0.85, 0.87, 0.9), self_discharge_share=exactly(0.01),
        resistance_ohm=None if "3" in kind else exactly(1.0),
    )  # fmt: skip
    found = forecast(box, replace(ASKED, inference_s=None)).share
    corner = [
        forecast(
            replace(
                box, efficiency_share=exactly(efficiency), other_load_w=box.other_load_w * load,
                other_load_tolerance_share=0.0, health_share=exactly(1.0), capacity_tolerance_share=0.0,
            ),
            replace(ASKED, inference_s=None),
        ).share
        for efficiency in (0.85, 0.9)
        for load in (0.9, 1.1)
    ]  # fmt: skip
    assert found.high < 1.15 * max(each.high for each in corner)
    assert found.low > 0.85 * min(each.low for each in corner)


def test_a_table_of_a_higher_current_never_does_better() -> None:
    """Else a load could lengthen a life, and no corner would be its end."""
    low, high = falling(random.Random(1), 5e-5), falling(random.Random(1), 3e-3, 0.8)
    alone, both = (replace(JUMPS, transmit=None, discharge=profile(*tables)) for tables in ((low,), (low, high)))
    busy = Model(exactly(5e-3), 1.0)
    assert forecast(both, busy).life_s.high <= forecast(alone, busy).life_s.high
