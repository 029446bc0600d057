"""What is sent to be confirmed: Benjamini and Hochberg's numbers, and each harm told once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, norm

from kit.records import ColumnRecord
from kit.slicing.confirm import Found, search
from kit.slicing.differences import Differences
from kit.slicing.discovery import benjamini_hochberg, upper_tail
from kit.slicing.halves import first_half


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.5, 1.0]), max_size=60))
def test_adjusted_p_values_are_those_of_scipy(p_values: list[float]) -> None:
    """With ties, zeros and ones; the rank is that of the value, not of where it stands (a popular tool's fault)."""
    ours = benjamini_hochberg(np.array(p_values))
    assert ours == pytest.approx(false_discovery_control(p_values) if p_values else [])


def test_fifty_true_nulls_are_rejected_as_often_as_asked() -> None:
    """With `argsort() + 1` for the rank it would be nine runs in ten."""
    rng = np.random.default_rng(0)
    wrong = np.mean([(benjamini_hochberg(rng.random(50)) <= 0.1).any() for _ in range(1000)])
    assert 0.07 < wrong < 0.13


def test_the_upper_tail_is_the_normal_one() -> None:
    deviates = np.array([-3.0, 0.5, 1.5, 4.0, 9.0])
    assert upper_tail(deviates)[:2].tolist() == [1.0, 1.0]
    assert upper_tail(deviates)[2:] == pytest.approx(norm.sf(deviates[2:]))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 99))
def test_halves_are_of_whole_clusters_and_about_equally_large(rows: int, clusters: int, seed: int) -> None:
    cluster = np.random.default_rng(seed).integers(0, clusters, rows)
    half = first_half(cluster, seed)
    assert not set(cluster[half]) & set(cluster[~half])
    largest = int(np.bincount(cluster).max())
    assert abs(2 * int(half.sum()) - rows) <= 2 * largest
    assert np.array_equal(half, first_half(cluster, seed))


def columns(rows: int, seed: int = 0, count: int = 4) -> dict[str, ColumnRecord]:
    rng = np.random.default_rng(seed)
    names = ("no", "yes", "perhaps")
    return {f"c{n}": ColumnRecord(names, rng.integers(0, 3, rows).astype(np.int64)) for n in range(count)}


def found(of: dict[str, ColumnRecord], hurt: NDArray[np.floating], *, limit: float = 0.03, seed: int = 1) -> Found:
    """A search where each row turns wrong with its own chance, and 1 % each way besides."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(hurt)) < hurt + 0.01
    right = ~wrong & (rng.random(len(hurt)) < 0.01)
    return search(of, Differences(wrong.astype(np.float64) - right), limit=limit, seed=seed)


def told(of: Found) -> set[str]:
    return {each.subject for each in of.confirmed}


def test_a_conjunction_is_told_without_its_parts_and_its_parents() -> None:
    given = columns(40_000)
    inside = (given["c0"].codes == 1) & (given["c2"].codes == 0)
    assert told(found(given, np.where(inside, 0.3, 0.0))) == {"c0=yes & c2=no"}


def test_a_value_that_is_hurt_as_a_whole_is_told_without_its_parts() -> None:
    given = columns(30_000)
    assert told(found(given, np.where(given["c1"].codes == 2, 0.2, 0.0))) == {"c1=perhaps"}


def test_a_part_that_is_hurt_more_and_the_rest_that_is_hurt_too_are_both_told() -> None:
    given = columns(40_000)
    value, part = given["c1"].codes == 2, (given["c1"].codes == 2) & (given["c3"].codes == 1)
    names = told(found(given, np.where(part, 0.6, np.where(value, 0.15, 0.0))))
    assert names == {"c1=perhaps & c3=yes", "c1=perhaps"}


def test_two_harms_are_told_apart() -> None:
    given = columns(40_000)
    first = (given["c0"].codes == 0) & (given["c1"].codes == 0)
    second = (given["c2"].codes == 2) & (given["c3"].codes == 2)
    assert told(found(given, np.where(first | second, 0.3, 0.0))) == {"c0=no & c1=no", "c2=perhaps & c3=perhaps"}


def test_what_improves_is_not_told() -> None:
    given = columns(20_000)
    assert told(found(given, np.zeros(20_000), limit=0.0)) == set()
    better = Differences(-(given["c0"].codes == 1).astype(np.float64))
    assert not search(given, better, limit=0.0).candidates


def test_a_column_said_twice_is_told_once() -> None:
    given = columns(20_000)
    given["copy"] = given["c0"]
    assert len(told(found(given, np.where(given["c0"].codes == 1, 0.3, 0.0)))) == 1


@pytest.mark.parametrize("rows", [0, 1, 2, 59])
def test_few_rows_confirm_nothing_and_break_nothing(rows: int) -> None:
    given = columns(rows)
    of = search(given, Differences(np.ones(rows)), limit=0.0, minimum_rows=30)
    assert all(each.rows <= rows for each in of.candidates)


def test_one_cluster_cannot_confirm_itself() -> None:
    given = columns(2000)
    of = Differences(np.ones(2000), cluster=np.zeros(2000, dtype=np.int64))
    assert search(given, of, limit=0.0).candidates == ()


def test_weights_count() -> None:
    """Rows that are hurt stand for many more: what they lose is of the population."""
    given = columns(20_000)
    hurt = given["c0"].codes == 1
    values = (hurt & (np.random.default_rng(3).random(20_000) < 0.04)).astype(np.float64)
    light = search(given, Differences(values, np.where(values > 0, 0.2, 1.0)), limit=0.03)
    heavy = search(given, Differences(values, np.where(values > 0, 5.0, 1.0)), limit=0.03)
    assert told(light) == set()
    assert told(heavy) == {"c0=yes"}
    assert heavy.confirmed[0].counts.estimate == pytest.approx(5 * 0.04 / (1 + 4 * 0.04), abs=0.03)


def test_losses_that_are_no_counts_are_searched() -> None:
    given = columns(20_000)
    rng = np.random.default_rng(4)
    losses = rng.normal(0, 0.3, 20_000) + np.where(given["c1"].codes == 0, 0.2, 0.0)
    of = search(given, Differences(losses, reach=None), limit=0.1)
    assert told(of) == {"c1=no"}
    lower, upper = of.confirmed[0].counts.bounds(of.confirmed[0].bound_confidence)
    assert 0.1 < lower < of.confirmed[0].counts.estimate < upper < 0.3
