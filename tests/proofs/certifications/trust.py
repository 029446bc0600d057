"""privacy.membership and explanation.agreement at the limit."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from kit.judge.base import Case
from kit.records import ExplanationRecord, Float64Array, MembershipRecord
from kit.spec.types import Metric
from kit.stats.ranks import kendall_tau_b
from tests.builders import device, profile, requirement
from tests.proofs.certifications.cases import DIGEST, template
from tests.proofs.certifications.scenario import Rng, Scenario, by_judging

FEATURES = 16


def case_of(metric: Metric, limit: float, evidence_of: dict[str, object], variant_of: dict[str, object]) -> Case:
    """The case of a requirement on evidence in which those records are replaced."""
    variant = replace(template().variants[0], **variant_of)  # type: ignore[arg-type]
    whole = replace(template(), variants=(variant,), **evidence_of)  # type: ignore[arg-type]
    direction = "at_least" if metric == "explanation.agreement" else "at_most"
    wanted = requirement(metric, limit, direction=direction)
    return Case(wanted, variant, whole, profile([wanted]), device())


def membership(rows: int, leak: float, flips: float, *, cluster_rows: int = 1) -> Scenario:
    """The optimized model tells `leak` more of the members; guesses of either kind change on `flips` of the rows."""

    def attacked(before: np.ndarray, gain: float, rng: Rng) -> np.ndarray:
        draw = rng.random(len(before))
        turns = np.where(before, draw < flips, draw < flips)
        after = before ^ turns
        return after | (rng.random(len(before)) < gain)

    def draw(rng: Rng) -> Case:
        cluster = np.arange(rows) // cluster_rows
        members, others = rng.random(rows) < 0.6, rng.random(rows) < 0.5
        gain = leak / (1 - 0.6 - flips * (1 - 2 * 0.6))
        after = attacked(members, gain, rng), attacked(others, 0.0, rng)
        records = [
            MembershipRecord(
                DIGEST, DIGEST, "loss", np.where(one, 0.5, -0.5), np.where(two, 0.5, -0.5), cluster, cluster
            )
            for one, two in ((members, others), after)
        ]
        limit = leak + flips * (1 - 2 * 0.6) - flips * (1 - 2 * 0.5)
        asked = {"reference_membership": records[0]}
        return case_of("privacy.membership", limit, asked, {"membership": records[1]})  # type: ignore[arg-type]

    clusters = f" in clusters of {cluster_rows}" if cluster_rows > 1 else ""
    words = f"{rows} members and others{clusters}, {100 * leak:g} points more, {100 * flips:g} % change"
    return Scenario("privacy.membership", words, by_judging(draw), share=0.25)


def importances(repeats: int, noise: float, rng: Rng) -> tuple[Float64Array, Float64Array]:
    """What both models lose when each feature is permuted, [repeats, FEATURES]: alike, but for noise."""
    true = np.geomspace(1.0, 0.1, FEATURES)
    shape = (repeats, FEATURES)
    return true + noise * rng.standard_normal(shape), true + noise * rng.standard_normal(shape)


@cache
def agreement(noise: float) -> float:
    """The median agreement over endlessly many sets of rows."""
    pairs = zip(*importances(20_000, noise, np.random.default_rng(3)), strict=True)
    return float(np.median([kendall_tau_b(before, after) for before, after in pairs]))


def explanation(repeats: int, noise: float) -> Scenario:
    """The median rank agreement over sets of rows is barely below the limit."""

    def draw(rng: Rng) -> Case:
        before, after = importances(repeats, noise, rng)
        names = tuple(f"{feature}" for feature in range(FEATURES))
        record = ExplanationRecord(DIGEST, DIGEST, names, before, after, np.empty(0, np.int64), None, None, (), 0)
        return case_of("explanation.agreement", agreement(noise) + 1e-9, {}, {"explanation": record})

    words = f"{repeats} sets of rows, noise {noise:g}"
    return Scenario("explanation.agreement", words, by_judging(draw), fails=False, share=0.25)


def scenarios() -> Iterator[Scenario]:
    """Every one."""
    yield membership(200, 0.05, 0.02)
    yield membership(1000, 0.02, 0.01)
    yield membership(60, 0.1, 0.0)
    yield membership(600, 0.05, 0.02, cluster_rows=10)
    for repeats in (5, 8, 12):
        for noise in (0.05, 0.4):
            yield explanation(repeats, noise)
