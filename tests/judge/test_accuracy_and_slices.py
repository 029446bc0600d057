"""Accuracy, slices and fairness: known truths, monotonicity, small slices, Holm."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.judge import judge
from kit.judge.sentences import headline, slice_name
from kit.records import Evidence, Finding, Int64Array, PredictionRecord, Verdict
from kit.spec.types import Requirement
from tests.builders import VariantPlan, device, evidence, profile, requirement

ORDER = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}


def findings(given: Evidence, asked: Requirement, **changes: object) -> tuple[Finding, ...]:
    return judge(given, profile([asked], **changes), device()).variants[0].findings


def drop(limit: float, plan: VariantPlan, **changes: object) -> Finding:
    return findings(evidence([plan]), requirement("accuracy.drop", limit, **changes))[0]


def test_flips_are_counted_in_both_directions() -> None:
    given = evidence([VariantPlan("int8", to_wrong=0.05, to_right=0.02)])
    (found,) = findings(given, requirement("accuracy.drop", 0.02))
    labels = given.dataset.labels
    before = given.reference_predictions.decisions == labels
    record = given.variants[0].predictions
    assert record is not None
    after = record.decisions == labels
    assert found.details["flips_to_wrong"] == (before & ~after).sum()
    assert found.details["flips_to_right"] == (~before & after).sum()
    assert found.details["decisions_changed"] == (record.decisions != given.reference_predictions.decisions).sum()
    assert found.estimate == pytest.approx(before.mean() - after.mean())
    assert found.clusters == 56
    assert found.details["effective_rows"] == pytest.approx(2008 / found.details["design_effect"])


def test_verdicts_of_plain_cases() -> None:
    equal, worse = VariantPlan("int8", to_wrong=0.004, to_right=0.004), VariantPlan("int8", to_wrong=0.15, to_right=0)
    assert drop(0.02, equal).verdict is Verdict.PASS
    assert drop(0.02, worse).verdict is Verdict.FAIL
    assert drop(0.001, equal).verdict is Verdict.INCONCLUSIVE
    assert "more rows" in drop(0.001, equal).need or "too near" in drop(0.001, equal).need


def test_sentences_are_for_people() -> None:
    found = drop(0.02, VariantPlan("int8", to_wrong=0.15, to_right=0))
    assert headline(found).startswith("FAIL: accuracy lost 1")
    assert "allowed 2.0 points;" in found.reason
    assert "of 2,008 rows in 56 recordings" in found.reason


@settings(max_examples=25, deadline=None)
@given(st.floats(-0.05, 0.3), st.floats(0, 0.2), st.floats(0.0, 0.1), st.integers(0, 50))
def test_more_margin_never_turns_a_verdict_for_the_worse(limit: float, more: float, to_wrong: float, seed: int) -> None:
    given = evidence([VariantPlan("int8", to_wrong=to_wrong)], rows=600, clusters=20, seed=seed)
    tight, roomy = (findings(given, requirement("accuracy.drop", x))[0] for x in (limit, limit + more))
    assert ORDER[roomy.verdict] >= ORDER[tight.verdict]


@settings(max_examples=25, deadline=None)
@given(st.floats(0.6, 0.98), st.floats(0.001, 0.019), st.floats(-0.02, 0.2), st.integers(0, 50))
def test_more_confidence_never_decides_more(confidence: float, more: float, limit: float, seed: int) -> None:
    given = evidence([VariantPlan("int8", to_wrong=0.03)], rows=600, clusters=20, seed=seed)
    less, sure = (findings(given, requirement("accuracy.drop", limit, c))[0] for c in (confidence, confidence + more))
    assert sure.verdict in (less.verdict, Verdict.INCONCLUSIVE)
    assert sure.lower is not None
    assert less.lower is not None
    assert sure.lower <= less.lower + 1e-9


def test_gathered_flips_weigh_less() -> None:
    spread = drop(0.02, VariantPlan("int8", to_wrong=0.03, flip_clusters=0.0))
    gathered = drop(0.02, VariantPlan("int8", to_wrong=0.03, flip_clusters=0.9))
    assert gathered.details["design_effect"] > 2 * spread.details["design_effect"]


def test_rows_without_clusters_count_fully() -> None:
    given = evidence([VariantPlan("int8")], clustered=False)
    (found,) = findings(given, requirement("accuracy.drop", 0.02))
    assert found.details["design_effect"] == 1.0
    assert "recording" not in found.reason


def test_few_clusters_decide_nothing() -> None:
    given = evidence([VariantPlan("int8", to_wrong=0, to_right=0)], clusters=4)
    (found,) = findings(given, requirement("accuracy.drop", 0.9))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "only 4 recordings; minimum 5" in found.reason


def test_one_finding_for_every_value_of_every_column() -> None:
    found = findings(evidence([VariantPlan("int8")]), requirement("accuracy.drop", 0.2, by=("side", "subject")))
    assert [f.subject for f in found] == ["side=left", "side=right", *(f"subject={n}" for n in (7, 8, 9, 10))]
    assert sum(f.rows for f in found[:2]) == sum(f.rows for f in found[2:]) == 2008


def test_a_harmed_slice_is_found_while_the_whole_looks_fine() -> None:
    given = evidence([VariantPlan("int8", slices={"exercise=row": (0.4, 0.0)})])
    found = {f.subject: f for f in findings(given, requirement("accuracy.drop", 0.05, by=("exercise",)))}
    assert found["exercise=row"].verdict is Verdict.FAIL
    assert all(f.verdict is not Verdict.FAIL for subject, f in found.items() if subject != "exercise=row")
    assert findings(given, requirement("accuracy.drop", 0.05))[0].verdict is not Verdict.FAIL


@pytest.mark.parametrize("changes", [{"minimum_rows": 300}, {"minimum_clusters": 9}])
def test_a_slice_too_small_is_not_tested(changes: dict[str, int]) -> None:
    asked = requirement("accuracy.drop", 0.5, by=("exercise",), **changes)
    for found in findings(evidence([VariantPlan("int8")]), asked):
        if found.rows < 300 or "minimum_clusters" in changes:
            assert found.verdict is Verdict.INCONCLUSIVE
            assert found.reason.startswith(f"NOT TESTED: {slice_name(found.subject)} has ")
            assert headline(found) == found.reason
            assert found.need


def test_a_value_without_rows_is_not_tested() -> None:
    given = evidence([VariantPlan("int8")])
    side = replace(given.dataset.columns["side"], values=("left", "right", "both"))
    data = replace(given.dataset, columns={"side": side})
    found = findings(replace(given, dataset=data), requirement("accuracy.drop", 0.2, by=("side",)))[-1]
    assert found.subject == "side=both"
    assert found.reason == "NOT TESTED: side: both has 0 rows; minimum 30."
    assert found.estimate is None


def test_holm_holds_back_a_slice_that_fails_only_by_itself() -> None:
    """Over many seeds with every slice exactly at the limit, fewer than alpha of the runs have any broken slice."""
    plan = VariantPlan("int8", to_wrong=0.05, to_right=0.0)
    asked = requirement("accuracy.drop", 0.05, 0.9, by=("exercise", "side"))
    raw, corrected = 0, 0
    for seed in range(60):
        found = findings(evidence([plan], seed=seed), asked)
        raw += any(f.lower is not None and f.lower > f.limit for f in found)
        corrected += any(f.verdict is Verdict.FAIL for f in found)
        held = [f for f in found if f.lower is not None and f.lower > f.limit and f.verdict is not Verdict.FAIL]
        assert all("Holm" in f.reason for f in held)
    assert corrected <= raw
    assert corrected / 60 <= 0.1 + 3 * (0.1 * 0.9 / 60) ** 0.5


def test_accuracy_of_a_slice_at_least() -> None:
    given = evidence([VariantPlan("int8")], reference_accuracy=0.9)
    good, bad = (findings(given, requirement("accuracy.value", x, by=("side",))) for x in (0.7, 0.99))
    assert {f.verdict for f in good} == {Verdict.PASS}
    assert {f.verdict for f in bad} == {Verdict.FAIL}


def test_emulated_predictions_decide_only_on_an_emulated_device() -> None:
    given = evidence([VariantPlan("int8")], emulated=("processor",))
    record = given.variants[0].predictions
    assert record is not None
    variant = replace(given.variants[0], predictions=replace(record, obtained="emulated"))
    given = replace(given, variants=(variant,))
    asked = profile([requirement("accuracy.drop", 0.1)])
    assert judge(given, asked, device()).verdict is Verdict.INCONCLUSIVE
    rehearsed = judge(given, asked, device(emulated=("processor",)))
    assert rehearsed.verdict is Verdict.PASS
    assert "(emulated)" in rehearsed.variants[0].findings[0].reason


def test_an_accuracy_that_does_not_drop_says_its_unit_and_that_it_is_emulated() -> None:
    given = evidence([VariantPlan("int8", to_wrong=0.0, to_right=0.1)], emulated=("device",))
    record = given.variants[0].predictions
    assert record is not None
    given = replace(given, variants=(replace(given.variants[0], predictions=replace(record, obtained="emulated")),))
    rehearsed = judge(given, profile([requirement("accuracy.drop", 0.03)]), device(emulated=("device",)))
    (found,) = rehearsed.variants[0].findings
    end = "(upper end, 95 % confidence); allowed 3.0 points; "
    assert found.reason.startswith(f"accuracy does not drop (emulated) {end}")


def test_slices_are_named_in_words_and_their_drop_is_signed() -> None:
    given = evidence([VariantPlan("int8")])
    for found in findings(given, requirement("accuracy.drop", 0.001, by=("exercise",))):
        column, _, value = found.subject.partition("=")
        assert f"{column}: {value}" in found.reason
        assert found.subject not in found.reason
        assert found.lower is not None
        assert found.lower < 0
        assert re.search(r"(points|change|drop −[\d.]+) \[−[\d.]+, \+[\d.]+\]; allowed", found.reason)


def gap(plan: VariantPlan, limit: float, column: str = "side", **changes: float) -> Finding:
    given = evidence([plan], **changes)  # type: ignore[arg-type]
    return findings(given, requirement("fairness.gap_change", limit, by=(column,)))[0]


def test_gap_change_is_after_less_before() -> None:
    given = evidence([VariantPlan("int8", slices={"side=right": (0.1, 0.0)})])
    (found,) = findings(given, requirement("fairness.gap_change", 0.05, by=("side",)))
    codes, labels = given.dataset.columns["side"].codes, given.dataset.labels
    record = given.variants[0].predictions
    assert record is not None
    right = [predictions.decisions == labels for predictions in (given.reference_predictions, record)]
    before, after = (abs(r[codes == 0].mean() - r[codes == 1].mean()) for r in right)
    assert found.estimate == pytest.approx(after - before)
    assert (found.details["gap_before"], found.details["gap_after"]) == pytest.approx((before, after))


def test_gap_verdicts() -> None:
    assert gap(VariantPlan("int8"), 0.06).verdict is Verdict.PASS
    assert gap(VariantPlan("int8", slices={"side=right": (0.2, 0.0)}), 0.02).verdict is not Verdict.PASS
    assert gap(VariantPlan("int8"), 0.2, "subject").verdict is Verdict.PASS


def deciding(of: PredictionRecord, decisions: Int64Array) -> PredictionRecord:
    return replace(of, decisions=decisions, scores=np.eye(7, dtype=np.float32)[decisions])


def test_a_gap_that_surely_widens_fails() -> None:
    """The reference's left side is surely better; the right one loses much: the lower bound clears the limit."""
    given = evidence([VariantPlan("int8", to_wrong=0, slices={"side=right": (0.4, 0.0)})], reference_accuracy=0.95)
    labels, codes = given.dataset.labels, given.dataset.columns["side"].codes
    record = given.variants[0].predictions
    assert record is not None
    spoiled = (codes == 1) & (np.arange(len(labels)) % 3 == 0)
    reference, device_made = (
        deciding(of, np.where(spoiled, (labels + 1) % 7, of.decisions)) for of in (given.reference_predictions, record)
    )
    variant = replace(given.variants[0], predictions=device_made)
    given = replace(given, reference_predictions=reference, variants=(variant,))
    (found,) = findings(given, requirement("fairness.gap_change", 0.02, by=("side",)))
    assert found.verdict is Verdict.FAIL
    assert found.lower is not None
    assert found.lower > 0.02


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["side", "subject"]))
def test_the_gap_interval_holds_its_estimate(seed: int, column: str) -> None:
    found = gap(VariantPlan("int8", to_wrong=0.03, to_right=0.02), 0.05, column, seed=seed)
    assert found.lower is not None
    assert found.upper is not None
    assert found.estimate is not None
    assert found.lower <= found.estimate <= found.upper


