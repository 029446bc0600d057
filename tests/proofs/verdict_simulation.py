"""Simulated evidence with known truth, many runs at once, judged by the very functions that verdicts use."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kit.stats.clusters import ClusterSums, design_effect
from kit.stats.proportions import paired_score, proportion_score
from kit.stats.special import student_t_quantile

Kind = Literal["beta", "shock"]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Scenario:
    """Clusters, mean rows a cluster, margin that the truth lies at, flips back, and how flips gather.

    beta: a rate of its own for each cluster, from a beta distribution. shock: with the flip's probability a whole
    share sqrt(icc) of a cluster flips together. Both give the intraclass correlation `icc`.
    """

    clusters: int
    mean_rows: int
    unequal: bool
    margin: float
    back: float
    kind: Kind
    icc: float


def sizes(scenario: Scenario, rng: np.random.Generator) -> Counts:
    """Rows of each cluster [G], at least 1; unequal ones vary by a factor of about 2 either way."""
    if not scenario.unequal:
        return np.full(scenario.clusters, scenario.mean_rows)
    weights = rng.dirichlet(np.full(scenario.clusters, 3.0))
    return 1 + rng.multinomial(scenario.clusters * (scenario.mean_rows - 1), weights)


def flips(runs: int, rows: Counts, rate: float, kind: Kind, icc: float, rng: np.random.Generator) -> Counts:
    """Flips a cluster [runs, G] with mean share `rate` of its rows."""
    shape = (runs, len(rows))
    if rate == 0 or icc == 0:
        return rng.binomial(rows, rate, shape)
    if kind == "beta":
        weight = 1 / icc - 1
        return rng.binomial(rows, rng.beta(rate * weight, (1 - rate) * weight, shape))
    together = rng.binomial(rows, np.sqrt(icc), shape)
    return np.where(rng.random(shape) < rate, together, 0) + rng.binomial(rows - together, rate)


def drop_decisions(
    scenario: Scenario,
    runs: int,
    seed: int,
    *,
    confidence: float = 0.95,
    icc_floor: float = 0.05,
    true_drop: bool = True,
) -> tuple[float, float]:
    """Shares of runs that PASS and that FAIL "the drop is at most the margin".

    The true drop is the margin itself, or zero if not `true_drop`.
    """
    rng = np.random.default_rng([seed, scenario.clusters, scenario.mean_rows, int(1e4 * scenario.margin)])
    rows = sizes(scenario, rng)
    drop = scenario.margin if true_drop else 0.0
    to_wrong = flips(runs, rows, scenario.back + drop, scenario.kind, scenario.icc, rng)
    to_right = np.minimum(flips(runs, rows, scenario.back, scenario.kind, scenario.icc, rng), rows - to_wrong)
    sums = ClusterSums(
        rows.astype(float), (to_wrong - to_right) * 1.0, (to_wrong + to_right) * 1.0, to_wrong + to_right > 0
    )
    effect = design_effect(sums, icc_floor)
    score = paired_score(to_wrong.sum(1) / effect, to_right.sum(1) / effect, rows.sum() / effect, scenario.margin)
    critical = student_t_quantile(confidence, len(rows) - 1)
    return float((score <= -critical).mean()), float((score > critical).mean())


def accuracy_decisions(
    scenario: Scenario, runs: int, seed: int, *, accuracy: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Shares of runs that PASS and that FAIL "the share right is at least `accuracy`", which is the truth."""
    rng = np.random.default_rng([seed, scenario.clusters, scenario.mean_rows])
    rows = sizes(scenario, rng)
    right = flips(runs, rows, accuracy, "beta", scenario.icc, rng)
    sums = ClusterSums(rows.astype(float), right * 1.0, right * 1.0, right < rows)
    effect = design_effect(sums, 0.05)
    score = proportion_score(right.sum(1) / effect, rows.sum() / effect, accuracy)
    critical = student_t_quantile(confidence, len(rows) - 1)
    return float((score >= critical).mean()), float((score < -critical).mean())


def autocorrelated(runs: int, count: int, phi: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Stationary Gaussian AR(1) series [runs, count] with unit variance: x_t = phi x_(t-1) + noise."""
    series = rng.standard_normal((runs, count))
    for step in range(1, count):
        series[:, step] = phi * series[:, step - 1] + np.sqrt(1 - phi**2) * series[:, step]
    return series


def tolerance(rate: float, runs: int) -> float:
    """Three Monte Carlo standard errors of an observed share whose true value is `rate`."""
    return float(3 * np.sqrt(rate * (1 - rate) / runs))
