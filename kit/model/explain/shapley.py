"""Attributions of one row's score to its features: Shapley values, by sampling orders of the features.

In a random order, features are taken one by one from the row, starting at another row of the data; a feature's
value is what it adds, on average. Each order is used forwards and backwards, which halves the error or better.
Sources: E. Strumbelj and I. Kononenko, Knowledge and Information Systems 41 (2014); R. Mitchell and others, JMLR 23
(2022).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kit.model.explain.features import Features
from kit.records import Float64Array

Array = NDArray[np.generic]
Score = Callable[[Array], Float64Array]
"""The score that is attributed, of rows [n, *shape]: float64 [n]."""


def shapley(
    models: tuple[Score, ...],
    row: Array,
    others: Array,
    features: Features,
    orders: int,
    rng: np.random.Generator,
    done: Callable[[int], None],
) -> Float64Array:
    """Shapley values of one row [*shape] against rows `others` [m, *shape]: float64 [models, features].

    They sum to the row's score less the mean score of the other rows drawn. Every model meets the same orders.
    """
    total, count = np.zeros((len(models), len(features))), 0
    for _ in range(max(1, orders // 2)):
        order = rng.permutation(len(features))
        start = others[int(rng.integers(len(others)))]
        for direction in (order, order[::-1]):
            path = _path(row, start, features, direction)
            for index, model in enumerate(models):
                total[index, direction] += np.diff(model(path))
                done(len(path))
            count += 1
    return total / count


def _path(row: Array, start: Array, features: Features, order: Array) -> Array:
    """From `start` to `row`, one feature more a step: [features + 1, *shape]."""
    place = np.empty(len(features), np.int64)
    place[order] = np.arange(len(features))
    taken = place[features.of_value][None, :] < np.arange(len(features) + 1)[:, None]
    return np.where(taken, row.reshape(1, -1), start.reshape(1, -1)).reshape(-1, *row.shape)
