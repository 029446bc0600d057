"""Design effects: exact cases, independence, invariance, and never below what few clusters can show."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.stats.clusters import ClusterSums, Units, cluster_sums, design_effect, effect_of, moments


def effect(values: np.ndarray, cluster: np.ndarray, floor: float = 0.05) -> float:
    return float(design_effect(cluster_sums(values.astype(float), cluster, 0.0), floor))


def test_rows_that_are_their_own_cluster_count_fully() -> None:
    rng = np.random.default_rng(0)
    assert effect(rng.integers(-1, 2, 500), np.arange(500)) == 1.0


def test_identical_rows_of_a_cluster_count_once() -> None:
    rng = np.random.default_rng(1)
    values = np.repeat(rng.integers(0, 2, 200), 10)
    assert effect(values, np.repeat(np.arange(200), 10)) == pytest.approx(10.0, rel=0.15)


def test_no_change_anywhere_is_not_taken_for_independence() -> None:
    cluster = np.repeat(np.arange(10), 20)
    assert effect(np.zeros(200), cluster, 0.05) == pytest.approx(1 + 19 * 0.1)


def test_independent_rows_cost_little_more_than_the_floor() -> None:
    rng = np.random.default_rng(2)
    cluster = np.repeat(np.arange(100), 10)
    found = [effect(rng.random(1000) < 0.05, cluster) for _ in range(100)]
    assert 1.45 <= np.mean(found) <= 1.9
    assert min(found) >= 1 + 9 * 0.05


def test_mean_size_weights_rows() -> None:
    sums = cluster_sums(np.zeros(13), np.repeat([0, 1], [12, 1]), 0.0)
    assert sums.mean_size == pytest.approx((144 + 1) / 13)


@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.integers(2, 30))
def test_names_and_order_of_clusters_do_not_matter(seed: int, clusters: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), rows)
    values = rng.integers(-1, 2, len(cluster))
    order = rng.permutation(len(cluster))
    names = rng.permutation(10_000)[:clusters]
    assert effect(values[order], names[cluster[order]]) == pytest.approx(effect(values, cluster))


@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.5), st.floats(0.0, 0.5))
def test_a_larger_floor_never_narrows(seed: int, one: float, two: float) -> None:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(12), 15)
    values = rng.random(180) < 0.1
    assert effect(values, cluster, min(one, two)) <= effect(values, cluster, max(one, two)) + 1e-12


def test_many_samples_at_once_equal_one_at_a_time() -> None:
    rng = np.random.default_rng(3)
    sizes = np.array([5.0, 9.0, 20.0])
    sums = rng.integers(0, 5, (4, 3)).astype(float)
    together = design_effect(ClusterSums(sizes, sums, sums, sums > 0), 0.05)
    alone = [float(design_effect(ClusterSums(sizes, row, row, row > 0), 0.05)) for row in sums]
    assert together.tolist() == pytest.approx(alone)


def test_an_effect_is_at_least_one_and_at_most_the_rows() -> None:
    cluster = np.repeat(np.arange(6), 50)
    values = np.repeat([1, 0, 0, 0, 0, 0], 50)
    assert 1.0 <= effect(values, cluster) <= 6 / 5 * 50 + 1


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e-100, 1e100, 1e160, 1e300])
@pytest.mark.parametrize("is_clustered", [False, True])
def test_the_unit_of_weights_does_not_matter(scale: float, is_clustered: bool) -> None:
    rng = np.random.default_rng(3)
    weight, value = np.exp(rng.normal(size=600)), (rng.random(600) < 0.1).astype(np.float64)
    cluster, group = rng.integers(0, 40, 600) if is_clustered else None, rng.integers(0, 3, 600)

    def found(weights: np.ndarray) -> np.ndarray:
        return effect_of(moments(Units(np.ones(600), value, weights, cluster), group, 3), 0.05)

    assert (found(weight) > 1.5).all()
    np.testing.assert_allclose(found(weight * scale), found(weight), rtol=1e-9)


def test_no_units_in_no_groups_have_no_moments() -> None:
    none = np.zeros(0, np.float64)
    assert moments(Units(none, none, none, None), none.astype(np.int64), 0).mean.shape == (0,)
