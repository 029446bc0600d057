"""Mitigations: figures of rows they were not fitted on, honest of small groups, nothing where nothing can be said."""

from dataclasses import replace

import numpy as np
import pytest

from kit.fairness.halves import fitting_half
from kit.judge.mitigation import Mitigation, mitigations
from kit.records import ColumnRecord, DatasetRecord, Evidence, PredictionRecord
from kit.spec.types import Profile, Requirement
from kit.task.classify import brier
from tests import builders
from tests.fairness.datasets import DATASETS
from tests.task import tables

ASKED = builders.requirement("fairness.gap", 0.05, by=("side",), measure="demographic-parity", positive="yes")
PROFILE = builders.profile([ASKED])


def scored(record: PredictionRecord, data: DatasetRecord, score: np.ndarray) -> PredictionRecord:
    """Predictions of two classes by the second's probability."""
    scores = np.stack([1 - score, score], axis=1).astype(np.float32)
    return replace(record, scores=scores, decisions=(score > 0.5).astype(np.int64), data_digest=data.data_digest)


def of(label: np.ndarray, score: np.ndarray, group: np.ndarray, names: tuple[str, ...], cluster: int = 1) -> Evidence:
    """A run of two variants with these scores, the reference's among them."""
    plans = [builders.FP32, builders.VariantPlan("small")]
    whole = builders.evidence(plans, rows=len(label), clusters=2, clustered=False)
    data = replace(
        whole.dataset, classes=("no", "yes"), labels=label.astype(np.int64), cluster=np.arange(len(label)) // cluster,
        columns={"side": ColumnRecord(names, group.astype(np.int64))}, sensitive=("side",),
    )  # fmt: skip
    variants = tuple(
        replace(each, predictions=scored(each.predictions, data, score))  # type: ignore[arg-type]
        for each in whole.variants
    )
    reference = scored(whole.reference_predictions, data, score)
    return replace(whole, dataset=data, variants=variants, reference_predictions=reference)


def unfair(rows: int = 4000, seed: int = 0, cluster: int = 1) -> Evidence:
    """The scores of the right side are 0.2 too low, and all are too sure."""
    random = np.random.default_rng(seed)
    group = (random.random(rows) < 0.4).astype(np.int64)
    logits = random.normal(0, 1.5, rows)
    label = random.random(rows) < 1 / (1 + np.exp(-logits))
    return of(label, 1 / (1 + np.exp(-2.5 * (logits - 0.8 * group))), group, ("left", "right"), cluster)


def named(found: tuple[Mitigation, ...], part: str) -> Mitigation:
    return next(each for each in found if part in each.name)


def change(found: Mitigation, what: str) -> tuple[float, float, float, float]:
    """Before, after and the ends of the change."""
    each = next(each for each in found.changes if each.what == what)
    assert each.change is not None
    assert each.change.estimate == pytest.approx(each.after - each.before, abs=1e-9)
    assert each.change.lower <= each.change.estimate <= each.change.upper
    return each.before, each.after, each.change.lower, each.change.upper


@pytest.fixture(scope="module")
def tried() -> tuple[Mitigation, ...]:
    evidence = unfair()
    return mitigations(evidence, evidence.variants[1], PROFILE)


def test_everything_that_can_be_tried_is(tried: tuple[Mitigation, ...]) -> None:
    assert [(each.kind, each.name) for each in tried] == [
        ("thresholds", "thresholds by side for demographic-parity"),
        ("thresholds", "thresholds by side for equal-opportunity"),
        ("thresholds", "thresholds by side for equalized-odds"),
        ("recalibration", "temperature scaling"),
        ("recalibration", "isotonic regression"),
    ]  # the other variant decides alike, and costs more


@pytest.mark.parametrize("criterion", ["demographic-parity", "equal-opportunity", "equalized-odds"])
def test_thresholds_narrow_the_gap_they_are_for_on_new_rows(tried: tuple[Mitigation, ...], criterion: str) -> None:
    found = named(tried, criterion)
    before, after, _, upper = change(found, f"gap, {criterion}")
    assert after < 0.35 * before
    assert upper < 0.02  # of two rates at once, each in two groups, the bounds are wide
    assert "unlawful" in found.caution
    assert ("draws lots" in found.caution) is (criterion == "equalized-odds")
    assert found.fitted_rows + found.judged_rows == 4000
    assert "accuracy" in found.sentence
    assert found.rule


