"""Random tables of truth and answers, with ties, empty classes and weights, for measures to be held against peers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kit.records import RaggedRecord, ScoreRule
from kit.task import Rows


def rows(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None, *, task: str = "classification",
    positive: str = "", rule: ScoreRule | None = None, targets: RaggedRecord | None = None,
    items: RaggedRecord | None = None, classes: int = 0, reference: np.ndarray | None = None,
) -> Rows:  # fmt: skip
    """Rows of a task; decisions are the first of the largest scores of a classification."""
    count = classes or scores.shape[1]
    scores = np.asarray(scores, np.float32)
    decides = task == "classification"
    return Rows(
        task=task,  # type: ignore[arg-type]
        classes=tuple(f"c{index}" for index in range(count)),
        labels=np.asarray(labels, np.int64),
        targets=targets,
        weights=np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64),
        rule=rule or ScoreRule(),
        scores=scores,
        decisions=scores.argmax(axis=1).astype(np.int64) if decides else np.empty(0, np.int64),
        items=items,
        reference_scores=scores if reference is None else np.asarray(reference, np.float32),
        positive=positive,
    )


def classified(seed: int, count: int = 120, classes: int = 3, *, ties: bool = False, weighted: bool = False) -> Rows:
    """Probabilities that lean to the label; with `ties`, of few values. The last class may have no label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 1.2 * np.eye(classes)[labels]
    if ties:
        logits = np.round(logits)
    p = np.exp(logits)
    p /= p.sum(axis=1, keepdims=True)
    weights = rng.uniform(0.2, 3.0, count) if weighted else None
    return rows(labels, p, weights)


def multilabelled(seed: int, count: int = 80, labels: int = 4) -> tuple[Rows, np.ndarray, np.ndarray]:
    """Rows, truth bool [rows, labels] and probabilities; the last label is never true."""
    rng = np.random.default_rng(seed)
    truth = rng.random((count, labels)) < 0.4
    truth[:, -1] = False
    p = np.clip(truth * 0.4 + rng.random((count, labels)) * 0.6, 0.0, 1.0).astype(np.float32)
    return rows(np.zeros(count), p, task="multilabel", targets=matrix(truth)), truth, p


def matrix(values: np.ndarray) -> RaggedRecord:
    """A vector of the same length a row, as the record holds it."""
    values = np.asarray(values, np.float64)
    return RaggedRecord(values, np.arange(len(values) + 1, dtype=np.int64))


def ragged(lists: Sequence[Any], width: int = 1) -> RaggedRecord:
    """Lists of numbers, or of vectors of `width`, a row."""
    offsets = np.cumsum([0, *(len(each) for each in lists)]).astype(np.int64)
    parts = [np.asarray(each, np.float64).reshape(-1, width) for each in lists]
    return RaggedRecord(np.concatenate(parts) if parts else np.empty((0, width)), offsets)
