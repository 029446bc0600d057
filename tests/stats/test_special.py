"""Distribution functions against scipy, and their own laws."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special as reference
from scipy import stats

from kit.stats.special import (
    binomial_cdf,
    bisect,
    normal_quantile,
    regularized_incomplete_beta,
    student_t_cdf,
    student_t_quantile,
)


@given(st.floats(0.05, 5000), st.floats(0.05, 5000), st.floats(0, 1))
def test_incomplete_beta_equals_scipy(a: float, b: float, x: float) -> None:
    assert regularized_incomplete_beta(a, b, x) == pytest.approx(reference.betainc(a, b, x), abs=1e-10)


@given(st.integers(1, 20_000), st.floats(0.001, 0.999), st.data())
def test_binomial_cdf_equals_scipy(n: int, p: float, data: st.DataObject) -> None:
    k = data.draw(st.integers(-1, n))
    assert binomial_cdf(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), abs=1e-9)


@given(st.floats(0.001, 0.999), st.floats(1, 3000))
def test_student_t_quantile_equals_scipy(probability: float, df: float) -> None:
    expected = stats.t.ppf(probability, df)
    assert student_t_quantile(probability, df) == pytest.approx(expected, rel=1e-7, abs=1e-7)


@given(st.floats(-40, 40), st.floats(1, 3000))
def test_student_t_cdf_equals_scipy(t: float, df: float) -> None:
    # scipy rounds to 1/2 near zero, so the comparison cannot be finer than that; the closed form below is.
    assert student_t_cdf(t, df) == pytest.approx(stats.t.cdf(t, df), abs=2e-9)


def test_student_t_cdf_near_zero_is_the_cauchy_closed_form() -> None:
    """With one degree of freedom P(T <= t) = 1/2 + atan(t) / pi."""
    assert student_t_cdf(1e-6, 1.0) == pytest.approx(0.5 + math.atan(1e-6) / math.pi, abs=1e-16)


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.95, 0.975, 0.999])
def test_normal_quantile_equals_scipy(probability: float) -> None:
    assert normal_quantile(probability) == pytest.approx(stats.norm.ppf(probability), abs=1e-12)


def test_textbook_values() -> None:
    assert student_t_quantile(0.975, 7) == pytest.approx(2.3646, abs=5e-5)
    assert student_t_quantile(0.95, 1) == pytest.approx(6.3138, abs=5e-5)
    assert binomial_cdf(0, 5, 0.5) == pytest.approx(1 / 32)
    assert binomial_cdf(5, 5, 0.5) == 1.0


def test_bisect_ends_at_the_upper_side() -> None:
    assert bisect(lambda x: x * x < 2, 0.0, 2.0) == pytest.approx(2**0.5, abs=1e-12)
