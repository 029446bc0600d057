"""Prediction-powered means against the paper's formula and simulated coverage; the exact bound of disagreement."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kit.stats.prediction_powered import disagreement_bound, prediction_powered_mean


def world(n: int, rest: int, seed: int, agrees: float = 0.95) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values 0 or 1 with mean 0.3, of which the twin has a share `agrees` as they are."""
    rng = np.random.default_rng(seed)
    device = (rng.random(n + rest) < 0.3).astype(np.float64)
    twin = np.where(rng.random(n + rest) < agrees, device, 1 - device)
    return device[:n], twin[:n], twin[n:]


def test_plain_inference_is_the_paper_s_formula() -> None:
    """mean of the twin elsewhere + mean error, variance sigma_f^2 / N + sigma_error^2 / n (2301.09633, figure 2)."""
    audited, there, elsewhere = world(200, 5000, 0)
    found = prediction_powered_mean(audited, there, elsewhere, tuning=1.0)
    assert found.estimate == pytest.approx(elsewhere.mean() + (audited - there).mean())
    variance = elsewhere.var(ddof=1) / 5000 + (audited - there).var(ddof=1) / 200
    assert found.error == pytest.approx(np.sqrt(variance))
    lower, upper = found.bounds(0.975)
    assert upper - lower == pytest.approx(2 * 1.959964 * found.error, rel=1e-6)


def test_tuning_is_where_the_variance_is_least() -> None:
    audited, there, elsewhere = world(300, 5000, 1, agrees=0.8)
    best = prediction_powered_mean(audited, there, elsewhere)
    errors = [prediction_powered_mean(audited, there, elsewhere, tuning).error for tuning in np.linspace(0, 1, 101)]
    assert 0 < best.tuning < 1
    assert best.error <= min(errors) * 1.002


def test_a_useless_twin_is_not_believed() -> None:
    audited, _, elsewhere = world(400, 5000, 2)
    noise = np.random.default_rng(3).permutation(elsewhere)[:400]
    alone = prediction_powered_mean(audited, noise, elsewhere, tuning=0.0)
    found = prediction_powered_mean(audited, noise, elsewhere)
    assert found.tuning < 0.15
    assert found.error <= alone.error * 1.01
    assert alone.estimate == audited.mean()
    same = prediction_powered_mean(audited, np.ones(400), np.ones(5000))
    assert same.tuning == 0.0


def test_a_good_twin_narrows() -> None:
    audited, there, elsewhere = world(300, 20_000, 4, agrees=0.99)
    alone = prediction_powered_mean(audited, there, elsewhere, tuning=0.0)
    assert prediction_powered_mean(audited, there, elsewhere).error < 0.4 * alone.error


@pytest.mark.parametrize("agrees", [0.6, 0.95])
def test_one_sided_bounds_miss_as_often_as_they_say(agrees: float) -> None:
    missed = [prediction_powered_mean(*world(300, 3000, seed, agrees)).bounds(0.95)[1] < 0.3 for seed in range(600)]
    assert abs(np.mean(missed) - 0.05) < 0.03


@pytest.mark.parametrize(("n", "rest"), [(1, 100), (100, 1), (0, 0)])
def test_too_few_rows_are_refused(n: int, rest: int) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        prediction_powered_mean(np.zeros(n), np.zeros(n), np.zeros(rest))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 50), st.integers(0, 400), st.floats(0.5, 0.999))
def test_disagreement_is_bounded_exactly(disagreeing: int, agreeing: int, confidence: float) -> None:
    """Clopper and Pearson's upper end, by scipy."""
    audited = disagreeing + agreeing
    found = disagreement_bound(disagreeing, audited, confidence)
    expected = stats.beta.ppf(confidence, disagreeing + 1, agreeing) if agreeing else 1.0
    assert found == pytest.approx(expected, abs=1e-9)


def test_an_audit_without_a_difference() -> None:
    """1 - alpha^(1 / n), about 3 / n at 95 %."""
    assert disagreement_bound(0, 300, 0.95) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert disagreement_bound(0, 0, 0.95) == 1.0
