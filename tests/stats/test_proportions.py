"""Score bounds against published intervals, numerical inversion, a numerical restricted MLE, and their own laws."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import optimize, special, stats

from kit.records import Float64Array
from kit.stats.proportions import (
    PairedCounts,
    Successes,
    p_value_above,
    p_value_below,
    paired_bounds,
    paired_score,
    proportion_bounds,
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
    assert float(paired_score(b, c, n, d, corrected=False)) == pytest.approx(expected, rel=2e-3, abs=2e-3)


def test_at_no_difference_it_is_mcnemar() -> None:
    """Tango's statistic at 0 is McNemar's, (b - c) / sqrt(b + c), and corrected for continuity half a flip less."""
    assert float(paired_score(12, 5, 200, 0.0, corrected=False)) == pytest.approx(7 / math.sqrt(17))
    assert float(paired_score(12, 5, 200, 0.0)) == pytest.approx(6.5 / math.sqrt(17))


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [30, 200, 5000])
def test_no_discordant_row_still_has_width(n: int, confidence: float) -> None:
    """With b = c = 0 the bound is that of no event among n, 1 - alpha^(1/n): Wald and the bootstrap would give 0."""
    lower, upper = PairedCounts(0, 0, n, NORMAL).bounds(confidence)
    exact = 1 - (1 - confidence) ** (1 / n)
    assert exact * 0.97 < upper < exact * 1.09
    assert lower == pytest.approx(-upper)


def trinomial(n: int, to_wrong: float, to_right: float) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Every likely outcome of n independent rows and its probability: b, c, p (the rest is below 1e-12)."""
    most = [int(stats.binom.isf(1e-13, n, share)) + 1 for share in (to_wrong, to_right)]
    b, c = (axis.ravel().astype(np.float64) for axis in np.mgrid[0 : most[0] + 1, 0 : most[1] + 1])
    b, c = b[b + c <= n], c[b + c <= n]
    log = special.gammaln(n + 1) - special.gammaln(b + 1) - special.gammaln(c + 1) - special.gammaln(n - b - c + 1)
    log += special.xlogy(b, to_wrong) + special.xlogy(c, to_right) + special.xlogy(n - b - c, 1 - to_wrong - to_right)
    return b, c, np.exp(log)


@pytest.mark.parametrize("n", [10, 30, 100, 400])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.9875, 0.999])
def test_of_independent_rows_neither_end_errs_more_than_alpha(n: int, confidence: float) -> None:
    """Exactly, by adding up all outcomes: drops from none to 40 %, expected flips back from none to 20."""
    critical = student_t_quantile(confidence, n - 1)
    drops = np.r_[0.0, np.geomspace(0.05 / n, 0.4, 16 if n > 100 else 32)]
    plain = 0.0
    for drop, back in itertools.product(drops, [share / n for share in (0, 0.1, 0.7, 2.5, 8, 20)]):
        if drop + 2 * back >= 1:
            continue
        b, c, p = trinomial(n, drop + back, back)
        score, tango = (paired_score(b, c, n, drop, corrected=corrected) for corrected in (True, False))
        assert p[score <= -critical].sum() <= 1 - confidence, (drop, back)
        assert p[score >= critical].sum() <= 1 - confidence, (drop, back)
        plain = max(plain, p[tango <= -critical].sum(), p[tango >= critical].sum())
    if n >= 100 and confidence == 0.95:
        assert plain > 1.4 * (1 - confidence), "the statistic alone does not hold it, which is why it is corrected"


@pytest.mark.parametrize("n", [3, 10, 30, 100, 1000])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.9875, 0.999])
def test_a_share_errs_at_most_alpha_of_the_time(n: int, confidence: float) -> None:
    """Exactly, of shares from almost none to almost all; even with the normal's critical value."""
    critical, x = stats.norm.ppf(confidence), np.arange(n + 1.0)
    few = np.geomspace(0.01 / n, 0.5, 200)
    for share in (*few, *(1 - few)):
        p, score = stats.binom.pmf(x, n, share), proportion_score(x, n, share)
        assert max(p[score <= -critical].sum(), p[score >= critical].sum()) <= 1 - confidence + 1e-12, share


@pytest.mark.parametrize("n", [30, 300, 3000])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_a_share_is_bounded_about_as_by_clopper_and_pearson(n: int, confidence: float) -> None:
    """The exact interval (Biometrika 26, 1934) is what no bound that always covers can beat by much."""
    for x in {0, 1, 2, 5, n // 3, n // 2, n - 4, n - 1, n}:
        lower, upper = Successes(x, n, NORMAL).bounds(confidence)
        exact = stats.binomtest(x, n).proportion_ci(2 * confidence - 1, method="exact")
        width = exact.high - exact.low
        assert (lower, upper) == pytest.approx((exact.low, exact.high), abs=0.09 * width)


@given(counts, counts, st.integers(1, 500), st.sampled_from([0.9, 0.95, 0.99]))
def test_bounds_invert_the_score(b: int, c: int, rest: int, confidence: float) -> None:
    of = PairedCounts(b, c, b + c + rest, NORMAL)
    lower, upper = of.bounds(confidence)
    z = student_t_quantile(confidence, NORMAL)
    assert -1 <= lower <= of.estimate <= upper <= 1
    for bound, end, side in ((lower, -1 + 1e-9, 1), (upper, 1 - 1e-9, -1)):
        if abs(of.score(end)) <= z:
            assert abs(bound) == pytest.approx(1), "so few rows rule nothing out on this side"
            continue
        root = optimize.brentq(lambda d, side=side: of.score(d) - side * z, end, of.estimate, xtol=1e-13)
        assert bound == pytest.approx(root, abs=1e-7)


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
def test_the_plain_score_inverts_to_wilsons_interval(n: int, data: st.DataObject, confidence: float) -> None:
    x = data.draw(st.integers(1, n)) if n > 1 else 1
    low = stats.binomtest(x, n).proportion_ci(2 * confidence - 1, method="wilson").low
    assert float(proportion_score(x, n, low, corrected=False)) == pytest.approx(stats.norm.ppf(confidence), rel=1e-6)


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
    ends = np.array([PairedCounts(x, y, 400, NORMAL).bounds(0.95) for x, y in zip(b, c, strict=True)])
    assert np.allclose(paired_bounds(b, c, 400, student_t_quantile(0.95, NORMAL)), ends.T, atol=0, rtol=1e-8)
    shares = np.array([Successes(x, 400, NORMAL).bounds(0.95) for x in b])
    assert np.allclose(proportion_bounds(b, 400, student_t_quantile(0.95, NORMAL)), shares.T, atol=0, rtol=1e-8)


@given(st.integers(0, 300), st.floats(1, 8), st.integers(1, 300), st.floats(0.0, 0.99), st.floats(0.001, 0.1))
def test_the_score_of_a_share_decreases_in_it(x: int, effect: float, rest: int, p: float, step: float) -> None:
    n = (x + rest) / effect
    scores = proportion_score(x / effect, n, [p, min(1.0, p + step)])
    assert scores[1] <= scores[0] + 1e-9


def test_one_flip_among_a_few_rows_is_no_proof_of_a_broken_limit() -> None:
    """One of 30 rows turned wrong is 3.3 points, where 0.5 are allowed; of 30 such rows 14 % have one."""
    assert p_value_above(PairedCounts(1, 0, 30, 29), 0.005) > 0.1
    assert p_value_above(PairedCounts(7, 0, 30, 29), 0.005) < 0.05
