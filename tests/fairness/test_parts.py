"""Figures of groups from rows: against counting by hand, against whole-dataset judging, with clusters and weights."""

import numpy as np
import pytest

from kit.fairness.bounds import ends
from kit.fairness.groups import Groups, grouped, groupings, separate
from kit.fairness.parts import PAIRED, Answers, GroupFigures, by_group, calibration_part, rate_part
from kit.fairness.rates import RATES, after, before
from kit.judge.rows import Outcomes
from kit.records import ColumnRecord
from kit.stats.cells import cell_counts


def answers(rows: int = 900, cluster: bool = False, weights: bool = False, seed: int = 0) -> Answers:
    rng = np.random.default_rng(seed)
    label, reference = rng.integers(0, 2, rows), rng.integers(0, 2, rows)
    optimized = np.where(rng.random(rows) < 0.9, reference, 1 - reference)
    return Answers(
        label, reference, optimized, np.arange(rows) // 9 if cluster else None,
        rng.choice([1.0, 5.0], rows) if weights else None, 0.05,
    )  # fmt: skip


def thirds(of: Answers) -> Groups:
    return Groups(("g",), ("g=a", "g=b", "g=c"), np.arange(len(of.label)) * 3 // len(of.label), 0)


def known(found: GroupFigures | None) -> GroupFigures:
    assert found is not None
    return found


@pytest.mark.parametrize("rate", [*PAIRED, "precision"])
@pytest.mark.parametrize("cluster", [False, True], ids=["rows", "clusters"])
def test_estimates_are_the_rates_of_the_counts(rate: str, cluster: bool) -> None:
    of = answers(cluster=cluster)
    groups = thirds(of)
    part = rate_part(of, groups, rate, 1, "yes")
    cells = cell_counts([groups.codes], [3], of.label, of.reference, of.optimized, 1)
    was, now = RATES[rate](before(cells)), RATES[rate](after(cells))
    figures = [known(found) for found in part.groups]
    assert [each.before.estimate for each in figures] == pytest.approx(was.tolist())
    assert [each.after.estimate for each in figures] == pytest.approx(now.tolist())
    assert [each.change.estimate for each in figures] == pytest.approx((now - was).tolist())


@pytest.mark.parametrize("cluster", [False, True], ids=["rows", "clusters"])
def test_accuracy_of_a_group_is_bounded_as_that_of_a_slice(cluster: bool) -> None:
    """The change after less before is the drop that slices are judged by, with its sign turned."""
    of = answers(cluster=cluster)
    groups = thirds(of)
    part = rate_part(of, groups, "accuracy", 1)
    places = np.arange(len(of.label)) if of.cluster is None else of.cluster
    rows = Outcomes(places, of.reference == of.label, of.optimized == of.label, of.reference != of.optimized, 0.05)
    for code, found in enumerate(part.groups):
        mask = groups.codes == code
        low, high = rows.drop(mask).counts.bounds(0.95)
        assert known(found).change.bounds(0.95) == pytest.approx((-high, -low), abs=1e-9)
        assert known(found).after.bounds(0.95) == pytest.approx(
            rows.accuracy(rows.optimized_right, mask).counts.bounds(0.95), abs=1e-9
        )
        assert known(found).clusters == len(np.unique(places[mask]))


@pytest.mark.parametrize("rate", ["selection-rate", "true-positive-rate", "precision"])
def test_equal_weights_change_nothing_and_unequal_ones_cost_rows(rate: str) -> None:
    plain = answers()
    groups = thirds(plain)
    alike = Answers(plain.label, plain.reference, plain.optimized, None, np.full(900, 3.0), 0.05)
    uneven = answers(weights=True)
    one, same, wide = ([known(g) for g in rate_part(of, groups, rate, 1).groups] for of in (plain, alike, uneven))
    for a, b, c in zip(one, same, wide, strict=True):
        assert a.after.estimate == pytest.approx(b.after.estimate)
        assert a.after.bounds(0.9) == pytest.approx(b.after.bounds(0.9), abs=0.01)
        low, high = c.after.bounds(0.9)
        assert high - low > 1.1 * (a.after.bounds(0.9)[1] - a.after.bounds(0.9)[0])


def test_a_group_without_rows_or_without_the_label_has_no_figure() -> None:
    of = Answers(np.array([1, 1, 0, 0]), np.array([1, 0, 0, 1]), np.array([1, 1, 0, 0]), None, None, 0.05)
    groups = Groups(("g",), ("g=a", "g=b", "g=c"), np.array([0, 0, 1, 1]), 0)
    hit, precision = (rate_part(of, groups, rate, 1).groups for rate in ("true-positive-rate", "precision"))
    assert [found is None for found in hit] == [False, True, True]
    assert [found is None for found in precision] == [False, True, True], "after, nobody of b is selected"
    assert rate_part(of, groups, "accuracy", 1).groups[2] is None


def test_nothing_that_flips_still_has_a_width() -> None:
    of = answers()
    same = Answers(of.label, of.reference, of.reference, None, None, 0.05)
    for rate in (*PAIRED, "precision"):
        for found in rate_part(same, thirds(same), rate, 1).groups:
            low, high = known(found).change.bounds(0.95)
            assert low < -1 / 900
            assert high > 1 / 900


def test_calibration_is_the_mean_probability_less_the_share() -> None:
    of = answers()
    scores = [np.linspace(0, 1, 900), np.linspace(0, 1, 900) ** 2]
    part = calibration_part(of, thirds(of), 1, "yes", scores)
    for rows, found in zip(by_group(thirds(of)), part.groups, strict=True):
        errors = [float(side[rows].mean() - of.label[rows].mean()) for side in scores]
        assert known(found).before.estimate == pytest.approx(errors[0])
        assert known(found).change.estimate == pytest.approx(errors[1] - errors[0])
    assert part.is_signed


def test_crossings_are_the_combinations_that_rows_have() -> None:
    columns = {
        "sex": ColumnRecord(("F", "M"), np.array([0, 0, 1, 1])),
        "race": ColumnRecord(("a", "b", "c"), np.array([0, 2, 2, 2])),
    }
    both = grouped(columns)
    assert both.names == ("sex=F & race=a", "sex=F & race=c", "sex=M & race=c")
    assert (both.codes.tolist(), both.empty, both.subject) == ([0, 1, 2, 2], 3, "sex & race")
    one = grouped({"race": columns["race"]})
    assert one.names == ("race=a", "race=b", "race=c")
    assert one.empty == 0
    assert list(groupings(("a", "b", "c"), 2)) == [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")]


def test_groups_that_share_a_cluster_are_not_separate() -> None:
    codes, cluster = np.array([0, 0, 1, 1, 2, 2]), np.array([10, 11, 11, 12, 13, 14])
    expected = np.array([[True, False, True], [False, True, True], [True, True, True]])
    np.testing.assert_array_equal(separate(codes, 3, cluster), expected)
    assert separate(codes, 3, None).all()
    assert separate(codes, 3, np.arange(6)).all()


def test_a_million_rows_and_ninety_groups_in_a_moment() -> None:
    rng = np.random.default_rng(0)
    rows = 1_000_000
    of = Answers(*(rng.integers(0, 2, rows) for _ in range(3)), None, None, 0.05)  # type: ignore[arg-type]
    groups = Groups(("g",), tuple(f"g={k}" for k in range(90)), rng.integers(0, 90, rows), 0)
    part = rate_part(of, groups, "true-positive-rate", 1)
    figures = [known(found) for found in part.groups]
    assert sum(each.rows for each in figures) == of.label.sum()
    bounds = ends([each.after for each in figures], 0.05)
    assert ((bounds.lower < 0.5) & (bounds.upper > 0.5)).sum() > 70
