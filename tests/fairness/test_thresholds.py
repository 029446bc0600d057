"""Thresholds by group: equal to Fairlearn's optimizer with lots; without them as near as scores allow, and no worse."""

from typing import Any

import numpy as np
import pytest
from fairlearn.postprocessing import ThresholdOptimizer
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from kit.fairness.thresholds import THRESHOLD_CRITERIA, Criterion, GroupRule, Thresholds, fit_thresholds
from tests.fairness.datasets import DATASETS

FAIRLEARN = {
    "demographic-parity": "demographic_parity",
    "equal-opportunity": "true_positive_rate_parity",
    "equalized-odds": "equalized_odds",
}


class Given(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Scores that are already there."""

    classes_ = np.array([0, 1])

    def fit(self, inputs: Any, labels: Any) -> "Given":
        return self

    def predict(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        return inputs[:, 0]

    def __sklearn_is_fitted__(self) -> bool:
        return True


def rates(chance: NDArray[np.float64], label: NDArray[np.int64], group: NDArray[np.int64]) -> dict[str, Any]:
    """Accuracy, and each group's rates, of chances to be decided positive."""
    groups = range(int(group.max()) + 1)
    return {
        "accuracy": float((chance * label + (1 - chance) * (1 - label)).mean()),
        "selected": np.array([chance[group == each].mean() for each in groups]),
        "true": np.array([chance[(group == each) & (label == 1)].mean() for each in groups]),
        "false": np.array([chance[(group == each) & (label == 0)].mean() for each in groups]),
    }


EQUAL = {"demographic-parity": ("selected",), "equal-opportunity": ("true",), "equalized-odds": ("true", "false")}


def fairlearn_chances(
    score: NDArray[np.float64], label: NDArray[np.int64], group: NDArray[np.int64], criterion: Criterion
) -> NDArray[np.float64]:
    made = ThresholdOptimizer(
        estimator=Given(), constraints=FAIRLEARN[criterion], objective="accuracy_score", prefit=True,
        predict_method="predict", grid_size=1000,
    )  # fmt: skip
    inputs = np.stack([score, score], axis=1)
    made.fit(inputs, label, sensitive_features=group)
    return np.asarray(made._pmf_predict(inputs, sensitive_features=group)[:, 1])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("criterion", THRESHOLD_CRITERIA)
@pytest.mark.parametrize(
    ("name", "column"), [("compas", "sex"), ("compas", "age_cat"), ("adult", "sex"), ("german", "sex")]
)
@pytest.mark.parametrize("form", ["score", "coarse"])
def test_with_lots_they_are_fairlearn_s(name: str, column: str, form: str, criterion: Criterion) -> None:
    data = DATASETS[name][0]()
    (codes,), (size,), _ = data.codes(column)
    group, score = codes.astype(np.int64), getattr(data, form)
    ours = fit_thresholds(score, data.label, group, size, criterion, lots=True).chances(score, group)
    theirs = fairlearn_chances(score, data.label, group, criterion)
    found, wanted = rates(ours, data.label, group), rates(theirs, data.label, group)
    assert found["accuracy"] == pytest.approx(wanted["accuracy"], abs=1e-9)
    for each in EQUAL[criterion]:
        np.testing.assert_allclose(found[each], wanted[each], atol=1e-9)
        assert np.ptp(found[each]) < 1e-9


@pytest.mark.parametrize("criterion", ["demographic-parity", "equal-opportunity"])
@pytest.mark.parametrize("name", ["compas", "adult"])
def test_without_lots_groups_come_near_and_nobody_is_drawn(name: str, criterion: Criterion) -> None:
    data = DATASETS[name][0]()
    (codes,), (size,), _ = data.codes("sex")
    group = codes.astype(np.int64)
    fitted = fit_thresholds(data.score, data.label, group, size, criterion)
    chances = fitted.chances(data.score, group)
    assert set(np.unique(chances)) <= {0.0, 1.0}
    assert not any(rule.draws_lots for rule in fitted.rules)
    found = rates(chances, data.label, group)
    before = rates((data.score >= 0.5).astype(np.float64), data.label, group)
    what = EQUAL[criterion][0]
    assert found["accuracy"] - np.ptp(found[what]) >= before["accuracy"] - np.ptp(before[what])


def brute_force(
    score: NDArray[np.float64], label: NDArray[np.int64], group: NDArray[np.int64], criterion: Criterion
) -> float:
    """The most accuracy less gap of any pair of thresholds."""
    best, cuts = -1.0, [-np.inf, *np.unique(score)]
    for one in cuts:
        for other in cuts:
            found = rates((score > np.where(group == 0, one, other)).astype(np.float64), label, group)
            best = max(best, found["accuracy"] - float(np.ptp(found[EQUAL[criterion][0]])))
    return best


@pytest.mark.parametrize("criterion", ["demographic-parity", "equal-opportunity"])
@pytest.mark.parametrize("seed", range(4))
def test_without_lots_no_pair_of_thresholds_is_much_better(criterion: Criterion, seed: int) -> None:
    random = np.random.default_rng(seed)
    group = (random.random(200) < 0.4).astype(np.int64)
    score = np.round(random.random(200) * 12) / 12
    label = (random.random(200) < 0.2 + 0.6 * score - 0.1 * group).astype(np.int64)
    found = rates(fit_thresholds(score, label, group, 2, criterion).chances(score, group), label, group)
    reached = found["accuracy"] - float(np.ptp(found[EQUAL[criterion][0]]))
    assert (
        reached >= brute_force(score, label, group, criterion) - 0.02
    )  # one grid for all, pairs need not share a value


@pytest.mark.parametrize("criterion", THRESHOLD_CRITERIA)
@pytest.mark.parametrize("lots", [False, True])
def test_scores_that_are_all_alike(criterion: Criterion, lots: bool) -> None:
    label, group = np.array([0, 1, 1, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 1])
    fitted = fit_thresholds(np.full(6, 0.3), label, group, 2, criterion, lots=lots)
    chances = fitted.chances(np.full(6, 0.3), group)
    assert ((chances >= 0) & (chances <= 1)).all()
    assert np.ptp(chances) < 1e-12


@pytest.mark.parametrize("label", [[0, 0, 0, 0, 1, 0], [0, 1, 0, 1, 1, 1]], ids=["no positive", "no other"])
def test_a_group_without_one_of_the_classes_is_refused(label: list[int]) -> None:
    with pytest.raises(ValueError, match="no row of one of the classes"):
        fit_thresholds(np.arange(6.0), np.array(label), np.array([0, 0, 0, 1, 1, 1]), 2, "demographic-parity")


def test_lots_are_drawn_by_the_seed_with_their_chance() -> None:
    fitted = Thresholds("equalized-odds", (GroupRule(0.2, 0.8, 0.3, 0.5, 0.6),), 0.1)
    score, group = np.full(20_000, 0.5), np.zeros(20_000, np.int64)
    assert fitted.chances(score[:1], group[:1])[0] == pytest.approx(0.5 * 0.3 + 0.5 * 0.6)
    drawn = fitted.decide(score, group, 7)
    assert drawn.mean() == pytest.approx(0.45, abs=0.02)
    np.testing.assert_array_equal(drawn, fitted.decide(score, group, 7))
    assert (drawn != fitted.decide(score, group, 8)).any()
    assert fitted.rules[0].draws_lots
