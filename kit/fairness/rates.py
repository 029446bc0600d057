"""Rates of a group from its counts, and the difference and ratio between groups: a number each, without an interval.

The definitions are those that Fairlearn's functions of the same names have (S. Bird and others, Fairlearn, 2020); the
rates themselves are those of ISO/IEC TS 4213:2022. A rate of no rows is NaN here, not 0: it was not observed.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kit.records import Float64Array

Table = NDArray[np.int64] | Float64Array
Against = Literal["groups", "overall"]


def before(cells: Table) -> Table:
    """Label by reference, [..., 2, 2], of cells label x reference x optimized [..., 2, 2, 2]."""
    return np.asarray(cells.sum(axis=-1))


def after(cells: Table) -> Table:
    """Label by optimized, [..., 2, 2], of cells label x reference x optimized [..., 2, 2, 2]."""
    return np.asarray(cells.sum(axis=-2))


def _share(part: Table, whole: Table) -> Float64Array:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def selection_rate(table: Table) -> Float64Array:
    """Share decided positive. `table` [..., 2, 2]: label by decision; so in every function here."""
    return _share(table[..., 1].sum(axis=-1), table.sum(axis=(-1, -2)))


def true_positive_rate(table: Table) -> Float64Array:
    """Share of the positives decided positive."""
    return _share(table[..., 1, 1], table[..., 1, :].sum(axis=-1))


def false_negative_rate(table: Table) -> Float64Array:
    """Share of the positives decided negative."""
    return _share(table[..., 1, 0], table[..., 1, :].sum(axis=-1))


def false_positive_rate(table: Table) -> Float64Array:
    """Share of the negatives decided positive."""
    return _share(table[..., 0, 1], table[..., 0, :].sum(axis=-1))


def true_negative_rate(table: Table) -> Float64Array:
    """Share of the negatives decided negative."""
    return _share(table[..., 0, 0], table[..., 0, :].sum(axis=-1))


def precision(table: Table) -> Float64Array:
    """Share positive of those decided positive: what predictive parity compares."""
    return _share(table[..., 1, 1], table[..., 1].sum(axis=-1))


def accuracy(table: Table) -> Float64Array:
    """Share decided as labelled."""
    return _share(table[..., 0, 0] + table[..., 1, 1], table.sum(axis=(-1, -2)))


def error_rate(table: Table) -> Float64Array:
    """Share decided otherwise than labelled."""
    return _share(table[..., 0, 1] + table[..., 1, 0], table.sum(axis=(-1, -2)))


RATES: dict[str, Callable[[Table], Float64Array]] = {
    "selection-rate": selection_rate,
    "true-positive-rate": true_positive_rate,
    "false-negative-rate": false_negative_rate,
    "false-positive-rate": false_positive_rate,
    "true-negative-rate": true_negative_rate,
    "precision": precision,
    "accuracy": accuracy,
    "error-rate": error_rate,
}
"""By name: from label by decision [..., 2, 2] to the rate [...]."""

PARTS: dict[str, tuple[str, ...]] = {
    "accuracy": ("accuracy",),
    "error-rate": ("error-rate",),
    "demographic-parity": ("selection-rate",),
    "equalized-odds": ("true-positive-rate", "false-positive-rate"),
    "equal-opportunity": ("true-positive-rate",),
    "predictive-parity": ("precision",),
    "false-positive-rate": ("false-positive-rate",),
    "false-negative-rate": ("false-negative-rate",),
}
"""The rates that each measure of `kit.spec.measures.FAIRNESS_MEASURES` compares; calibration needs scores."""


def difference(rates: Float64Array, overall: Float64Array | None = None) -> Float64Array:
    """Greatest less smallest of `rates` [..., groups]; with `overall` [...], the farthest from it, either way.

    Groups whose rate is NaN are left out; NaN where none is left.
    """
    if overall is None:
        return _reduced(np.fmax, rates) - _reduced(np.fmin, rates)
    return _reduced(np.fmax, np.abs(rates - np.asarray(overall)[..., None]))


def ratio(rates: Float64Array, overall: Float64Array | None = None) -> Float64Array:
    """Smallest over greatest of `rates` [..., groups]; with `overall` [...], the farthest from it, as a number up to 1.

    Groups whose rate is NaN are left out; NaN where none is left or 0 is divided by 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if overall is None:
            return np.asarray(_reduced(np.fmin, rates) / _reduced(np.fmax, rates))
        parts = rates / np.asarray(overall)[..., None]
        return _reduced(np.fmin, np.where(parts > 1, 1 / parts, parts))


def _reduced(of: np.ufunc, values: Float64Array) -> Float64Array:
    return np.asarray(of.reduce(values, axis=-1, initial=np.nan))


def gap(table: Table, measure: str, mean: bool = False, against: Against = "groups") -> Float64Array:
    """The difference that `measure` (a key of `PARTS`) means, of label by decision `table` [..., groups, 2, 2].

    The greatest over its rates, or with `mean` their mean (Fairlearn's `agg`).
    """
    return _over_parts(difference, np.fmax, table, measure, mean, against)


def parity(table: Table, measure: str, mean: bool = False, against: Against = "groups") -> Float64Array:
    """The ratio that `measure` means: the smallest over its rates, or with `mean` their mean."""
    return _over_parts(ratio, np.fmin, table, measure, mean, against)


def _over_parts(
    compare: Callable[[Float64Array, Float64Array | None], Float64Array],
    worst: np.ufunc, table: Table, measure: str, mean: bool, against: Against,
) -> Float64Array:  # fmt: skip
    whole = table.sum(axis=-3) if against == "overall" else None
    rates = [RATES[name] for name in PARTS[measure]]
    each = np.stack([compare(rate(table), None if whole is None else rate(whole)) for rate in rates])
    return np.asarray(each.mean(axis=0) if mean else worst.reduce(each, axis=0))
