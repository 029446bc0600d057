"""Measures of a ranking of rows by score: areas, and the trade-off of misses against false alarms."""

import math

import numpy as np

from kit.records import Float64Array
from kit.stats.auc import area_parts
from kit.stats.influence import Influences
from kit.task.base import BoolArray, Losses, Rows, UndefinedError, averaged
from kit.task.scores import looked_for, ranking

FALSE_ALARMS = 0.01
"""At most this share of negatives may be above the threshold of ``miss-rate-at-1%``."""


def misranked(rows: Rows) -> Losses:
    """Share of the rows of the other kind that each row is on the wrong side of; the mean over the classes looked for.

    A row of a kind that has no other loses nothing.
    """
    classes, total = looked_for(rows), np.zeros(len(rows))
    for index in classes:
        positive = rows.labels == index
        if positive.any() and not positive.all():
            total += 1.0 - area_parts(ranking(rows, index), positive, rows.weights)[1]
    return Losses(total / len(classes))


def auc(rows: Rows) -> Influences:
    """Area under the ROC curve, ties by half; the plain mean of one class against the rest where there are many."""
    return averaged([_area(*_split(rows, index)) for index in looked_for(rows)], most=2)


def _area(scores: Float64Array, positive: BoolArray, weights: Float64Array) -> Influences:
    """Each row's placement less the area, over its kind's share of the weight (DeLong and others 1988)."""
    area, parts = area_parts(scores, positive, weights)
    scale = _scale(positive, weights)
    widest = float(scale.max())
    return Influences(
        area, scale * (parts - area), weights, -widest * area, widest * (1.0 - area), parts < 1.0,
        (positive, ~positive),
    )  # fmt: skip


def average_precision(rows: Rows) -> Influences:
    """Mean over the positives of the precision at their score, no interpolation, as scikit-learn's."""
    return averaged([_precision(*_split(rows, index)) for index in looked_for(rows)], most=2)


def _precision(scores: Float64Array, positive: BoolArray, weights: Float64Array) -> Influences:
    """Linearized: a row moves its own term, and the precision at every positive that it is not below."""
    share = weights / weights.sum()
    levels, code = np.unique(-scores, return_inverse=True)  # the highest score first
    code = code.reshape(-1)
    hits = np.bincount(code, weights=share * positive, minlength=len(levels))
    above, found = np.cumsum(np.bincount(code, weights=share, minlength=len(levels))), np.cumsum(hits)
    precision, prevalence = found / above, float(found[-1])
    average = float(hits @ precision) / prevalence
    own = np.where(positive, precision[code] - average, 0.0)
    later = np.cumsum((hits / above)[::-1])[::-1]  # at this level and all below
    lost = np.cumsum((hits * precision / above)[::-1])[::-1]
    values = (own + positive * later[code] - lost[code]) / prevalence
    low = min(float(values.min()), -average / prevalence)
    high = max(float(values.max()), (1.0 - average) / prevalence)
    return Influences(average, values, weights, low, high, np.ones(len(scores), np.bool_), (positive,))


def equal_error_rate(rows: Rows) -> Influences:
    """Where the share of misses is the share of false alarms, on the line between the curve's two nearest points."""
    return averaged([_equal(*_split(rows, index)) for index in looked_for(rows)], most=2)


def _equal(scores: Float64Array, positive: BoolArray, weights: Float64Array) -> Influences:
    levels, alarms, misses = _curve(scores, positive, weights)
    after = int(np.argmax(alarms >= misses))
    before = max(0, after - 1)
    gap = (misses[before] - alarms[before]) - (misses[after] - alarms[after])
    part = (misses[before] - alarms[before]) / gap if gap > 0 else 0.0
    rate = float(alarms[before] + part * (alarms[after] - alarms[before]))
    slope = _slope(alarms, misses, rate, _error(rate, positive, weights))
    missed, alarmed = scores < levels[after], scores >= levels[after]
    own = np.where(
        positive, missed - _mean(missed, positive, weights), slope * (alarmed - _mean(alarmed, ~positive, weights))
    )
    return _at_threshold(
        rate, own / (1.0 + slope), max(1.0, slope) / (1.0 + slope), positive, weights, missed == positive
    )


