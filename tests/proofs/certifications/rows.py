"""accuracy.value, accuracy.drop, their slices and agreement.flips at the limit: rows independent or in clusters."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from kit.records import Float64Array, Int64Array, Verdict
from kit.stats.clusters import ClusterSums, design_effect
from kit.stats.proportions import PairedCounts, paired_score, proportion_score
from kit.stats.special import student_t_quantile
from tests.proofs.certifications.cases import case_of, column, decisions, rows_of
from tests.proofs.certifications.scenario import ALPHA, BoolArray, Certified, Rng, Scenario, judged
from tests.proofs.verdict_simulation import Kind, flips

CHUNK = 500_000
"""Numbers drawn at once."""


@dataclass(frozen=True)
class Rows:
    """How rows come: `clusters` of `mean_rows` each (1: independent), and how what happens to them gathers."""

    clusters: int
    mean_rows: int = 1
    icc: float = 0.0
    kind: Kind = "beta"
    icc_floor: float = 0.05

    @property
    def words(self) -> str:
        """For a scenario's name."""
        if self.mean_rows == 1:
            return f"{self.clusters} rows"
        floor = "" if self.icc_floor == 0.05 else f" floor {self.icc_floor:g}"
        return f"{self.clusters} clusters of {self.mean_rows}, {self.kind} ICC {self.icc:g}{floor}"

    def sizes(self, rng: Rng) -> Int64Array:
        """Rows of each cluster, which vary by a factor of about 2 either way."""
        if self.mean_rows == 1:
            return np.array([self.clusters])
        weights = rng.dirichlet(np.full(self.clusters, 3.0))
        return 1 + rng.multinomial(self.clusters * (self.mean_rows - 1), weights)

    @property
    def df(self) -> float:
        """Degrees of freedom."""
        return self.clusters - 1.0


