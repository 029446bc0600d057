"""A run that stops when it is decided passes wrongly at most alpha of the time: truth at the margin, many runs.

`make proofs` runs 10,000 of each; a quick size runs in every test run. Bets alone are in tests/stats/test_betting.py.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.frugal import REGIMES, Regime, simulated
from tests.proofs.frugal_simulation import Growing, Kind, at_the_margin

ALPHA = 0.05
FULL = pytest.param(False, marks=[pytest.mark.proof, pytest.mark.timeout(1800)], id="full")
QUICK = pytest.param(True, id="quick")


def tolerance(runs: int) -> float:
    """2.6 standard errors: 1 in 200."""
    return 2.6 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


def grid(kind: Kind, icc: float, quick: bool) -> Iterator[Growing]:
    clusters, sizes, margins = ((14,), (20,), (0.1,)) if quick else ((8, 14, 56), (36,), (0.02, 0.1))
    for count, size, margin, back in itertools.product(clusters, sizes, margins, (0.0, 0.02)):
        yield Growing(count, size, margin, back, kind, icc)


@pytest.mark.parametrize("quick", [QUICK, FULL])
@pytest.mark.parametrize(("kind", "icc"), [("beta", 0.0), ("beta", 0.1), ("shock", 0.05)])
def test_clustered_rows_in_random_order_pass_wrongly_at_most_alpha_of_the_time(
    kind: Kind, icc: float, quick: bool
) -> None:
    """At effective counts, where flips gather as far as is promised for runs of a fixed size."""
    runs, seeds = (300, 1) if quick else (1000, 10)
    for of in grid(kind, icc, quick):
        found = [at_the_margin(of, runs, seed) for seed in range(seeds)]
        way, ever = (float(np.mean([getattr(each, name) for each in found])) for name in ("on_the_way", "ever"))
        print(f"{of}: wrong PASS on the way {way:.4f}, on the way or at the end {ever:.4f}")
        assert ever <= ALPHA + tolerance(runs * seeds), of


@pytest.mark.parametrize("quick", [QUICK, FULL])
@pytest.mark.parametrize("regime", [each for each in REGIMES if "margin" in each.name], ids=lambda each: each.name)
def test_independent_rows_at_the_margin_are_decided_wrongly_at_most_alpha_of_the_time(
    regime: Regime, quick: bool
) -> None:
    """Bets and the test at the end together, with a twin and without: PASS and FAIL are each wrong there."""
    parts = [simulated(regime, 500, seed) for seed in range(1 if quick else 20)]
    passed, failed = (float(np.mean([getattr(part, name) for part in parts])) for name in ("passed", "failed"))
    print(f"{regime.name}: wrong PASS {passed:.4f}, wrong FAIL {failed:.4f} of {500 * len(parts):,}")
    assert max(passed, failed) <= ALPHA + tolerance(500 * len(parts))
