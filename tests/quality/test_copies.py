"""Copies, exact and near, within the test part and from other parts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.quality.copies import copied_across, copied_from, copy_codes, joined_clusters
from kit.quality.duplicates import duplicates
from kit.quality.leaked import leaked
from kit.quality.near import near_copies
from tests.quality.parts import named, part, share


def rng_of(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30))
def test_joined_clusters_are_the_connected_ones(rows):
    """Against a search of the graph: rows of equal inputs or of one cluster hang together."""
    inputs = np.array([[value] for value, _ in rows], np.int64)
    cluster = np.array([name for _, name in rows], np.int64)
    joined = joined_clusters(inputs, cluster)
    for row in range(len(rows)):
        seen, todo = set(), [row]
        while todo:
            at = todo.pop()
            if at not in seen:
                seen.add(at)
                todo += [i for i in range(len(rows)) if rows[i][0] == rows[at][0] or rows[i][1] == rows[at][1]]
        assert set(np.flatnonzero(joined == joined[row])) == seen
        assert joined[row] == min(cluster[list(seen)])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 4))
def test_copies_are_the_equal_rows(values, clusters):
    inputs = np.array(values, np.float32)[:, None]
    cluster = np.arange(len(values)) % clusters
    codes, across = copy_codes(inputs), copied_across(inputs, cluster)
    for row, value in enumerate(values):
        same = np.array(values) == value
        assert ((codes == codes[row]) == same).all()
        assert across[row] == bool((same & (cluster != cluster[row])).any())


def test_copies_in_other_parts():
    one, two = rng_of().normal(size=(20, 3)), rng_of(1).normal(size=(30, 3))
    one[4] = two[7]
    assert np.flatnonzero(copied_from(one, two)).tolist() == [4]
    assert not copied_from(one, two.astype(np.float32)).any()


class TestNear:
    @pytest.mark.parametrize("shape", [(6,), (40, 3), (8, 8, 3)], ids=["table", "recording", "image"])
    def test_noisy_copies_are_found(self, shape):
        rng = rng_of()
        inputs = rng.normal(size=(2000, *shape)).astype(np.float32)
        typical = np.sqrt(2 * np.prod(shape))
        inputs[:100] = inputs[1000:1100] + rng.normal(size=(100, *shape)) * (0.004 * typical / np.sqrt(np.prod(shape)))
        found = named(duplicates(part("test", inputs), rng), "near copies")
        assert found.share is not None
        assert 0.095 <= found.share <= 0.102

    def test_what_lies_close_by_itself_is_no_copy(self):
        """In few dimensions rows lie close to each other: the distance is lowered until chance explains few."""
        for width in (1, 2, 3):
            for seed in range(2):
                inputs = rng_of(seed).normal(size=(3000, width))
                near = near_copies(inputs, np.arange(width), np.arange(3000), rng_of(seed))
                assert near.why_not or near.found.mean() <= 0.01, (width, seed)

    def test_it_counts_within_what_chance_says(self):
        """6 sets without copies: the share found stays about the chance stated."""
        shares = [
            near_copies(rng_of(s).normal(size=(2000, 5)), np.arange(5), np.arange(2000), rng_of(s)) for s in range(6)
        ]
        assert np.mean([near.found.mean() for near in shares]) <= 2 * shares[0].chance

    def test_copies_within_a_cluster_are_none(self):
        rng = rng_of()
        inputs = np.repeat(rng.normal(size=(300, 10)), 3, axis=0)
        checks = duplicates(part("test", inputs, cluster=np.repeat(np.arange(300), 3)), rng)
        assert share(checks, "exact copies") == 0.0
        assert "600 rows repeat an earlier one" in named(checks, "exact copies").sentence
        assert share(checks, "near copies") == 0.0

    @pytest.mark.parametrize(
        "inputs", [np.ones((50, 3)), np.zeros((1, 4)), np.full((30, 2), np.nan)], ids=["constant", "one_row", "nan"]
    )
    def test_where_nothing_can_be_near_it_is_said(self, inputs):
        found = named(duplicates(part("test", inputs), rng_of()), "near copies")
        assert found.share is None
        assert found.sentence.startswith("Not looked at: ")

    def test_one_seed_sees_the_same(self):
        inputs = rng_of().normal(size=(500, 4))
        runs = [duplicates(part("test", inputs), rng_of(3)) for _ in range(2)]
        assert runs[0] == runs[1]


class TestLeaked:
    def test_exact_and_near_are_told_apart(self):
        rng = rng_of()
        train, test = rng.normal(size=(1000, 20)), rng.normal(size=(500, 20))
        test[:10], test[10:30] = train[:10], train[10:30] + 1e-3
        checks = leaked(part("test", test), (part("train", train),), rng)
        assert named(checks, "exact copies in train").share == 10 / 500
        assert named(checks, "near copies in train").share == 20 / 500

    def test_a_person_who_is_in_both_parts(self):
        rng = rng_of()
        people = [[f"p{i // 10}" for i in range(100)], [f"p{8 + i // 10}" for i in range(100)]]
        parts = [
            part(role, rng.normal(size=(100, 3)), cluster=np.arange(100) // 10, columns={"recording": names})
            for role, names in zip(("test", "train"), people, strict=True)
        ]
        found = named(leaked(parts[0], (parts[1],), rng), "clusters in train")
        assert found.share == 0.2
        assert found.examples[0] == 80

    def test_without_another_part_nothing_is_known(self):
        (found,) = leaked(part("test", rng_of().normal(size=(50, 3))), (), rng_of())
        assert found.share is None
