"""Each row's influence is how the figure moves when that row weighs a little more: the derivative, measured."""

from dataclasses import replace

import numpy as np
import pytest

from kit.task import MEASURES_BY_NAME, Rows
from tests.task.tables import classified, matrix, multilabelled, rows

SMOOTH = ["accuracy", "balanced-accuracy", "f1", "f1-macro", "log-loss", "brier", "ece", "auc", "average-precision"]
LABELS = ["accuracy", "f1-macro", "f1-micro", "hamming-loss", "log-loss", "brier"]


def derivative(name: str, of: Rows, row: int) -> float:
    """Change of the figure by one more such row, times rows: its influence."""
    step, mean = 1e-6, float(of.weights.mean())
    weights = of.weights.copy()
    weights[row] += step * mean
    moved = MEASURES_BY_NAME[name].of(replace(of, weights=weights)).estimate
    return (moved - MEASURES_BY_NAME[name].of(of).estimate) * len(of) / step


def check(name: str, of: Rows, some: range) -> None:
    found = MEASURES_BY_NAME[name].of(of)
    assert np.average(found.values, weights=of.weights) == pytest.approx(0.0, abs=1e-9)
    assert found.low <= found.values.min() + 1e-9
    assert found.values.max() - 1e-9 <= found.high
    for row in some:
        assert found.values[row] == pytest.approx(
            derivative(name, of, row), abs=2e-3 * max(1.0, np.abs(found.values).max())
        )


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_of_classification(name: str, classes: int, weighted: bool) -> None:
    check(name, classified(7, 90, classes, ties=classes == 4, weighted=weighted), range(0, 90, 9))


@pytest.mark.parametrize("name", LABELS)
def test_of_several_labels(name: str) -> None:
    check(name, multilabelled(2)[0], range(0, 80, 9))


@pytest.mark.parametrize("name", ["mae", "rmse", "r2"])
@pytest.mark.parametrize("targets", [1, 3])
def test_of_regression(name: str, targets: int) -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(60, targets)) * 4
    said = truth + rng.normal(size=(60, targets))
    check(name, rows(np.zeros(60), said, task="regression", targets=matrix(truth)), range(0, 60, 7))


@pytest.mark.parametrize("name", ["eer", "miss-rate-at-1%"])
def test_rates_at_a_threshold_vary_as_their_influences_say(name: str) -> None:
    """These are not smooth in one row; the spread over many samples is what their influences must give."""
    rng, figures, errors = np.random.default_rng(5), [], []
    for _ in range(300):
        labels = (rng.random(1500) < 0.3).astype(int)
        p = 1 / (1 + np.exp(-(rng.normal(size=1500) + 2.5 * labels)))
        found = MEASURES_BY_NAME[name].of(rows(labels, np.column_stack([1 - p, p])))
        figures.append(found.estimate)
        errors.append(found.values.std() / np.sqrt(1500))
    assert np.mean(errors) == pytest.approx(np.std(figures), rel=0.2)
