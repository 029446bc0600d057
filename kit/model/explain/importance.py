"""Permutation importance: by how much a model's loss rises when a feature is taken from other rows.

Source: L. Breiman, Machine Learning 45 (2001); A. Fisher and others, JMLR 20 (2019).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kit.model.explain.features import Features
from kit.records import Float64Array, Int64Array

Array = NDArray[np.generic]
Losses = Callable[[Array, Int64Array], Float64Array]
"""What a model loses on rows of inputs [n, *shape] whose truth is that of the row numbers int64 [n]: float64 [n]."""


def disjoint_repeats(cluster: Int64Array, repeats: int, most: int, rng: np.random.Generator) -> list[Int64Array]:
    """Row numbers of each repeat: no cluster is in two, so that repeats are independent; at most `most` rows each."""
    names, code = np.unique(cluster, return_inverse=True)
    count = min(repeats, len(names))
    dealt = (rng.permutation(len(names)) % count)[code.reshape(-1)]
    groups = (np.flatnonzero(dealt == repeat) for repeat in range(count))
    return [rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False)) for rows in groups]


def importances(
    models: tuple[Losses, ...],
    inputs: Array,
    rows: Int64Array,
    features: Features,
    rng: np.random.Generator,
    done: Callable[[int], None],
) -> Float64Array:
    """Rise of mean loss on `rows` when each feature is permuted over them: float64 [models, features].

    Every model meets the same permutations. `done` is told of rows run.
    """
    chosen = inputs[rows]
    base = [float(model(chosen, rows).mean()) for model in models]
    found = np.empty((len(models), len(features)))
    for feature in range(len(features)):
        moved = permuted(chosen, features, feature, rng.permutation(len(rows)))
        for index, model in enumerate(models):
            found[index, feature] = float(model(moved, rows).mean()) - base[index]
            done(len(rows))
    return found


def permuted(chosen: Array, features: Features, feature: int, order: Int64Array) -> Array:
    """`chosen` [n, *shape] with the values of one feature taken from the rows `order` int64 [n]."""
    moved = chosen.reshape(len(chosen), -1).copy()
    values = features.of_value == feature
    moved[:, values] = moved[np.ix_(order, values)]
    return moved.reshape(chosen.shape)
