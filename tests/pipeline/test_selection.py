"""Rows to select on and rows to confirm on: whole clusters, alike halves, the same under a seed, never in both."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import UsageError
from kit.pipeline.selection import LEAST_CLUSTERS, halved, rows_of, some_rows, strata_of
from kit.spec import load_dataset, load_profile
from tests import builders
from tests.digits_case import WITH_SELECTION, write_case


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(60, 2000), clusters=st.integers(LEAST_CLUSTERS, 56))
def test_halves_are_whole_clusters_and_about_as_large(seed: int, rows: int, clusters: int) -> None:
    data = builders.dataset(rows=rows, clusters=min(clusters, rows), seed=seed % 100)
    first = halved(data, seed)
    for cluster in np.unique(data.cluster):
        assert len(np.unique(first[data.cluster == cluster])) == 1
    largest = np.bincount(data.cluster).max()
    assert 0 < first.sum() < rows
    assert abs(2 * int(first.sum()) - rows) <= 2 * largest


def test_classes_and_slices_are_even_in_both_halves() -> None:
    data = builders.dataset()
    first = halved(data, 0)
    for name in ("exercise", "side", "subject"):
        codes = data.columns[name].codes
        one, other = (np.bincount(codes[half], minlength=4) for half in (first, ~first))
        assert (np.abs(one - other) <= 0.2 * (one + other)).all(), name


def test_a_seed_gives_the_same_halves_and_another_gives_others() -> None:
    data = builders.dataset()
    np.testing.assert_array_equal(halved(data, 3), halved(data, 3))
    assert (halved(data, 3) != halved(data, 4)).any()


def test_independent_rows_are_halved_too() -> None:
    data = builders.dataset(clustered=False)
    first = halved(data, 0)
    assert abs(int(first.sum()) - data.rows // 2) <= 1
    by_class = np.bincount(data.labels[first], minlength=7) - np.bincount(data.labels[~first], minlength=7)
    assert np.abs(by_class).max() <= 2


@pytest.mark.parametrize("clusters", [1, 2, 3])
def test_too_few_clusters_are_refused(clusters: int) -> None:
    with pytest.raises(UsageError, match=f"{clusters} clusters, too few") as caught:
        halved(builders.dataset(rows=300, clusters=clusters), 0)
    assert "selection" in caught.value.next_step


def test_without_a_selection_part_the_test_part_is_halved_and_that_is_said(tmp_path: Path) -> None:
    dataset = load_dataset(write_case(tmp_path).data)
    rows = rows_of(dataset, 0)
    one, other = rows.selection, rows.confirmation
    assert one.record.rows + other.record.rows == dataset.test.record.rows == 1097
    assert not set(one.record.cluster.tolist()) & set(other.record.cluster.tolist())
    assert rows.share == one.record.rows / 1097
    assert len({one.record.data_digest, other.record.data_digest, dataset.test.record.data_digest}) == 3
    assert rows.said.startswith("selected on one half of the test part (")
    assert "pages" in rows.said


def test_a_selection_part_selects_and_the_whole_test_part_confirms(tmp_path: Path) -> None:
    dataset = load_dataset(write_case(tmp_path, parts=WITH_SELECTION).data)
    rows = rows_of(dataset, 0)
    assert rows.selection is dataset.selection
    assert rows.confirmation is dataset.test
    assert rows.share == 400 / 697
    assert rows.said == (
        "selected on the selection part (400 rows of 40 pages), confirmed on the test part (697 rows of 70 pages)"
    )


def test_some_rows_of_a_part_keep_their_order_and_everything_about_them(tmp_path: Path) -> None:
    test = load_dataset(write_case(tmp_path).data).test
    chosen = np.array([7, 3, 900])
    part = some_rows(test, chosen)
    np.testing.assert_array_equal(part.inputs, test.inputs[chosen])
    assert part.record.rows == 3
    for name in ("labels", "cluster"):
        np.testing.assert_array_equal(getattr(part.record, name), getattr(test.record, name)[chosen])
    np.testing.assert_array_equal(part.record.columns["digit"].codes, test.record.columns["digit"].codes[chosen])


def test_rows_of_the_same_named_slices_are_of_one_stratum(tmp_path: Path) -> None:
    case = write_case(tmp_path)
    data, profile = load_dataset(case.data).test.record, load_profile(str(case.profile))
    strata = strata_of(data, profile)
    pairs = np.stack([data.columns["digit"].codes, data.columns["part"].codes], axis=1)
    assert len(np.unique(strata)) == len(np.unique(pairs, axis=0)) == 20
    for stratum in np.unique(strata):
        assert len(np.unique(pairs[strata == stratum], axis=0)) == 1
