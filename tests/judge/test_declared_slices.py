"""Declared slices as judged: every kind, weights, scenarios, bounds at once, one truth for all."""

from dataclasses import replace

import numpy as np
import pytest

from kit.judge import judge
from kit.judge.gaps import RowGaps
from kit.records import Evidence, Finding, Float64Array, Int64Array, Verdict
from kit.slicing.declared import declared
from kit.spec.types import Requirement, SliceSpec
from kit.stats.outcomes import Outcomes
from kit.stats.proportions import PairedCounts
from tests.builders import VariantPlan, device, evidence, profile, requirement

SPECS = (
    SliceSpec("old rowers", 'age >= 60 and exercise == "row"'),
    SliceSpec("left", 'side == "left"'),
    SliceSpec("falls", rows=(1, 5, 900, 1990)),
)
BINS = {"age": 4}


def given(plan: VariantPlan | None = None, seed: int = 0, **changes: object) -> Evidence:
    plain = evidence([plan or VariantPlan("int8", to_wrong=0.03, to_right=0.01)], seed=seed)
    age = np.random.default_rng(seed).normal(50, 12, plain.dataset.rows).round()
    return replace(plain, dataset=replace(plain.dataset, numbers={"age": age}, **changes))  # type: ignore[arg-type]


def findings(of: Evidence, asked: Requirement) -> tuple[Finding, ...]:
    return judge(of, profile([asked], slices=SPECS, bins=BINS), device()).variants[0].findings


