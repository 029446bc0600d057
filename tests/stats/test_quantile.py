"""Order-statistic bounds: minimum counts, scipy's ranks, coverage under any distribution, correlation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kit.stats.quantile import (
    exceedance_design_effect,
    lower_rank,
    minimum_count,
    percentiles,
    quantile_bounds,
    upper_rank,
)


@pytest.mark.parametrize(
    ("probability", "confidence", "count"),
    [(0.95, 0.95, 59), (0.99, 0.95, 299), (0.999, 0.95, 2995), (0.5, 0.95, 5), (0.5, 0.98333333, 6), (0.99, 0.99, 459)],
)
def test_published_minimum_counts(probability: float, confidence: float, count: int) -> None:
    assert minimum_count(probability, confidence) == count
    assert upper_rank(count, probability, confidence) == count
    assert upper_rank(count - 1, probability, confidence) is None


def test_the_largest_of_five_exceeds_the_median_with_96_9_percent() -> None:
    assert upper_rank(5, 0.5, 0.968) == 5
    assert upper_rank(5, 0.5, 0.969) is None


@given(st.integers(1, 3000), st.sampled_from([0.5, 0.9, 0.95, 0.99]), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_ranks_are_the_tightest_that_cover(count: int, probability: float, confidence: float) -> None:
    upper, lower = upper_rank(count, probability, confidence), lower_rank(count, probability, confidence)
    binomial = stats.binom(count, probability)
    if upper is None:
        assert binomial.cdf(count - 1) < confidence + 1e-9
    else:
        assert binomial.cdf(upper - 1) >= confidence - 1e-9
        assert upper == 1 or binomial.cdf(upper - 2) < confidence + 1e-9
    if lower is None:
        assert binomial.sf(0) < confidence + 1e-9
    else:
        assert binomial.sf(lower - 1) >= confidence - 1e-9
        assert binomial.sf(lower) < confidence + 1e-9


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.95])
def test_equal_to_scipy_quantile_test(probability: float) -> None:
    samples = np.random.default_rng(2).exponential(size=80)
    if exceedance_design_effect(samples, probability) > 1:
        pytest.fail("fewer than 100 samples have no correlation estimate")
    ours = quantile_bounds(samples, probability, 0.95)
    theirs = stats.quantile_test(samples, q=0, p=probability, alternative="less").confidence_interval(0.95)
    assert ours.upper == theirs.high
    theirs = stats.quantile_test(samples, q=0, p=probability, alternative="greater").confidence_interval(0.95)
    assert ours.lower == theirs.low


@pytest.mark.parametrize("draw", ["normal", "standard_cauchy", "exponential", "two values"])
def test_independent_samples_of_any_distribution_are_covered(draw: str) -> None:
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(300):
        samples = rng.integers(0, 2, 400) * 1.0 if draw == "two values" else getattr(rng, draw)(size=400)
        bounds = quantile_bounds(samples, 0.9, 0.95)
        truth = {"normal": 1.2816, "standard_cauchy": 3.0777, "exponential": 2.3026, "two values": 1.0}[draw]
        wrong += bounds.upper is not None and bounds.upper < truth
    assert wrong / 300 <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_a_slow_half_is_seen_as_correlation() -> None:
    rng = np.random.default_rng(4)
    steady = rng.normal(1.0, 0.1, 2000)
    throttled = steady + np.repeat([0.0, 0.3], 1000)
    assert exceedance_design_effect(steady, 0.9) < 2
    assert exceedance_design_effect(throttled, 0.9) > 10
    assert quantile_bounds(throttled, 0.9, 0.95).effective_count < 200


def test_constant_samples_have_no_width() -> None:
    bounds = quantile_bounds(np.full(500, 3.0), 0.99, 0.95)
    assert (bounds.lower, bounds.estimate, bounds.upper) == (3.0, 3.0, 3.0)


@given(st.integers(1, 400), st.sampled_from([0.5, 0.9, 0.99]), st.integers(0, 2**32 - 1))
def test_bounds_hold_the_estimate_between_them(count: int, probability: float, seed: int) -> None:
    bounds = quantile_bounds(np.random.default_rng(seed).gamma(2.0, size=count), probability, 0.9)
    assert bounds.lower is None or bounds.lower <= bounds.estimate
    assert bounds.upper is None or bounds.upper >= bounds.estimate
    assert 1 <= bounds.effective_count <= bounds.count == count


def test_percentiles_are_each_as_by_itself_and_refused_below_their_counts() -> None:
    samples = np.random.default_rng(5).gamma(2.0, size=700)
    found = percentiles(samples, 0.95)
    assert [each.probability for each in found] == [0.5, 0.9, 0.95, 0.99, 0.999]
    assert list(found) == [quantile_bounds(samples, each.probability, 0.95) for each in found]
    assert [each.upper is not None for each in found] == [True, True, True, True, False]
    assert found[-1].minimum_count == 2995
    assert [each.estimate for each in found] == sorted(each.estimate for each in found)


def test_percentiles_of_other_probabilities() -> None:
    (only,) = percentiles(np.arange(1.0, 101.0), 0.9, probabilities=(0.25,))
    assert only.estimate == 25.0


@given(st.integers(0, 2**32 - 1), st.integers(40, 900), st.sampled_from([0.0, 0.7, 0.97]))
@settings(max_examples=60, deadline=None)
def test_percentiles_do_not_contradict_each_other(seed: int, count: int, phi: float) -> None:
    random = np.random.default_rng(seed)
    noise = random.normal(size=count)
    for index in range(1, count):
        noise[index] += phi * noise[index - 1]
    samples = np.exp(noise)
    found = percentiles(samples, 0.95)
    for lower, higher in itertools.pairwise(found):
        assert (lower.lower or 0.0) <= (higher.lower or 0.0)
        assert higher.upper is None or (lower.upper is not None and lower.upper <= higher.upper)
    for each in found:
        alone = quantile_bounds(samples, each.probability, 0.95)
        assert (each.estimate, each.effective_count) == (alone.estimate, alone.effective_count)
        assert alone.upper is None or (each.upper is not None and each.upper <= alone.upper)
        assert alone.lower is None or (each.lower is not None and each.lower >= alone.lower)
