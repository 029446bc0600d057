"""Score bounds against published intervals, numerical inversion, a numerical restricted MLE, and their own laws."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import optimize, stats

from kit.stats.proportions import (
    PairedCounts,
    Successes,
    p_value_above,
    p_value_below,
    paired_score,
    proportion_score,
)
from kit.stats.special import student_t_quantile

NORMAL = 1e7
counts = st.integers(0, 60)


def restricted_mle(b: int, c: int, n: int, d: float) -> float:
    """P(to right) that maximizes the trinomial likelihood under P(to wrong) - P(to right) = d, numerically."""

    def negative_log_likelihood(q: float) -> float:
        terms = ((b, q + d), (c, q), (n - b - c, 1 - 2 * q - d))
        return -sum(k * math.log(p) for k, p in terms if k)

    low, high = max(0.0, -d), (1 - d) / 2
    found = optimize.minimize_scalar(
        negative_log_likelihood, bounds=(low + 1e-12, high - 1e-12), method="bounded", options={"xatol": 1e-12}
    )
    return float(found.x)


@given(counts, counts, st.integers(1, 200), st.floats(-0.6, 0.6))
def test_the_closed_form_is_the_restricted_maximum_likelihood(b: int, c: int, rest: int, d: float) -> None:
    assume(abs(d) > 1e-3)
    n = b + c + rest
    q = restricted_mle(b, c, n, d)
    expected = (b - c - n * d) / math.sqrt(n * (2 * q + d * (1 - d)))
    assert float(paired_score(b, c, n, d)) == pytest.approx(expected, rel=2e-3, abs=2e-3)


def test_at_no_difference_it_is_mcnemar() -> None:
    """Tango's statistic at 0 is McNemar's, (b - c) / sqrt(b + c)."""
    assert float(paired_score(12, 5, 200, 0.0)) == pytest.approx(7 / math.sqrt(17))


def test_no_discordant_row_still_has_width() -> None:
    """With b = c = 0 the bound is z^2 / (n + z^2): Wald and the bootstrap would give 0."""
    z = stats.norm.ppf(0.95)
    lower, upper = PairedCounts(0, 0, 200, NORMAL).bounds(0.95)
    assert upper == pytest.approx(z**2 / (200 + z**2), rel=1e-5)
    assert lower == pytest.approx(-upper)


@given(counts, counts, st.integers(1, 500), st.sampled_from([0.9, 0.95, 0.99]))
def test_bounds_invert_the_score(b: int, c: int, rest: int, confidence: float) -> None:
    of = PairedCounts(b, c, b + c + rest, NORMAL)
    lower, upper = of.bounds(confidence)
    z = student_t_quantile(confidence, NORMAL)
    assert -1 <= lower <= of.estimate <= upper <= 1
    roots = (
        optimize.brentq(lambda d: of.score(d) - z, -1 + 1e-9, of.estimate, xtol=1e-13),
        optimize.brentq(lambda d: of.score(d) + z, of.estimate, 1 - 1e-9, xtol=1e-13),
    )
    assert (lower, upper) == pytest.approx(roots, abs=1e-7)


@given(counts, counts, st.integers(1, 500))
def test_swapping_the_models_mirrors_the_interval(b: int, c: int, rest: int) -> None:
    n = b + c + rest
    lower, upper = PairedCounts(b, c, n, 20).bounds(0.95)
    assert PairedCounts(c, b, n, 20).bounds(0.95) == pytest.approx((-upper, -lower), abs=1e-9)


@given(counts, counts, st.integers(10, 500), st.floats(-0.5, 0.5))
def test_p_value_and_bound_agree(b: int, c: int, rest: int, limit: float) -> None:
    of = PairedCounts(b, c, b + c + rest, 13)
    lower, upper = of.bounds(0.95)
    assume(min(abs(lower - limit), abs(upper - limit)) > 1e-6)
    assert (p_value_above(of, limit) < 0.05) == (lower > limit)
    assert (p_value_below(of, limit) < 0.05) == (upper < limit)


@given(st.integers(1, 1000), st.data(), st.sampled_from([0.9, 0.95, 0.99]))
def test_wilson_equals_scipy(n: int, data: st.DataObject, confidence: float) -> None:
    x = data.draw(st.integers(0, n))
    lower, upper = Successes(x, n, NORMAL).bounds(confidence)
    theirs = stats.binomtest(x, n, alternative="two-sided").proportion_ci(2 * confidence - 1, method="wilson")
    assert (lower, upper) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


@given(counts, counts, st.integers(1, 500), st.floats(1.0, 20.0))
def test_a_design_effect_only_widens(b: int, c: int, rest: int, effect: float) -> None:
    n = b + c + rest
    narrow, wide = PairedCounts(b, c, n, 20), PairedCounts(b / effect, c / effect, n / effect, 20)
    (low, high), (lower, upper) = narrow.bounds(0.95), wide.bounds(0.95)
    assert lower <= low + 1e-9
    assert upper >= high - 1e-9


@given(counts, counts, st.integers(1, 500), st.floats(-0.9, 0.85), st.floats(0.01, 0.1))
def test_the_score_decreases_in_the_difference(b: int, c: int, rest: int, d: float, step: float) -> None:
    n = b + c + rest
    assert float(paired_score(b, c, n, d + step)) <= float(paired_score(b, c, n, d)) + 1e-9


def test_arrays_are_judged_as_scalars_are() -> None:
    b, c = np.array([3, 0, 9]), np.array([1, 0, 12])
    both = paired_score(b, c, 400, 0.02)
    assert both.tolist() == [float(paired_score(x, y, 400, 0.02)) for x, y in zip(b, c, strict=True)]
    assert proportion_score([90, 95], 100, 0.9).shape == (2,)
