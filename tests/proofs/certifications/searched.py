"""slices.found and agreement.flips at the limit, by a population of rows with columns."""

from collections.abc import Iterator

import numpy as np

from kit.judge.base import Case
from kit.records import ColumnRecord
from tests.proofs.certifications.cases import case_of, column, rows_of
from tests.proofs.certifications.scenario import Rng, Scenario, by_judging

COLUMNS, VALUES = 4, 3


def found(rows: int, limit: float, back: float) -> Scenario:
    """One value of one column loses the limit and no conjunction more: none may be confirmed, nor all be cleared.

    Within that value all rows lose alike, so that its conjunctions lie at the limit as well.
    """

    def draw(rng: Rng) -> Case:
        codes = rng.integers(0, VALUES, (COLUMNS, rows))
        drawn, hurt = rng.random(rows), codes[0] == 0
        wrong, right = drawn < back + limit * hurt, (drawn >= 1 - back)
        before, after = right.astype(np.int64), wrong.astype(np.int64)
        columns: dict[str, ColumnRecord] = {f"c{each}": column(codes[each], VALUES) for each in range(COLUMNS)}
        data = rows_of(np.zeros(rows, np.int64), None, columns)
        return case_of("slices.found", limit, data, before, after)

    words = f"{rows} rows, {COLUMNS} columns of {VALUES} values, {100 * limit:g} points, {100 * back:g} % back"
    return Scenario("slices.found", words, by_judging(draw), share=0.25)


def flips(rows: int, share: float, cluster_rows: int = 1) -> Scenario:
    """The share of decisions that change is the limit."""

    def draw(rng: Rng) -> Case:
        count = rows // cluster_rows
        rate = rng.beta(19 * share, 19 * (1 - share), count) if cluster_rows > 1 else np.full(count, share)
        changed = rng.random(rows) < np.repeat(rate, cluster_rows)
        before = (rng.random(rows) < 0.1).astype(np.int64)
        cluster = np.repeat(np.arange(count), cluster_rows) if cluster_rows > 1 else None
        data = rows_of(np.zeros(rows, np.int64), cluster, {})
        return case_of("agreement.flips", share, data, before, np.where(changed, 1 - before, before))

    clusters = f" in clusters of {cluster_rows}, ICC 0.05" if cluster_rows > 1 else ""
    return Scenario("agreement.flips", f"{rows} rows{clusters}, {100 * share:g} %", by_judging(draw), share=0.5)


def scenarios() -> Iterator[Scenario]:
    """Every one."""
    for rows, limit, back in ((1000, 0.05, 0.01), (1000, 0.2, 0.0), (4000, 0.03, 0.02), (400, 0.1, 0.05)):
        yield found(rows, limit, back)
    for rows, share in ((300, 0.0105), (100, 0.05), (1000, 0.02)):
        yield flips(rows, share)
    yield flips(1120, 0.05, 20)
