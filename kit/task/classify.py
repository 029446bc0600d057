"""Measures of classification, one label a row or several: decisions, probabilities and calibration."""

import numpy as np

from kit.records import Float64Array, Int64Array
from kit.stats.influence import Influences
from kit.task.base import Losses, Rows, UndefinedError
from kit.task.scores import LEAST_PROBABILITY, decided, is_yes, probabilities, true_labels

BINS = 15
"""Bins of equal width of the expected calibration error (C. Guo and others, ICML 2017)."""

MOST_LOG_LOSS = float(-np.log(LEAST_PROBABILITY))


def wrong(rows: Rows) -> Losses:
    """1 where the decision is not the label; of several labels, where any of them is wrong."""
    if rows.task == "multilabel":
        return Losses((is_yes(rows) != true_labels(rows)).any(axis=1).astype(np.float64))
    return Losses((decided(rows) != rows.labels).astype(np.float64))


def labels_wrong(rows: Rows) -> Losses:
    """Share of a row's labels that are wrong."""
    return Losses((is_yes(rows) != true_labels(rows)).mean(axis=1))


def balanced_wrong(rows: Rows) -> Losses:
    """Wrong decisions, each class weighing as much as any other that is there."""
    counts = np.bincount(rows.labels, weights=rows.weights, minlength=len(rows.classes))
    sizes = (rows.weights.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1e-300)))[rows.labels]
    return Losses(wrong(rows).losses * sizes, sizes, 0.0, float(sizes.max(initial=0.0)))


def balanced_accuracy(rows: Rows) -> Influences:
    """The mean over classes of the share right. A class that has no row is left out, as in scikit-learn."""
    right = 1.0 - wrong(rows).losses
    values, recalls, widest, parts = np.zeros(len(rows)), [], 0.0, []
    present = np.unique(rows.labels)
    for index in present:
        mask = rows.labels == index
        recalls.append(float(np.average(right[mask], weights=rows.weights[mask])))
        scale = rows.weights.sum() / rows.weights[mask].sum() / len(present)
        values[mask] = scale * (right[mask] - recalls[-1])
        widest = max(widest, float(scale))
        parts.append(mask)
    low, high = -widest * max(recalls), widest * (1.0 - min(recalls))
    return Influences(float(np.mean(recalls)), values, rows.weights, low, high, right < 1.0, tuple(parts))


def log_loss(rows: Rows) -> Losses:
    """Minus the log of the true class's probability, nats; the mean over labels where there are several."""
    p = np.clip(probabilities(rows), LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY)
    if rows.task == "multilabel":
        truth = true_labels(rows)
        return Losses(-np.log(np.where(truth, p, 1.0 - p)).mean(axis=1), None, 0.0, MOST_LOG_LOSS)
    p = p / p.sum(axis=1, keepdims=True)
    return Losses(-np.log(p[np.arange(len(rows)), rows.labels]), None, 0.0, MOST_LOG_LOSS)


def brier(rows: Rows) -> Losses:
    """Half the squared distance of the probabilities to the truth (G. W. Brier, 1950), so that it lies in 0 to 1.

    Of two classes that is (p - y)^2 of either. Several labels: the mean of (p - y)^2 over them.
    """
    p = probabilities(rows)
    if rows.task == "multilabel":
        return Losses(((p - true_labels(rows)) ** 2).mean(axis=1))
    return Losses(0.5 * ((p - np.eye(len(rows.classes))[rows.labels]) ** 2).sum(axis=1))


def confidences(rows: Rows) -> tuple[Float64Array, Float64Array]:
    """Probability of the class that is decided for, and 1 where that is right: float64 [rows] each."""
    p, chosen = probabilities(rows), decided(rows)
    return p[np.arange(len(rows)), chosen], (chosen == rows.labels).astype(np.float64)


def misplaced_confidence(rows: Rows) -> Losses:
    """(confidence - right)^2, the Brier score of "the decision is right"."""
    confidence, right = confidences(rows)
    return Losses((confidence - right) ** 2)


def bin_of(confidence: Float64Array) -> Int64Array:
    """Which of the BINS each confidence lies in: int64 [rows]."""
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def calibration_error(rows: Rows) -> Influences:
    """Expected calibration error: mean over bins of confidence, by their rows, of |mean confidence - share right|.

    BINS of equal width, (k / 15, (k + 1) / 15]. It is not smooth where a bin is calibrated, and is raised by chance in
    small samples of either model alike.
    """
    if len(rows.classes) < 2:
        raise UndefinedError("one class alone has no calibration")
    confidence, right = confidences(rows)
    share = rows.weights / rows.weights.sum()
    bins = bin_of(confidence)
    gaps = np.bincount(bins, weights=share * (confidence - right), minlength=BINS)
    error = float(np.abs(gaps).sum())
    values = np.where(gaps < 0, -1.0, 1.0)[bins] * (confidence - right) - error
    return Influences(error, values, rows.weights, -1.0 - error, 1.0 - error, np.ones(len(rows), np.bool_))
