"""Latency, memory, size, battery and numerics: decided, refused, absent, estimated, emulated."""

from dataclasses import replace

import numpy as np
import pytest

from kit.judge import judge
from kit.records import Evidence, Finding, Obtained, Verdict
from kit.spec.types import DeviceSpec, Metric, Profile
from tests.builders import INT8_CHANNEL, INT8_REDUCED, VariantPlan, device, evidence, profile, requirement
from tests.builders import latency as latency_record

PLAN = VariantPlan("int8", latency_s=1e-3, latency_spread=0.05)


def one(
    plan: VariantPlan,
    metric: Metric,
    limit: float,
    confidence: float = 0.95,
    spec: DeviceSpec | None = None,
    **changes: object,
) -> Finding:
    asked: Profile = profile([requirement(metric, limit, confidence)], **changes)
    spec = spec or device()
    return judge(evidence([plan], emulated=spec.emulated), asked, spec).variants[0].findings[0]


def with_samples(samples_s: np.ndarray) -> Evidence:
    given = evidence([PLAN])
    record = latency_record(PLAN, given.variants[0].variant.model.digest, np.random.default_rng(0), samples_s)
    return replace(given, variants=(replace(given.variants[0], latency=record),))


@pytest.mark.parametrize(("limit", "verdict"), [(2e-3, "PASS"), (1.12e-3, "INCONCLUSIVE"), (1e-3, "FAIL")])
def test_latency_against_its_limit(limit: float, verdict: str) -> None:
    found = one(PLAN, "latency.p99", limit)
    assert found.verdict == verdict
    assert found.rows == 2000
    assert "99 % of inferences finish within" in found.reason
    assert ("more inference" in found.need) == (verdict == "INCONCLUSIVE")


def test_warm_up_is_left_out() -> None:
    slow = replace(PLAN, warmup_count=400)
    assert one(slow, "latency.p99", 2e-3).verdict is Verdict.PASS
    assert one(slow, "latency.p99", 2e-3).details["warmup_count"] == 400


def test_too_few_samples_are_refused_with_the_count_needed() -> None:
    found = one(replace(PLAN, latency_samples=90), "latency.p99", 1.0)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.upper is None
    assert "at least 299 are needed" in found.reason
    assert found.need == "about 210 more inferences"


def test_a_warming_device_counts_less() -> None:
    rng = np.random.default_rng(0)
    steady = 1e-3 * np.exp(rng.normal(0, 0.05, 3000))
    throttled = steady * np.repeat([1.0, 1.2, 1.0], 1000)
    asked = profile([requirement("latency.p90", 2e-3)])
    first, second = (judge(with_samples(x), asked, device()).variants[0].findings[0] for x in (steady, throttled))
    assert second.details["effective_count"] < first.details["effective_count"] / 5
    assert "(" in first.reason


def test_times_under_an_emulated_processor_are_no_latency() -> None:
    spec = device(emulated=("processor",), timing_is_real=False)
    found = one(replace(PLAN, latency_obtained="emulated"), "latency.p99", 10.0, spec=spec)
    assert (found.verdict, found.obtained, found.estimate) == (Verdict.INCONCLUSIVE, "absent", None)
    assert found.reason == "times under an emulated processor are no latency."


def test_memory_needs_as_many_sessions_as_its_confidence() -> None:
    assert one(PLAN, "memory.peak", 4e6).verdict is Verdict.PASS
    assert one(PLAN, "memory.peak", 1e6).verdict is Verdict.FAIL
    few = one(replace(PLAN, sessions=4), "memory.peak", 4e6)
    assert few.verdict is Verdict.INCONCLUSIVE
    assert "at least 5 are needed" in few.reason
    assert few.need == "1 more session"


def test_memory_of_competing_variants_needs_more_sessions() -> None:
    plans = [replace(PLAN, name=name) for name in ("a", "b", "c")]
    found = judge(evidence(plans), profile([requirement("memory.peak", 4e6)]), device()).variants[0].findings[0]
    assert "at least 6 are needed" in found.reason


@pytest.mark.parametrize(("limit", "verdict"), [(70_000, "PASS"), (69_999, "FAIL")])
def test_size_is_exact(limit: float, verdict: str) -> None:
    found = one(PLAN, "model.size", limit)
    assert (found.verdict, found.confidence, found.obtained) == (verdict, 1.0, "computed")


@pytest.mark.parametrize(("limit", "verdict"), [(0.05, "PASS"), (0.001, "FAIL")])
def test_a_measured_battery_share(limit: float, verdict: str) -> None:
    found = one(replace(PLAN, energy_obtained="measured"), "battery.share", limit)
    assert found.verdict == verdict
    expected = 4e-4 * 0.5 / (4e-4 * 0.5 + 0.02)
    assert found.estimate == pytest.approx(expected, rel=0.02)
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower < expected < found.upper
    assert found.reason.startswith("the model costs at most " if verdict == "PASS" else "the model costs 0.")


