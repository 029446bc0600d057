"""Simulated groups with known rates, decided before and after, compared by the functions that verdicts use."""

from dataclasses import dataclass, field

import numpy as np

from kit.fairness.compare import Bounds, Comparison, compared, gap, gap_change, ratio
from kit.fairness.groups import Groups, separate
from kit.fairness.parts import Answers, Part, calibration_part, rate_part
from kit.fairness.rates import PARTS


@dataclass(frozen=True)
class World:
    """What is true of each group: rows, share of positives, and shares of those and of the others decided positive.

    lost, gained: of all rows, the share whose decision turns from positive to negative by the optimization, and back.
    `clusters`: whole clusters of a group, whose rows share a rate with intraclass correlation `icc`; 0: independent.
    `mixed`: clusters have rows of every group. `weighted`: rows stand for 1 or 4 of the population.
    """

    rows: tuple[int, ...]
    base: tuple[float, ...]
    hit: tuple[float, ...]
    alarm: tuple[float, ...]
    lost: tuple[float, ...] = ()
    gained: tuple[float, ...] = ()
    clusters: int = 0
    icc: float = 0.0
    mixed: bool = False
    weighted: bool = False
    names: tuple[str, ...] = field(default=("no", "yes"))


def shared(mean: np.ndarray, place: np.ndarray, count: int, icc: float, rng: np.random.Generator) -> np.ndarray:
    """Rates of rows with these means, each cluster's moved together so that the intraclass correlation is `icc`."""
    if icc <= 0:
        return mean
    weight = 1 / icc - 1
    centre = np.clip(mean, 1e-6, 1 - 1e-6)
    rank = rng.random(count)[place]
    from scipy.stats import beta

    return np.asarray(beta.ppf(rank, centre * weight, (1 - centre) * weight))


def draw(world: World, rng: np.random.Generator) -> tuple[Answers, Groups, list[np.ndarray]]:
    """Rows of all groups: answers, groups, and calibrated scores before and after."""
    group = np.repeat(np.arange(len(world.rows)), world.rows)
    rows = len(group)
    if world.mixed:
        place = rng.integers(0, world.clusters, rows)
    else:
        place = group * world.clusters + (rng.integers(0, world.clusters, rows) if world.clusters else 0)
    count = max(1, world.clusters) * len(world.rows)
    of = {
        name: np.array(getattr(world, name) or (0.0,) * len(world.rows))[group]
        for name in ("base", "hit", "alarm", "lost", "gained")
    }
    label = (rng.random(rows) < of["base"]).astype(np.int64)
    rate = shared(np.where(label == 1, of["hit"], of["alarm"]), place, count, world.icc, rng)
    before = rng.random(rows) < rate
    move = rng.random(rows)
    to_no = before & (move < of["lost"] / np.maximum(rate, 1e-9))
    to_yes = ~before & (move < of["gained"] / np.maximum(1 - rate, 1e-9))
    after = np.where(to_no, False, np.where(to_yes, True, before))
    weights = np.where(rng.random(rows) < 0.5, 1.0, 4.0) if world.weighted else None
    answers = Answers(
        label, before.astype(np.int64), after.astype(np.int64), place if world.clusters else None, weights, 0.05
    )
    names = tuple(f"g={k}" for k in range(len(world.rows)))
    score = of["base"]
    return answers, Groups(("g",), names, group, 0), [score, np.clip(score + of["lost"] - of["gained"], 0, 1)]


def parts(measure: str, answers: Answers, groups: Groups, scores: list[np.ndarray]) -> tuple[Part, ...]:
    if measure == "calibration":
        return (calibration_part(answers, groups, 1, "yes", scores),)
    return tuple(rate_part(answers, groups, rate, 1, "yes") for rate in PARTS[measure])


def comparisons(measure: str, world: World, rng: np.random.Generator, least: int = 1) -> tuple[Comparison, ...]:
    answers, groups, scores = draw(world, rng)
    found = parts(measure, answers, groups, scores)
    tested = [tuple(k for k, g in enumerate(part.groups) if g is not None and g.rows >= least) for part in found]
    return compared(found, tested, separate(groups.codes, len(groups.names), answers.cluster))


@dataclass(frozen=True)
class Errors:
    """Shares of runs in which a bound missed the truth: the upper one below it, the lower one above it."""

    upper: float
    lower: float
    runs: int


def errors(claim: str, measure: str, world: World, truth: float, runs: int, seed: int, alpha: float = 0.05) -> Errors:
    """How often the bounds of a claim (gap, ratio, change) on simulated groups miss `truth`, which is known."""
    rng = np.random.default_rng([seed, len(world.rows), sum(world.rows), int(1e4 * abs(truth))])
    missed = np.zeros(2)
    judged = 0
    for _ in range(runs):
        of = comparisons(measure, world, rng)
        if not of:
            continue
        bounds: Bounds | None = (
            gap_change(of, alpha) if claim == "change" else (gap if claim == "gap" else ratio)(of, "after", alpha)
        )
        if bounds is None:
            continue
        judged += 1
        missed += [bounds.upper < truth - 1e-12, bounds.lower > truth + 1e-12]
    return Errors(float(missed[0] / runs), float(missed[1] / runs), judged)