def test_the_gap_that_the_profile_asks_about_is_always_told(tried: tuple[Mitigation, ...]) -> None:
    whats = [each.what for each in named(tried, "equal-opportunity").changes]
    assert whats == ["gap, equal-opportunity", "gap, demographic-parity", "accuracy"]
    assert [each.what for each in named(tried, "demographic").changes] == ["gap, demographic-parity", "accuracy"]


@pytest.mark.parametrize("name", ["temperature", "isotonic"])
def test_recalibration_makes_scores_say_how_often_they_are_right(tried: tuple[Mitigation, ...], name: str) -> None:
    found = named(tried, name)
    assert change(found, "Brier score")[3] < 0
    before, after, _, upper = change(found, "calibration error")
    assert after < 0.5 * before
    assert upper < 0
    assert found.caution == ""


def test_temperature_changes_no_decision(tried: tuple[Mitigation, ...]) -> None:
    found = named(tried, "temperature")
    assert change(found, "decisions unlike the reference's")[:2] == (0.0, 0.0)
    before, after, _, _ = change(found, "accuracy")
    assert before == after
    assert dict(found.rule)["temperature"] > 1.5


def test_figures_are_of_the_half_that_nothing_was_fitted_on(tried: tuple[Mitigation, ...]) -> None:
    evidence = unfair()
    data, found = evidence.dataset, evidence.variants[1].predictions
    assert found is not None
    kept = ~fitting_half(data.cluster, PROFILE.measure.seed)
    assert named(tried, "temperature").judged_rows == int(kept.sum())
    wanted = brier(tables.rows(data.labels[kept], found.scores[kept])).losses.mean()
    assert change(named(tried, "temperature"), "Brier score")[0] == pytest.approx(wanted)
    right = (found.decisions[kept] == data.labels[kept]).mean()
    assert change(named(tried, "demographic"), "accuracy")[0] == pytest.approx(right)


def test_labels_drawn_at_random_are_not_made_to_look_better() -> None:
    """On fitted rows isotonic regression always helps; on the others it cannot, where scores say nothing."""
    better = 0
    for seed in range(6):
        random = np.random.default_rng(seed)
        group = (random.random(400) < 0.5).astype(np.int64)
        evidence = of(random.random(400) < 0.5, 0.5 + 0.001 * random.random(400), group, ("left", "right"))
        found = mitigations(evidence, evidence.variants[1], PROFILE)
        better += change(named(found, "isotonic"), "Brier score")[3] < 0
    assert better <= 1


def test_equal_arguments_give_equal_answers(tried: tuple[Mitigation, ...]) -> None:
    evidence = unfair()
    assert mitigations(evidence, evidence.variants[1], PROFILE) == tried


def test_a_small_group_keeps_its_decisions_and_is_named() -> None:
    evidence = unfair()
    data = evidence.dataset
    codes = data.columns["side"].codes.copy()
    codes[:50] = 2
    data = replace(data, columns={"side": ColumnRecord(("left", "right", "tiny <b>"), codes)})
    found = named(mitigations(replace(evidence, dataset=data), evidence.variants[1], PROFILE), "demographic")
    assert found.caution.endswith("Left out for too few rows of a class: tiny <b>.")
    assert found.fitted_rows + found.judged_rows == 3950
    assert not any("tiny" in name for name, _ in found.rule)


def test_clusters_are_never_split() -> None:
    evidence = unfair(cluster=20)
    found = mitigations(evidence, evidence.variants[1], PROFILE)
    assert all(each.fitted_rows % 20 == 0 for each in found)


@pytest.mark.parametrize(
    ("rows", "said"), [(120, "fewer than two groups have rows enough"), (4000, "")], ids=["few", "one class"]
)
def test_too_little_to_try(rows: int, said: str) -> None:
    evidence = unfair(rows)
    if rows == 4000:
        evidence = replace(evidence, dataset=replace(evidence.dataset, labels=np.ones(rows, np.int64)))
    for each in mitigations(evidence, evidence.variants[1], PROFILE):
        if each.kind == "thresholds" or rows == 120:
            assert each.changes == ()
            assert "cannot be tried" in each.sentence
            assert said in each.sentence or each.kind == "recalibration"


