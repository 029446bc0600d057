"""Bounds from influences: of shares they are the shares' own, and where no row differs they have width."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.stats.influence import InfluenceCounts, Influences, influence_counts
from kit.stats.proportions import PairedCounts, Successes


def of(values: np.ndarray, low: float, high: float, weights: np.ndarray | None = None) -> InfluenceCounts:
    """Counts of the mean of `values`, each of which lies within [low, high]."""
    weights = np.ones(len(values)) if weights is None else weights
    mean = float(np.average(values, weights=weights))
    rows = Influences(mean, values - mean, weights, low - mean, high - mean, values != 0)
    return influence_counts(rows, np.arange(len(values)), 0.05, low, high)[0]


@given(st.integers(0, 40), st.integers(1, 40))
def test_of_a_share_they_are_the_score_bounds(right: int, wrong: int) -> None:
    counts, known = of(np.repeat([1.0, 0.0], [right, wrong]), 0, 1), Successes(right, right + wrong, right + wrong - 1)
    if right + wrong > 1:
        assert counts.bounds(0.95) == pytest.approx(known.bounds(0.95), abs=1e-7)
        assert counts.score(0.7) == pytest.approx(known.score(0.7), abs=1e-6)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(30, 400))
def test_of_flips_they_are_the_paired_score_bounds(to_wrong: int, to_right: int, same: int) -> None:
    n = to_wrong + to_right + same
    counts = of(np.repeat([1.0, -1.0, 0.0], [to_wrong, to_right, same]), -1, 1)
    known = PairedCounts(to_wrong, to_right, n, n - 1)
    assert counts.bounds(0.95) == pytest.approx(known.bounds(0.95), abs=1e-7)


@pytest.mark.parametrize("rows", [30, 100, 1000])
@pytest.mark.parametrize("reach", [0.5, 1.0, 16.0])
def test_no_difference_has_a_bound_near_three_rows_of_the_worst(rows: int, reach: float) -> None:
    """The rule of three: what no row of n shows may still be 3 / n of them (J. Hanley and A. Lippman-Hand, 1983)."""
    lower, upper = of(np.zeros(rows), -reach, reach).bounds(0.95)
    assert upper == pytest.approx(-lower)
    assert 2.5 * reach / rows < upper < 4.0 * reach / rows


@pytest.mark.parametrize("scale", [1e-110, 1e-60, 1e60, 1e110])
def test_bounds_scale_with_the_values(scale: float) -> None:
    values = np.random.default_rng(4).exponential(size=60)
    plain, scaled = of(values, 0, 20), of(scale * values, 0, 20 * scale)
    np.testing.assert_allclose(np.array(scaled.bounds(0.95)) / scale, plain.bounds(0.95), rtol=1e-9)
    assert scaled.score(1.5 * scale) == pytest.approx(plain.score(1.5), rel=1e-9)


def test_many_ordinary_rows_have_student_s_interval() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    lower, upper = of(values, -6, 6).bounds(0.95)
    half = 1.645 * values.std() / np.sqrt(20_000)
    assert upper - values.mean() == pytest.approx(half, rel=0.05)
    assert values.mean() - lower == pytest.approx(half, rel=0.05)


@pytest.mark.parametrize("draw", ["skewed", "rare", "even"])
def test_neither_end_errs_more_than_stated(draw: str) -> None:
    rows, runs = 40, 200
    rng, misses = np.random.default_rng(rows), [0, 0]
    make: Callable[[], np.ndarray] = {
        "skewed": lambda: np.asarray(rng.beta(0.3, 3.0, rows)),
        "rare": lambda: np.asarray((rng.random(rows) < 0.05) * rng.random(rows)),
        "even": lambda: np.asarray(rng.random(rows)),
    }[draw]
    mean = {"skewed": 0.3 / 3.3, "rare": 0.025, "even": 0.5}[draw]
    for _ in range(runs):
        lower, upper = of(make(), 0, 1).bounds(0.95)
        misses[0] += lower > mean
        misses[1] += upper < mean
    assert max(misses) <= runs * 0.05 + 3 * np.sqrt(runs * 0.05 * 0.95)


def test_weights_and_clusters_leave_fewer_rows() -> None:
    values = np.random.default_rng(1).random(400)
    even, uneven = of(values, 0, 1), of(values, 0, 1, np.random.default_rng(2).exponential(size=400))
    assert even.rows == pytest.approx(400)
    assert 150 < uneven.rows < 260
    shared = np.repeat(np.random.default_rng(3).random(40), 10)
    rows = Influences(float(shared.mean()), shared - shared.mean(), np.ones(400), -1, 1, shared != 0)
    counts, effect = influence_counts(rows, np.repeat(np.arange(40), 10), 0.05)
    assert effect > 9
    assert counts.df == 39
    assert counts.rows == pytest.approx(400 / effect)


def test_a_part_with_few_clusters_has_few_degrees_of_freedom() -> None:
    values, part = np.random.default_rng(1).random(50), np.arange(50) < 4
    rows = Influences(0.0, values - values.mean(), np.ones(50), -1, 1, values > 0, (part, ~part))
    assert influence_counts(rows, np.arange(50), 0.05)[0].df == 3


def test_many_values_are_put_in_cells_that_keep_mean_and_variance() -> None:
    values = np.random.default_rng(1).random(5000) ** 3
    counts = of(values, 0, 1)
    assert len(counts.centres) <= 512
    assert float(counts.shares @ counts.centres) == pytest.approx(0.0, abs=1e-12)
    variance = float(counts.shares @ (counts.centres**2 + counts.variances))
    assert variance == pytest.approx(values.var(), rel=1e-9)


def test_a_bias_moves_the_end_on_its_side_only() -> None:
    plain = of(np.random.default_rng(1).random(100), 0, 1)
    high, low = replace(plain, bias=0.02), replace(plain, bias=-0.03)
    lower, upper = plain.bounds(0.95)
    assert high.bounds(0.95) == pytest.approx((lower - 0.02, upper))
    assert low.bounds(0.95) == pytest.approx((lower, upper + 0.03))
    assert high.score(plain.estimate - 0.01) == 0.0


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_a_figure_that_few_rows_carry_is_no_surer_than_a_share_of_those(confidence: float) -> None:
    rng = np.random.default_rng(7)
    values = rng.normal(0.0, 0.1, 400)
    values -= values.mean()
    rows = Influences(0.8, values, np.ones(400), -0.8, 0.2, np.ones(400, np.bool_))
    plain, _ = influence_counts(rows, np.arange(400), 0.0, 0.0, 1.0)
    careful = replace(plain, share_rows=40.0)
    share = Successes(32.0, 40.0, plain.df)
    assert careful.bounds(confidence)[0] <= share.bounds(confidence)[0] < plain.bounds(confidence)[0]
    assert careful.bounds(confidence)[1] >= share.bounds(confidence)[1] > plain.bounds(confidence)[1]
    for value in (0.7, 0.9):
        assert abs(careful.score(value)) <= min(abs(plain.score(value)), abs(share.score(value)))
        assert np.sign(careful.score(value)) == np.sign(plain.score(value))
