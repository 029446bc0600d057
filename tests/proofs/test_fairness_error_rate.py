"""A PASS of a fairness claim is wrong at most alpha of the time: groups whose true gap, ratio or change is the limit.

`make proofs` runs the full sizes and prints the table of docs/fairness.md; a quick size runs in every test run.
"""

import pytest

from tests.proofs.fairness_simulation import World, errors
from tests.proofs.verdict_simulation import tolerance

ALPHA = 0.05
TWO = World((400, 400), (0.4, 0.4), (0.8, 0.65), (0.2, 0.1))
SIX = World((150,) * 6, (0.5,) * 6, (0.8, 0.6, 0.7, 0.7, 0.7, 0.7), (0.2, 0.1, 0.2, 0.2, 0.2, 0.2))
TINY = World((300, 35), (0.4, 0.4), (0.9, 0.5), (0.1, 0.02))
RARE = World((3000, 2000), (0.02, 0.02), (0.7, 0.5), (0.01, 0.005))
MANY = World((60,) * 30, (0.5,) * 30, (0.9,) + (0.5,) * 29, (0.5,) * 30)
HARMED = World((600, 600), (0.4, 0.4), (0.8, 0.6), (0.3, 0.1), lost=(0.0, 0.05))
FEW_FLIPS = World((300, 60), (0.5, 0.5), (0.9, 0.9), (0.1, 0.1), lost=(0.0, 0.04))
CLUSTERED = World((600, 600), (0.4, 0.4), (0.8, 0.6), (0.3, 0.1), lost=(0.0, 0.05), clusters=25, icc=0.05)
MIXED = World((600, 600), (0.4, 0.4), (0.8, 0.6), (0.3, 0.1), lost=(0.0, 0.05), clusters=25, icc=0.05, mixed=True)
WEIGHTED = World((600, 600), (0.4, 0.4), (0.8, 0.6), (0.3, 0.1), lost=(0.0, 0.05), weighted=True)


def selected(world: World, group: int) -> float:
    """Share that is selected after, of a group."""
    base, lost = world.base[group], world.lost[group] if world.lost else 0.0
    return base * world.hit[group] + (1 - base) * world.alarm[group] - lost


def precision(world: World, group: int) -> float:
    """Share positive among those selected before; nobody is lost here."""
    return world.base[group] * world.hit[group] / selected(world, group)


CASES = [
    ("gap", "demographic-parity", TWO, selected(TWO, 0) - selected(TWO, 1), "two groups"),
    ("gap", "equal-opportunity", TWO, 0.15, "two groups"),
    ("gap", "equalized-odds", SIX, 0.2, "six groups, two rates"),
    ("gap", "equal-opportunity", TINY, 0.4, "one group of 35 rows, 14 of them positive"),
    ("gap", "equal-opportunity", RARE, 0.2, "60 and 40 positives"),
    ("gap", "equal-opportunity", MANY, 0.4, "30 groups of 60 rows"),
    ("gap", "predictive-parity", TWO, abs(precision(TWO, 0) - precision(TWO, 1)), "two groups"),
    ("gap", "demographic-parity", CLUSTERED, selected(CLUSTERED, 0) - selected(CLUSTERED, 1), "25 clusters a group"),
    ("gap", "demographic-parity", MIXED, selected(MIXED, 0) - selected(MIXED, 1), "25 clusters of both groups"),
    ("gap", "demographic-parity", WEIGHTED, selected(WEIGHTED, 0) - selected(WEIGHTED, 1), "weights 1 and 4"),
    ("ratio", "demographic-parity", TWO, selected(TWO, 1) / selected(TWO, 0), "two groups"),
    ("ratio", "equal-opportunity", TINY, 5 / 9, "one group of 35 rows, 14 of them positive"),
    ("ratio", "false-positive-rate", RARE, 0.5, "29 and 10 false alarms expected"),
    ("ratio", "equal-opportunity", MANY, 5 / 9, "30 groups of 60 rows"),
    ("ratio", "demographic-parity", CLUSTERED, selected(CLUSTERED, 1) / selected(CLUSTERED, 0), "25 clusters a group"),
    ("change", "demographic-parity", HARMED, 0.05, "one of two groups loses 5 points"),
    ("change", "demographic-parity", FEW_FLIPS, 0.04, "60 rows, of which 2.4 flip"),
    ("change", "demographic-parity", CLUSTERED, 0.05, "25 clusters a group"),
    ("change", "demographic-parity", MIXED, 0.05, "25 clusters of both groups"),
    ("change", "demographic-parity", WEIGHTED, 0.05, "weights 1 and 4"),
    ("change", "predictive-parity", TWO, 0.0, "nothing flips"),
    ("change", "calibration", HARMED, 0.05, "probabilities moved by 5 points in one group"),
]
FULL = pytest.param(False, marks=[pytest.mark.proof, pytest.mark.timeout(1500)], id="full")


@pytest.mark.parametrize("quick", [pytest.param(True, id="quick"), FULL])
@pytest.mark.parametrize(
    ("claim", "measure", "world", "truth", "what"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]}-{place}") for place, case in enumerate(CASES)],
)
def test_bounds_at_the_limit_err_at_most_alpha_of_the_time(
    claim: str, measure: str, world: World, truth: float, what: str, quick: bool
) -> None:
    runs = 20 if quick else 1500
    found = errors(claim, measure, world, truth, runs, 0)
    wrong_pass, wrong_fail = (found.lower, found.upper) if claim == "ratio" else (found.upper, found.lower)
    print(f"| {claim} | {measure} | {what} | {wrong_pass:.3f} | {wrong_fail:.3f} |")
    assert found.runs > 0.9 * runs
    assert max(wrong_pass, wrong_fail) <= ALPHA + tolerance(ALPHA, runs)
