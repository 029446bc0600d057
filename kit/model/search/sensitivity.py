"""What quantization does to the scores of single rows, and rows that stand for all."""

import numpy as np

from kit.records import Float32Array, Float64Array, Int64Array

LOST = 100.0
"""Loss of a row without a result, in nats: more than any that has one."""

_TINY = 1e-12


def row_losses(scores: Float32Array, reference: Float32Array) -> Float64Array:
    """How far each row's scores are from the reference's: float64 [rows], 0 where they are equal.

    The Kullback-Leibler divergence of the classes' probabilities, in nats; scores that are no probabilities are taken
    for logarithms of such. With a single score a row, the squared difference in units of the reference's variance.
    A row whose scores are no numbers loses `LOST`.
    """
    finite = np.isfinite(scores).all(axis=1) & np.isfinite(reference).all(axis=1)
    losses = np.full(len(scores), LOST)
    losses[finite] = _finite_losses(scores[finite], reference[finite])
    return losses


def _finite_losses(scores: Float32Array, reference: Float32Array) -> Float64Array:
    if reference.shape[1] == 1:
        spread = float(reference.astype(np.float64).var()) if len(reference) else 0.0
        squared: Float64Array = (scores.astype(np.float64) - reference)[:, 0] ** 2 / (spread or 1.0)
        return squared
    probabilities = _are_probabilities(reference)
    expected, found = (_log_probabilities(each, probabilities) for each in (reference, scores))
    losses: Float64Array = (np.exp(expected) * (expected - found)).sum(axis=1)
    return np.maximum(losses, 0.0)


def _are_probabilities(scores: Float32Array) -> bool:
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1.0, atol=1e-3))


def _log_probabilities(scores: Float32Array, probabilities: bool) -> Float64Array:
    wide = scores.astype(np.float64)
    logs = np.log(np.maximum(wide, _TINY)) if probabilities else wide
    logs = logs - logs.max(axis=1, keepdims=True)
    normal: Float64Array = logs - np.log(np.exp(logs).sum(axis=1, keepdims=True))
    return normal


def spread_subset(strata: Int64Array, count: int, seed: int) -> Int64Array:
    """At most `count` rows, sorted: from each stratum its share, drawn under `seed`; a smaller subset is part of it."""
    if len(strata) <= count:
        return np.arange(len(strata))
    shuffled = np.random.default_rng(seed).permutation(len(strata))
    _, stratum = np.unique(strata[shuffled], return_inverse=True)
    sizes = np.bincount(stratum)
    order = np.argsort(stratum, kind="stable")
    number = np.arange(len(strata)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = np.empty(len(strata))
    place[order] = (number + 0.5) / np.repeat(sizes, sizes)
    return np.sort(shuffled[np.argsort(place, kind="stable")[:count]])
