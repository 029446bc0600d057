"""Clusters of what a model computes: as good as scikit-learn's, named by what they have, and blind to labels."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler

from kit.slicing.clusters import cluster_columns, k_means, principal_components

CLASSES = ("rest", "walk", "run")


def blobs(rows: int, count: int, dimensions: int = 6, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    centres = 8 * rng.normal(size=(count, dimensions))
    which = rng.integers(0, count, rows)
    return centres[which] + rng.normal(size=(rows, dimensions)), which


@pytest.mark.parametrize("count", [2, 5, 10])
def test_the_sum_of_squares_is_that_of_scikit_learn(count: int) -> None:
    points, which = blobs(1500, count)
    found = k_means(points, count)
    peer = KMeans(count, n_init=4, random_state=0).fit(points)
    assert found.inertia <= 1.02 * peer.inertia_
    assert adjusted_rand_score(found.codes, peer.labels_) > 0.95
    assert adjusted_rand_score(found.codes, which) > 0.95


def test_clusters_are_numbered_by_size_and_each_has_a_nearest_row() -> None:
    points, _ = blobs(900, 6, seed=3)
    found = k_means(points, 6)
    sizes = np.bincount(found.codes)
    assert (np.diff(sizes) <= 0).all()
    for code, row in enumerate(found.nearest):
        inside = points[found.codes == code]
        assert found.codes[row] == code
        distances = ((inside - inside.mean(axis=0)) ** 2).sum(axis=1)
        assert ((points[row] - inside.mean(axis=0)) ** 2).sum() == pytest.approx(distances.min())


def test_more_rows_than_are_fitted_are_all_given_to_the_nearest_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.slicing.clusters.MOST_FITTED", 200)
    points, which = blobs(3000, 4)
    assert adjusted_rand_score(k_means(points, 4).codes, which) > 0.95


def test_components_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 12)) * 100 + 5
    ours = principal_components(rows)
    peer = PCA().fit_transform(StandardScaler().fit_transform(rows))
    assert ours.shape == (400, 3)  # the other nine have no variance
    assert np.abs(ours) == pytest.approx(np.abs(peer[:, :3]), abs=1e-8)


def test_the_unit_of_a_dimension_does_not_matter() -> None:
    points, _ = blobs(300, 3)
    scaled = points * np.array([1e-6, 1, 1e6, 3, 1, 1])
    first, second = (cluster_columns(each, np.zeros(0, dtype=np.int64), ()) for each in (points, scaled))
    assert adjusted_rand_score(first["cluster of 5"].codes, second["cluster of 5"].codes) > 0.99


def test_columns_are_named_by_what_is_in_them() -> None:
    points, which = blobs(700, 3)
    columns = cluster_columns(points, which.astype(np.int64), CLASSES)
    assert list(columns) == ["cluster of 5", "cluster of 10", "cluster of 20"]
    record = columns["cluster of 5"]
    rows = int((record.codes == 0).sum())
    number, named_rows, nearest, share = (part.strip() for part in record.values[0].replace(":", ",").split(","))
    assert (number, named_rows) == ("1", f"{rows} rows")
    row = int(nearest.removeprefix("nearest row "))
    assert record.codes[row] == 0
    assert share == f"all {CLASSES[which[row]]}"


def test_the_same_seed_gives_the_same_clusters() -> None:
    points, which = blobs(400, 7)
    given = points, which.astype(np.int64), tuple("abcdefg")
    first, second, other = (cluster_columns(*given, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[name].codes, second[name].codes) for name in first)
    assert {name: record.values for name, record in first.items()} == {n: r.values for n, r in second.items()}
    assert set(other) == set(first)


@pytest.mark.parametrize(
    "embedding",
    [np.zeros((0, 4)), np.ones((500, 4)), np.ones((1, 3)), np.full((400, 2), np.nan), np.zeros((500, 0))],
    ids=["no rows", "all alike", "one row", "nothing finite", "no dimensions"],
)
def test_what_cannot_be_told_apart_has_no_clusters(embedding: NDArray[np.float64]) -> None:
    assert cluster_columns(embedding, np.zeros(0, dtype=np.int64), ()) == {}


def test_rows_that_are_not_finite_are_together() -> None:
    points, _ = blobs(300, 3)
    points[7, 2], points[11, 0] = np.inf, np.nan
    record = cluster_columns(points, np.zeros(0, dtype=np.int64), ())["cluster of 5"]
    assert record.values[-1] == "not finite"
    assert np.flatnonzero(record.codes == len(record.values) - 1).tolist() == [7, 11]


def test_two_distinct_points_are_two_clusters_however_many_are_asked_for() -> None:
    points = np.repeat([[0.0, 1.0], [3.0, 4.0]], [100, 300], axis=0)
    found = k_means(points, 5)
    assert np.bincount(found.codes).tolist() == [300, 100]
    assert found.inertia == pytest.approx(0, abs=1e-9)
