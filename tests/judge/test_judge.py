"""`judge` as a whole: verdicts, choice, competition, what is absent, and what does not belong together."""

import math
import pickle
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from kit.errors import MeasurementError
from kit.judge import judge
from kit.judge.base import worst
from kit.records import Finding, Judgement, Obtained, Verdict
from kit.spec.types import Metric
from tests.builders import (
    FP32,
    INT8_CHANNEL,
    INT8_REDUCED,
    INT8_TENSOR,
    REQUIREMENTS,
    VariantPlan,
    device,
    digest_of,
    evidence,
    profile,
    requirement,
)

ROOMY = tuple(
    replace(asked, limit=0.15 if asked.id == "slices" else asked.limit)
    for asked in REQUIREMENTS
    if asked.metric != "battery.share"
)
PLANS = tuple(replace(plan, sessions=7) for plan in (FP32, INT8_TENSOR, INT8_CHANNEL, INT8_REDUCED))


def of(judgement: Judgement, variant: str, requirement_id: str) -> tuple[Finding, ...]:
    found = next(one for one in judgement.variants if one.variant == variant)
    return tuple(finding for finding in found.findings if finding.requirement == requirement_id)


@pytest.fixture(scope="module")
def judged() -> Judgement:
    return judge(evidence(PLANS), profile(ROOMY), device())


def test_the_cheapest_variant_that_passes_is_chosen(judged: Judgement) -> None:
    assert judged.chosen == "int8-channel-reduced"
    assert judged.verdict is Verdict.PASS
    verdicts = {one.variant: one.verdict for one in judged.variants}
    assert verdicts == {
        "fp32": Verdict.PASS,
        "int8-tensor": Verdict.FAIL,
        "int8-channel": Verdict.FAIL,
        "int8-channel-reduced": Verdict.PASS,
    }


def test_why_chosen_is_a_sentence_with_figures(judged: Judgement) -> None:
    assert judged.why_chosen == (
        "2 of 4 variants pass; int8-channel-reduced is the cheapest of them by size (71 kB); "
        "int8-tensor (70 kB) and int8-channel (71 kB) cost no more but fail."
    )


def test_the_only_variant_is_said_to_be_the_only_one() -> None:
    easy, hard = requirement("accuracy.value", 0.5), requirement("model.size", 5)
    open_ = requirement("accuracy.drop", 0.0001)
    for asked, end in ((easy, "passes"), (open_, "is undecided"), (hard, "breaks 1 requirement")):
        judged = judge(evidence([INT8_REDUCED]), profile([asked]), device())
        assert judged.why_chosen == f"int8-channel-reduced is the only variant, and it {end}."


def test_the_only_one_that_passes_is_no_cheapest_of_them() -> None:
    plans = [VariantPlan("a", size_bytes=10), VariantPlan("b", size_bytes=20)]
    judged = judge(evidence(plans), profile([requirement("model.size", 15)]), device())
    assert judged.why_chosen == "a is the only one of 2 variants that passes, at size 10 B."


def test_equal_arguments_give_an_equal_judgement(judged: Judgement) -> None:
    again = judge(evidence(PLANS), profile(ROOMY), device())
    assert again == judged
    assert pickle.dumps(again) == pickle.dumps(judge(evidence(PLANS), profile(ROOMY), device()))


def test_a_variant_that_competes_needs_more_confidence() -> None:
    judged = judge(evidence(PLANS), profile([requirement("accuracy.drop", 0.02)]), device())
    (alone,), (competing,) = of(judged, "fp32", "accuracy-drop"), of(judged, "int8-channel", "accuracy-drop")
    assert alone.confidence == 0.95
    assert competing.confidence == pytest.approx(1 - 0.05 / 3)
    assert "Bonferroni" in competing.method
    assert "Bonferroni" not in alone.method


def test_every_finding_says_how_it_was_obtained_and_on_what_it_rests(judged: Judgement) -> None:
    for variant in judged.variants:
        for finding in variant.findings:
            assert variant.digest in finding.evidence
            assert finding.reason.endswith(".")
            assert finding.method
            assert (finding.need != "") == (finding.verdict is Verdict.INCONCLUSIVE)
            assert " -" not in finding.reason
            assert "[-" not in finding.reason
            if finding.estimate is not None and finding.lower is not None and finding.upper is not None:
                assert finding.lower <= finding.estimate <= finding.upper


def test_the_verdict_of_a_variant_is_its_worst_finding(judged: Judgement) -> None:
    for variant in judged.variants:
        assert variant.verdict is worst(finding.verdict for finding in variant.findings)
    assert worst([Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL, Verdict.PASS]) is Verdict.FAIL
    assert worst([Verdict.PASS, Verdict.INCONCLUSIVE]) is Verdict.INCONCLUSIVE
    assert worst([]) is Verdict.INCONCLUSIVE


def test_nothing_is_a_pass_when_nothing_was_obtained() -> None:
    fields = frozenset({"latency", "memory", "energy", "predictions", "exact_predictions", "saturating_predictions"})
    judged = judge(evidence([replace(INT8_CHANNEL, absent=fields)]), profile(), device())
    for finding in judged.variants[0].findings:
        if finding.metric != "model.size":
            assert finding.verdict is Verdict.INCONCLUSIVE
            assert finding.obtained == "absent"
            assert (finding.estimate, finding.lower, finding.upper) == (None, None, None)
            assert finding.need


