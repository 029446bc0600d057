"""Bounds between groups: statsmodels' numbers, all at once against one by one, and what must always hold."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from kit.fairness.bounds import Bounded, difference_upper, ends, gap_bounds, ratio_bounds
from kit.stats.proportions import PairedCounts, Successes, paired_score, proportion_score
from kit.stats.special import normal_quantile

NORMAL = 1e12
"""Degrees of freedom at which Student's t is the normal distribution."""


def shares(*pairs: tuple[int, int], df: float = NORMAL) -> list[Bounded]:
    return [Successes(float(x), float(n), df) for x, n in pairs]


def apart(groups: int) -> np.ndarray:
    return np.ones((groups, groups), dtype=np.bool_)


counts = st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@dataclass(frozen=True)
class Wilson:
    """A share with statsmodels' own bounds."""

    successes: int
    rows: int

    @property
    def estimate(self) -> float:
        return self.successes / self.rows

    def bounds(self, confidence: float) -> tuple[float, float]:
        low, high = proportion_confint(self.successes, self.rows, alpha=2 * (1 - confidence), method="wilson")
        return float(low), float(high)


@settings(max_examples=25, deadline=None)
@given(counts, counts, st.sampled_from([0.2, 0.05, 0.01]))
def test_the_difference_of_two_shares_is_statsmodels_newcombe(
    one: tuple[int, int], two: tuple[int, int], alpha: float
) -> None:
    """R. G. Newcombe's method 10 (1998), which joins Wilson's bounds by MOVER."""
    low, high = confint_proportions_2indep(*one, *two, method="newcomb", compare="diff", alpha=2 * alpha)
    upper = difference_upper([Wilson(*one), Wilson(*two)], apart(2), alpha)
    assert (-upper[1, 0], upper[0, 1]) == pytest.approx((low, high), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(counts, min_size=1, max_size=4), st.sampled_from([0.2, 0.05, 0.001]), st.sampled_from([NORMAL, 7.0]))
def test_shares_are_bounded_as_one_by_one(pairs: list[tuple[int, int]], alpha: float, df: float) -> None:
    found = ends(shares(*pairs, df=df), alpha)
    for place, (x, n) in enumerate(pairs):
        assert (found.lower[place], found.upper[place]) == pytest.approx(
            Successes(float(x), float(n), df).bounds(1 - alpha), abs=1e-9
        )


@settings(max_examples=20, deadline=None)
@given(counts, st.sampled_from([0.2, 0.05, 0.001]))
def test_the_plain_score_is_critical_at_statsmodels_wilson_ends(pair: tuple[int, int], alpha: float) -> None:
    x, n = pair
    low, high = proportion_confint(x, n, alpha=2 * alpha, method="wilson")
    critical = normal_quantile(1 - alpha)
    if x > 0:
        assert float(proportion_score(x, n, low, corrected=False)) == pytest.approx(critical, rel=1e-9)
    if x < n:
        assert float(proportion_score(x, n, high, corrected=False)) == pytest.approx(-critical, rel=1e-9)


paired = st.integers(2, 80).flatmap(lambda n: st.tuples(st.integers(0, n // 2), st.integers(0, n - n // 2), st.just(n)))


@settings(max_examples=20, deadline=None)
@given(st.lists(paired, min_size=1, max_size=4), st.sampled_from([0.2, 0.05, 0.001]))
def test_paired_changes_are_bounded_as_one_by_one(drawn: list[tuple[int, int, int]], alpha: float) -> None:
    of = [PairedCounts(float(b), float(c), float(n), 30.0) for b, c, n in drawn]
    found = ends(of, alpha)
    for place, each in enumerate(of):
        assert (found.lower[place], found.upper[place]) == pytest.approx(each.bounds(1 - alpha), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 100))
def test_no_change_is_tested_as_mcnemar_does(b: int, c: int, same: int) -> None:
    if b + c:
        theirs = mcnemar([[same, b], [c, 5]], exact=False, correction=False).statistic
        ours = paired_score(b, c, b + c + same + 5, 0.0, corrected=False)
        assert float(ours) ** 2 == pytest.approx(theirs, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(counts, min_size=2, max_size=6), st.sampled_from([0.2, 0.05]))
def test_bounds_hold_their_estimate_and_order(pairs: list[tuple[int, int]], alpha: float) -> None:
    of = shares(*pairs, df=20.0)
    values = [x / n for x, n in pairs]
    low, high = gap_bounds(of, apart(len(of)), alpha)
    assert 0 <= low <= max(values) - min(values) + 1e-12 <= high + 1e-12
    if max(values) > 0:
        least, most = ratio_bounds(of, apart(len(of)), alpha)
        assert 0 <= least <= min(values) / max(values) + 1e-12
        assert min(values) / max(values) <= most + 1e-12 <= 1 + 1e-9


@settings(max_examples=20, deadline=None)
@given(st.lists(counts, min_size=2, max_size=5), st.permutations(range(5)))
def test_the_order_of_groups_does_not_matter(pairs: list[tuple[int, int]], order: list[int]) -> None:
    turned = [pairs[k] for k in order if k < len(pairs)]
    one, other = (gap_bounds(shares(*each, df=9.0), apart(len(pairs)), 0.05) for each in (pairs, turned))
    assert one == pytest.approx(other, abs=1e-12)


def test_more_confidence_is_wider_and_a_common_cluster_is_wider_still() -> None:
    of = shares((40, 50), (30, 60), (9, 30), df=25.0)
    widths = [high - low for low, high in (gap_bounds(of, apart(3), alpha) for alpha in (0.2, 0.05, 0.01))]
    assert widths == sorted(widths)
    together = np.zeros((3, 3), dtype=np.bool_)
    (low, high), (near, far) = gap_bounds(of, apart(3), 0.05), gap_bounds(of, together, 0.05)
    assert near <= low
    assert high <= far
    assert ratio_bounds(of, together, 0.05)[0] <= ratio_bounds(of, apart(3), 0.05)[0]


def test_the_gap_is_that_of_the_worst_pair_of_groups() -> None:
    """No correction for many groups on the safe side: one pair is the true extremes, and it is held to alpha."""
    pairs = ((80, 100), (60, 100), (70, 100), (65, 90))
    every = [gap_bounds(shares(one, other), apart(2), 0.05)[1] for one, other in itertools.combinations(pairs, 2)]
    assert gap_bounds(shares(*pairs), apart(4), 0.05)[1] == pytest.approx(max(every))


@pytest.mark.parametrize(("x", "n"), [(0, 1), (1, 1), (0, 400), (400, 400)])
def test_groups_without_variety_are_still_uncertain(x: int, n: int) -> None:
    low, high = gap_bounds(shares((x, n), (x, n)), apart(2), 0.05)
    assert low == 0
    assert high > 0.7 / n
    if x:
        assert ratio_bounds(shares((x, n), (x, n)), apart(2), 0.05)[0] < 1