def miss_rate(rows: Rows) -> Influences:
    """Least share of misses at any threshold of at most 1 % false alarms."""
    return averaged([_missed(*_split(rows, index)) for index in looked_for(rows)], most=2)


def _missed(scores: Float64Array, positive: BoolArray, weights: Float64Array) -> Influences:
    if int((~positive).sum()) * FALSE_ALARMS < 1.0:
        raise UndefinedError(f"fewer than {1 / FALSE_ALARMS:.0f} rows that are no alarm cannot show 1 % of them")
    levels, alarms, misses = _curve(scores, positive, weights)
    at = int(np.flatnonzero(alarms <= FALSE_ALARMS + 1e-12).max())
    rate = float(misses[at])
    slope = _slope(alarms, misses, FALSE_ALARMS, _error(FALSE_ALARMS, positive, weights))
    missed, alarmed = scores < levels[at], scores >= levels[at]
    own = np.where(positive, missed - rate, slope * (alarmed - _mean(alarmed, ~positive, weights)))
    return _at_threshold(rate, own, max(1.0, slope), positive, weights, missed == positive)


def _at_threshold(
    rate: float, own: Float64Array, reach: float, positive: BoolArray, weights: Float64Array, shown: BoolArray
) -> Influences:
    """A rate at a threshold that other rows set: `own` [rows] is each row's part within its kind."""
    scale = _scale(positive, weights)
    widest = float(scale.max()) * reach
    return Influences(rate, scale * own, weights, -widest, widest, np.asarray(shown), (positive, ~positive))


def _curve(
    scores: Float64Array, positive: BoolArray, weights: Float64Array
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Thresholds from infinity down, with the share of false alarms and of misses of "score >= threshold"."""
    levels, code = np.unique(-scores, return_inverse=True)
    code = code.reshape(-1)
    alarms = np.cumsum(np.bincount(code, weights=weights * ~positive)) / weights[~positive].sum()
    hits = np.cumsum(np.bincount(code, weights=weights * positive)) / weights[positive].sum()
    return np.r_[math.inf, -levels], np.r_[0.0, alarms], np.r_[1.0, 1.0 - hits]


def _error(rate: float, positive: BoolArray, weights: Float64Array) -> float:
    """Standard error of a share of the negatives, at least one of them."""
    negatives = weights[~positive]
    count = negatives.sum() ** 2 / (negatives**2).sum()
    return float(max(math.sqrt(rate * (1.0 - rate) / count), 1.0 / count))


def _slope(alarms: Float64Array, misses: Float64Array, at: float, error: float) -> float:
    """How many misses one false alarm more saves, about `at`: the secant over two standard errors either way."""
    low, high = max(0.0, at - 2.0 * error), min(1.0, at + 2.0 * error)
    fall = float(np.interp(low, alarms, misses) - np.interp(high, alarms, misses))
    return max(0.0, fall) / max(high - low, 1e-12)


def _scale(positive: BoolArray, weights: Float64Array) -> Float64Array:
    """All weight over that of a row's kind: float64 [rows]."""
    yes = weights[positive].sum()
    return np.asarray(weights.sum() / np.where(positive, yes, weights.sum() - yes))


def _mean(values: BoolArray, among: BoolArray, weights: Float64Array) -> float:
    return float(np.average(values[among], weights=weights[among]))


def _split(rows: Rows, index: int) -> tuple[Float64Array, BoolArray, Float64Array]:
    """Scores, which rows are of the class, and weights. Raises UndefinedError unless both kinds are there."""
    positive = np.asarray(rows.labels == index)
    if not positive.any() or positive.all():
        which = "no" if not positive.any() else "only"
        raise UndefinedError(f"{which} rows of the class {rows.classes[index]}")
    return ranking(rows, index), positive, rows.weights
