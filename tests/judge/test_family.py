"""Only variants that a sample could make pass compete, and only they pay for the choice among them."""

from dataclasses import replace
from typing import get_args

import pytest

from kit.judge import judge
from kit.judge.family import AGAINST_REFERENCE, OF_THE_DATA, competitors
from kit.records import Evidence
from kit.spec.types import MeasurePlan, Metric, Profile, Requirement
from kit.stats.quantile import minimum_count
from tests import builders


def with_requirements(*requirements: Requirement) -> Profile:
    return replace(builders.profile(), requirements=requirements)


def size(limit: float) -> Requirement:
    return Requirement("size", "model.size", "at_most", limit, f"{limit:g} B", 0.95)


FLIPS = Requirement("processor", "numerics.processor_flips", "at_most", 0.0, "0 %", 0.95)
DROP = Requirement("accuracy", "accuracy.drop", "at_most", 0.03, "3 points", 0.95)


@pytest.fixture
def evidence() -> Evidence:
    return builders.evidence()


def int8_names(evidence: Evidence) -> set[str]:
    return {v.variant.recipe.name for v in evidence.variants if v.variant.recipe.precision != "fp32"}


LATENCY = Requirement("latency", "latency.p50", "at_most", 1.0, "1 s", 0.95)
MEASURED: tuple[Metric, ...] = (
    "latency.p50",
    "latency.p99",
    "memory.peak",
    "battery.share",
    "battery.life",
    "accuracy.value",
    "quality.value",
    "fairness.gap",
    "fairness.ratio",
)


def test_every_optimized_variant_competes_where_nothing_rules_one_out(evidence: Evidence) -> None:
    asked = with_requirements(DROP, size(1e12))
    for metric in AGAINST_REFERENCE:
        assert set(competitors(evidence, asked, metric)) == int8_names(evidence)


def test_fp32_competes_in_what_is_no_comparison_with_the_reference(evidence: Evidence) -> None:
    """Its latency, memory, battery and accuracy can be wrongly passed as any other's; its drop cannot."""
    for metric in MEASURED:
        assert set(competitors(evidence, with_requirements(DROP), metric)) == int8_names(evidence) | {"fp32"}


def test_every_sampled_metric_is_in_one_of_the_two_families() -> None:
    quantiles: tuple[Metric, ...] = ("latency.p90", "latency.p95", "latency.p99.9")
    assert {*MEASURED, *quantiles, *AGAINST_REFERENCE, *OF_THE_DATA, "model.size"} == set(get_args(Metric))


def test_fp32_does_not_compete_where_it_is_absent_or_too_large(evidence: Evidence) -> None:
    between = with_requirements(LATENCY, size(200_000))
    assert set(competitors(evidence, between, "latency.p50")) == int8_names(evidence)
    without = replace(evidence, variants=evidence.variants[1:])
    assert set(competitors(without, with_requirements(LATENCY), "latency.p50")) == int8_names(evidence)


def test_a_variant_that_is_too_large_does_not_compete(evidence: Evidence) -> None:
    for metric in (*MEASURED, *AGAINST_REFERENCE):
        assert competitors(evidence, with_requirements(DROP, size(1.0)), metric) == ()


def test_a_variant_that_can_saturate_competes_unless_no_flip_is_allowed(evidence: Evidence) -> None:
    at_risk = {v.variant.recipe.name for v in evidence.variants if v.variant.saturation.can_saturate}
    assert at_risk
    strict = competitors(evidence, with_requirements(DROP, FLIPS), "accuracy.drop")
    assert set(strict) == int8_names(evidence) - at_risk
    assert set(competitors(evidence, with_requirements(FLIPS), "memory.peak")) == {*strict, "fp32"}
    some = replace(FLIPS, limit=0.01)
    assert set(competitors(evidence, with_requirements(DROP, some), "accuracy.drop")) == int8_names(evidence)


def confidences(evidence: Evidence, profile: Profile, requirement_id: str) -> dict[str, float]:
    judged = judge(evidence, profile, builders.device())
    return {v.variant: f.confidence for v in judged.variants for f in v.findings if f.requirement == requirement_id}


@pytest.mark.parametrize("more", [(), (FLIPS,), (size(200_000),)])
def test_the_confidence_is_shared_among_those_that_compete(evidence: Evidence, more: tuple[Requirement, ...]) -> None:
    profile = with_requirements(DROP, LATENCY, *more)
    drops, latencies = (confidences(evidence, profile, name) for name in ("accuracy", "latency"))
    optimized, every = (max(1, len(competitors(evidence, profile, m))) for m in ("accuracy.drop", "latency.p50"))
    assert drops.pop("fp32") == pytest.approx(0.95)
    assert drops == pytest.approx(dict.fromkeys(drops, 1 - 0.05 / optimized))
    assert latencies == pytest.approx(dict.fromkeys(latencies, 1 - 0.05 / every))
    assert every == optimized + (0 if size(200_000) in more else 1)


def test_size_is_exact_whoever_competes(evidence: Evidence) -> None:
    assert set(confidences(evidence, with_requirements(LATENCY, size(200_000)), "size").values()) == {1.0}


def test_the_default_count_of_memory_sessions_is_enough_for_four_variants() -> None:
    """0.5 ** 7 = 0.8 %, at most 5 % / 4; six sessions, 1.6 %, are not."""
    assert minimum_count(0.5, 1 - 0.05 / 4) == 7 <= MeasurePlan().memory_sessions


def test_a_variant_that_is_ruled_out_never_passes(evidence: Evidence) -> None:
    for profile in (with_requirements(FLIPS), with_requirements(size(1.0)), with_requirements(FLIPS, size(1e5))):
        family = competitors(evidence, profile, "latency.p50")
        for judged in judge(evidence, profile, builders.device()).variants:
            if judged.variant not in family:
                assert judged.verdict != "PASS"
