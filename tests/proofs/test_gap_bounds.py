"""Bounds of gaps between groups, and of their change on the same rows, err at most as often as they say."""

import numpy as np
import pytest

from kit.fairness.paired import Rows, gap, gap_change


def coverage(
    sizes: tuple[int, ...], chances: tuple[float, ...], flips: float, trials: int, per_cluster: int = 1
) -> float:
    """How often an upper or lower bound at 95 % is on the wrong side of the true gap or change; the worst of four."""
    random, wrong = np.random.default_rng(sum(sizes)), np.zeros(4)
    group = np.repeat(np.arange(len(sizes)), sizes)
    true_gap = max(chances) - min(chances)
    for _ in range(trials):
        shared = random.random(len(group))[np.arange(len(group)) // per_cluster * per_cluster]
        before = (shared < np.array(chances)[group]).astype(np.int64)
        flipped = random.random(len(group)) < flips
        after = np.where(flipped, random.random(len(group)) < np.array(chances)[group], before).astype(np.int64)
        rows = Rows(np.ones(len(group), np.int64), np.arange(len(group)) // per_cluster, group, len(sizes), 1, 0.05)
        one = gap(rows, "demographic-parity", before, 0.95)
        change = gap_change(rows, "demographic-parity", before, after, 0.95)
        assert one is not None
        assert change is not None
        wrong += [one.lower > true_gap, one.upper < true_gap, change.lower > 0, change.upper < 0]
    return float(wrong.max() / trials)


CASES = {
    "equal": ((300, 300), (0.5, 0.5), 1),
    "unequal": ((300, 40), (0.7, 0.5), 1),
    "four": ((60, 60, 60, 60), (0.2, 0.3, 0.4, 0.2), 1),
    "clusters": ((400, 200), (0.6, 0.5), 10),
    "rare": ((30, 30), (0.98, 0.95), 1),
}


@pytest.mark.parametrize("trials", [pytest.param(4, id="quick"), pytest.param(600, id="full", marks=pytest.mark.proof)])
@pytest.mark.parametrize("name", CASES)
def test_bounds_err_at_most_as_often_as_they_say(name: str, trials: int) -> None:
    """Each end at 5 %: more wrong than the mean and 3.1 standard deviations happens in 1 of 1,000 such tests."""
    sizes, chances, per_cluster = CASES[name]
    found = coverage(sizes, chances, 0.1, trials, per_cluster)
    print(f"\ngap bounds, {name}: wrong in {100 * found:.1f} % of {trials} at worst")
    assert found * trials <= 0.05 * trials + 3.1 * np.sqrt(0.05 * 0.95 * trials)
