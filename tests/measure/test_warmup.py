"""Warm-up detection on series whose warm-up is known."""

import numpy as np
import pytest

from kit.measure.warmup import BATCH, warmup_count


def series(warm, steady=2000, slow=3.0, seed=0, noise=0.02):
    """`warm` samples that start `slow` times slower and decay, then `steady` ones around 100 us; int64 ns."""
    random = np.random.default_rng(seed)
    level = np.ones(warm + steady)
    level[:warm] += (slow - 1) * np.exp(-3 * np.arange(warm) / max(1, warm))
    return (1e5 * level * (1 + noise * random.standard_normal(warm + steady))).astype(np.int64)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("warm", [50, 200, 500])
def test_a_known_warm_up_is_found(warm, seed):
    found = warmup_count(series(warm, seed=seed))
    assert 0.6 * warm <= found <= 1.4 * warm + 200


def test_a_steady_series_keeps_most():
    kept = [1 - warmup_count(series(0, seed=seed)) / 2000 for seed in range(40)]
    assert np.mean(kept) > 0.85


def test_never_more_than_a_quarter():
    falling = np.linspace(2e5, 1e5, 1000).astype(np.int64)
    assert warmup_count(falling) <= 250
    late = np.r_[np.full(900, 2e5), np.full(100, 1e5)].astype(np.int64)
    assert warmup_count(late) <= 250


def test_a_disturbance_in_the_middle_of_a_run_is_no_warm_up():
    samples = series(0, steady=4000, seed=5)
    samples[1400:1600] *= 2
    assert warmup_count(samples) < 1000


def test_outliers_stay_in_the_tail():
    samples = series(0, seed=3)
    baseline = warmup_count(samples)
    samples[[400, 777, 901]] *= 50
    assert warmup_count(samples) == baseline


@pytest.mark.parametrize("count", [0, 1, 5, 19])
def test_too_few_to_tell(count):
    assert warmup_count(np.full(count, 100, np.int64)) == 0


def test_constant_and_huge_samples_are_no_trouble():
    assert warmup_count(np.full(1000, 100, np.int64)) == 0
    assert warmup_count(np.full(1000, 2**60, np.int64)) % BATCH == 0


def test_agrees_with_the_definition():
    """MSER(d) = sum (x_i - mean_d)^2 / (n - d)^2 over what is left, evaluated term by term."""
    samples = series(100, steady=400, seed=9)
    medians = np.median(samples.reshape(-1, BATCH), axis=1)
    n = len(medians)
    error = [((medians[d:] - medians[d:].mean()) ** 2).sum() / (n - d) ** 2 for d in range(n // 4 + 1)]
    assert warmup_count(samples) == int(np.argmin(error)) * BATCH
