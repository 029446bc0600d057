"""MLPerf's early stopping: its published counts, its definition, and what it says of samples that are independent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kit.stats.stopping import discardable, early_stopping, minimum_count


@pytest.mark.parametrize(
    ("probability", "count"), [(0.5, 11), (0.9, 64), (0.95, 130), (0.99, 662), (0.999, 6636)], ids=str
)
def test_published_minimum_counts(probability: float, count: int) -> None:
    assert minimum_count(probability) == count
    assert discardable(count, probability) == 1
    assert discardable(count - 1, probability) == 0


@given(st.integers(1, 5000), st.sampled_from([0.5, 0.9, 0.97, 0.99]), st.sampled_from([0.9, 0.95, 0.99]))
def test_it_discards_as_many_as_the_criterion_allows(count: int, probability: float, confidence: float) -> None:
    over, binomial = discardable(count, probability, confidence), stats.binom(count, 1 - probability)
    assert over == 0 or binomial.cdf(over) <= 1 - confidence + 1e-9
    assert binomial.cdf(over + 1) > 1 - confidence - 1e-9


def test_loadgen_s_own_search_gives_the_same() -> None:
    """As the rules state it: the smallest h(t) with P(Binomial(h + t, 1 - p) <= t) <= 0.01, the largest t that fits."""
    count, probability, over = 2000, 0.99, 0
    while True:
        under = next(h for h in range(1, 10**6) if stats.binom(h + over + 1, 1 - probability).cdf(over + 1) <= 0.01)
        if under + over + 1 > count:
            break
        over += 1
    assert discardable(count, probability) == over


def test_the_estimate_is_the_sample_after_the_discarded() -> None:
    samples = np.random.default_rng(0).permutation(np.arange(1.0, 701.0))
    found = early_stopping(samples, 0.99)
    assert (found.estimate, found.discarded, found.count, found.minimum_count) == (700.0, 1, 700, 662)
    assert early_stopping(samples[:600], 0.99).estimate is None


def test_independent_samples_are_underestimated_at_most_as_often_as_it_says() -> None:
    rng, runs, truth = np.random.default_rng(1), 1500, stats.expon.ppf(0.9)
    wrong = sum((early_stopping(rng.exponential(size=400), 0.9).estimate or 0) < truth for _ in range(runs))
    assert wrong / runs <= 0.01 + 3 * (0.01 * 0.99 / runs) ** 0.5
