"""battery.life: decided by its least life, held back by what nobody stated; the battery's ranges in battery.share."""

from dataclasses import replace

import pytest

from kit.judge import judge
from kit.records import Finding, Obtained, Verdict
from kit.spec.types import BatterySpec, DeviceSpec, Duty, Metric, Range, Requirement
from tests.builders import VariantPlan, device, evidence, profile

HOUR_S = 3600.0


def exactly(value: float) -> Range:
    return Range(value, value, value)


BATTERY = BatterySpec(
    capacity_j=4000.0, other_load_w=0.02, voltage_v=3.85,
    capacity_tolerance_share=0.05, health_share=Range(0.8, 0.9, 1.0),
    derating_share=exactly(1.0), self_discharge_share=Range(0.01, 0.02, 0.03), temperature_celsius=exactly(20.0),
)  # fmt: skip
"""All of it stated: 4 kJ beside 20 mW and 0.2 mW of the model are 41.8 to 57.8 h, likely 49.5."""

PLAN = VariantPlan("int8", energy_obtained="measured")
"""0.4 mJ an inference, one each two seconds."""


def one(
    limit: float,
    battery: BatterySpec | None = BATTERY,
    plan: VariantPlan = PLAN,
    metric: Metric = "battery.life",
    spec: DeviceSpec | None = None,
    limit_text: str = "",
    **changes: object,
) -> Finding:
    direction = "at_least" if metric == "battery.life" else "at_most"
    asked = profile([Requirement("battery", metric, direction, limit, limit_text or f"{limit:g}", 0.95)], **changes)  # type: ignore[arg-type]
    spec = spec or device(battery=battery)
    return judge(evidence([plan], emulated=spec.emulated), asked, spec).variants[0].findings[0]


@pytest.mark.parametrize(("hours", "verdict"), [(40, "PASS"), (50, "INCONCLUSIVE"), (60, "FAIL")])
def test_the_whole_range_is_held_against_the_limit(hours: float, verdict: str) -> None:
    found = one(hours * HOUR_S)
    assert found.verdict == verdict
    assert found.unit == "s"
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower / HOUR_S == pytest.approx(41.8, rel=0.01)
    assert (found.estimate or 0) / HOUR_S == pytest.approx(49.5, rel=0.01)
    assert found.upper / HOUR_S == pytest.approx(57.8, rel=0.01)
    assert (found.need == "narrower ranges in [battery], or more energy windows") == (verdict == "INCONCLUSIVE")


def test_a_pass_is_told_by_its_least_life() -> None:
    assert one(36 * HOUR_S).reason.startswith("the battery lasts at least 1.74 days with the model (lower end, 95 % ")
    assert one(36 * HOUR_S, limit_text="36 h").reason.endswith("; limit 36 h.")


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("capacity_tolerance_share", "tolerance"),
        ("health_share", "health"),
        ("self_discharge_share", "self_discharge"),
        ("temperature_celsius", "temperature"),
    ],
)
@pytest.mark.parametrize("hours", [1, 1000])
def test_what_nobody_stated_passes_and_fails_nothing(field: str, name: str, hours: float) -> None:
    found = one(hours * HOUR_S, replace(BATTERY, **{field: None}))
    assert (found.verdict, found.obtained) == (Verdict.INCONCLUSIVE, "estimated")
    assert found.need == f"state in [battery]: {name}"
    assert "(estimated)" in found.reason
    assert found.estimate is not None


@pytest.mark.parametrize("hours", [1, 1000])
def test_an_estimate_never_decides(hours: float) -> None:
    found = one(hours * HOUR_S, plan=replace(PLAN, energy_obtained="estimated"))
    assert (found.verdict, found.obtained) == (Verdict.INCONCLUSIVE, "estimated")
    assert "certifies nothing" in found.reason


@pytest.mark.parametrize(("emulated", "verdict"), [((), "INCONCLUSIVE"), (("meter",), "PASS")])
def test_an_emulated_meter_passes_only_a_rehearsal(emulated: tuple[str, ...], verdict: str) -> None:
    obtained: Obtained = "emulated"
    spec = device(battery=BATTERY, emulated=emulated)
    assert one(36 * HOUR_S, plan=replace(PLAN, energy_obtained=obtained), spec=spec).verdict == verdict


def test_what_it_needs_is_named() -> None:
    assert one(1.0, spec=device(meter=None)).need == "attach a meter"
    assert "duty" in one(1.0, duty=None).reason
    assert "no battery" in one(1.0, None).reason
    few = one(1.0, plan=replace(PLAN, energy_windows=5))
    assert (few.verdict, few.need) == (Verdict.INCONCLUSIVE, "at least 8 windows")
    assert one(1.0, plan=replace(PLAN, energy_windows=2)).obtained == "absent"
    unclear = one(1.0, plan=replace(PLAN, energy_per_inference_j=-1e-6))
    assert (unclear.verdict, unclear.obtained) == (Verdict.INCONCLUSIVE, "measured")
    assert "cannot tell inference from idle" in unclear.reason


@pytest.mark.parametrize(("metric", "easy", "hard"), [("battery.life", 1.0, 1e9), ("battery.share", 0.999, 1e-3)])
def test_a_rate_that_cannot_be_kept_passes_nothing_and_fails(metric: Metric, easy: float, hard: float) -> None:
    often = Duty(1e6)
    found = one(easy, metric=metric, duty=often)
    assert (found.verdict, found.need[:12]) == (Verdict.INCONCLUSIVE, "a lower rate")
    assert "takes longer than its period" in found.reason
    assert one(hard, metric=metric, duty=often).verdict == Verdict.FAIL
    assert one(easy, metric=metric).verdict == Verdict.PASS


def test_a_battery_that_nothing_drains_has_no_life_to_judge() -> None:
    idle = replace(BATTERY, other_load_w=0.0, self_discharge_share=exactly(0.0))
    found = one(1.0, idle)
    assert (found.verdict, found.obtained, found.need) == (Verdict.INCONCLUSIVE, "absent", "state other_load")


def test_a_share_has_the_ranges_of_the_battery_in_it() -> None:
    exact = one(0.5, metric="battery.share")
    loose = one(0.5, replace(BATTERY, other_load_tolerance_share=0.3), metric="battery.share")
    assert exact.lower is not None
    assert loose.lower is not None
    assert exact.upper is not None
    assert loose.upper is not None
    assert loose.lower < exact.lower < exact.upper < loose.upper
    assert loose.upper == pytest.approx(exact.upper / 0.7, rel=0.01)
    assert "tier 1" in exact.method


def test_what_nobody_stated_never_makes_a_share_pass() -> None:
    """An assumed self-discharge would make the model's share smaller: the upper end leaves it out."""
    stated = one(0.5, replace(BATTERY, self_discharge_share=exactly(0.0)), metric="battery.share")
    assumed = one(0.5, BatterySpec(4000.0, 0.02, voltage_v=3.85), metric="battery.share")
    assert assumed.upper == pytest.approx(stated.upper)
    assert (assumed.lower or 0) < (stated.lower or 0)


def test_a_regulator_and_a_resistance_make_it_tier_2() -> None:
    behind = replace(BATTERY, efficiency_share=Range(0.8, 0.85, 0.9), resistance_ohm=Range(0.1, 0.2, 0.3))
    found = one(36 * HOUR_S, behind)
    assert "tier 2" in found.method
    assert found.details["tier"] == 2
    assert (found.lower or 0) < (one(36 * HOUR_S).lower or 0)
