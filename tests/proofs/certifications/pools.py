"""Populations of rows on which every figure is known exactly, and samples from them.

A pool is the whole population: a sample's rows are drawn from it with replacement, so that they are independent and the
pool's figure is the truth. With clusters, whole ones are drawn.
"""

from dataclasses import dataclass, replace

import numpy as np

from kit.judge.base import Case
from kit.records import DatasetRecord, Float64Array, Int64Array, LossRecord, PredictionRecord, RaggedRecord, TaskName
from kit.spec.types import Metric
from kit.task import rows_of as rows_under
from kit.task.sequences import word_errors
from tests.builders import device, profile, requirement
from tests.proofs.certifications.cases import DIGEST, column, rows_of, template
from tests.proofs.certifications.scenario import Rng

ROWS = 20_000
OWN = "own.py:wer"
"""A user's own measure: sums over rows of what it says each loses, over sums of their sizes."""


@dataclass(frozen=True)
class Pool:
    """Truth and both models' answers to all rows; `cluster_rows` consecutive ones belong together."""

    data: DatasetRecord
    reference: PredictionRecord
    optimized: PredictionRecord
    cluster_rows: int = 1
    losses: tuple[LossRecord, ...] = ()

    def sample(self, rows: int, rng: Rng) -> "Pool":
        """About `rows` of them, in whole clusters."""
        each = self.cluster_rows
        first = each * rng.integers(0, self.data.rows // each, rows // each)
        index = (first[:, None] + np.arange(each)).ravel()
        cluster = np.repeat(np.arange(len(first)), each)
        return self.take(index, cluster)

    def take(self, index: Int64Array, cluster: Int64Array) -> "Pool":
        """Those rows, in those clusters."""
        data = replace(
            self.data,
            rows=len(index),
            labels=self.data.labels[index],
            cluster=cluster,
            cluster_column=None if self.cluster_rows == 1 else "recording",
            targets=lists(self.data.targets, index),
            columns={name: replace(each, codes=each.codes[index]) for name, each in self.data.columns.items()},
        )
        both = answers(self.reference, index), answers(self.optimized, index)
        return Pool(data, *both, self.cluster_rows, tuple(lost(each, index) for each in self.losses))

    def case(self, metric: Metric, limit: float, **asked: object) -> Case:
        """The requirement on these rows."""
        before, after = ({each.measure: each} for each in self.losses) if self.losses else ({}, {})
        variant = replace(template().variants[0], predictions=self.optimized, losses=after)
        whole = replace(
            template(),
            dataset=self.data,
            reference_predictions=self.reference,
            variants=(variant,),
            reference_losses=before,
        )
        wanted = requirement(metric, limit, **asked)  # type: ignore[arg-type]
        return Case(wanted, variant, whole, profile([wanted]), device())


def lists(of: RaggedRecord | None, index: Int64Array) -> RaggedRecord | None:
    """The lists of those rows, in that order."""
    if of is None:
        return None
    counts = np.diff(of.offsets)[index]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    return RaggedRecord(of.values[np.repeat(of.offsets[index], counts) + within], offsets)


def answers(of: PredictionRecord, index: Int64Array) -> PredictionRecord:
    """What was said of those rows."""
    decisions = of.decisions[index] if len(of.decisions) else of.decisions
    return replace(of, scores=of.scores[index], decisions=decisions, items=lists(of.items, index))


def lost(of: LossRecord, index: Int64Array) -> LossRecord:
    """What those rows lost."""
    return replace(of, losses=of.losses[index], sizes=None if of.sizes is None else of.sizes[index])


def said(
    data: DatasetRecord, scores: Float64Array, decisions: Int64Array, items: RaggedRecord | None
) -> PredictionRecord:
    """What a model says of the pool."""
    return PredictionRecord(
        DIGEST, data.data_digest, "device", "default", scores.astype(np.float32), decisions, "measured", items
    )


def moved(rng: Rng, shape: tuple[int, ...], *, sparse: bool) -> Float64Array:
    """By how much optimizing moves scores: all of them a little, or a few a lot."""
    if not sparse:
        return 0.4 * rng.standard_normal(shape)
    touched = rng.random(shape[0]) < 0.03
    return np.where(touched.reshape(-1, *(1,) * (len(shape) - 1)), 3.0 * rng.standard_normal(shape), 0.0)


def binary(*, sparse: bool, positives: float = 0.3, cluster_rows: int = 1, groups: int = 2) -> Pool:
    """Two classes, told by the sign of a score that is somewhat right; columns of groups that differ a little."""
    rng = np.random.default_rng(77)
    group = np.repeat(rng.integers(0, groups, ROWS // cluster_rows), cluster_rows)
    shared = np.repeat(rng.standard_normal(ROWS // cluster_rows), cluster_rows) if cluster_rows > 1 else np.zeros(ROWS)
    labels = (rng.random(ROWS) < positives).astype(np.int64)
    score = 2.4 * labels - 1.2 + 0.5 * shared + rng.standard_normal(ROWS) + 0.1 * (group - (groups - 1) / 2)
    after = 0.9 * score + moved(rng, (ROWS,), sparse=sparse) - 0.1 * rng.random(ROWS)
    data = rows_of(labels, None, {"group": column(group, groups)}, ("no", "yes"))
    both = [np.stack([1 - p, p], axis=1) for p in (1 / (1 + np.exp(-1.5 * each)) for each in (score, after))]
    before, optimized = (said(data, each, each.argmax(axis=1).astype(np.int64), None) for each in both)
    return Pool(data, before, optimized, cluster_rows)


def regression(*, sparse: bool, cluster_rows: int = 1) -> Pool:
    """One target a row; both models are off by a few tenths."""
    rng = np.random.default_rng(78)
    target = rng.standard_normal((ROWS, 1))
    before = target + 0.3 * rng.standard_t(10, (ROWS, 1))
    after = before + 0.3 * moved(rng, (ROWS, 1), sparse=sparse)
    return of_lists("regression", RaggedRecord(target, np.arange(ROWS + 1)), before, after, None, None, cluster_rows)


def sequences(*, sparse: bool, cluster_rows: int = 1) -> Pool:
    """Sentences of 2 to 12 words, of which each is replaced with some probability."""
    rng = np.random.default_rng(79)
    counts = rng.integers(2, 13, ROWS)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    words = rng.integers(0, 40, (offsets[-1], 1)).astype(np.float64)
    hard = np.repeat(rng.random(ROWS) < 0.2, counts)
    before = misheard(words, np.where(hard, 0.3, 0.02), rng)
    again = np.repeat(rng.random(ROWS) < (0.03 if sparse else 1.0), counts)
    after = misheard(before, np.where(again, 0.3 if sparse else 0.02, 0.0), rng)
    none = np.empty((ROWS, 0))
    said_lists = (RaggedRecord(each, offsets) for each in (words, before, after))
    truth, first, second = said_lists
    pool = of_lists("sequence", truth, none, none, first, second, cluster_rows)
    return replace(pool, losses=tuple(errors(pool, each) for each in (pool.reference, pool.optimized)))


def errors(pool: Pool, said_by: PredictionRecord) -> LossRecord:
    """Each sentence's word errors and words, as a user's own function would have given them."""
    of = word_errors(rows_under(pool.data, said_by, pool.reference))
    return LossRecord(OWN, DIGEST, DIGEST, of.losses, of.sizes, of.low, of.high, "measured")


def misheard(words: Float64Array, share: Float64Array, rng: Rng) -> Float64Array:
    """The words, a share of them replaced by others."""
    return np.where(rng.random(words.shape) < share[:, None], rng.integers(0, 40, words.shape), words)


def of_lists(
    task: TaskName,
    targets: RaggedRecord,
    before: Float64Array,
    after: Float64Array,
    first: RaggedRecord | None,
    second: RaggedRecord | None,
    cluster_rows: int,
) -> Pool:
    """A pool whose truth is a list a row."""
    data = replace(rows_of(np.zeros(ROWS, np.int64), None, {}), task=task, targets=targets)
    empty = np.empty(0, np.int64)
    return Pool(data, said(data, before, empty, first), said(data, after, empty, second), cluster_rows)
