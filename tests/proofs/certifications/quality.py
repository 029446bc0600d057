"""quality.value and quality.loss at the limit, by measures of every kind, and agreement.flips."""

from collections.abc import Iterator
from functools import cache

from kit.judge.base import Case
from kit.spec.measures import MEASURES, has_end
from kit.spec.types import Metric
from kit.task import MEASURES_BY_NAME
from kit.task import rows_of as rows_under
from tests.proofs.certifications.pools import OWN, Pool, binary, regression, sequences
from tests.proofs.certifications.scenario import Rng, Scenario, by_judging

POOLS = {"regression": regression, "sequence": sequences, "classification": binary}


@cache
def pool_of(task: str, sparse: bool, cluster_rows: int) -> Pool:
    """The task's population, made once."""
    return POOLS[task](sparse=sparse, cluster_rows=cluster_rows)


@cache
def truth(measure: str, sparse: bool, cluster_rows: int) -> tuple[float, float]:
    """The measure of the reference and of the optimized model on the whole population."""
    pool = pool_of(MEASURES[measure].tasks[0], sparse, cluster_rows)
    under = (rows_under(pool.data, each, pool.reference) for each in (pool.reference, pool.optimized))
    before, after = (MEASURES_BY_NAME[measure].of(rows).estimate for rows in under)
    return before, after


@cache
def largest(measure: str, sparse: bool, cluster_rows: int) -> float | None:
    """The most that any row of the population loses or errs by, of a measure that has no end."""
    if has_end(measure):
        return None
    pool = pool_of(MEASURES[measure].tasks[0], sparse, cluster_rows)
    under = (rows_under(pool.data, each, pool.reference) for each in (pool.reference, pool.optimized))
    return max(float(MEASURES_BY_NAME[measure].size(rows).max()) for rows in under)


def quality(metric: Metric, measure: str, rows: int, *, sparse: bool, cluster_rows: int = 1) -> Scenario:
    """The figure, or by how much it is worse than the reference's, is the limit."""
    rule = MEASURES[measure]

    def draw(rng: Rng) -> Case:
        before, after = truth(measure, sparse, cluster_rows)
        worse = before - after if rule.better == "higher" else after - before
        limit = after if metric == "quality.value" else worse
        sample = pool_of(rule.tasks[0], sparse, cluster_rows).sample(rows, rng)
        name, most = OWN if measure == "wer" else measure, largest(measure, sparse, cluster_rows)
        return sample.case(metric, limit, direction=direction, measure=name, largest=most)

    direction = "at_least" if metric == "quality.value" and rule.better == "higher" else "at_most"
    how = "few rows moved" if sparse else "all rows moved"
    clusters = f" in clusters of {cluster_rows}" if cluster_rows > 1 else ""
    return Scenario(metric, f"{measure}, {rows} rows{clusters}, {how}", by_judging(draw), share=SHARE)


SHARE = 0.1
"""Of the usual number of runs for each measure: together they are more than that."""


def scenarios() -> Iterator[Scenario]:
    """Every one."""
    for measure in ("accuracy", "auc", "f1", "brier", "log-loss", "ece", "mae", "rmse", "wer"):
        for sparse in (False, True):
            yield quality("quality.loss", measure, 300, sparse=sparse)
        yield quality("quality.value", measure, 300, sparse=False)
    for measure in ("accuracy", "auc", "mae"):
        yield quality("quality.loss", measure, 60, sparse=True)
        yield quality("quality.loss", measure, 400, sparse=False, cluster_rows=20)
        yield quality("quality.value", measure, 400, sparse=False, cluster_rows=20)
