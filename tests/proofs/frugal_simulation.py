"""Samples of clustered rows that grow in random order, many runs at once, decided as `kit.stats.sequential` does."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kit.stats.betting import log_capital
from kit.stats.clusters import ClusterSums, design_effect
from kit.stats.orders import looks, random_order
from kit.stats.proportions import paired_score
from kit.stats.sequential import ON_THE_WAY
from kit.stats.special import normal_quantile, student_t_quantile

Kind = Literal["beta", "shock"]
LEAST_CLUSTERS = 5


@dataclass(frozen=True)
class Growing:
    """Clusters of equal size, truth at the margin, flips back, and how flips gather (see `verdict_simulation`)."""

    clusters: int
    size: int
    margin: float
    back: float
    kind: Kind
    icc: float
    floor: float = 0.05


@dataclass(frozen=True)
class Ended:
    """Shares of runs at the margin that passed: on the way alone, and on the way or at the end."""

    on_the_way: float
    ever: float


def at_the_margin(of: Growing, runs: int, seed: int, alpha: float = 0.05) -> Ended:
    """`runs` samples whose true drop is the margin; PASS is then wrong. The order of rows is the same for all."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(of.clusters), of.size)
    wrong = _flips(of, of.margin + of.back, runs, cluster, rng)
    right = _flips(of, of.back, runs, cluster, rng) & ~wrong
    difference = wrong.astype(np.float32) - right
    truth = (of.margin + of.back) - of.back * (1 - of.margin - of.back)
    order = random_order(len(cluster), seed)
    passed, spent = np.zeros(runs, np.bool_), ON_THE_WAY * alpha
    for count in looks(len(cluster), last=True):
        rows = order[:count]
        effect, clusters = _effect(difference[:, rows], cluster[rows], of.floor)
        if clusters < LEAST_CLUSTERS:
            continue
        price = (student_t_quantile(1 - spent, clusters - 1) / normal_quantile(1 - spent)) ** 2
        b, c = ((difference[:, rows] == side).sum(axis=1) / effect for side in (1, -1))
        passed |= log_capital(b, c, count / effect, truth) >= price * math.log(1 / spent)
    critical = student_t_quantile(1 - (1 - ON_THE_WAY) * alpha, of.clusters - 1)
    at_end = paired_score(b, c, count / effect, truth) <= -critical
    return Ended(float(passed.mean()), float((passed | at_end).mean()))


def _flips(
    of: Growing, rate: float, runs: int, cluster: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """bool [runs, rows]: which rows flip, with intraclass correlation `icc`."""
    own = rng.random((runs, len(cluster)), dtype=np.float32)
    if rate == 0 or of.icc == 0:
        return own < rate
    if of.kind == "beta":
        weight = 1 / of.icc - 1
        return own < rng.beta(rate * weight, (1 - rate) * weight, (runs, of.clusters))[:, cluster]
    shared = (rng.random((runs, of.clusters)) < rate)[:, cluster]
    together = rng.random((runs, len(cluster)), dtype=np.float32) < math.sqrt(of.icc)
    return np.where(together, shared, own < rate)


def _effect(
    difference: NDArray[np.float32], cluster: NDArray[np.int64], floor: float
) -> tuple[NDArray[np.float64], int]:
    """Design effect [runs] of the rows that came, and in how many clusters they are."""
    kinds, code = np.unique(cluster, return_inverse=True)
    member = np.eye(len(kinds), dtype=np.float32)[code]
    sums, squares = ((value @ member).astype(np.float64) for value in (difference, np.abs(difference)))
    sizes = member.sum(axis=0).astype(np.float64)
    return design_effect(ClusterSums(sizes, sums, squares, squares > 0), floor), len(kinds)
