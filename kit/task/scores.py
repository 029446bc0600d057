"""What a model's scores say: probabilities, yes or no, and the class that is looked for."""

import numpy as np

from kit.records import Float32Array, Float64Array, Int64Array, ScoreRule
from kit.task.base import BoolArray, Rows, UndefinedError

SUM_TOLERANCE = 1e-3
"""Scores within 0 to 1 that sum to 1 within this are taken for probabilities, where the manifest says nothing."""

LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
"""Probabilities are kept so far from 0 and 1 in a log loss: scores are float32 (as scikit-learn clips them)."""


def guessed_kind(rows: Rows) -> str:
    """What the scores are: as declared; else by their values, "probabilities" or "logits"."""
    if rows.rule.kind:
        return rows.rule.kind
    if rows.task == "anomaly":
        return "values"
    scores = rows.scores.astype(np.float64)
    inside = bool(((scores >= 0.0) & (scores <= 1.0)).all())
    if rows.task == "multilabel":
        return "probabilities" if inside else "logits"
    return "probabilities" if inside and np.abs(scores.sum(axis=1) - 1.0).max(initial=0) <= SUM_TOLERANCE else "logits"


def probabilities(rows: Rows) -> Float64Array:
    """float64 [rows, classes]: each label's by itself (multilabel), else of all classes together.

    Raises UndefinedError for scores that are neither probabilities nor logits.
    """
    kind, scores = guessed_kind(rows), rows.scores.astype(np.float64)
    if kind == "values":
        raise UndefinedError("the scores are values of their own kind, and no probabilities")
    if kind == "probabilities":
        return np.clip(scores, 0.0, 1.0)
    if rows.task == "multilabel":
        return np.asarray(np.exp(-np.logaddexp(0.0, -scores)))
    return softmax(scores)


def softmax(logits: Float64Array) -> Float64Array:
    """float64 [n, classes], each row scaled to a sum of 1; no logit is too large."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def threshold(rows: Rows) -> float:
    """From which score on the answer is yes. Raises UndefinedError where nobody said."""
    if rows.rule.threshold is not None:
        return rows.rule.threshold
    kind = guessed_kind(rows)
    if kind == "values":
        raise UndefinedError("the manifest states no threshold of the scores, so there are no decisions")
    return 0.5 if kind == "probabilities" else 0.0


def decisions_at(rule: ScoreRule, scores: Float32Array) -> Int64Array:
    """int64 [rows]: 1 where an anomaly's only score [rows, 1] is at the threshold; empty where there is none."""
    default = {"probabilities": 0.5, "logits": 0.0}.get(rule.kind)
    at = default if rule.threshold is None else rule.threshold
    return np.empty(0, np.int64) if at is None else (scores[:, 0] >= at).astype(np.int64)


def is_yes(rows: Rows) -> BoolArray:
    """bool [rows, outputs]: scores at or above the threshold."""
    return np.asarray(rows.scores >= threshold(rows))


def true_labels(rows: Rows) -> BoolArray:
    """bool [rows, classes] of a multilabel task."""
    assert rows.targets is not None
    return np.asarray(rows.targets.values.reshape(len(rows), -1) > 0.5)


def looked_for(rows: Rows) -> list[int]:
    """Classes that are each told from all others: the positive one; of more than two, every one unless it is named."""
    if rows.positive:
        if rows.positive not in rows.classes:
            raise UndefinedError(f"the positive class {rows.positive!r} is not one of the dataset's")
        return [rows.classes.index(rows.positive)]
    return [1] if len(rows.classes) == 2 else list(range(len(rows.classes)))


def ranking(rows: Rows, index: int) -> Float64Array:
    """The score by which rows are ranked for class `index`: float64 [rows].

    Of two classes by logits it is their difference, which keeps apart what rounds to the same probability.
    """
    if rows.task == "anomaly":
        return np.asarray(rows.scores[:, 0].astype(np.float64) * (1.0 if index == 1 else -1.0))
    if len(rows.classes) == 2 and guessed_kind(rows) == "logits":
        scores = rows.scores.astype(np.float64)
        return np.asarray(scores[:, index] - scores[:, 1 - index])
    return np.asarray(probabilities(rows)[:, index])


def decided(rows: Rows) -> np.ndarray:
    """The class that each row is given: int64 [rows]. Raises UndefinedError for a model that decides nothing."""
    if len(rows.decisions) == len(rows):
        return rows.decisions
    if rows.task == "anomaly":
        return is_yes(rows)[:, 0].astype(np.int64)
    raise UndefinedError(f"a model of the task {rows.task} names no class")
