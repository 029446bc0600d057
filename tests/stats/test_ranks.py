"""Agreement of rankings, against scipy."""

import numpy as np
import pytest
from scipy import stats

from kit.stats.ranks import kendall_tau_b, top_overlap, weighted_tau


@pytest.mark.parametrize("ties", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("seed", range(8))
def test_they_are_scipys(seed, ties):
    rng = np.random.default_rng(seed)
    one = rng.integers(0, 4, 15).astype(float) if ties else rng.normal(size=15)
    two = one + rng.integers(-2, 2, 15) if ties else one + rng.normal(size=15)
    assert kendall_tau_b(one, two) == pytest.approx(stats.kendalltau(one, two).statistic)
    if not ties:
        order = np.lexsort((-two, -one))
        rank = np.empty(15, np.int64)
        rank[order] = np.arange(15)
        assert weighted_tau(one, two) == pytest.approx(stats.weightedtau(one, two, rank=rank).statistic)


def test_the_ends():
    up = np.arange(6.0)
    for measure in (kendall_tau_b, weighted_tau):
        assert measure(up, up) == pytest.approx(1.0)
        assert measure(up, -up) == pytest.approx(-1.0)
        assert np.isnan(measure(up, np.zeros(6)))


def test_the_top_weighs_more():
    """The two best swapped against the two worst swapped."""
    up = np.arange(10.0)
    best, worst = up.copy(), up.copy()
    best[[8, 9]], worst[[0, 1]] = best[[9, 8]], worst[[1, 0]]
    assert weighted_tau(up, best) < weighted_tau(up, worst)
    assert kendall_tau_b(up, best) == pytest.approx(kendall_tau_b(up, worst))


def test_what_is_shared_at_the_top():
    assert top_overlap(np.array([5.0, 4, 3, 2]), np.array([1.0, 9, 0, 8]), 2) == 0.5
    assert top_overlap(np.zeros(4), np.zeros(4), 3) == 1.0
