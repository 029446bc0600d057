"""The front: what is surely dominated, what only perhaps, and that a figure which is not there places nobody."""

from dataclasses import replace

import numpy as np
import pytest

from kit.judge import judge
from kit.judge.front import Front, FrontPoint, front
from kit.records import Evidence, Verdict
from kit.spec.types import Profile
from tests import builders
from tests.builders import FP32, VariantPlan


def made(plans: list[VariantPlan], rows: int = 6000, **changes: object) -> tuple[Evidence, Profile]:
    return builders.evidence(plans, rows=rows, clustered=False), builders.profile(**changes)  # type: ignore[arg-type]


def of(evidence: Evidence, profile: Profile) -> Front:
    found = front(evidence, judge(evidence, profile, builders.device()), profile)
    assert found is not None
    return found


def point(found: Front, name: str) -> FrontPoint:
    return next(each for each in found.points if each.variant == name)


HARMED = VariantPlan("harmed", size_bytes=90_000, to_wrong=0.10, to_right=0.0)
CHEAP = VariantPlan("cheap", size_bytes=70_000, to_wrong=0.002, to_right=0.002)
NO_GROUPS = [each for each in builders.REQUIREMENTS if each.metric != "fairness.gap_change"]


def test_a_variant_worse_and_larger_is_dominated() -> None:
    found = of(*made([FP32, CHEAP, HARMED], requirements=NO_GROUPS))
    assert found.gap_of == ""
    harmed = point(found, "harmed")
    assert (harmed.standing, harmed.by) == ("dominated", ("cheap",))
    assert point(found, "cheap").standing == "front"
    assert [each.variant for each in found.points] == ["cheap", "harmed", "fp32"]
    assert "cheap" in harmed.sentence


def test_what_flips_at_random_is_no_worse_by_more_than_the_margin() -> None:
    """fp32 costs three times as much and is right as often: surely so to half a point on 6,000 rows."""
    found = of(*made([FP32, CHEAP], requirements=NO_GROUPS))
    assert point(found, "fp32").standing == "dominated"
    few = of(*made([FP32, CHEAP], rows=300, requirements=NO_GROUPS))
    assert point(few, "fp32").standing in ("front", "doubtful")
    assert point(few, "cheap").standing == "front"


def test_a_trade_off_is_left_to_people() -> None:
    found = of(*made([FP32, replace(HARMED, size_bytes=60_000)], requirements=NO_GROUPS))
    assert [each.standing for each in found.points] == ["front", "front"]


def test_a_gap_keeps_on_the_front_what_accuracy_alone_would_not() -> None:
    """Better by 2 points overall at the same size, but one side loses what the other gains."""
    uneven = VariantPlan("uneven", size_bytes=70_000, to_wrong=0, to_right=0.03,
                         slices={"side=left": (0.0, 0.10), "side=right": (0.06, 0.0)})  # fmt: skip
    even = VariantPlan("even", size_bytes=70_000, to_wrong=0.0, to_right=0.0)
    found = of(*made([even, uneven]))
    assert found.gap_of == "accuracy over side"
    assert {each.standing for each in found.points} == {"front"}
    gaps = {each.variant: each.gap for each in found.points}
    assert gaps["uneven"] is not None
    assert gaps["even"] is not None
    assert gaps["uneven"].estimate > gaps["even"].estimate + 0.05
    assert gaps["uneven"].lower <= gaps["uneven"].estimate <= gaps["uneven"].upper


def test_what_was_not_measured_is_not_placed_and_dominates_nobody() -> None:
    absent = replace(CHEAP, name="absent", absent=frozenset({"predictions"}))
    evidence, profile = made([FP32, HARMED, absent], requirements=NO_GROUPS)
    found = of(evidence, profile)
    missing = point(found, "absent")
    assert (missing.standing, missing.accuracy, missing.verdict) == ("not measured", None, Verdict.INCONCLUSIVE)
    assert all("absent" not in each.by for each in found.points)
    assert front(builders.evidence([FP32, absent]), None, profile) is None


