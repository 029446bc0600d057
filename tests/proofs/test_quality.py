"""Looks at data and audits err as rarely as they say, by simulation: shifts of clustered rows, changes of advantage."""

import numpy as np
import pytest

from kit.stats.advantage import advantage, advantage_change, area
from tests.quality.parts import shift_checks

FULL = pytest.param(False, marks=[pytest.mark.proof, pytest.mark.timeout(900)], id="full")
QUICK = pytest.param(True, id="quick")


@pytest.mark.parametrize("quick", [QUICK, FULL])
def test_clusters_do_not_cry_wolf(quick: bool) -> None:
    """A look goes beyond chance once in a hundred; the textbook test, to which rows are independent, nearly always."""
    runs = 8 if quick else 300
    checks = [check for seed in range(runs) for check in shift_checks(seed, 0.0)]
    loud = [check for check in checks if check.share > check.chance]  # type: ignore[operator]
    assert len(checks) == 3 * runs
    assert len(loud) <= 3 * runs * 0.01 + 4 * np.sqrt(3 * runs * 0.01)
    textbook = 1.63 * np.sqrt(2 / 360)
    naive = [c.share > textbook for c in checks if c.subject.startswith("inputs one")]  # type: ignore[operator]
    assert np.mean(naive) > 0.7


def guesses(rng: np.random.Generator, clusters: int, size: int, share: float, gain: float, flips: float):
    """Guesses of two models on the same rows, (after, before, cluster): P(after) - P(before) = gain; clusters vary."""
    cluster = np.repeat(np.arange(clusters), size)
    spread = 0.15 if size > 1 else 0.0
    level = np.clip(share + spread * rng.uniform(-1, 1, clusters), 0, 1)[cluster]
    before = rng.random(len(cluster)) < level
    lost = before & (rng.random(len(cluster)) < flips)
    won = ~before & (rng.random(len(cluster)) < (flips * level + gain) / (1 - level))
    return (before & ~lost) | won, before, cluster


CASES = {
    "independent": (500, 1, 0.5, 0.03, 0.05),
    "few": (60, 1, 0.3, 0.05, 0.02),
    "clustered": (40, 15, 0.5, 0.03, 0.05),
    "no_change": (300, 1, 0.5, 0.0, 0.0),
}


@pytest.mark.parametrize("quick", [QUICK, FULL])
@pytest.mark.parametrize("case", CASES)
def test_bounds_of_a_change_of_advantage_err_rarely(case: str, quick: bool) -> None:
    """The upper bound is below the truth, or the lower above it, at most 5 % of the time (plus three of its errors)."""
    clusters, size, share, gain, flips = CASES[case]
    runs, low, high = 300 if quick else 10_000, 0, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        member, other = (guesses(rng, clusters, size, share, g, flips) for g in (gain, 0.0))
        found = advantage_change((member[0], other[0]), (member[1], other[1]), member[2], other[2], 0.05, 0.95)
        low, high = low + (found.upper < gain), high + (found.lower > gain)
    assert max(low, high) / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("quick", [QUICK, FULL])
def test_bounds_of_advantage_and_area_cover(quick: bool) -> None:
    """Scores shifted by a standard deviation and a half, whole clusters together: each bound errs at most 5 %."""
    runs, wrong = 150 if quick else 3000, np.zeros(4)
    truth_area, truth = 0.714, 0.311  # normals 0.8 standard deviations apart, threshold between them
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        sides = []
        for middle in (0.4, -0.4):
            cluster = np.repeat(np.arange(50), 8)
            values = middle + np.sqrt(0.2) * rng.normal(size=50)[cluster] + np.sqrt(0.8) * rng.normal(size=400)
            sides.append((values, cluster))
        (m, cm), (o, co) = sides
        at, under = advantage(m > 0, o > 0, cm, co, 0.05, 0.95), area(m, o, cm, co, 0.95)
        wrong += [at.upper < truth, at.lower > truth, under.upper < truth_area, under.lower > truth_area]
    assert (wrong / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)).all(), wrong / runs
