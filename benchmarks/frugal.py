"""Rows that cross the link until the verdict: against all of them, and against a test of a fixed size.

A fixed size must be chosen before the flip rate is known, so it is sized for a rate that is feared (6 % of decisions
flip): Tango's test, alpha 5 %, power 90 %. It is also shown sized for the true rate, which nobody knows beforehand.
A regime is many seeded runs of simulated rows, decided by the functions that verdicts use, with 1.3 times the fixed
size at hand; the demo is the wearable example's own rows and decisions, in many random orders.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.frugal_demo import demo_rows
from benchmarks.table import Row
from kit.stats.betting import log_capital
from kit.stats.orders import looks
from kit.stats.proportions import paired_bounds, paired_score
from kit.stats.sequential import OF_THREE, ON_THE_WAY
from kit.stats.special import normal_quantile

ALPHA, POWER, FEARED = 0.05, 0.9, 0.06
EASY, WORST = 0.2, 1.3
MARGIN, SLICE_MARGIN, SLICES = 0.01, 0.02, 8

Counts = NDArray[np.float64]


@dataclass(frozen=True)
class Regime:
    """Shares of rows that flip to wrong and to right on the device; with a twin, on it, and where the device differs.

    `rows`: of the dataset, None for 1.3 times the fixed size. goal: ratio to the fixed size for the feared rate.
    """

    name: str
    to_wrong: float
    to_right: float
    goal: float
    margin: float = MARGIN
    slices: int = 1
    has_twin: bool = False
    differs: float = 0.0
    rows: int | None = None

    @property
    def drop(self) -> float:
        """The device's true drop: half of the rows that differ from the twin turn wrong, the others right."""
        return self.to_wrong - self.to_right

    @property
    def flips(self) -> float:
        """The device's true flip rate."""
        return self.to_wrong + self.to_right + self.differs


REGIMES = (
    Regime("no flip", 0.0, 0.0, EASY),
    Regime("rare flips inside", 0.001, 0.001, EASY),
    Regime("clear violation", 0.06, 0.01, EASY),
    Regime("flips 1 % inside", 0.005, 0.005, WORST),
    Regime("flips 3 % inside", 0.015, 0.015, WORST),
    Regime("feared flips inside", 0.03, 0.03, WORST),
    Regime("at the margin", 0.035, 0.025, WORST),
    Regime(f"{SLICES} slices, no flip", 0.0, 0.0, EASY, SLICE_MARGIN, SLICES),
    Regime(f"{SLICES} slices, flips 1 %", 0.005, 0.005, WORST, SLICE_MARGIN, SLICES),
    Regime("feared flips, twin agrees", 0.03, 0.03, EASY, has_twin=True, rows=50_000),
    Regime("feared flips, twin differs 1 %", 0.03, 0.03, WORST, has_twin=True, differs=0.01, rows=50_000),
    Regime("no flip, twin agrees", 0.0, 0.0, EASY, has_twin=True),
    Regime("at the margin, twin agrees", 0.035, 0.025, WORST, has_twin=True),
)


def fixed_size(flips: float, distance: float) -> int:
    """Rows of a paired test with `POWER` at a true drop that is `distance` below the margin (normal approximation)."""
    least = math.log(ALPHA) / math.log1p(-distance)  # an exact test needs so many even if nothing flips
    return math.ceil(max(least, (normal_quantile(1 - ALPHA) + normal_quantile(POWER)) ** 2 * flips / distance**2))


@dataclass(frozen=True)
class Runs:
    """Of each run: rows until its verdict, and whether that is PASS or FAIL."""

    rows: Counts
    passed: NDArray[np.bool_]
    failed: NDArray[np.bool_]


