"""slices.found: names what two halves agree on, promises what holds for all conjunctions, and says what it needs."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.judge import judge
from kit.judge.base import Case
from kit.judge.found import judge_found
from kit.records import ColumnRecord, Evidence, Finding, LossRecord, Verdict
from kit.slicing.columns import searched_columns
from kit.spec.profile import load_profile
from tests.builders import VariantPlan, dataset, device, evidence, profile, requirement

LIMIT = 0.05
ROWS, CLUSTERS = 12_000, 600


def findings(given: Evidence, limit: float = LIMIT, **changes: Any) -> tuple[Finding, ...]:
    asked = requirement("slices.found", limit, **changes)
    return judge(given, profile([asked]), device()).variants[0].findings


def given(plan: VariantPlan, rows: int = ROWS, clusters: int = CLUSTERS) -> Evidence:
    return evidence([plan], rows=rows, clusters=clusters)


HURT = VariantPlan("int8", to_wrong=0.002, to_right=0.002, slices={"subject=8": (0.3, 0.0)})
EQUAL = VariantPlan("int8", to_wrong=0.001, to_right=0.001)


def test_a_slice_that_is_hurt_is_named_with_what_it_lost_on_other_rows() -> None:
    (found,) = findings(given(HURT))
    assert (found.verdict, found.subject, found.unit) == (Verdict.FAIL, "subject=8", "points")
    assert found.lower is not None
    assert found.estimate is not None
    assert LIMIT < found.lower < found.estimate
    assert found.estimate == pytest.approx(0.3, abs=0.05)
    assert found.rows < 0.7 * ROWS / 4  # half of the slice
    assert found.need == ""
    assert found.reason.startswith("subject: 8 lost ")
    assert "that did not find it; allowed 5.0 points; searched " in found.reason
    assert "conjunctions of up to 3 of 3 columns with at least 30 rows in at least 5 recordings" in found.reason


def test_a_pass_is_said_of_all_conjunctions_that_are_large_enough() -> None:
    (found,) = findings(given(EQUAL), 0.1, minimum_rows=300)
    assert (found.verdict, found.subject) == (Verdict.PASS, "")
    assert found.upper is not None
    assert found.upper <= 0.1
    assert found.lower is None  # it is not looked for
    assert found.reason.startswith("none of ")
    assert "with at least 300 rows in at least 5 recordings drops by more than" in found.reason
    assert "(all at once, 95 % confidence)" in found.reason


def test_what_is_not_told_needs_larger_slices_or_a_smaller_claim() -> None:
    (found,) = findings(given(EQUAL), 0.01)
    assert (found.verdict, found.subject) == (Verdict.INCONCLUSIVE, "")
    assert found.reason.startswith("nothing was confirmed, but ")
    more, least = re.fullmatch(
        r"about ([\d.]+) times as much data, so that the smallest slice has ([\d,]+) rows? and not [\d,]+(?:; .*)?",
        found.need,
    ).groups()  # type: ignore[union-attr]
    assert float(more) > 1.0
    assert int(least.replace(",", "")) > 30


def test_a_claim_that_the_need_names_passes() -> None:
    """`minimum_rows` as it says is enough."""
    (first,) = findings(given(EQUAL), 0.1)
    assert first.verdict is Verdict.INCONCLUSIVE
    assert "; or leave smaller slices unlooked at, with minimum_rows = " in first.need
    least = int(first.need.rsplit("minimum_rows = ", 1)[1])  # as a profile has it
    (second,) = findings(given(EQUAL), 0.1, minimum_rows=least)
    assert second.verdict is Verdict.PASS


def test_more_confidence_and_more_competitors_never_decide_more() -> None:
    order = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 0}
    for plan in (HURT, EQUAL):
        sure, unsure = (findings(given(plan), 0.1, confidence=c, minimum_rows=300)[0] for c in (0.999, 0.9))
        assert order[sure.verdict] >= order[unsure.verdict]


def test_the_same_records_give_the_same_verdict_and_another_seed_another_split() -> None:
    asked = profile([requirement("slices.found", LIMIT)])
    first, again = (judge(given(HURT), asked, device()) for _ in range(2))
    assert first == again
    other = judge(given(HURT), replace(asked, measure=replace(asked.measure, seed=9)), device())
    assert other.verdict is first.verdict
    assert other.variants[0].findings[0].rows != first.variants[0].findings[0].rows


def test_clusters_of_the_embedding_are_searched() -> None:
    of = given(EQUAL)
    hidden = np.random.default_rng(3).random(ROWS) < 0.1
    variant = of.variants[0]
    assert variant.predictions is not None
    wrong = np.where(hidden, (of.dataset.labels + 1) % 7, variant.predictions.decisions)
    scores = np.eye(7, dtype=np.float32)[wrong]
    hurt = replace(variant, predictions=replace(variant.predictions, decisions=wrong, scores=scores))
    column = ColumnRecord(("1: 10,800 rows, nearest row 3", "2: 1,200 rows, nearest row 5"), hidden.astype(np.int64))
    (found,) = findings(replace(of, variants=(hurt,), found_columns={"cluster of 2": column}))
    assert (found.verdict, found.subject) == (Verdict.FAIL, "cluster of 2=2: 1,200 rows, nearest row 5")


def test_numbers_are_searched_in_bins_and_the_class_where_no_column_says_it() -> None:
    data = dataset(400, 40)
    ages = np.random.default_rng(0).uniform(20, 80, 400)
    columns = searched_columns(replace(data, numbers={"age": ages}), {"age": 3})
    assert list(columns) == ["exercise", "side", "subject", "age"]  # an exercise is a class
    assert len(columns["age"].values) == 3
    others = {name: record for name, record in data.columns.items() if name != "exercise"}
    columns = searched_columns(replace(data, columns=others))
    assert list(columns) == ["side", "subject", "class"]
    assert columns["class"].values == data.classes


def test_a_column_of_many_numbers_is_cut_into_bins_and_one_of_texts_is_not() -> None:
    data = dataset(400, 40)
    many = ColumnRecord(tuple(str(age) for age in range(40)), np.arange(400, dtype=np.int64) % 40)
    texts = ColumnRecord(tuple(f"street {n}" for n in range(40)), many.codes)
    columns = searched_columns(replace(data, columns={"age": many, "street": texts}))
    assert len(columns["age"].values) == 4
    assert columns["street"] is texts


def test_data_without_columns_is_searched_by_its_classes() -> None:
    of = given(VariantPlan("int8", slices={"exercise=row": (0.4, 0.0)}))
    (found,) = findings(replace(of, dataset=replace(of.dataset, columns={})))
    assert (found.verdict, found.subject) == (Verdict.FAIL, "class=row")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("predictions", "the device's predictions were not obtained."),
        ("rows", "NOT TESTED: no conjunction of the 3 columns has 30 rows in 5 recordings."),
    ],
)
def test_what_cannot_be_searched_is_neither_a_pass_nor_a_zero(change: str, why: str) -> None:
    of = given(EQUAL, 200, 20) if change != "rows" else given(EQUAL, 40, 8)
    if change == "predictions":
        of = given(replace(EQUAL, absent=frozenset({"predictions"})), 200, 20)
    (found,) = findings(of)
    assert (found.verdict, found.obtained) == (Verdict.INCONCLUSIVE, "absent")
    assert (found.estimate, found.upper) == (None, None)
    assert found.reason == why
    assert found.need


def losses(of: Evidence, values: np.ndarray, measure: str, name: str, sizes: np.ndarray | None = None) -> LossRecord:
    digest = of.dataset.data_digest
    return LossRecord(measure, name, digest, values, sizes, 0.0, None if measure == "wer" else 1.0, "measured")


def with_losses(measure: str, harm: float) -> Evidence:
    of = given(EQUAL)
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 9, ROWS).astype(np.float64) if measure == "wer" else None
    before = rng.uniform(0.1, 0.2, ROWS)
    hurt = of.dataset.columns["side"].codes == 1
    after = (
        before
        + rng.uniform(-0.05, 0.05, ROWS)
        + np.where(hurt, harm, 0.0) * rng.uniform(0, 2, ROWS) * (1 if sizes is None else sizes)
    )
    variant = replace(
        of.variants[0], losses={measure: losses(of, after, measure, of.variants[0].variant.model.digest, sizes)}
    )
    return replace(
        of, variants=(variant,), reference_losses={measure: losses(of, before, measure, of.reference.digest, sizes)}
    )


@pytest.mark.parametrize("measure", ["auc", "f1-macro", "map-50", "r2"])
def test_what_is_no_mean_over_rows_is_not_searched_for(measure: str) -> None:
    """Losses of its rows say nothing of the measure on some of them."""
    (found,) = findings(with_losses(measure, 0.2), 0.1, measure=measure)
    assert (found.verdict, found.obtained) == (Verdict.INCONCLUSIVE, "absent")
    assert f"{measure} is no mean over rows" in found.reason


@pytest.mark.parametrize(("measure", "unit"), [("brier", "points"), ("wer", "points"), ("log-loss", "1")])
def test_losses_of_any_measure_are_searched(measure: str, unit: str) -> None:
    (found,) = findings(with_losses(measure, 0.2), 0.1, measure=measure)
    assert (found.verdict, found.subject, found.unit) == (Verdict.FAIL, "side=right", unit)
    assert ("points" in found.reason) == (unit == "points")
    (found,) = findings(with_losses(measure, 0.0), 0.3, measure=measure, minimum_rows=1000)
    assert ("points" in found.reason) == (unit == "points")
    bounded = measure != "wer"  # nothing bounds how many words are wrong, so a mean may hide a rare row
    assert found.verdict is (Verdict.PASS if bounded else Verdict.INCONCLUSIVE)


def test_a_column_whose_name_has_signs_is_told_from_its_value() -> None:
    of = given(replace(HURT, slices={"side=left": (0.3, 0.0)}))
    columns = {"k&=1" if name == "side" else name: column for name, column in of.dataset.columns.items()}
    (found,) = findings(replace(of, dataset=replace(of.dataset, columns=columns)))
    assert found.subject == '"k&=1"=left'
    assert found.reason.startswith('"k&=1": left lost ')


def test_the_only_measure_there_is_says_the_unit() -> None:
    of = with_losses("mae", 0.2)
    undecided = replace(of.reference_predictions, decisions=np.zeros(0, np.int64))
    asked, run = requirement("slices.found", 0.1), replace(of, reference_predictions=undecided)
    (found,) = judge_found(Case(asked, run.variants[0], run, profile([asked]), device()))
    assert (found.subject, found.unit) == ("side=right", "1")
    assert "points" not in found.reason


def test_a_profile_may_say_how_small_a_slice_may_be(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(
        '[profile]\nname = "p"\n[[require]]\nid = "found"\nmetric = "slices.found"\nat_most = "3 points"\n'
        "minimum_rows = 200\nminimum_clusters = 9\n"
    )
    (asked,) = load_profile(path).requirements
    assert (asked.metric, asked.minimum_rows, asked.minimum_clusters) == ("slices.found", 200, 9)
