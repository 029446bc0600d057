"""Declared slices: which rows each has, by brute force; crossings, bins, expressions, scenarios; what is refused."""

from dataclasses import replace
from itertools import combinations, pairwise, product

import numpy as np
import pytest

from kit.errors import SpecError
from kit.records import ColumnRecord, DatasetRecord
from kit.slicing import declared as module
from kit.slicing.declared import declared, named_rows, sliced
from kit.spec.types import SliceSpec
from tests.builders import dataset, requirement

COLUMNS = ("exercise", "side", "subject")


def with_numbers(rows: int = 2008) -> DatasetRecord:
    rng = np.random.default_rng(3)
    return replace(dataset(rows), numbers={"age": rng.integers(20, 80, rows).astype(np.float64)})


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_crossings_are_those_of_brute_force(depth: int) -> None:
    data = dataset()
    expected = {}
    for size in range(1, depth + 1):
        for names in combinations(COLUMNS, size):
            for codes in product(*(range(len(data.columns[name].values)) for name in names)):
                pairs = list(zip(names, codes, strict=True))
                mask = np.logical_and.reduce([data.columns[name].codes == code for name, code in pairs])
                if size == 1 or mask.any():
                    expected[" & ".join(f"{name}={data.columns[name].values[code]}" for name, code in pairs)] = mask
    found = sliced(data, COLUMNS, depth)
    masks = dict(found.masks())
    assert set(masks) == set(expected)
    assert len(found) == len(expected) == len(masks)
    for subject, mask in masks.items():
        assert np.array_equal(mask, expected[subject]), subject
        same = found.rows_of(subject)
        assert same is not None
        assert np.array_equal(same, mask)
    assert found.rows_of("side=both") is None


def test_no_two_slices_of_a_partition_share_a_row() -> None:
    for partition in sliced(with_numbers(), (*COLUMNS, "age"), 3, {"age": 5}).partitions:
        assert partition.codes.min() >= -1
        assert partition.codes.max() == len(partition.subjects) - 1
        assert len(set(partition.subjects)) == len(partition.subjects)


def test_a_value_without_rows_is_a_slice_and_its_crossings_are_none() -> None:
    data = dataset()
    side = replace(data.columns["side"], values=("left", "right", "both"))
    found = dict(sliced(replace(data, columns={**data.columns, "side": side}), ("side", "subject"), 2).masks())
    assert not found["side=both"].any()
    assert not any("side=both &" in subject for subject in found)


def test_numbers_are_cut_into_bins_of_about_equally_many_rows_with_ties_together() -> None:
    data = with_numbers()
    (partition,) = sliced(data, ("age",), 1, {"age": 4}).partitions
    assert len(partition.subjects) == 4
    ages = data.numbers["age"]
    masks = [mask for _, mask in sliced(data, ("age",), 1, {"age": 4}).masks()]
    for low, high in pairwise(masks):
        assert ages[low].max() < ages[high].min()
    assert all(0.2 < mask.mean() < 0.3 for mask in masks)


def test_numbers_as_texts_and_missing_ones_are_binned() -> None:
    data = dataset(rows=60, clusters=6)
    texts = ("1", "2", "3", "")
    data = replace(data, columns={"dose": ColumnRecord(texts, np.arange(60) % 4)})
    found = dict(sliced(data, ("dose",), 1, {"dose": 3}).masks())
    assert sum(mask.sum() for mask in found.values()) == 60
    assert found["dose=missing"].sum() == 15


def test_named_slices_follow_the_columns() -> None:
    data = with_numbers()
    specs = (SliceSpec("old", "age >= 60"), SliceSpec("left rowers", 'side == "left" and exercise == "row"'),
             SliceSpec("falls", rows=(3, 7, 2007)))  # fmt: skip
    asked = requirement("accuracy.drop", 0.1, by=("side",), slices=("falls", "old"))
    found = dict(declared(asked, data, specs).masks())
    assert list(found) == ["side=left", "side=right", "falls", "old"]
    assert np.flatnonzero(found["falls"]).tolist() == [3, 7, 2007]
    assert np.array_equal(found["old"], data.numbers["age"] >= 60)


def test_a_slice_named_as_a_column_is_a_slice_of_its_own() -> None:
    found = dict(declared(requirement("accuracy.drop", 0.1, by=("side",), slices=("side",)), dataset(),
                          (SliceSpec("side", rows=(0,)),)).masks())  # fmt: skip
    assert [int(mask.sum()) for subject, mask in found.items() if subject == "side"] == [1]
    assert len(found) == 3


@pytest.mark.parametrize(
    ("columns", "bins", "what", "step"),
    [
        (("sid",), {}, 'the dataset has no column "sid"', 'did you mean "side"?'),
        (("age",), {}, "age has numbers, of which each would be a slice", "[bins] age = 4"),
        (("side",), {"side": 4}, "side has texts, which cannot be cut into bins", "remove side from [bins]"),
    ],
)
def test_columns_that_cannot_be_sliced_are_refused(
    columns: tuple[str, ...], bins: dict[str, int], what: str, step: str
) -> None:
    with pytest.raises(SpecError) as caught:
        sliced(with_numbers(), columns, 1, bins)
    assert (caught.value.what, step in caught.value.next_step) == (what, True)


def test_a_scenario_of_rows_that_are_not_there_is_refused() -> None:
    assert named_rows(dataset(), SliceSpec("last", rows=(2007,))).sum() == 1
    with pytest.raises(SpecError, match=r"there is no row 2008: the test part has 2,008, numbered from 0"):
        named_rows(dataset(), SliceSpec("beyond", rows=(1, 2008)))


def test_too_many_slices_are_refused_before_they_are_made() -> None:
    rng = np.random.default_rng(0)
    columns = {
        name: ColumnRecord(tuple(map(str, range(300))), rng.integers(0, 300, 60_000).astype(np.int64)) for name in "abc"
    }
    data = replace(dataset(60_000), columns=columns)
    assert len(sliced(data, ("a", "b", "c"))) == 900
    with pytest.raises(SpecError, match="more than 10,000 slices") as caught:
        sliced(data, ("a", "b", "c"), 2)
    assert "cross fewer" in caught.value.next_step


def test_no_rows_have_no_crossings() -> None:
    plain = dataset(rows=60, clusters=6)
    empty = replace(plain, rows=0, columns={n: replace(c, codes=c.codes[:0]) for n, c in plain.columns.items()})
    found = sliced(empty, COLUMNS, 2)
    assert len(found) == 13
    assert not any(mask.any() for _, mask in found.masks())


def test_the_bound_is_what_it_says() -> None:
    assert module.MOST_SLICES == 10_000


def test_a_slice_may_not_be_named_as_a_value_is() -> None:
    """Two slices of one name would be judged as one."""
    data = dataset(60)
    name = next(iter(sliced(data, (COLUMNS[0],)).masks()))[0]
    with pytest.raises(SpecError, match="has the name of a value") as caught:
        sliced(data, (COLUMNS[0],), named={name: np.ones(60, dtype=np.bool_)})
    assert "another name" in caught.value.next_step
