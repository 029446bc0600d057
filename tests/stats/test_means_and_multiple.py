"""Mean bounds against scipy, correlation between windows, Bonferroni and Holm."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kit.stats.means import batch_mean_bounds
from kit.stats.multiple import candidate_confidence, holm

probabilities = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_uncorrelated_windows_have_the_t_interval() -> None:
    values = np.array([5.0, 1.0, 4.0, 2.0, 5.0, 1.0, 4.0, 2.0])
    ours = batch_mean_bounds(values, 0.95)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high))
    assert ours.effective_count == 8


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7])
def test_few_windows_that_look_uncorrelated_may_not_be(count: int) -> None:
    """No more than 7 windows show a correlation, so one is assumed: the interval is wider than Student's."""
    values = np.array([5.0, 1.0, 4.0, 2.0, 5.0, 1.0, 4.0])[:count]
    ours, theirs = batch_mean_bounds(values, 0.95), stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert ours.effective_count < count
    assert ours.upper - ours.lower > 1.5 * (theirs.high - theirs.low)


def test_a_drift_widens_the_bounds() -> None:
    values = np.linspace(1.0, 2.0, 30)
    shuffled = np.random.default_rng(0).permutation(values)
    drifting, mixed = batch_mean_bounds(values, 0.95), batch_mean_bounds(shuffled, 0.95)
    assert drifting.upper - drifting.lower > 3 * (mixed.upper - mixed.lower)
    assert drifting.effective_count < 5


def test_constant_windows_have_no_width() -> None:
    bounds = batch_mean_bounds(np.full(10, 0.3), 0.99)
    assert (bounds.lower, bounds.estimate, bounds.upper) == pytest.approx((0.3, 0.3, 0.3))


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=40), st.floats(0.6, 0.999))
def test_the_mean_lies_within(values: list[float], confidence: float) -> None:
    bounds = batch_mean_bounds(np.array(values), confidence)
    assert bounds.lower <= bounds.estimate <= bounds.upper
    assert 1 <= bounds.effective_count <= len(values)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@given(probabilities)
def test_holm_lies_between_raw_and_bonferroni(values: list[float]) -> None:
    for raw, adjusted in zip(values, holm(values), strict=True):
        assert raw <= adjusted <= min(1.0, len(values) * raw) + 1e-12


@given(probabilities)
def test_holm_keeps_the_order(values: list[float]) -> None:
    adjusted = holm(values)
    order = np.argsort(values, kind="stable")
    assert all(adjusted[a] <= adjusted[b] for a, b in pairwise(order))


def test_holm_errs_in_a_family_at_most_alpha_of_the_time() -> None:
    rng = np.random.default_rng(1)
    wrong = np.mean([min(holm(list(rng.random(10)))) <= 0.05 for _ in range(2000)])
    assert wrong <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


@pytest.mark.parametrize(("candidates", "expected"), [(0, 0.95), (1, 0.95), (2, 0.975), (5, 0.99)])
def test_candidates_share_the_error(candidates: int, expected: float) -> None:
    assert candidate_confidence(0.95, candidates) == pytest.approx(expected)
