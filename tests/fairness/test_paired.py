"""Gaps and their changes on the same rows: estimates are Fairlearn's, and bounds hold as often as they say."""

from dataclasses import replace

import numpy as np
import pytest
from fairlearn import metrics

from kit.fairness.halves import fitting_half
from kit.fairness.jackknife import jackknife
from kit.fairness.paired import CRITERIA, Rows, change_of_share, gap, gap_change, share
from tests.fairness.datasets import DATASETS

FAIRLEARN = {
    "demographic-parity": metrics.demographic_parity_difference,
    "equalized-odds": metrics.equalized_odds_difference,
    "equal-opportunity": metrics.equal_opportunity_difference,
}


def rows_of(labels: np.ndarray, group: np.ndarray, cluster: np.ndarray | None = None, icc_floor: float = 0.0) -> Rows:
    cluster = np.arange(len(labels)) if cluster is None else cluster
    return Rows(labels, cluster, group.astype(np.int64), int(group.max()) + 1, 1, icc_floor)


@pytest.mark.parametrize("criterion", FAIRLEARN)
@pytest.mark.parametrize(
    ("name", "column"), [("compas", "race"), ("adult", "sex"), ("german", "sex"), ("adult", "race")]
)
def test_estimates_are_fairlearn_s(name: str, column: str, criterion: str) -> None:
    data = DATASETS[name][0]()
    (codes,), _, _ = data.codes(column)
    rows = rows_of(data.label, codes)
    before, after = (FAIRLEARN[criterion](data.label, each, sensitive_features=codes)
                     for each in (data.reference, data.optimized))  # fmt: skip
    found = gap(rows, criterion, data.optimized, 0.95)
    change = gap_change(rows, criterion, data.reference, data.optimized, 0.95)
    assert found is not None
    assert change is not None
    assert found.estimate == pytest.approx(after)
    assert change.estimate == pytest.approx(after - before)
    assert found.lower <= found.estimate <= found.upper
    assert change.lower <= change.estimate <= change.upper


@pytest.mark.parametrize("criterion", FAIRLEARN)
def test_weights_are_fairlearn_s(criterion: str) -> None:
    data = DATASETS["compas"][0]()
    (codes,), _, _ = data.codes("race")
    weights = np.random.default_rng(5).uniform(0.2, 4.0, len(data.label))
    rows = replace(rows_of(data.label, codes), weights=weights)
    before, after = (
        FAIRLEARN[criterion](data.label, each, sensitive_features=codes, sample_weight=weights)
        for each in (data.reference, data.optimized)
    )
    found = gap(rows, criterion, data.optimized, 0.95)
    change = gap_change(rows, criterion, data.reference, data.optimized, 0.95)
    assert found is not None
    assert change is not None
    assert found.estimate == pytest.approx(after, abs=1e-12)
    assert change.estimate == pytest.approx(after - before, abs=1e-12)
    plain = gap(replace(rows, weights=None), criterion, data.optimized, 0.95)
    assert plain is not None
    assert plain.estimate != pytest.approx(after, abs=1e-4)
    assert found.upper - found.lower > plain.upper - plain.lower  # unequal weights are worth fewer rows


def test_a_share_by_weight() -> None:
    rows = replace(rows_of(np.ones(4, np.int64), np.zeros(4, np.int64)), weights=np.array([1.0, 2.0, 3.0, 4.0]))
    right = np.array([True, False, False, True])
    assert share(rows, right, 0.95).estimate == pytest.approx(0.5)
    assert change_of_share(rows, right, ~right, 0.95).estimate == pytest.approx(0.0)
    assert change_of_share(rows.taken(right), right[right], ~right[right], 0.95).estimate == pytest.approx(-1.0)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_group_without_rows_of_a_rate_has_no_gap(criterion: str) -> None:
    labels, group = np.array([1, 1, 1, 1]), np.array([0, 0, 1, 1])
    rows = rows_of(labels, group)
    wanted_others = any(which == "others" for which, _ in CRITERIA[criterion])
    assert (gap(rows, criterion, labels, 0.95) is None) is wanted_others
    assert (gap_change(rows, criterion, labels, labels, 0.95) is None) is wanted_others


def test_no_flips_bound_the_change_by_what_could_have_been() -> None:
    labels = np.tile([0, 1], 200)
    found = gap_change(rows_of(labels, np.repeat([0, 1], 200)), "accuracy", labels, labels, 0.95)
    assert found is not None
    assert found.estimate == 0.0
    assert -0.1 < found.lower < 0.0 < found.upper < 0.1


def test_a_change_of_share_has_the_sign_of_what_is_gained() -> None:
    rows = rows_of(np.ones(100, np.int64), np.zeros(100, np.int64))
    before, after = np.arange(100) < 50, np.arange(100) < 70
    found = change_of_share(rows, before, after, 0.95)
    assert found.estimate == pytest.approx(0.2)
    assert 0.1 < found.lower < 0.2 < found.upper < 0.3


@pytest.mark.parametrize(("sizes", "expected"), [([5] * 20, 50), ([90, 5, 5], None), ([1], 0), ([3, 3], 3)])
def test_halves_are_of_whole_clusters(sizes: list[int], expected: int | None) -> None:
    cluster = np.repeat(np.arange(len(sizes)) * 7, sizes)
    half = fitting_half(cluster, 3)
    for each in np.unique(cluster):
        assert len(set(half[cluster == each].tolist())) == 1
    if len(sizes) > 1:
        assert 0 < half.sum() < len(cluster)
    if expected is not None:
        assert half.sum() == expected
    np.testing.assert_array_equal(half, fitting_half(cluster, 3))


def test_halves_of_many_rows_differ_by_seed_and_have_half() -> None:
    cluster = np.arange(10_001)
    one, other = fitting_half(cluster, 0), fitting_half(cluster, 1)
    assert abs(int(one.sum()) - 5000) <= 1
    assert 0.4 < (one != other).mean() < 0.6


@pytest.mark.parametrize("per_cluster", [1, 8])
def test_the_jackknife_of_a_mean_covers(per_cluster: int) -> None:
    random, wrong = np.random.default_rng(0), np.zeros(2)
    for _ in range(200):
        values = np.repeat(random.normal(0, 1, 400 // per_cluster), per_cluster) + random.normal(0, 0.5, 400)
        parts = np.stack([values, np.ones(400)], axis=1)
        cluster = np.arange(400) // per_cluster
        found = jackknife(parts, cluster, lambda sums: float(sums[0] / sums[1]), 0.95, 0)
        wrong += [found.lower > 0, found.upper < 0]
    assert wrong.max() <= 22  # of 200 at 5 %; more in 1 of 1,000 such tests
    assert wrong.min() >= 1


def test_the_jackknife_of_one_cluster_knows_nothing() -> None:
    found = jackknife(np.ones((5, 2)), np.zeros(5, np.int64), lambda sums: float(sums[0]), 0.95, 0)
    assert (found.estimate, found.lower, found.upper) == (5.0, -np.inf, np.inf)