@pytest.mark.parametrize("by", ["size", "latency", "energy"])
def test_every_cost_has_its_interval(by: str) -> None:
    evidence, profile = made([FP32, CHEAP], cheapest_by=by)
    for each in of(evidence, profile).points:
        assert each.cost is not None
        assert each.cost.lower is not None
        assert each.cost.upper is not None
        assert each.cost.lower <= each.cost.estimate <= each.cost.upper
        assert (each.cost.lower == each.cost.upper) is (by == "size")
        assert each.cost.obtained == {"size": "computed", "latency": "measured", "energy": "estimated"}[by]


def test_costs_whose_intervals_meet_decide_nothing() -> None:
    evidence, profile = made([replace(FP32, latency_samples=60), replace(CHEAP, latency_s=149e-6, latency_samples=60)],
                             requirements=NO_GROUPS, cheapest_by="latency")  # fmt: skip
    assert "dominated" not in {each.standing for each in of(evidence, profile).points}


def test_two_that_dominate_each_other_dominate_nobody() -> None:
    twins = [replace(FP32, name="one"), replace(FP32, name="two")]
    assert {each.standing for each in of(*made(twins, requirements=NO_GROUPS)).points} == {"front"}


@pytest.mark.parametrize("drop", [0.005, 0.02])
def test_a_variant_at_the_margin_is_seldom_called_dominated_wrongly(drop: float) -> None:
    """It is better by the margin, or more, of accuracy than the cheap one: 5 % of 40 runs, 6 wrong in 1 of 500."""
    wrong = 0
    for seed in range(40):
        plans = [replace(FP32, name="good"), VariantPlan("cheap", to_wrong=drop + 0.01, to_right=0.01)]
        evidence = builders.evidence(plans, rows=3000, clustered=False, seed=seed)
        found = front(evidence, None, builders.profile(NO_GROUPS))
        assert found is not None
        wrong += point(found, "good").standing == "dominated"
    assert wrong <= 6


def test_the_chosen_one_and_verdicts_are_those_of_the_judgement() -> None:
    evidence, profile = builders.evidence(), builders.profile()
    judgement = judge(evidence, profile, builders.device())
    found = front(evidence, judgement, profile)
    assert found is not None
    assert [each.variant for each in found.points if each.chosen] == [judgement.chosen]
    assert {each.variant: each.verdict for each in found.points} == {e.variant: e.verdict for e in judgement.variants}
    assert found == front(evidence, judgement, profile)


def test_one_group_and_a_column_that_is_not_there() -> None:
    evidence, _ = made([FP32, CHEAP])
    data = evidence.dataset
    one = replace(data.columns["side"], codes=np.zeros(data.rows, np.int64))
    asked = builders.requirement("fairness.gap_change", 0.05, by=("side",))
    alone = replace(evidence, dataset=replace(data, columns={**data.columns, "side": one}))
    found = front(alone, None, builders.profile([asked]))
    assert found is not None
    assert all(each.gap is not None and each.gap.estimate == 0.0 for each in found.points)
    missing = front(evidence, None, builders.profile([replace(asked, by=("nowhere",))]))
    assert missing is not None
    assert missing.gap_of == ""


def weighted(rows: int = 6000) -> tuple[Evidence, Profile]:
    """A run whose rows on the left count four times."""
    evidence, profile = made([VariantPlan("fp32"), VariantPlan("int8", to_wrong=0.1, to_right=0.0)], rows)
    data = evidence.dataset
    weights = np.where(data.columns["side"].codes == 0, 4.0, 1.0)
    return replace(evidence, dataset=replace(data, weights=weights)), profile


def test_points_are_by_weight_as_verdicts_are() -> None:
    evidence, profile = weighted()
    found = point(of(evidence, profile), "int8")
    predictions, weights = evidence.variants[1].predictions, evidence.dataset.weights
    assert predictions is not None
    assert weights is not None
    assert found.accuracy is not None
    right = predictions.decisions == evidence.dataset.labels
    assert found.accuracy.estimate == pytest.approx(np.average(right, weights=weights))
    assert found.accuracy.estimate != pytest.approx(right.mean(), abs=1e-6)
