"""Upper ends of all conjunctions: those of each by itself at Bonferroni's confidence, with clusters and weights."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kit.records import ColumnRecord
from kit.slicing.ceiling import ceiling, critical_values, rows_that_decide, upper_ends
from kit.slicing.confirm import search
from kit.slicing.differences import Differences
from kit.slicing.family import affordable_depth, family_of
from kit.slicing.table import tabulate
from kit.stats.proportions import PairedCounts
from kit.stats.special import student_t_quantile

RNG = np.random.default_rng(0)


def columns(rows: int, count: int = 3) -> dict[str, ColumnRecord]:
    rng = np.random.default_rng(rows)
    return {f"c{n}": ColumnRecord(("a", "b"), rng.integers(0, 2, rows).astype(np.int64)) for n in range(count)}


def flips(rows: int, share: float = 0.05) -> NDArray[np.float64]:
    return np.random.default_rng(5).choice([-1.0, 0.0, 1.0], rows, p=[share / 2, 1 - share, share / 2])


@pytest.mark.parametrize("kind", ["rows", "clusters", "weights", "both"])
def test_each_upper_end_is_that_of_its_rows_alone(kind: str) -> None:
    rows = 3000
    cluster = np.arange(rows) // 7 if kind in ("clusters", "both") else None
    weights = np.random.default_rng(6).choice([0.5, 2.0], rows) if kind in ("weights", "both") else None
    of = Differences(flips(rows), weights, cluster)
    found = search(columns(rows), of, limit=0.02)
    over_all = ceiling(found.family, of, 2, 0.95)
    assert len(over_all) == len(found.family) == 6 + 12 + 8
    each = 1 - 0.05 / 26
    assert over_all.confidence == pytest.approx(each)
    for place in (0, 5, 17, 25):
        mask = found.family.mask(int(over_all.number[place]))
        alone = of.sample(mask)
        assert over_all.samples.rows[place] == mask.sum()
        assert over_all.samples.mean[place] == pytest.approx(alone.estimate)
        exact = alone.bounds(each)[1]
        assert exact - 1e-9 <= over_all.uppers[place] <= exact + 0.003  # degrees of freedom are rounded down


def test_without_clusters_sums_are_enough() -> None:
    """The quick way and the way of clusters agree where each row is a cluster."""
    values = flips(2000)
    plain, singles = Differences(values), Differences(values, cluster=np.arange(2000))
    family = search(columns(2000), plain, limit=0.0).family
    first, second = (ceiling(family, each, 2, 0.9).uppers for each in (plain, singles))
    assert first == pytest.approx(second, abs=1e-9)


def test_what_is_within_and_from_how_many_rows_on() -> None:
    values = np.zeros(4000)
    values[:40] = 1.0
    given = columns(4000)
    given["small"] = ColumnRecord(("no", "yes"), (np.arange(4000) < 100).astype(np.int64))
    of = Differences(values)
    over_all = ceiling(search(given, of, limit=0.1, minimum_rows=30).family, of, 2, 0.95)
    least = over_all.least_rows(0.1)
    assert least is not None
    large = over_all.samples.rows >= least
    assert over_all.within(0.1)[large].all()
    assert not over_all.within(0.1).all()
    assert over_all.least_rows(1e-9) is None
    assert over_all.least_rows(1.0) == 1


def test_slices_of_too_few_clusters_are_left_out() -> None:
    given = columns(1000)
    cluster = np.where(given["c0"].codes == 0, 0, np.arange(1000) // 5)
    of = Differences(flips(1000), cluster=cluster)
    family = search(given, of, limit=0.0).family
    over_all = ceiling(family, of, 5, 0.95)
    names = [dict(family.where(int(number))) for number in over_all.number]
    assert 0 < len(over_all) < len(family)
    assert all(each.get("c0") != "a" for each in names)


def test_critical_values_are_never_too_small() -> None:
    clusters = np.array([2, 3, 11, 12, 37, 124, 1999, 12345, 10**6], dtype=np.float64)
    for count, value in zip(clusters, critical_values(clusters, 0.999), strict=True):
        exact = student_t_quantile(0.999, float(count - 1))
        assert exact - 1e-4 <= value <= 1.05 * exact


def test_bounded_losses_have_an_upper_end_and_others_none() -> None:
    losses = np.random.default_rng(8).uniform(0, 1, 5000) - 0.5
    bounded, free = Differences(losses, reach=1.0), Differences(losses, reach=None)
    rows, group = np.arange(5000), np.arange(5000) % 2
    ends = upper_ends(bounded.samples(rows, group, 2), 0.999)
    means = [losses[group == each].mean() for each in (0, 1)]
    assert (ends > means).all()
    assert (ends < np.array(means) + 0.1).all()
    assert np.isinf(upper_ends(free.samples(rows, group, 2), 0.999)).all()


def test_rows_that_decide_do() -> None:
    """A slice of so many rows that flips so reaches the limit; of fewer it does not."""
    rows = rows_that_decide(0.01, 0.01, 0.03, 4.0)
    assert rows is not None
    for factor, decides in ((1.02, True), (0.98, False)):
        counts = PairedCounts(0.01 * rows * factor, 0.01 * rows * factor, rows * factor, 1e6)
        assert (counts.score(0.03) <= -4.0) is decides
    assert rows_that_decide(0.05, 0.01, 0.03, 4.0) is None
    assert rows_that_decide(0.0, 0.0, 0.03, 4.0) is not None


def test_too_many_columns_are_searched_less_deep() -> None:
    rng = np.random.default_rng(9)
    wide = {f"c{n}": ColumnRecord(tuple("abcdefgh"), rng.integers(0, 8, 3000)) for n in range(200)}
    table = tabulate(wide, [np.ones(3000)], 5)
    assert affordable_depth(table, 5, 3) == 2
    few = {name: wide[name] for name in list(wide)[:20]}
    assert affordable_depth(tabulate(few, [np.ones(3000)], 5), 5, 3) == 3
    family = family_of({name: wide[name] for name in list(wide)[:60]}, [np.ones(3000)], 2000, 3)
    assert len(family) == 0
