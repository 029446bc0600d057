"""fairness.gap, fairness.ratio and fairness.gap_change at the limit: two groups and many, even ones and tiny ones."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from kit.judge.base import Case
from kit.judge.registry import JUDGES
from kit.spec.types import Metric
from tests.proofs.certifications.cases import column
from tests.proofs.certifications.pools import ROWS, Pool, binary
from tests.proofs.certifications.scenario import Rng, Scenario, by_judging

TINY = 0.05
"""Share of the rows in the smallest of groups."""


@cache
def population(groups: int, tiny: bool, sparse: bool, cluster_rows: int) -> Pool:
    """Groups that differ in how often they are decided rightly; the last one is hurt by the optimization."""
    pool = binary(sparse=sparse, cluster_rows=cluster_rows)
    rng = np.random.default_rng(5)
    shares = np.full(groups, 1 / groups)
    if tiny:
        shares = np.append(np.full(groups - 1, (1 - TINY) / (groups - 1)), TINY)
    codes = np.repeat(rng.choice(groups, ROWS // cluster_rows, p=shares), cluster_rows)
    hurt = (codes == groups - 1) & (rng.random(ROWS) < 0.08)
    scores = np.where(hurt[:, None], pool.optimized.scores[:, ::-1], pool.optimized.scores)
    optimized = replace(pool.optimized, scores=scores, decisions=scores.argmax(axis=1).astype(np.int64))
    data = replace(pool.data, columns={"group": column(codes, groups)})
    return replace(pool, data=data, optimized=optimized)


@cache
def truth(metric: Metric, measure: str, groups: int, tiny: bool, sparse: bool, cluster_rows: int) -> float:
    """The figure on the whole population."""
    pool = population(groups, tiny, sparse, cluster_rows)
    case = pool.case(metric, 0.5, by=("group",), measure=measure, positive="yes")
    return max(found.estimate or 0.0 for found in JUDGES[metric](case))


def gap(
    metric: Metric,
    measure: str,
    rows: int,
    groups: int = 2,
    *,
    tiny: bool = False,
    sparse: bool = False,
    cluster_rows: int = 1,
    share: float = 0.1,
) -> Scenario:
    """The gap, ratio or change over all the groups is the limit."""
    direction = "at_least" if metric == "fairness.ratio" else "at_most"

    def draw(rng: Rng) -> Case:
        limit = truth(metric, measure, groups, tiny, sparse, cluster_rows)
        sample = population(groups, tiny, sparse, cluster_rows).sample(rows, rng)
        return sample.case(
            metric, limit, by=("group",), measure=measure, positive="yes", direction=direction, minimum_rows=1
        )

    kind = f"{groups} groups" + (f" of which one is {100 * TINY:g} %" if tiny else "")
    how = ("few rows moved" if sparse else "all rows moved") + (
        f", clusters of {cluster_rows}" if cluster_rows > 1 else ""
    )
    return Scenario(metric, f"{measure or 'accuracy'}, {rows} rows, {kind}, {how}", by_judging(draw), share=share)


MEASURES = (
    "accuracy",
    "demographic-parity",
    "equalized-odds",
    "equal-opportunity",
    "predictive-parity",
    "false-positive-rate",
    "calibration",
)


def scenarios() -> Iterator[Scenario]:
    """Every one."""
    for measure in MEASURES:
        yield gap("fairness.gap", measure, 600)
        yield gap("fairness.gap_change", measure, 600)
    for measure in ("accuracy", "demographic-parity", "equal-opportunity"):
        yield gap("fairness.ratio", measure, 600, share=0.2)
        yield gap("fairness.gap", measure, 1000, 8)
        yield gap("fairness.gap_change", measure, 1000, 8, sparse=True)
        yield gap("fairness.gap_change", measure, 800, tiny=True, sparse=True)
        yield gap("fairness.gap", measure, 800, tiny=True)
    yield gap("fairness.ratio", "accuracy", 800, tiny=True, share=0.2)
    yield gap("fairness.ratio", "demographic-parity", 1000, 8, share=0.2)
    yield gap("fairness.gap", "accuracy", 800, cluster_rows=20)
    yield gap("fairness.gap_change", "accuracy", 800, cluster_rows=20)
