"""Recalibration: isotonic lines are scikit-learn's, the temperature is the best, and measures are what they are."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression

from kit.task.classify import brier, calibration_error
from kit.task.recalibration import fit_isotonic, fit_temperature, isotonic_line, pooled
from tests.fairness.datasets import DATASETS
from tests.task import tables


def made(rows: int, classes: int, seed: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are `sharpness` times too sure, and labels drawn from the right ones."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1.5, (rows, classes))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (random.random((rows, 1)) > true.cumsum(axis=1)).sum(axis=1)
    sharp = np.exp(sharpness * logits)
    return sharp / sharp.sum(axis=1, keepdims=True), np.minimum(labels, classes - 1)


def brier_score(chances: np.ndarray, labels: np.ndarray) -> float:
    return float(brier(tables.rows(labels, chances)).losses.mean())


def error_of(chances: np.ndarray, labels: np.ndarray) -> float:
    return calibration_error(tables.rows(labels, chances)).estimate


@pytest.mark.parametrize("decimals", [None, 2, 0])
@pytest.mark.parametrize("rows", [1, 2, 5, 50, 3000])
def test_isotonic_lines_are_scikit_learn_s(rows: int, decimals: int | None) -> None:
    random = np.random.default_rng(rows)
    score = random.random(rows)
    score = score if decimals is None else np.round(score, decimals)
    truth = (random.random(rows) < score**2).astype(np.float64)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(score, truth)
    asked = np.r_[random.random(500), score, -1.0, 2.0]
    np.testing.assert_allclose(np.interp(asked, *isotonic_line(score, truth)), theirs.predict(asked), atol=1e-12)


@pytest.mark.parametrize("name", ["compas", "german"])
def test_isotonic_lines_on_people_s_data(name: str) -> None:
    data = DATASETS[name][0]()
    theirs = IsotonicRegression(out_of_bounds="clip").fit(data.score, data.label)
    chances = np.stack([1 - data.score, data.score], axis=1)
    found = fit_isotonic(chances, data.label).applied(chances)
    np.testing.assert_allclose(found[:, 1], theirs.predict(data.score), atol=1e-12)
    assert brier_score(found, data.label) <= brier_score(chances, data.label) + 1e-12


@pytest.mark.parametrize(("values", "means", "counts"), [
    ([1.0, 2.0, 3.0], [1, 2, 3], [1, 1, 1]),
    ([3.0, 2.0, 1.0], [2], [3]),
    ([1.0, 3.0, 2.0, 4.0], [1, 2.5, 4], [1, 2, 1]),
    ([2.0, 2.0], [2], [2]), ([5.0], [5], [1]),
], ids=["rising", "falling", "one swap", "equal", "one"])  # fmt: skip
def test_adjacent_violators_are_pooled(values: list[float], means: list[float], counts: list[int]) -> None:
    found = pooled(np.array(values), np.ones(len(values)))
    np.testing.assert_allclose(found[0], means)
    np.testing.assert_array_equal(found[1], counts)


def log_loss(chances: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(chances[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0])
def test_the_temperature_has_the_least_log_loss(classes: int, sharpness: float) -> None:
    chances, labels = made(4000, classes, classes, sharpness)
    found = fit_temperature(chances, labels)
    logs = np.log(np.clip(chances, np.finfo(np.float32).eps, 1))

    def loss(log_value: float) -> float:
        scaled = np.exp(logs / np.exp(log_value))
        return log_loss(scaled / scaled.sum(axis=1, keepdims=True), labels)

    best = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9})
    assert np.log(found.value) == pytest.approx(best.x, abs=1e-4)
    assert found.value == pytest.approx(sharpness, rel=0.1)


@pytest.mark.parametrize("classes", [2, 5])
def test_recalibration_helps_on_new_rows_and_temperature_keeps_decisions(classes: int) -> None:
    chances, labels = made(8000, classes, 1, 2.5)
    new, after = made(8000, classes, 2, 2.5)
    temperature = fit_temperature(chances, labels).applied(new)
    for found in (temperature, fit_isotonic(chances, labels).applied(new)):
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
        assert (found >= 0).all()
        assert brier_score(found, after) < brier_score(new, after) - 0.005
        assert error_of(found, after) < 0.3 * error_of(new, after)
    np.testing.assert_array_equal(temperature.argmax(axis=1), new.argmax(axis=1))


@pytest.mark.parametrize("sure", [0.0, 1.0], ids=["never", "always"])
def test_scores_of_0_and_1_stay_finite(sure: float) -> None:
    chances = np.tile([1 - sure, sure], (50, 1))
    labels = np.array([0, 1] * 25)
    for fitted in (fit_temperature(chances, labels), fit_isotonic(chances, labels)):
        found = fitted.applied(chances)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
    np.testing.assert_allclose(fit_isotonic(chances, labels).applied(chances), 0.5)


def test_a_row_whose_every_class_comes_to_nothing_has_them_alike() -> None:
    chances, labels = made(300, 3, 8)
    fitted = fit_isotonic(chances, labels)
    nothing = type(fitted)(fitted.scores, tuple(np.zeros_like(share) for share in fitted.shares))
    np.testing.assert_allclose(nothing.applied(chances), 1 / 3)
