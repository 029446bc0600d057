"""Recalibration: probabilities that say how often they are right, from a few held-out rows and without retraining.

Temperature scaling divides logits by one number (C. Guo and others, On Calibration of Modern Neural Networks, 2017).
Isotonic regression fits the rising step function nearest to what happened, by pooling adjacent violators (M. Ayer and
others, Annals of Mathematical Statistics 26, 1955; B. Zadrozny and C. Elkan, KDD 2002, one class against the rest).
"""

from dataclasses import dataclass

import numpy as np

from kit.records import Float64Array, Int64Array
from kit.task.scores import LEAST_PROBABILITY, softmax

_LOG_TEMPERATURES = -4.0, 4.0
_STEPS = 45


@dataclass(frozen=True, slots=True)
class Temperature:
    """Logits are divided by `value`: above 1 the model was too sure, below 1 not sure enough."""

    value: float

    def applied(self, probabilities: Float64Array) -> Float64Array:
        """Recalibrated probabilities float64 [n, classes]; no decision changes, ties apart."""
        return softmax(_logs(probabilities) / self.value)


def fit_temperature(probabilities: Float64Array, labels: Int64Array) -> Temperature:
    """The temperature with the least log loss on probabilities float64 [n, classes] and labels int64 [n].

    The log loss is convex in 1 / temperature; the search is a golden section over e^-4 to e^4.
    """
    logs, rows = _logs(probabilities), np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logs * np.exp(-log_temperature)
        top = scaled.max(axis=1)
        return float((top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - scaled[rows, labels]).mean())

    low, high = _LOG_TEMPERATURES
    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    one, two = high - ratio * (high - low), low + ratio * (high - low)
    first, second = loss(one), loss(two)
    for _ in range(_STEPS):
        if first <= second:
            high, two, second = two, one, first
            one = high - ratio * (high - low)
            first = loss(one)
        else:
            low, one, first = one, two, second
            two = low + ratio * (high - low)
            second = loss(two)
    return Temperature(float(np.exp((low + high) / 2)))


@dataclass(frozen=True, slots=True)
class Isotonic:
    """For each class its rising line: `scores` and `shares` float64 [knots], between which it is straight."""

    scores: tuple[Float64Array, ...]
    shares: tuple[Float64Array, ...]

    def applied(self, probabilities: Float64Array) -> Float64Array:
        """Recalibrated probabilities float64 [n, classes], each class by its line, then scaled to a sum of 1.

        A row whose every class comes to 0 has them all alike. Two classes have one line: the other is what is left.
        """
        if len(self.scores) == 1:
            second = np.interp(probabilities[:, 1], self.scores[0], self.shares[0])
            return np.stack([1.0 - second, second], axis=1)
        lines = enumerate(zip(self.scores, self.shares, strict=True))
        each = np.stack([np.interp(probabilities[:, index], *line) for index, line in lines], axis=1)
        total = each.sum(axis=1, keepdims=True)
        return np.where(total > 0, each / np.where(total > 0, total, 1.0), 1.0 / each.shape[1])


def fit_isotonic(probabilities: Float64Array, labels: Int64Array) -> Isotonic:
    """Each class against the rest (of two classes the second alone); probabilities float64 [n, classes]."""
    classes = probabilities.shape[1]
    wanted = [1] if classes == 2 else list(range(classes))
    lines = [isotonic_line(probabilities[:, index], (labels == index).astype(np.float64)) for index in wanted]
    return Isotonic(tuple(line[0] for line in lines), tuple(line[1] for line in lines))


def isotonic_line(score: Float64Array, truth: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The least-squares rising fit of `truth` [n] on `score` [n]: knots' scores and values, float64 [knots] each.

    Rows of one score are one point of their mean. Of a level stretch its two ends are knots.
    """
    points, code, sizes = np.unique(score, return_inverse=True, return_counts=True)
    means = np.bincount(code, weights=truth) / sizes
    values = np.repeat(*pooled(means, sizes.astype(np.float64)))
    edge = np.ones(len(values), dtype=np.bool_)
    edge[1:-1] = (np.diff(values)[:-1] != 0) | (np.diff(values)[1:] != 0)
    return points[edge], values[edge]


def pooled(values: Float64Array, weights: Float64Array) -> tuple[Float64Array, Int64Array]:
    """Adjacent violators pooled: the means of rising blocks float64 [blocks], and how many values each holds."""
    means, sums, counts = list[float](), list[float](), list[int]()
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, total, count = value, weight, 1
        while means and means[-1] >= mean:
            mean = (means[-1] * sums[-1] + mean * total) / (sums[-1] + total)
            total, count = total + sums.pop(), count + counts.pop()
            means.pop()
        means.append(mean)
        sums.append(total)
        counts.append(count)
    return np.array(means), np.array(counts, dtype=np.int64)


def _logs(probabilities: Float64Array) -> Float64Array:
    return np.asarray(np.log(np.clip(probabilities, LEAST_PROBABILITY, 1.0)))