def test_scores_that_are_not_finite_are_not_fitted_on() -> None:
    evidence = unfair(1000)
    found = evidence.variants[1].predictions
    assert found is not None
    scores = found.scores.copy()
    scores[7] = np.nan
    variant = replace(evidence.variants[1], predictions=replace(found, scores=scores))
    tried = mitigations(evidence, variant, PROFILE)
    assert all("scores are not all finite" in each.sentence for each in tried if each.kind == "thresholds")
    assert "recalibration" not in {each.kind for each in tried}


@pytest.mark.parametrize(
    "profile",
    [builders.profile([]), builders.profile([replace(ASKED, by=("nowhere",))])],
    ids=["nothing asked", "no column"],
)
def test_the_dataset_s_sensitive_column_stands_in(profile: Profile) -> None:
    evidence = unfair(1000)
    kinds = [each.kind for each in mitigations(evidence, evidence.variants[1], profile)]
    assert kinds.count("thresholds") == (3 if not profile.requirements else 0)


def test_another_variant_is_told_where_it_is_not_dominated() -> None:
    evidence = builders.evidence(rows=3000, clustered=False)
    asked: list[Requirement] = [builders.requirement("fairness.gap_change", 0.05, by=("side",))]
    found = mitigations(evidence, evidence.variants[1], builders.profile(asked))
    others = [each for each in found if each.kind == "variant"]
    assert {each.name for each in others} >= {"int8-channel"}
    for each in others:
        assert [one.what for one in each.changes] == ["gap, accuracy", "accuracy"]
        assert each.fitted_rows == 0
        assert "Its file has" in each.sentence


def test_without_predictions_there_is_nothing_to_try() -> None:
    evidence = unfair(500)
    assert mitigations(evidence, replace(evidence.variants[1], predictions=None), PROFILE) == ()
    regression = replace(evidence, dataset=replace(evidence.dataset, task="regression"))
    assert mitigations(regression, evidence.variants[1], PROFILE) == ()


def test_on_compas_parity_costs_about_a_point_of_accuracy() -> None:
    data = DATASETS["compas"][0]()
    (codes,), _, names = data.codes("race")
    evidence = of(data.label, data.score, codes, tuple(str(name[0]) for name in names))
    found = named(mitigations(evidence, evidence.variants[1], PROFILE), "demographic-parity")
    before, after, _, _ = change(found, "gap, demographic-parity")
    assert before > 0.3
    assert after < 0.15
    before, after, lower, upper = change(found, "accuracy")
    assert -0.03 < lower < after - before < upper < 0.01
    assert "Native American" in found.caution


def test_figures_are_by_weight() -> None:
    """Weights of one value change nothing; those of a group move every figure to it."""
    plain = unfair()
    even = replace(plain, dataset=replace(plain.dataset, weights=np.full(plain.dataset.rows, 3.0)))
    for one, other in zip(mitigations(plain, plain.variants[0], PROFILE), mitigations(even, even.variants[0], PROFILE),
                          strict=True):  # fmt: skip
        for first, second in zip(one.changes, other.changes, strict=True):
            assert (first.before, first.after) == pytest.approx((second.before, second.after))
    weights = np.where(plain.dataset.columns["side"].codes == 0, 50.0, 1.0)
    skewed = replace(plain, dataset=replace(plain.dataset, weights=weights))
    found = named(mitigations(skewed, skewed.variants[0], PROFILE), "temperature")
    kept = ~fitting_half(plain.dataset.cluster, PROFILE.measure.seed)
    record = plain.variants[0].predictions
    assert record is not None
    right = (record.decisions == plain.dataset.labels)[kept]
    assert change(found, "accuracy")[0] == pytest.approx(np.average(right, weights=weights[kept]))
    unweighted = named(mitigations(plain, plain.variants[0], PROFILE), "temperature")
    assert change(found, "Brier score")[0] != pytest.approx(change(unweighted, "Brier score")[0], abs=1e-4)


def test_whose_rows_a_figure_is_of_is_said(tried: tuple[Mitigation, ...]) -> None:
    for each in tried:
        assert f"on {each.judged_rows:,} rows that it was not fitted on, " in each.sentence
