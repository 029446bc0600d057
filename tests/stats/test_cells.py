"""Counts in place of rows: against counting by hand, and bootstraps against resampling the rows themselves."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.stats.cells import cell_counts, class_cell_counts, group_codes, resampled, resampled_clusters


def drawn(rows: int, groups: int, classes: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, groups, rows), *(rng.integers(0, classes, rows) for _ in range(3)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 200), st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
def test_every_row_is_counted_once_in_its_cell(rows: int, groups: int, classes: int, seed: int) -> None:
    group, label, reference, optimized = drawn(rows, groups, classes, seed)
    every = class_cell_counts(group, groups, label, reference, optimized, classes)
    assert every.sum() == rows * classes
    for positive in range(classes):
        counts = cell_counts([group], [groups], label, reference, optimized, positive)
        np.testing.assert_array_equal(every[positive], counts)
        for g, y, r, o in itertools.product(range(groups), (0, 1), (0, 1), (0, 1)):
            of = (group == g) & ((label == positive) == y) & ((reference == positive) == r)
            assert counts[g, y, r, o] == (of & ((optimized == positive) == o)).sum()


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int32, np.int64, np.uint64])
def test_codes_may_be_of_any_integer_type(kind: type[np.integer]) -> None:
    rng = np.random.default_rng(1)
    columns = [rng.integers(0, size, 200_000) for size in (5, 6, 100)]
    decided = [rng.integers(0, 2, 200_000) for _ in range(3)]
    exact = cell_counts(columns, [5, 6, 100], *decided, 1)
    small = cell_counts([each.astype(kind) for each in columns], [5, 6, 100], *(d.astype(kind) for d in decided), 1)
    np.testing.assert_array_equal(exact, small)
    assert exact.shape == (3000, 2, 2, 2)


def test_groups_are_in_the_order_of_their_product() -> None:
    columns = [np.array([0, 1, 2, 2]), np.array([3, 0, 1, 3])]
    np.testing.assert_array_equal(group_codes(columns, [3, 4]), np.ravel_multi_index(columns, (3, 4)))
    assert group_codes(columns, [3, 4]).dtype == np.uint8
    assert group_codes([np.arange(70_000)], [70_000]).dtype == np.uint32
    assert int(group_codes([np.array([255]), np.array([255])], [256, 256])[0]) == 65_535


@pytest.mark.parametrize("method", ["multinomial", "poisson"])
def test_replicates_spread_as_resampled_rows_do(method: str) -> None:
    """Mean and standard deviation of a rate over replicates: those of drawing rows, within Monte Carlo error."""
    group, label, reference, optimized = drawn(400, 1, 2)
    draws = resampled(cell_counts([group], [1], label, reference, optimized, 1), 4000, 0, method)  # type: ignore[arg-type]
    assert draws.shape == (4000, 1, 2, 2, 2)
    rates = draws[:, 0, :, :, 1].sum(axis=(1, 2)) / draws.sum(axis=(1, 2, 3, 4))
    rows = np.random.default_rng(1).integers(0, 400, (4000, 400))
    by_rows = optimized[rows].mean(axis=1)
    assert rates.mean() == pytest.approx(by_rows.mean(), abs=0.002)
    assert rates.std() == pytest.approx(by_rows.std(), rel=0.06)


def test_replicates_keep_the_number_of_rows_and_depend_on_the_seed_alone() -> None:
    counts = np.array([5, 0, 20, 3])
    draws = resampled(counts, 50, 3)
    assert (draws.sum(axis=1) == 28).all()
    assert not draws[:, 1].any(), "what was never seen is never drawn"
    np.testing.assert_array_equal(draws, resampled(counts, 50, 3))
    assert (draws != resampled(counts, 50, 4)).any()


def test_clusters_are_drawn_whole() -> None:
    counts = np.array([[10, 0], [0, 10], [10, 0], [0, 10]])
    draws = resampled_clusters(counts, 3000, 0)
    assert set(np.unique(draws)) <= {0, 10, 20, 30, 40}
    shares = draws[:, 0] / draws.sum(axis=1)
    assert shares.std() == pytest.approx(0.25, rel=0.05), "four clusters, and not forty rows"


def test_no_rows_at_all() -> None:
    nothing = np.array([], dtype=np.int64)
    assert not cell_counts([nothing], [3], nothing, nothing, nothing, 1).any()
    assert not resampled(np.zeros((2, 2, 2)), 5, 0).any()
    assert resampled_clusters(np.zeros((0, 4)), 5, 0).shape == (5, 4)