@pytest.mark.parametrize(("by", "unit"), [("size", "B"), ("latency", "s"), ("energy", "J")])
def test_cost_is_what_the_profile_names(by: str, unit: str) -> None:
    plans = [VariantPlan("a", size_bytes=10, latency_s=3e-3, energy_per_inference_j=2e-3),
             VariantPlan("b", size_bytes=20, latency_s=1e-3, energy_per_inference_j=3e-3),
             VariantPlan("c", size_bytes=30, latency_s=2e-3, energy_per_inference_j=1e-3)]  # fmt: skip
    asked = profile([requirement("accuracy.value", 0.5)], cheapest_by=by)
    judged = judge(evidence(plans), asked, device())
    assert judged.chosen == {"size": "a", "latency": "b", "energy": "c"}[by]
    assert {one.cost_unit for one in judged.variants} == {unit}


def test_a_cost_that_was_not_obtained_is_never_the_cheapest() -> None:
    plans = [VariantPlan("a", absent=frozenset({"energy"})), VariantPlan("b")]
    judged = judge(evidence(plans), profile([requirement("accuracy.value", 0.5)], cheapest_by="energy"), device())
    assert judged.chosen == "b"


def test_energy_that_the_meter_cannot_tell_from_idle_never_wins() -> None:
    plans = [VariantPlan("a", energy_per_inference_j=-1e-3), VariantPlan("b")]
    judged = judge(evidence(plans), profile([requirement("accuracy.value", 0.5)], cheapest_by="energy"), device())
    assert judged.chosen == "b"
    assert {one.variant: math.isfinite(one.cost) for one in judged.variants} == {"a": False, "b": True}


@pytest.mark.parametrize(
    ("obtained", "said"), [("measured", ""), ("emulated", " (emulated)"), ("estimated", " (estimated)")]
)
def test_a_cost_says_how_it_was_obtained(obtained: Obtained, said: str) -> None:
    plan = VariantPlan("a", energy_obtained=obtained, energy_spread=0)
    plans = [plan, replace(plan, name="b", to_wrong=0.9, energy_per_inference_j=1e-4)]
    judged = judge(evidence(plans), profile([requirement("accuracy.value", 0.5)], cheapest_by="energy"), device())
    assert judged.why_chosen == (
        f"a is the only one of 2 variants that passes, at energy an inference above idle 400 µJ{said}; "
        f"b (100 µJ{said}) costs no more but fails."
    )


def test_ties_go_to_the_first_name() -> None:
    plans = [VariantPlan("b"), VariantPlan("a")]
    assert judge(evidence(plans), profile([requirement("accuracy.value", 0.5)]), device()).chosen == "a"


def test_none_passes_the_cheapest_undecided_is_chosen() -> None:
    plans = [VariantPlan("broken", to_wrong=0.5, size_bytes=1), VariantPlan("open", energy_obtained="estimated")]
    asked = profile([requirement("accuracy.value", 0.6), requirement("battery.share", 0.5)])
    judged = judge(evidence(plans), asked, device())
    assert (judged.chosen, judged.verdict) == ("open", Verdict.INCONCLUSIVE)
    assert judged.why_chosen.startswith("no variant passes")


def test_none_passes_the_one_with_the_fewest_undecided_is_chosen() -> None:
    """The smaller one leaves two requirements undecided, the larger one."""
    plans = [VariantPlan("small", size_bytes=10, to_wrong=0.03), VariantPlan("large", size_bytes=20)]
    noisy = [requirement("accuracy.drop", 0.03), requirement("agreement.flips", 0.03),
             requirement("accuracy.value", 0.842)]  # fmt: skip
    judged = judge(evidence(plans), profile(noisy), device())
    undecided = {
        each.variant: sum(found.verdict is Verdict.INCONCLUSIVE for found in each.findings) for each in judged.variants
    }
    assert undecided["small"] > undecided["large"] > 0, undecided
    assert (judged.chosen, judged.verdict) == ("large", Verdict.INCONCLUSIVE)
    assert judged.why_chosen == (
        f"no variant passes, and 2 of 2 variants are undecided; large leaves the fewest undecided, "
        f"{undecided['large']} requirement, cheapest by size (20 B)."
    )


def test_all_broken_the_least_broken_is_chosen() -> None:
    plans = [VariantPlan("two", to_wrong=0.5, size_bytes=10), VariantPlan("one", to_wrong=0.0, size_bytes=20)]
    asked = profile([requirement("accuracy.value", 0.6), requirement("model.size", 5)])
    judged = judge(evidence(plans), asked, device())
    assert (judged.chosen, judged.verdict) == ("one", Verdict.FAIL)
    assert judged.why_chosen == "no variant passes and none is undecided; one breaks least: 1 requirement."


def test_every_metric_is_judged() -> None:
    for metric in get_args(Metric):
        by = ("side",) if metric == "fairness.gap_change" else ()
        found = (
            judge(evidence([INT8_REDUCED]), profile([requirement(metric, 0.5, by=by)]), device()).variants[0].findings
        )
        assert [finding.metric for finding in found] == [metric]


def test_records_of_another_run_are_refused() -> None:
    given = evidence([INT8_CHANNEL])
    other = replace(given.variants[0], latency=replace(given.variants[0].latency, variant_digest=digest_of("x")))  # type: ignore[type-var]
    with pytest.raises(MeasurementError, match="another model"):
        judge(replace(given, variants=(other,)), profile(), device())
    stale = replace(given.reference_predictions, data_digest=digest_of("y"))
    with pytest.raises(MeasurementError, match="other data"):
        judge(replace(given, reference_predictions=stale), profile(), device())
    short = replace(given.reference_predictions, decisions=np.zeros(3, dtype=np.int64))
    with pytest.raises(MeasurementError, match="3 predictions for 2008 rows"):
        judge(replace(given, reference_predictions=short), profile(), device())
    with pytest.raises(MeasurementError, match="no variant"):
        judge(replace(given, variants=()), profile(), device())
