"""Reference and variant explained side by side, on the same rows, permutations and orders."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kit.model.explain.budget import Budget
from kit.model.explain.features import Features, features_of
from kit.model.explain.flips import Search, nearest_first
from kit.model.explain.importance import Losses, disjoint_repeats, importances
from kit.model.explain.shapley import shapley
from kit.model.session import Array, HostSession, Progress
from kit.quality.parts import drawn
from kit.records import ExplanationRecord, FlippedRow, Float32Array, Float64Array, Int64Array
from kit.spec.types import DatasetPart
from kit.task.base import Rows, UndefinedError
from kit.task.scores import guessed_kind, probabilities

LEAST_LOSS = 1e-12
SAMPLE_ROWS, SAMPLE_VALUES = 2000, 1 << 23
"""Rows, and their values in all, that show ranges and spreads of inputs, and that decisions are led towards."""

NEAREST_ROWS = 20
KIND_ROWS = 256
"""Rows by which scores are told to be probabilities or logits, once for all."""


class _Model:
    """A model on this host, read as probabilities."""

    def __init__(self, session: HostSession, part: DatasetPart, output: str | None) -> None:
        self._session, self._part, self._output = session, part, output
        self._rule = part.record.scores
        if guessed_kind(self._rows(session.predict(part.inputs[:KIND_ROWS], output))) == "probabilities":
            self._rule = replace(self._rule, kind="probabilities")
        elif not self._rule.kind:
            self._rule = replace(self._rule, kind="logits")

    def _rows(self, scores: Float32Array) -> Rows:
        data, count = self._part.record, len(scores)
        return Rows(
            task=data.task, classes=data.classes, labels=np.zeros(count, np.int64), targets=None,
            weights=np.ones(count), rule=data.scores, scores=scores, decisions=np.empty(0, np.int64), items=None,
            reference_scores=scores,
        )  # fmt: skip

    def shares(self, inputs: Array) -> Float64Array:
        """Probabilities of the classes: float64 [n, classes]. Raises UndefinedError where scores are none."""
        return probabilities(replace(self._rows(self._session.predict(inputs, self._output)), rule=self._rule))

    def losses(self, inputs: Array, rows: Int64Array) -> Float64Array:
        """Log loss of each row."""
        labels = self._part.record.labels[rows]
        return -np.log(np.maximum(self.shares(inputs)[np.arange(len(rows)), labels], LEAST_LOSS))

    def margin(self, wanted: int) -> Callable[[Array], Float64Array]:
        """Probability of a class less the highest other, by which a decision flips to it."""

        def margins(inputs: Array) -> Float64Array:
            shares = self.shares(inputs)
            others = np.delete(shares, wanted, axis=1)
            return np.asarray(shares[:, wanted] - others.max(axis=1))

        return margins


@dataclass(frozen=True, slots=True)
class _Work:
    """Both models on their rows, how often they may be run, and what counts the rows that were."""

    models: tuple[_Model, _Model]
    part: DatasetPart
    features: Features
    budget: Budget
    done: Callable[[int], None]


def explain(
    reference: HostSession,
    variant: HostSession,
    part: DatasetPart,
    *,
    model_digest: str,
    output: str | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    progress: Progress | None = None,
) -> ExplanationRecord | None:
    """What both models look at on `part`, and what flips back the rows that they decide differently.

    Importance is the rise of log loss when a feature is permuted over rows; attributions are of the probability of the
    class that the reference decides. None where the task is no classification, or scores are no probabilities.

    Args:
        reference, variant: on this host, the variant in the device's arithmetic.
        part: rows with labels.
        model_digest: the variant's.
        output: name of the score output.
        seed: draws rows, permutations, orders.
        budget: how often models may be run.
        progress: called with rows run and rows to run, at most.

    Raises:
        ModelError: a model fails on a row.
    """
    if part.record.task != "classification":
        return None
    try:
        return _explain(reference, variant, part, model_digest, output, seed, budget or Budget(), progress)
    except UndefinedError:
        return None


def _explain(
    reference: HostSession,
    variant: HostSession,
    part: DatasetPart,
    model_digest: str,
    output: str | None,
    seed: int,
    budget: Budget,
    progress: Progress | None,
) -> ExplanationRecord:
    models = (_Model(reference, part, output), _Model(variant, part, output))
    features, rng = features_of(part.inputs), np.random.default_rng(seed)
    repeats = disjoint_repeats(part.record.cluster, budget.repeats, budget.rows, rng)
    done = _counter(progress, _planned(repeats, features, budget))
    losses: tuple[Losses, ...] = tuple(model.losses for model in models)
    found = np.stack([importances(losses, part.inputs, rows, features, rng, done) for rows in repeats])
    work = _Work(models, part, features, budget, done)
    local_rows, local = _local(work, rng)
    return ExplanationRecord(
        model_digest=model_digest,
        data_digest=part.record.data_digest,
        features=features.names,
        reference_importance=np.ascontiguousarray(found[:, 0]),
        optimized_importance=np.ascontiguousarray(found[:, 1]),
        local_rows=local_rows,
        reference_local=np.ascontiguousarray(local[:, 0]),
        optimized_local=np.ascontiguousarray(local[:, 1]),
        flipped=_flipped(work, rng),
        seed=seed,
    )


def _planned(repeats: list[Int64Array], features: Features, budget: Budget) -> int:
    rows = sum(len(each) for each in repeats)
    orders = 2 * max(1, budget.orders // 2)
    local = 2 * budget.local_rows * orders * (len(features) + 1)
    return 2 * rows * len(features) + local + budget.flipped * budget.trials


def _counter(progress: Progress | None, total: int) -> Callable[[int], None]:
    run = 0

    def done(rows: int) -> None:
        nonlocal run
        run += rows
        if progress is not None:
            progress(min(run, total), total)

    return done


def _local(work: _Work, rng: np.random.Generator) -> tuple[Int64Array, Float64Array]:
    """Attributions of some rows: their numbers int64 [n], and float64 [n, models, features]."""
    models, part, features, budget = work.models, work.part, work.features, work.budget
    rows = drawn(len(part.inputs), budget.local_rows, rng)
    decided = models[0].shares(part.inputs[rows]).argmax(axis=1)
    found = np.zeros((len(rows), 2, len(features)))
    for index, (row, label) in enumerate(zip(rows, decided, strict=True)):
        scores = tuple(lambda inputs, m=model, c=label: m.shares(inputs)[:, c] for model in models)
        found[index] = shapley(scores, part.inputs[row], part.inputs, features, budget.orders, rng, work.done)
    return rows, found


def _flipped(work: _Work, rng: np.random.Generator) -> tuple[FlippedRow, ...]:
    """The first rows that both models decide differently, each with the nearest change found that flips it back."""
    models, part, features, budget = work.models, work.part, work.features, work.budget
    values = max(1, part.inputs[0].size)
    rows = drawn(len(part.inputs), min(SAMPLE_ROWS, max(NEAREST_ROWS, SAMPLE_VALUES // values)), rng)
    before, after = (model.shares(part.inputs[rows]).argmax(axis=1) for model in models)
    known = part.inputs[rows].reshape(len(rows), -1).astype(np.float64)
    found = []
    for index in np.flatnonzero(before != after)[: budget.flipped]:
        wanted = int(before[index])
        search = Search(
            models[1].margin(wanted), known[index], known.std(axis=0), known.min(axis=0), known.max(axis=0),
            part.inputs.shape[1:], part.inputs.dtype, budget.trials,
        )  # fmt: skip
        as_wanted = known[after == wanted]
        nearest = (
            as_wanted[nearest_first(known[index], as_wanted, search.spread)[:NEAREST_ROWS]]
            if len(as_wanted)
            else as_wanted
        )
        changed = search.nearest(features, nearest)
        work.done(budget.trials)
        found.append(_row(int(rows[index]), wanted, int(after[index]), search, changed, features))
    return tuple(found)


def _row(
    row: int, reference: int, optimized: int, search: Search, changed: Float64Array | None, features: Features
) -> FlippedRow:
    """Features of many values are told by their means."""
    if changed is None:
        return FlippedRow(row, reference, optimized, (), (), (), None)
    moved = np.unique(features.of_value[changed != search.row])
    means = [
        tuple(float(values[features.of_value == feature].mean()) for feature in moved)
        for values in (search.row, changed)
    ]
    names = tuple(features.names[feature] for feature in moved)
    return FlippedRow(row, reference, optimized, names, means[0], means[1], search.distance(changed))
