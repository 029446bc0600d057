"""F1 scores: one class against the others, their plain mean (macro), and all labels' counts together (micro)."""

import numpy as np

from kit.records import Float64Array
from kit.stats.influence import Influences
from kit.task.base import BoolArray, Rows, UndefinedError, averaged
from kit.task.scores import decided, is_yes, looked_for, true_labels


def f1_influences(both: Float64Array, other: Float64Array, weights: Float64Array, true: BoolArray) -> Influences:
    """2 TP / (2 TP + FP + FN), linearized as a ratio of sums of rows.

    both, other: float64 [rows], how many labels of a row are true and said, and only one of these. true: bool [rows],
    rows of which any is true. Raises UndefinedError where no label is true or said.
    """
    size = 2.0 * both + other
    share = weights / weights.sum()
    mean = float(share @ size)
    if mean <= 0.0:
        raise UndefinedError("no row has the class, and none is given it")
    score, most = float(share @ (2.0 * both)) / mean, float((both + other).max())
    return Influences(
        estimate=score,
        values=(2.0 * both - score * size) / mean,
        weights=weights,
        low=-score * most / mean,
        high=2.0 * (1.0 - score) * most / mean,
        shown=other > 0,
        parts=(true,) if true.any() else (),
    )


def f1(rows: Rows) -> Influences:
    """Of the class that is looked for; the macro average of several classes unless one is named."""
    classes = looked_for(rows)
    return _of_classes(rows, classes) if len(classes) == 1 else f1_macro(rows)


def f1_macro(rows: Rows) -> Influences:
    """The plain mean over every class or label that is true or said of some row, as scikit-learn's."""
    if rows.task == "multilabel":
        true, said = true_labels(rows), is_yes(rows)
        there = np.flatnonzero((true | said).any(axis=0))
        found = [_counted(true[:, [k]], said[:, [k]], rows.weights) for k in there]
        if not found:
            raise UndefinedError("no row has a label, and none is given one")
        return averaged(found)
    there = np.union1d(rows.labels, decided(rows))
    return _of_classes(rows, [int(index) for index in there])


def f1_micro(rows: Rows) -> Influences:
    """Counts of all labels together."""
    return _counted(true_labels(rows), is_yes(rows), rows.weights)


def _of_classes(rows: Rows, classes: list[int]) -> Influences:
    said = decided(rows)
    found = [_counted((rows.labels == index)[:, None], (said == index)[:, None], rows.weights) for index in classes]
    return averaged(found, most=2)


def _counted(true: BoolArray, said: BoolArray, weights: Float64Array) -> Influences:
    """Of labels bool [rows, n]."""
    both, other = (true & said).sum(axis=1), (true ^ said).sum(axis=1)
    return f1_influences(both.astype(np.float64), other.astype(np.float64), weights, np.asarray(true.any(axis=1)))
