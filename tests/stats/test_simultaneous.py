"""Many bounds at once: exact cases, agreement with one at a time, and coverage by simulation."""

import time
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from kit.records import Float64Array, Int64Array
from kit.stats.proportions import PairedCounts, Successes
from kit.stats.simultaneous import (
    MOST_ESTIMATES,
    Contributions,
    critical_values,
    largest_quantile,
    many_bounds,
    simultaneous_confidence,
)


def contributions(
    codes: list[Int64Array], estimates: int, value: Float64Array, cluster: Int64Array | None = None
) -> Contributions:
    ones = np.ones(len(value))
    return Contributions(tuple(codes), estimates, ones, value, ones, cluster)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99, 1 - 1e-6])
def test_critical_values_are_student_s(confidence: float) -> None:
    df = np.array([1, 2, 5, 30, 199, 200, 201, 1000, 1e6])
    assert critical_values(confidence, df) == pytest.approx(stats.t.ppf(confidence, df), rel=1e-7)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.9999])
def test_thousands_of_bounds_are_those_of_each(confidence: float) -> None:
    rng = np.random.default_rng(0)
    paired = [
        PairedCounts(float(b), float(c), float(b + c + n), float(d))
        for b, c, n, d in zip(
            *(rng.integers(0, high, 60) for high in (20, 20, 500)), rng.integers(1, 400, 60), strict=True
        )
        if b + c + n
    ]
    shares = [
        Successes(float(x), float(x + n), float(d)) for x, n, d in zip(*rng.integers(1, 300, (3, 60)), strict=True)
    ]
    mixed = [each for pair in zip(paired, shares, strict=False) for each in pair]
    for found, each in zip(many_bounds(mixed, confidence), mixed, strict=True):
        assert found == pytest.approx(each.bounds(confidence), abs=1e-6)
    assert many_bounds([], confidence) == []


def test_edges_stay_in_range() -> None:
    (none,), (whole,) = many_bounds([PairedCounts(0, 0, 1, 1)], 0.99), many_bounds([PairedCounts(40, 0, 40, 39)], 0.99)
    assert -1 <= none[0] <= 0 <= none[1] <= 1
    assert whole[1] == pytest.approx(1.0)


def test_independent_estimates_need_what_sidak_says() -> None:
    quantile = largest_quantile(np.eye(20), 0.95, 0)
    assert quantile == pytest.approx(NormalDist().inv_cdf(0.95 ** (1 / 20)), abs=0.04)


def test_one_and_the_same_estimate_many_times_needs_no_more_than_once() -> None:
    quantile = largest_quantile(np.ones((20, 20)), 0.95, 0)
    assert quantile == pytest.approx(NormalDist().inv_cdf(0.95), abs=0.05)
    assert quantile >= NormalDist().inv_cdf(0.95) - 0.01


def test_a_slice_and_all_its_copies_cost_nothing() -> None:
    rng = np.random.default_rng(0)
    value = (rng.random(4000) < 0.05).astype(np.float64)
    half = rng.integers(0, 2, 4000)
    once, _ = simultaneous_confidence(0.95, 2, contributions([half], 2, value), 0)
    again, method = simultaneous_confidence(0.95, 10, contributions([half + 2 * k for k in range(5)], 10, value), 0)
    assert again == pytest.approx(once, abs=0.003)
    assert "max-t" in method
    level, method = simultaneous_confidence(0.95, 10, None, 0)
    assert level == pytest.approx(0.995)
    assert method == "Bonferroni"


def test_one_estimate_and_too_many() -> None:
    assert simultaneous_confidence(0.95, 1, None, 0) == (0.95, "alone")
    assert simultaneous_confidence(0.95, 0, None, 0) == (0.95, "alone")
    many = MOST_ESTIMATES + 1
    level, method = simultaneous_confidence(0.9, many, None, 0)
    assert level == pytest.approx(1 - 0.1 / many)
    assert method == "Bonferroni"


def test_nothing_that_changed_is_taken_to_be_independent() -> None:
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, 4, 500), 4 + rng.integers(0, 4, 500)]
    level, _ = simultaneous_confidence(0.95, 8, contributions(codes, 8, np.zeros(500)), 0)
    assert 1 - 0.05 / 8 - 1e-3 <= level <= 1 - 0.05 / 8


def test_equal_seeds_give_equal_levels() -> None:
    rng = np.random.default_rng(0)
    of = contributions([rng.integers(0, 9, 900)], 9, rng.integers(-1, 2, 900).astype(np.float64))
    assert simultaneous_confidence(0.95, 9, of, 3) == simultaneous_confidence(0.95, 9, of, 3)


def test_clusters_that_carry_two_slices_bind_them() -> None:
    """Where whole clusters change, two slices that share every cluster move together, though they share no row."""
    rng = np.random.default_rng(0)
    cluster = np.repeat(np.arange(200), 10)
    value = (rng.random(200) < 0.3).astype(np.float64)[cluster]
    codes = np.tile(np.arange(5), 400)
    level = [simultaneous_confidence(0.95, 5, contributions([codes], 5, value, c), 0)[0] for c in (None, cluster)]
    assert level[0] == pytest.approx(level[1], abs=2e-3)  # slices that share no row may change alone: the larger counts


@pytest.mark.parametrize("seed", [0])
def test_all_bounds_hold_together_as_often_as_they_say(seed: int) -> None:
    """Overlapping slices, truth known in each: the share of runs in which any upper bound is below its truth."""
    rng = np.random.default_rng(seed)
    runs, rows, missed, alone = 150, 1500, 0, 0
    first, second = rng.integers(0, 4, rows), 4 + rng.integers(0, 3, rows)
    chance = 0.04 + 0.05 * (first == 0) * (second == 4)
    codes = [first, second]
    truth = np.array([chance[(first if k < 4 else second) == k].mean() for k in range(7)]) - 0.02
    for _ in range(runs):
        draw = rng.random(rows)
        value = (draw < chance).astype(np.float64) - (draw > 0.98)
        level, _ = simultaneous_confidence(0.9, 7, contributions(codes, 7, value), 1)
        counts = [
            PairedCounts(float((value[m] > 0).sum()), float((value[m] < 0).sum()), float(m.sum()), float(m.sum() - 1))
            for m in ((first if k < 4 else second) == k for k in range(7))
        ]
        missed += any(upper < t for (_, upper), t in zip(many_bounds(counts, level), truth, strict=True))
        alone += any(upper < t for (_, upper), t in zip(many_bounds(counts, 0.9), truth, strict=True))
    assert missed / runs <= 0.1 + 3 * (0.09 / runs) ** 0.5
    assert alone / runs > 0.2


def test_seven_thousand_bounds_are_found_in_seconds() -> None:
    rng = np.random.default_rng(0)
    counts = [
        PairedCounts(float(b), float(c), 5000.0, 4999.0 + k) for k, (b, c) in enumerate(rng.integers(0, 200, (7000, 2)))
    ]
    begun = time.process_time()
    assert len(many_bounds(counts, 1 - 0.05 / 7000)) == 7000
    assert time.process_time() - begun < 5