def test_a_group_too_small_leaves_the_gap_open() -> None:
    given = evidence([VariantPlan("int8")])
    asked = requirement("fairness.gap_change", 0.9, by=("side",), minimum_rows=1000)
    (found,) = findings(given, asked)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason.startswith("NOT TESTED: side: left has ")


def test_unknown_columns_and_none_are_absent() -> None:
    given = evidence([VariantPlan("int8")])
    assert findings(given, requirement("fairness.gap_change", 0.1))[0].obtained == "absent"
    assert "no column colour" in findings(given, requirement("fairness.gap_change", 0.1, by=("colour",)))[0].reason
    assert 'no column "colour"' in findings(given, requirement("accuracy.drop", 0.1, by=("colour",)))[0].reason


def test_one_group_has_no_gap_and_passes_nothing() -> None:
    given = evidence([VariantPlan("int8")])
    one = replace(given.dataset.columns["side"], values=("left",), codes=np.zeros(given.dataset.rows, dtype=np.int64))
    given = replace(given, dataset=replace(given.dataset, columns={"side": one}))
    (found,) = findings(given, requirement("fairness.gap_change", 0.5, by=("side",)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason == "NOT TESTED: side has only one group, so there is no gap."
    assert (found.estimate, found.obtained) == (None, "absent")
    assert found.need


@pytest.mark.parametrize("to_wrong", [0.3, 0.9])
def test_no_drop_and_no_gap_is_larger_than_a_hundred_points(to_wrong: float) -> None:
    """Two noisy groups, or many: a sum of bounds may exceed what a difference of shares can be."""
    plan = VariantPlan("int8", to_wrong=to_wrong, to_right=0.9, flip_clusters=1.0)
    given = evidence([plan], rows=140, clusters=14, reference_accuracy=0.5)
    for by in ("side", "exercise"):
        for metric in ("fairness.gap_change", "accuracy.drop"):
            asked = requirement(metric, 0.5, 0.99, by=(by,), minimum_rows=1, minimum_clusters=2)
            bounds = [(f.lower, f.upper) for f in findings(given, asked) if f.lower is not None and f.upper is not None]
            assert bounds
            assert all(-1.0 <= lower <= upper <= 1.0 for lower, upper in bounds)
    asked = requirement("fairness.gap_change", 0.5, 0.99, by=("exercise",), minimum_rows=1, minimum_clusters=2)
    assert [f.upper for f in findings(given, asked)] == [1.0]