@pytest.mark.parametrize("limit", [1e-6, 0.009, 0.99])
def test_an_estimate_never_decides(limit: float) -> None:
    found = one(replace(PLAN, energy_obtained="estimated"), "battery.share", limit)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.need == "attach a meter"
    assert found.estimate is not None
    assert "an estimate certifies nothing" in found.reason
    assert "(estimated)" in found.reason


@pytest.mark.parametrize(("emulated", "verdict"), [((), "INCONCLUSIVE"), (("meter",), "PASS")])
def test_an_emulated_meter_passes_only_a_rehearsal(emulated: tuple[str, ...], verdict: str) -> None:
    obtained: Obtained = "emulated"
    found = one(replace(PLAN, energy_obtained=obtained), "battery.share", 0.05, spec=device(emulated=emulated))
    assert found.verdict == verdict
    assert "(emulated)" in found.reason


def test_what_battery_needs_is_named() -> None:
    measured = replace(PLAN, energy_obtained="measured")
    assert one(measured, "battery.share", 0.5, spec=device(meter=None)).need == "attach a meter"
    assert "duty" in one(measured, "battery.share", 0.5, duty=None).reason
    assert "battery" in one(measured, "battery.share", 0.5, spec=device(battery=None)).need
    few = one(replace(measured, energy_windows=5), "battery.share", 0.5)
    assert (few.verdict, few.need) == (Verdict.INCONCLUSIVE, "at least 8 windows")


def test_energy_below_idle_is_not_cheap_but_unknown() -> None:
    found = one(replace(PLAN, energy_obtained="measured", energy_per_inference_j=-1e-6), "battery.share", 0.5)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "cannot tell inference from idle" in found.reason


def test_a_variant_that_cannot_saturate_passes_by_proof() -> None:
    found = one(INT8_REDUCED, "numerics.processor_flips", 0.0)
    assert (found.verdict, found.obtained, found.upper) == (Verdict.PASS, "computed", 0.0)
    assert "largest pair sum 16,000 of 32,767" in found.reason


def test_a_negative_pair_sum_is_told_by_its_size() -> None:
    given = evidence([INT8_REDUCED])
    known = given.variants[0]
    bound = replace(known.variant.saturation, worst_pair=-32_640)
    given = replace(given, variants=(replace(known, variant=replace(known.variant, saturation=bound)),))
    (found,) = judge(given, profile([requirement("numerics.processor_flips", 0.0)]), device()).variants[0].findings
    assert "largest pair sum 32,640 of 32,767" in found.reason


def test_a_worthless_file_on_another_processor_fails_in_the_fields_words() -> None:
    found = one(INT8_CHANNEL, "numerics.processor_flips", 0.0)
    assert (found.verdict, found.obtained) == (Verdict.FAIL, "computed")
    assert found.details["flips_saturating"] == round(0.65 * 2008)
    assert found.reason.startswith(
        "on x86 without VNNI, whose 16-bit pair sums saturate, 1,305 of 2,008 decisions change; accuracy "
    )
    assert " instead of " in found.reason
    assert "most often " in found.reason


def test_flips_on_this_very_device_fail() -> None:
    found = one(replace(INT8_CHANNEL, processor_flips=0.02, saturating_flips=0.01), "numerics.processor_flips", 0.0)
    assert (found.verdict, found.obtained) == (Verdict.FAIL, "measured")
    assert found.reason.startswith("on this device 40 of 2,008 decisions change")


def test_no_flip_seen_is_no_proof() -> None:
    found = one(replace(INT8_CHANNEL, saturating_flips=0.0), "numerics.processor_flips", 0.0)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "may still saturate on other inputs" in found.reason
    assert found.upper is not None
    assert found.upper > 0


@pytest.mark.parametrize(("flips", "verdict"), [(0.0, "PASS"), (0.3, "FAIL")])
def test_a_tolerance_uses_the_clustered_bound(flips: float, verdict: str) -> None:
    assert one(replace(INT8_CHANNEL, saturating_flips=flips), "numerics.processor_flips", 0.05).verdict == verdict


def test_missing_arithmetics_are_named() -> None:
    uncomputed = one(replace(INT8_CHANNEL, saturating_flips=None), "numerics.processor_flips", 0.0)
    assert uncomputed.verdict is Verdict.INCONCLUSIVE
    assert "were not computed" in uncomputed.reason
    blind = one(replace(INT8_REDUCED, absent=frozenset({"exact_predictions"})), "numerics.processor_flips", 0.0)
    assert (blind.verdict, blind.obtained) == (Verdict.INCONCLUSIVE, "absent")


def test_a_float_model_has_nothing_to_saturate() -> None:
    found = one(VariantPlan("fp32", "fp32"), "numerics.processor_flips", 0.0)
    assert found.verdict is Verdict.PASS
