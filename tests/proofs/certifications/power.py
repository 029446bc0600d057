"""Coverage of the intervals of shares, and power against textbook methods, by simulation of independent rows."""

import itertools
from collections.abc import Callable

import numpy as np
from scipy import stats

from kit.records import Float64Array
from kit.stats.proportions import paired_bounds, paired_score, proportion_bounds
from kit.stats.special import student_t_quantile
from tests.proofs.certifications.scenario import ALPHA, BoolArray, Rng, Tally

Z = float(stats.norm.ppf(1 - ALPHA))
Test = Callable[[Float64Array, Float64Array, int, float], BoolArray]
"""Whether each run passes: rows that turned wrong [runs] and right [runs], of so many rows, at a margin."""


def ours(to_wrong: Float64Array, to_right: Float64Array, rows: int, margin: float) -> BoolArray:
    """As `accuracy.drop` decides."""
    return np.asarray(paired_score(to_wrong, to_right, rows, margin) <= -student_t_quantile(1 - ALPHA, rows - 1.0))


def wald(to_wrong: Float64Array, to_right: Float64Array, rows: int, margin: float) -> BoolArray:
    """The difference of paired shares with McNemar's variance, as textbooks have it: no width without a flip."""
    drop = (to_wrong - to_right) / rows
    spread = np.sqrt(np.maximum(to_wrong + to_right - rows * drop**2, 0.0)) / rows
    return np.asarray(drop + Z * spread <= margin)


def unpaired(runs: int, rows: int, margin: float, rng: Rng) -> float:
    """Share of runs that pass where both models, right on 90 %, are tried on `rows` different rows each: z test."""
    before, after = rng.binomial(rows, 0.9, (2, runs)) / rows
    spread = np.sqrt((before * (1 - before) + after * (1 - after)) / rows)
    return float((before - after + Z * spread <= margin).mean())


def shares(runs: int, rows: int, flips: float, drop: float, rng: Rng) -> tuple[Float64Array, Float64Array]:
    """Rows that turn wrong and right, float64 [runs] each, where `flips` of all rows change."""
    wrong, right = (flips + drop) / 2, (flips - drop) / 2
    drawn = rng.multinomial(rows, [wrong, right, 1 - flips], runs)
    return drawn[:, 0].astype(np.float64), drawn[:, 1].astype(np.float64)


def chance(test: Test, runs: int, rows: int, flips: float, drop: float, margin: float, seed: int) -> float:
    """Share of runs that pass."""
    rng = np.random.default_rng([seed, rows, int(1e6 * flips), int(1e6 * margin)])
    return float(test(*shares(runs, rows, flips, drop, rng), rows, margin).mean())


def power_table(runs: int, seed: int) -> str:
    """Chance of PASS of a truly equal model; beside it, how often one passes that loses the margin itself."""
    lines = [
        "| margin | flips | rows | ours | McNemar's variance | unpaired z | at the margin: ours | McNemar's |",
        "| --- " * 8 + "|",
    ]
    for margin, flips in itertools.product((0.01, 0.02, 0.03), (0.01, 0.03, 0.06)):
        for rows in (500, 1000, 2000, 5000, 10_000):
            equal = [chance(test, runs, rows, flips, 0.0, margin, seed) for test in (ours, wald)]
            textbook = unpaired(runs, rows, margin, np.random.default_rng([seed, rows]))
            told = [f"{100 * margin:g} points", f"{100 * flips:g} %", f"{rows:,}"]
            told += [f"{100 * each:.0f} %" for each in (*equal, textbook)]
            if flips >= margin:
                told += [f"{100 * chance(t, runs, rows, flips, margin, margin, seed):.1f} %" for t in (ours, wald)]
            lines.append("| " + " | ".join(told + ["-"] * (8 - len(told))) + " |")
    return "\n".join(lines)


def coverage_table(runs: int, seed: int) -> str:
    """How often each end of an interval at 95 % leaves the truth out."""
    lines = ["| interval | rows | truth | lower end too high | upper end too low |", "| --- " * 5 + "|"]
    for rows in (30, 100, 500, 2000, 10_000):
        critical = student_t_quantile(1 - ALPHA, rows - 1.0)
        for share in (0.5, 0.9, 0.99):
            rng = np.random.default_rng([seed, rows, int(1e4 * share)])
            low, high = proportion_bounds(rng.binomial(rows, share, runs), rows, critical)
            lines.append(_line("share", rows, f"{100 * share:g} %", low > share, high < share))
        for flips, drop in ((0.02, 0.0), (0.02, 0.01), (0.1, 0.03)):
            rng = np.random.default_rng([seed, rows, int(1e4 * flips), int(1e4 * drop)])
            low, high = paired_bounds(*shares(runs, rows, flips, drop, rng), rows, critical)
            words = f"{100 * drop:g} points, {100 * flips:g} % flips"
            lines.append(_line("paired difference", rows, words, low > drop, high < drop))
    return "\n".join(lines)


def _line(name: str, rows: int, truth: str, above: BoolArray, below: BoolArray) -> str:
    ends = " | ".join(str(Tally(int(each.sum()), len(each))) for each in (above, below))
    return f"| {name} | {rows:,} | {truth} | {ends} |"
