"""The stationary bootstrap in closed form against drawing it, its blocks against known series, and its bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kit.stats.blocks import autocovariance, best_block_length, stationary_bootstrap_bounds
from kit.stats.special import student_t_quantile
from tests.proofs.verdict_simulation import autocorrelated


def drawn_error(values: np.ndarray, block_length: float, resamples: int, rng: np.random.Generator) -> float:
    """Standard deviation of means of series put together from blocks of geometric lengths, on a circle."""
    count = len(values)
    start = rng.integers(0, count, (resamples, count))
    new = rng.random((resamples, count)) < 1 / block_length
    index = start.copy()
    for step in range(1, count):
        index[:, step] = np.where(new[:, step], start[:, step], (index[:, step - 1] + 1) % count)
    return float(values[index].mean(axis=1).std())


@pytest.mark.parametrize("block_length", [1.0, 4.0, 15.0])
@pytest.mark.parametrize("phi", [0.0, 0.8])
def test_the_error_is_what_drawing_blocks_gives(phi: float, block_length: float) -> None:
    rng = np.random.default_rng(3)
    values = autocorrelated(1, 60, phi, rng)[0]
    bounds = stationary_bootstrap_bounds(values, 0.95, block_length)
    critical = student_t_quantile(0.95, max(1.0, bounds.effective_count - 1))
    error = (bounds.upper - bounds.estimate) / critical * (59 / 60) ** 0.5
    assert error == pytest.approx(drawn_error(values, block_length, 20_000, rng), rel=0.03)


def test_blocks_of_one_give_the_t_interval() -> None:
    values = np.array([5.0, 1.0, 4.0, 2.0, 5.0, 1.0])
    ours = stationary_bootstrap_bounds(values, 0.95, 1.0)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high))


def test_autocovariance_by_hand() -> None:
    assert autocovariance(np.array([1.0, 2.0, 3.0, 2.0])) == pytest.approx([0.5, 0.0, -0.25, 0.0])


def test_blocks_grow_with_correlation() -> None:
    rng = np.random.default_rng(4)
    lengths = [
        float(np.median([best_block_length(row) for row in autocorrelated(40, 2000, phi, rng)]))
        for phi in (0.0, 0.5, 0.9)
    ]
    assert lengths[0] < 2 < lengths[1] < lengths[2] < 3 * 2000**0.5 + 1


def test_blocks_are_as_long_as_theory_says() -> None:
    """AR(1): the sum of |k| R(k) over that of R(k) is 2 phi / (1 - phi^2) (Politis and White 2004, section 3)."""
    phi, count = 0.6, 20_000
    rows = autocorrelated(20, count, phi, np.random.default_rng(5))
    found = np.median([best_block_length(row) for row in rows])
    ratio = 2 * phi / (1 - phi**2)
    assert found == pytest.approx((ratio**2 * count) ** (1 / 3), rel=0.25)


@pytest.mark.parametrize("constant", [0.0, 3.7])
def test_constant_values_have_no_width(constant: float) -> None:
    bounds = stationary_bootstrap_bounds(np.full(20, constant), 0.99)
    assert (bounds.lower, bounds.upper) == pytest.approx((constant, constant), abs=1e-9)


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=60), st.floats(0.6, 0.999))
def test_the_mean_lies_within(values: list[float], confidence: float) -> None:
    bounds = stationary_bootstrap_bounds(np.array(values), confidence)
    assert bounds.lower <= bounds.estimate <= bounds.upper
    assert 1 - 1e-9 <= bounds.effective_count <= len(values) + 1e-9


def test_many_correlated_values_are_covered_about_as_often_as_it_says() -> None:
    series = autocorrelated(600, 1000, 0.5, np.random.default_rng(6))
    wrong = np.mean([stationary_bootstrap_bounds(row, 0.95).upper < 0 for row in series])
    assert 0.02 < wrong < 0.09
