"""Only variants that a sample could make pass compete, and only they pay for the choice among them."""

from dataclasses import replace

import pytest

from kit.judge import judge
from kit.judge.family import competitors
from kit.records import Evidence
from kit.spec.types import Profile, Requirement
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


def test_every_optimized_variant_competes_where_nothing_rules_one_out(evidence: Evidence) -> None:
    assert set(competitors(evidence, with_requirements(DROP, size(1e12)))) == int8_names(evidence)


def test_a_variant_that_is_too_large_does_not_compete(evidence: Evidence) -> None:
    assert competitors(evidence, with_requirements(DROP, size(1.0))) == ()


def test_a_variant_that_can_saturate_competes_unless_no_flip_is_allowed(evidence: Evidence) -> None:
    at_risk = {v.variant.recipe.name for v in evidence.variants if v.variant.saturation.can_saturate}
    assert at_risk
    strict = competitors(evidence, with_requirements(DROP, FLIPS))
    assert set(strict) == int8_names(evidence) - at_risk
    some = replace(FLIPS, limit=0.01)
    assert set(competitors(evidence, with_requirements(DROP, some))) == int8_names(evidence)


def test_the_confidence_is_shared_among_those_that_compete(evidence: Evidence) -> None:
    for profile in (with_requirements(DROP), with_requirements(DROP, FLIPS)):
        k = max(1, len(competitors(evidence, profile)))
        for variant in judge(evidence, profile, builders.device()).variants:
            (finding,) = [f for f in variant.findings if f.requirement == "accuracy"]
            expected = 0.95 if variant.variant == "fp32" else 1 - 0.05 / k
            assert finding.confidence == pytest.approx(expected)


def test_a_variant_that_is_ruled_out_never_passes(evidence: Evidence) -> None:
    for profile in (with_requirements(FLIPS), with_requirements(size(1.0)), with_requirements(FLIPS, size(1e5))):
        family = competitors(evidence, profile)
        for judged in judge(evidence, profile, builders.device()).variants:
            if judged.variant != "fp32" and judged.variant not in family:
                assert judged.verdict != "PASS"
