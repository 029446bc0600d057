"""Measures of regression: errors in the target's own unit, the plain mean over targets where there are several."""

import numpy as np

from kit.records import Float64Array
from kit.stats.influence import Influences
from kit.task.base import Losses, Rows, UndefinedError, averaged


def errors(rows: Rows) -> Float64Array:
    """Prediction less target: float64 [rows, targets]."""
    return np.asarray(rows.scores.astype(np.float64) - targets(rows))


def targets(rows: Rows) -> Float64Array:
    """float64 [rows, targets]."""
    assert rows.targets is not None
    return rows.targets.values.reshape(len(rows), -1)


def absolute_error(rows: Rows) -> Losses:
    """The mean over targets of |error|; nothing bounds it."""
    return Losses(np.abs(errors(rows)).mean(axis=1), None, 0.0, None)


def squared_error(rows: Rows) -> Losses:
    """The mean over targets of the squared error; nothing bounds it."""
    return Losses((errors(rows) ** 2).mean(axis=1), None, 0.0, None)


def root_mean_square(rows: Rows) -> Influences:
    """The mean over targets of the root of the mean squared error, by the delta method."""
    return averaged([_root(column, rows.weights) for column in (errors(rows) ** 2).T])


def _root(squares: Float64Array, weights: Float64Array) -> Influences:
    mean = float(np.average(squares, weights=weights))
    root = mean**0.5
    slope = 0.0 if root == 0.0 else 0.5 / root  # at no error at all the root has no slope, and no row an error
    return Influences(
        root, slope * (squares - mean), weights, -slope * mean, slope * (float(squares.max()) - mean), squares > 0.0
    )


def determination(rows: Rows) -> Influences:
    """R2: 1 less the squared errors over the targets' squared distances from their mean; the mean over targets.

    Raises UndefinedError where a target does not vary.
    """
    pairs = zip((errors(rows) ** 2).T, targets(rows).T, strict=True)
    return averaged([_explained(squares, target, rows.weights) for squares, target in pairs])


def _explained(squares: Float64Array, target: Float64Array, weights: Float64Array) -> Influences:
    spread = (target - np.average(target, weights=weights)) ** 2
    variance = float(np.average(spread, weights=weights))
    if variance <= 0.0:
        raise UndefinedError("the target is the same in every row, so there is nothing to explain")
    left = float(np.average(squares, weights=weights)) / variance
    values = -(squares - left * spread) / variance
    low, high = -float(squares.max()) / variance, left * float(spread.max()) / variance
    return Influences(1.0 - left, values, weights, low, high, squares > 0.0)
