"""Measures of regression: errors in the target's own unit, the plain mean over targets where there are several."""

import numpy as np

from kit.records import Float64Array
from kit.stats.influence import Influences
from kit.task.base import Losses, Rows, UndefinedError, averaged, ratio_of_sums


def errors(rows: Rows) -> Float64Array:
    """Prediction less target: float64 [rows, targets]."""
    return np.asarray(rows.scores.astype(np.float64) - targets(rows))


def targets(rows: Rows) -> Float64Array:
    """float64 [rows, targets]."""
    assert rows.targets is not None
    return rows.targets.values.reshape(len(rows), -1)


def absolute_error(rows: Rows) -> Losses:
    """The mean over targets of |error|; nothing but `rows.largest` bounds it."""
    return Losses(np.abs(errors(rows)).mean(axis=1), None, 0.0, rows.largest)


def squared_error(rows: Rows) -> Losses:
    """The mean over targets of the squared error; nothing but the square of `rows.largest` bounds it."""
    return Losses((errors(rows) ** 2).mean(axis=1), None, 0.0, None if rows.largest is None else rows.largest**2)


def greatest_error(rows: Rows) -> Float64Array:
    """The greatest over targets of |error|: float64 [rows]."""
    return np.asarray(np.abs(errors(rows)).max(axis=1))


def root_mean_square(rows: Rows) -> Influences:
    """The mean over targets of the root of the mean squared error, by the delta method."""
    return averaged([_root(column, rows.weights, rows.largest) for column in (errors(rows) ** 2).T])


def mean_square(rows: Rows) -> Influences | None:
    """The square of `root_mean_square`, which is a mean itself; None of several targets."""
    return ratio_of_sums(squared_error(rows), rows.weights) if targets(rows).shape[1] == 1 else None


def _root(squares: Float64Array, weights: Float64Array, largest: float | None) -> Influences:
    mean, most = float(np.average(squares, weights=weights)), _most(squares, largest)
    root = mean**0.5
    least = (most / len(squares)) ** 0.5  # one error: at none at all the root has no slope, and a row may yet have one
    slope = 0.0 if most == 0.0 else 0.5 / max(root, 0.5 * least)
    return Influences(root, slope * (squares - mean), weights, -slope * mean, slope * (most - mean), squares > 0.0)


def _most(squares: Float64Array, largest: float | None) -> float:
    """The greatest square that a row could have: of what is stated, or else of those seen."""
    return float(squares.max()) if largest is None else max(largest**2, float(squares.max()))


def determination(rows: Rows) -> Influences:
    """R2: 1 less the squared errors over the targets' squared distances from their mean; the mean over targets.

    Raises UndefinedError where a target does not vary.
    """
    pairs = zip((errors(rows) ** 2).T, targets(rows).T, strict=True)
    return averaged([_explained(squares, target, rows.weights, rows.largest) for squares, target in pairs])


def _explained(squares: Float64Array, target: Float64Array, weights: Float64Array, largest: float | None) -> Influences:
    spread = (target - np.average(target, weights=weights)) ** 2
    variance = float(np.average(spread, weights=weights))
    if variance <= 0.0:
        raise UndefinedError("the target is the same in every row, so there is nothing to explain")
    left = float(np.average(squares, weights=weights)) / variance
    values = -(squares - left * spread) / variance
    low, high = -_most(squares, largest) / variance, left * float(spread.max()) / variance
    return Influences(1.0 - left, values, weights, low, high, squares > 0.0)