def chunked(certify: Callable[[int, Rng], Certified], width: int) -> Callable[[int, Rng], Certified]:
    """The same in parts, so that `width` numbers a run do not fill the memory; the first part can be judged again."""
    most = max(1, CHUNK // width)

    def whole(runs: int, rng: Rng) -> Certified:
        parts = [certify(min(most, runs - start), rng) for start in range(0, runs, most)]
        first = parts[0]
        passed, failed = (np.concatenate([getattr(part, name) for part in parts]) for name in ("passed", "failed"))
        return Certified(passed, failed, first.again)

    return whole


def drop(rows: Rows, margin: float, back: float) -> Scenario:
    """The drop is the margin; `back` of all rows turn right."""

    def certify(runs: int, rng: Rng) -> Certified:
        sizes = rows.sizes(rng)
        to_wrong, to_right = changes(runs, sizes, margin + back, back, rows, rng)
        changed = to_wrong + to_right
        effect = effects(sizes, to_wrong - to_right, changed, changed > 0, rows)
        score = paired_score(to_wrong.sum(1) / effect, to_right.sum(1) / effect, sizes.sum() / effect, margin)
        critical = student_t_quantile(1 - ALPHA, rows.df)

        def again(index: int) -> Verdict:
            counts = to_wrong[index], to_right[index]
            before, after, cluster = decisions(*counts, 0, sizes - sum(counts))
            data = rows_of(np.zeros(len(cluster), np.int64), None if rows.mean_rows == 1 else cluster, {})
            return judged(case_of("accuracy.drop", margin, data, before, after, icc_floor=rows.icc_floor))

        return Certified(score <= -critical, score >= critical, again)

    words = f"{rows.words}, {100 * margin:.4g} points, {100 * back:g} % back"
    return Scenario("accuracy.drop", words, chunked(certify, 8 * max(1, rows.clusters if rows.mean_rows > 1 else 1)))


def changes(
    runs: int, sizes: Int64Array, to_wrong: float, to_right: float, rows: Rows, rng: Rng
) -> tuple[Int64Array, Int64Array]:
    """Rows that turn wrong and that turn right, int64 [runs, clusters] each."""
    if rows.icc == 0:
        drawn = rng.multinomial(sizes, [to_wrong, to_right, 1 - to_wrong - to_right], (runs, len(sizes)))
        return drawn[..., 0], drawn[..., 1]
    wrong = flips(runs, sizes, to_wrong, rows.kind, rows.icc, rng)
    return wrong, np.minimum(flips(runs, sizes, to_right, rows.kind, rows.icc, rng), sizes - wrong)


def effects(
    sizes: Int64Array, sums: Int64Array, squares: Int64Array, shown: BoolArray, rows: Rows
) -> Float64Array | float:
    """Design effect of each run's mean [runs]; 1 for independent rows."""
    if rows.mean_rows == 1:
        return 1.0
    counts, each, square = (np.asarray(values, np.float64) for values in (sizes, sums, squares))
    return design_effect(ClusterSums(counts, each, square, shown), rows.icc_floor)


def value(rows: Rows, accuracy: float) -> Scenario:
    """The share right is the least that is allowed."""

    def certify(runs: int, rng: Rng) -> Certified:
        sizes = rows.sizes(rng)
        right = flips(runs, sizes, accuracy, "beta", rows.icc, rng)
        usual = right.sum(1) * 2 >= sizes.sum()
        effect = effects(sizes, right, right, np.where(usual[:, None], right < sizes, right > 0), rows)
        score = proportion_score(right.sum(1) / effect, sizes.sum() / effect, accuracy)
        critical = student_t_quantile(1 - ALPHA, rows.df if rows.mean_rows > 1 else sizes.sum() - 1.0)

        def again(index: int) -> Verdict:
            before, after, cluster = decisions(0, 0, sizes - right[index], right[index])
            data = rows_of(np.zeros(len(cluster), np.int64), None if rows.mean_rows == 1 else cluster, {})
            return judged(case_of("accuracy.value", accuracy, data, before, after, icc_floor=rows.icc_floor))

        return Certified(score >= critical, score <= -critical, again)

    return Scenario("accuracy.value", f"{rows.words}, {100 * accuracy:.4g} %", chunked(certify, 8 * rows.clusters))


def slices(count: int, rows: int, margin: float, back: float, *, every: bool, again: int = 10) -> Scenario:
    """The drop of one slice, or of every one, is the margin; other slices lose nothing."""

    def certify(runs: int, rng: Rng) -> Certified:
        lost = np.where(np.arange(count) < (count if every else 1), margin, 0.0)
        shares = np.stack([lost + back, np.full(count, back), 1 - lost - 2 * back], axis=-1)
        drawn = rng.multinomial(rows, shares, (runs, count))
        to_wrong, to_right = drawn[..., 0], drawn[..., 1]
        score = paired_score(to_wrong, to_right, rows, margin)
        passed = np.all(score <= -student_t_quantile(1 - ALPHA, rows - 1.0), axis=1)
        failed = score.max(axis=1) >= student_t_quantile(1 - ALPHA / count, rows - 1.0)

        def once_more(index: int) -> Verdict:
            counts = to_wrong[index], to_right[index]
            before, after, slice_of = decisions(*counts, 0, rows - sum(counts))
            data = rows_of(np.zeros(len(slice_of), np.int64), None, {"slice": column(slice_of, count)})
            return judged(case_of("accuracy.drop", margin, data, before, after, by=("slice",)))

        return Certified(passed, failed, once_more)

    who = "all" if every else "one"
    words = f"{count} slices of {rows} rows, {who} at {100 * margin:.4g} points, {100 * back:g} % back"
    return Scenario("accuracy.drop", words, chunked(certify, 8 * count), again=again)


def least_margin(rows: int) -> float:
    """The least margin that independent rows without any flip can pass, to 0.01 points."""
    _, upper = PairedCounts(0, 0, rows, rows - 1).bounds(1 - ALPHA)
    return math.ceil(1e4 * upper) / 1e4


def scenarios() -> Iterator[Scenario]:
    """Every one, from a handful of rows to thousands, and from rows that know nothing of each other to whole shocks."""
    for rows in (30, 100, 500, 3000):
        yield drop(Rows(rows), least_margin(rows), 0.0)
    for rows, margin, back in (
        (30, 0.16, 0.1), (100, 0.05, 0.07), (300, 0.02, 0.003), (500, 0.02, 0.005),
        (1000, 0.01, 0.03), (2000, 0.02, 0.0), (5000, 0.01, 0.005),
    ):  # fmt: skip
        yield drop(Rows(rows), margin, back)
    for clusters in (8, 14, 56):
        for icc, kind, floor in ((0.0, "beta", 0.05), (0.05, "beta", 0.05), (0.05, "shock", 0.05), (0.3, "beta", 0.15)):
            yield drop(Rows(clusters, 36, icc, kind, floor), 0.05, 0.02)  # type: ignore[arg-type]
        yield drop(Rows(clusters, 10, 0.05), 0.02, 0.0)
    for rows in (30, 500):
        yield value(Rows(rows), 1 - least_margin(rows))
    for rows, accuracy in ((30, 0.8), (30, 0.97), (100, 0.8), (500, 0.995), (2000, 0.9)):
        yield value(Rows(rows), accuracy)
    for clusters in (8, 14, 56):
        for icc in (0.0, 0.05, 0.1):
            yield value(Rows(clusters, 36, icc), 0.9)
    for count in (5, 50, 500):
        again = 10 if count < 500 else 1
        yield slices(count, 30, least_margin(30), 0.0, every=False, again=again)
        yield slices(count, 30, 0.01, 0.0, every=True, again=again)
    for count, rows in ((5, 400), (50, 400), (500, 200)):
        yield slices(count, rows, 0.05, 0.01, every=False, again=1)
        yield slices(count, rows, 0.05, 0.01, every=True, again=1)