def every(metric: str = "accuracy.drop", limit: float = 0.1, **changes: object) -> Requirement:
    names = tuple(spec.name for spec in SPECS)
    asked = requirement(metric, limit, by=("side", "age", "exercise"), cross=2, slices=names)  # type: ignore[arg-type]
    return replace(asked, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", ["accuracy.drop", "accuracy.value"])
def test_every_slice_is_counted_as_its_rows_say(metric: str) -> None:
    of, asked = given(), every(metric)
    data, record = of.dataset, of.variants[0].predictions
    assert record is not None
    before, after = (p.decisions == data.labels for p in (of.reference_predictions, record))
    masks = dict(declared(asked, data, SPECS, BINS).masks())
    found = {f.subject: f for f in findings(of, asked)}
    assert list(found) == list(masks)
    for subject, mask in masks.items():
        one = found[subject]
        assert one.rows == mask.sum()
        expected = before[mask].mean() - after[mask].mean() if metric == "accuracy.drop" else after[mask].mean()
        assert one.estimate == pytest.approx(expected, abs=1e-12)
        if metric == "accuracy.drop":
            assert one.details["flips_to_wrong"] == (before & ~after & mask).sum()
            assert one.details["flips_to_right"] == (~before & after & mask).sum()


def test_a_slice_has_the_same_bounds_by_any_name() -> None:
    found = {f.subject: f for f in findings(given(), every())}
    first, second = found["side=left"], found["left"]
    assert (first.estimate, first.lower, first.upper, first.verdict) == (
        second.estimate, second.lower, second.upper, second.verdict,
    )  # fmt: skip


def test_a_search_s_gaps_are_the_judge_s_estimates() -> None:
    of, asked = given(), every(minimum_rows=1, minimum_clusters=2)
    record = of.variants[0].predictions
    assert record is not None
    gaps = RowGaps((asked,), of.dataset, of.reference_predictions.decisions, 1.0, SPECS, BINS)
    told = {gap.subject: gap.loss for gap in gaps(record.decisions, np.arange(of.dataset.rows))}
    found = {f.subject: f.estimate for f in findings(of, asked)}
    assert "falls" not in told
    assert len(told) > 40
    for subject, gap in told.items():
        assert gap == pytest.approx(found[subject], abs=1e-12), subject


def test_bounds_at_once_are_wider_than_each_slice_s_own_and_say_how_many() -> None:
    tested = [f for f in findings(given(), every()) if "simultaneous_upper" in f.details]
    assert len(tested) > 20
    for found in tested:
        assert found.lower is not None
        assert found.upper is not None
        assert found.details["simultaneous_lower"] <= found.lower + 1e-9
        assert found.details["simultaneous_upper"] >= found.upper - 1e-9
        assert found.details["simultaneous_slices"] == len(tested)
        assert f"all {len(tested)} slices at once" in found.method


def test_small_slices_are_not_tested_and_have_no_bounds_at_once() -> None:
    small = [f for f in findings(given(), every(minimum_rows=100)) if f.rows < 100]
    assert small
    for found in small:
        assert found.verdict is Verdict.INCONCLUSIVE
        assert found.reason.startswith("NOT TESTED: ")
        assert "simultaneous_upper" not in found.details


def test_a_scenario_tells_every_row_that_changed() -> None:
    of = given()
    record, data = of.variants[0].predictions, of.dataset
    assert record is not None
    decisions, reference = data.labels.copy(), data.labels.copy()
    decisions[[5, 1990]] = (decisions[[5, 1990]] + 1) % 7
    reference[1] = (reference[1] + 1) % 7
    scores = {id(d): np.eye(7, dtype=np.float32)[d] for d in (decisions, reference)}
    of = replace(
        of,
        reference_predictions=replace(of.reference_predictions, decisions=reference, scores=scores[id(reference)]),
        variants=(
            replace(of.variants[0], predictions=replace(record, decisions=decisions, scores=scores[id(decisions)])),
        ),
    )
    (found,) = findings(of, requirement("accuracy.drop", 0.2, slices=("falls",)))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.reason == ("NOT TESTED: falls has 4 rows; minimum 30. Rows 5, 1990 turned wrong; row 1 turned right.")
    assert found.estimate == pytest.approx(0.25)
    (judged,) = findings(of, requirement("accuracy.drop", 0.2, slices=("falls",), minimum_rows=1, minimum_clusters=2))
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "Rows 5, 1990 turned wrong" in judged.reason


def test_a_scenario_that_did_not_change_says_so_and_passes_nothing() -> None:
    of = given(VariantPlan("int8", to_wrong=0.0, to_right=0.0))
    asked = requirement("accuracy.drop", 0.2, slices=("falls",), minimum_rows=1, minimum_clusters=2)
    (found,) = findings(of, asked)
    assert found.reason.endswith("None of its rows changed.")
    assert found.verdict is Verdict.INCONCLUSIVE


def test_a_slice_that_the_data_cannot_have_is_absent() -> None:
    (found,) = findings(replace(given(), dataset=replace(given().dataset, numbers={})), every())
    assert (found.obtained, found.verdict) == ("absent", Verdict.INCONCLUSIVE)
    assert 'no column "age"' in found.reason


def test_one_class_of_cells_or_a_single_row_is_survived() -> None:
    of = given()
    asked = requirement("accuracy.drop", 0.2, slices=("one",), minimum_rows=1, minimum_clusters=2)
    judged = judge(of, profile([asked], slices=(SliceSpec("one", rows=(0,)),)), device())
    (found,) = judged.variants[0].findings
    assert "in only 1 recording" in found.reason


def outcomes(value: Float64Array, weights: Float64Array | None, cluster: Int64Array | None = None) -> Outcomes:
    """Rows that turn wrong (1), right (-1) or neither (0)."""
    before = value >= 0
    numbers = np.arange(len(value)) if cluster is None else cluster
    return Outcomes(numbers, before, value <= 0, value != 0, 0.05, weights)


def test_weights_of_one_and_of_seven_change_nothing() -> None:
    value = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 300, p=[0.02, 0.92, 0.06])
    for cluster in (None, np.arange(300) // 5):
        plain = outcomes(value, None, cluster).drop()
        for weight in (1.0, 7.0):
            same = outcomes(value, np.full(300, weight), cluster).drop()
            assert same.counts.bounds(0.95) == pytest.approx(plain.counts.bounds(0.95), abs=1e-9)
            assert same.details == pytest.approx(plain.details)


def test_a_weighted_drop_is_that_of_the_rows_that_weights_stand_for() -> None:
    rng = np.random.default_rng(0)
    value, weights = rng.choice([-1.0, 0.0, 1.0], 300, p=[0.02, 0.9, 0.08]), rng.integers(1, 6, 300).astype(np.float64)
    sample = outcomes(value, weights).drop()
    repeated = np.repeat(value, weights.astype(np.int64))
    assert sample.counts.estimate == pytest.approx(repeated.mean())
    assert sample.counts.rows < 300 < len(repeated)
    assert sample.details["flips_to_wrong"] == (value > 0).sum()
    # repeated rows in one cluster a row are as sure as weighted rows
    cluster = np.repeat(np.arange(300), weights.astype(np.int64))
    again = outcomes(repeated, None, cluster).drop()
    assert again.counts.rows <= sample.counts.rows * 1.05


@pytest.mark.parametrize("kind", ["even", "heavy rows flip more", "clustered"])
def test_a_weighted_upper_bound_is_wrong_at_most_alpha_of_the_time(kind: str) -> None:
    rng = np.random.default_rng(1)
    runs, rows, wrong = 600, 400, 0
    for _ in range(runs):
        weights = np.where(rng.random(rows) < 0.2, 5.0, 1.0)
        chance = np.where(weights > 1, 0.09, 0.03) if kind == "heavy rows flip more" else np.full(rows, 0.04)
        cluster = np.repeat(np.arange(rows // 8), 8) if kind == "clustered" else None
        draw = rng.random(rows) if cluster is None else _shared(rng, cluster)
        value = (draw < chance).astype(np.float64)
        truth = float((weights * chance).sum() / weights.sum())
        _, upper = outcomes(value, weights, cluster).drop().counts.bounds(0.95)
        wrong += upper < truth
    assert wrong / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def _shared(rng: np.random.Generator, cluster: Int64Array) -> Float64Array:
    """Uniforms of which three in ten are their cluster's."""
    own, common = rng.random(len(cluster)), rng.random(int(cluster.max()) + 1)[cluster]
    return np.where(rng.random(len(cluster)) < 0.3, common, own)


def test_the_judge_weighs_rows() -> None:
    plain = given()
    weights = np.where(plain.dataset.columns["side"].codes == 0, 3.0, 1.0)
    (found,) = findings(given(weights=weights), requirement("accuracy.drop", 0.1))
    record = plain.variants[0].predictions
    assert record is not None
    before, after = (p.decisions == plain.dataset.labels for p in (plain.reference_predictions, record))
    expected = np.average(before.astype(float) - after, weights=weights)
    assert found.estimate == pytest.approx(expected)
    assert found.details["effective_rows"] < 2008


def test_counts_of_one_cell_are_those_of_many() -> None:
    """Told once by cell, cluster and outcome, or row by row: the same."""
    rng = np.random.default_rng(0)
    value = rng.choice([-1.0, 0.0, 1.0], 500, p=[0.03, 0.9, 0.07])
    cell = rng.integers(0, 3, 500)
    for cluster in (None, rng.integers(0, 40, 500)):
        rows = outcomes(value, None, cluster)
        for code, sample in enumerate(rows.drops_by(cell).drops(np.arange(3), 3)):
            alone = rows.drop(cell == code)
            assert sample is not None
            assert isinstance(sample.counts, PairedCounts)
            assert sample.counts.bounds(0.95) == pytest.approx(alone.counts.bounds(0.95), abs=1e-9)
            assert sample.details == pytest.approx(alone.details)
        assert rows.drops_by(cell).drops(np.array([0, -1, 0]), 2)[1] is None