def simulated(regime: Regime, runs: int, seed: int) -> Runs:
    """One subject in many runs. With a twin all rows of the dataset have been run on it, and bets go both ways."""
    rng = np.random.default_rng(seed)
    total = regime.rows or math.floor(WORST * fixed_size(FEARED, regime.margin))
    steps = np.array(looks(total, last=True))
    new = np.diff(np.r_[0, steps])
    shape = (runs, len(new))
    twin_wrong, twin_right = (rng.binomial(new, share, shape) for share in (regime.to_wrong, regime.to_right))
    worse, better = (rng.binomial(new, regime.differs / 2, shape) for _ in range(2))
    audit = [np.cumsum(each, axis=1).astype(np.float64) for each in (worse, better)]
    wrong, right = (np.cumsum(each, axis=1).astype(np.float64) for each in (twin_wrong + worse, twin_right + better))
    share = ON_THE_WAY * ALPHA * (OF_THREE if regime.has_twin else 1.0)
    needed, rows = math.log(1 / share), np.broadcast_to(steps.astype(np.float64), wrong.shape)
    passes = log_capital(wrong, right, rows, regime.margin) >= needed
    fails = log_capital(right, wrong, rows, -regime.margin) >= needed
    if regime.has_twin:
        ends = [each.sum(axis=1) for each in (twin_wrong, twin_right)]
        low, high = paired_bounds(ends[0], ends[1], total, normal_quantile(1 - share))
        for run in range(runs):
            counts = audit[0][run], audit[1][run], rows[run]
            passes[run] |= log_capital(*counts, regime.margin - high[run]) >= needed
            fails[run] |= log_capital(counts[1], counts[0], rows[run], low[run] - regime.margin) >= needed
    critical = normal_quantile(1 - (1 - ON_THE_WAY) * ALPHA)
    score = paired_score(wrong[:, -1], right[:, -1], total, regime.margin)
    passes[:, -1] |= score <= -critical
    fails[:, -1] |= score > critical
    first = np.where((passes | fails).any(axis=1), (passes | fails).argmax(axis=1), len(steps) - 1)
    each_run = np.arange(runs)
    passed = passes[each_run, first]
    return Runs(steps[first].astype(np.float64), passed, fails[each_run, first] & ~passed)


def run(*, quick: bool) -> list[Row]:
    """Every regime, then the demo."""
    runs = 200 if quick else 2000
    return [row for regime in REGIMES for row in _rows(regime, runs)] + demo_rows(20 if quick else 100)


def _rows(regime: Regime, runs: int) -> list[Row]:
    parts = [simulated(regime, runs, seed) for seed in range(regime.slices)]
    rows = np.sum([part.rows for part in parts], axis=0)
    passed, failed = (np.array([getattr(part, name) for part in parts]) for name in ("passed", "failed"))
    all_pass, any_fail = passed.all(axis=0), failed.any(axis=0)
    fixed = regime.slices * fixed_size(FEARED, regime.margin)
    middle, high = float(np.median(rows)), float(np.quantile(rows, 0.9))
    told = f"90th percentile {high:,.0f}; PASS {all_pass.mean():.3f}, FAIL {any_fail.mean():.3f}"
    told += f", fixed PASS {_fixed_passes(regime, runs):.3f}"
    if regime.drop < regime.margin and regime.flips:
        known = regime.slices * fixed_size(regime.flips, regime.margin - regime.drop)
        told += f"; a fixed size for the true rate {known:,}"
    if regime.rows:
        told += f"; the whole dataset {regime.rows:,}"
    return [Row(regime.name, middle, "fixed size", float(fixed), "rows", regime.goal, note=told)]


def _fixed_passes(regime: Regime, runs: int) -> float:
    """How often the fixed-size test passes all slices."""
    rng, rows = np.random.default_rng(99), fixed_size(FEARED, regime.margin)
    shape, half = (runs, regime.slices), regime.differs / 2
    wrong, right = (rng.binomial(rows, share + half, shape) for share in (regime.to_wrong, regime.to_right))
    score = paired_score(wrong, right, rows, regime.margin)
    return float((score <= -normal_quantile(1 - ALPHA)).all(axis=1).mean())
