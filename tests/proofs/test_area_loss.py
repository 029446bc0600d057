"""The bound of a loss of AUC holds where a rare positive breaks, by simulation; one of the rows seen alone does not."""

import math

import numpy as np
import pytest

from kit.stats.auc import area_parts
from kit.stats.influence import influence_counts
from kit.stats.special import student_t_quantile
from kit.task import MEASURES_BY_NAME, worsening
from tests.task.tables import rows

FULL = pytest.param(3000, marks=[pytest.mark.proof, pytest.mark.timeout(1800)], id="full")
QUICK = pytest.param(60, id="quick")
ALPHA, BROKEN, FALLEN = 0.05, 0.02, -3.0


def both(rng: np.random.Generator, positives: int, negatives: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and scores before and after: one positive in fifty falls below nearly every negative, no other moves."""
    label = np.repeat([1, 0], [positives, negatives])
    before = rng.normal(size=len(label)) + 1.2 * label
    return label, before, np.where((label == 1) & (rng.random(len(label)) < BROKEN), FALLEN, before)


def true_loss() -> float:
    """A positive's chance to be above a negative, less that of a broken one, times how many break."""
    chance = [0.5 * math.erfc(-shift / math.sqrt(2)) for shift in (1.2 / math.sqrt(2), FALLEN)]
    return BROKEN * (chance[0] - chance[1])


def upper(label: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    sides = [MEASURES_BY_NAME["auc"].of(rows(label, np.stack([-side, side], axis=1))) for side in (before, after)]
    loss = worsening(sides[0], sides[1], before != after, higher_is_better=True)
    return influence_counts(loss, np.arange(len(label)), 0.05, -1.0, 1.0)[0].bounds(1 - ALPHA)[1]


def upper_of_the_seen(label: np.ndarray, before: np.ndarray, after: np.ndarray) -> float:
    """DeLong's paired difference with Student's t, over the kind that is fewer: what a bootstrap comes to as well."""
    sides = [area_parts(side, label == 1, np.ones(len(label))) for side in (before, after)]
    moved = [(sides[0][1] - sides[1][1])[label == kind] for kind in (1, 0)]
    error = math.sqrt(sum(float(each.var(ddof=1)) / len(each) for each in moved))
    fewest = min(len(each) for each in moved)
    return sides[0][0] - sides[1][0] + student_t_quantile(1 - ALPHA, fewest - 1.0) * error


@pytest.mark.parametrize("runs", [QUICK, FULL])
@pytest.mark.parametrize(("positives", "negatives", "textbook"), [(7, 71, 0.7), (30, 300, 0.3), (91, 652, 0.08)])
def test_a_rare_broken_positive_is_not_missed(positives: int, negatives: int, textbook: float, runs: int) -> None:
    truth, wrong = true_loss(), np.zeros(2)
    for seed in range(runs):
        given = both(np.random.default_rng(seed), positives, negatives)
        wrong += [upper(*given) < truth, upper_of_the_seen(*given) < truth]
    assert wrong[0] / runs <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / runs)
    assert wrong[1] / runs > textbook


@pytest.mark.parametrize("positives", [30, 91, 500])
def test_where_no_score_moved_it_is_little_more_than_what_unseen_positives_may_be(positives: int) -> None:
    """If a share p of positives fell from first to last, no such row would be seen with chance (1 - p)^positives."""
    label, before, _ = both(np.random.default_rng(0), positives, 7 * positives)
    unseen = 1 - ALPHA ** (1 / positives)
    assert 0.8 * unseen < upper(label, before, before) < 1.25 * unseen
