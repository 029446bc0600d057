"""What a configuration does to the scores of single rows, and what each node does by itself, slice by slice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kit.records import Float32Array, Float64Array, Int64Array

_TINY = 1e-12


def row_losses(scores: Float32Array, reference: Float32Array) -> Float64Array:
    """How far each row's scores are from the reference's: float64 [rows], 0 where they are equal.

    The Kullback-Leibler divergence of the classes' probabilities, in nats; scores that are no probabilities are taken
    for logarithms of such. With a single score a row, the squared difference in units of its variance.
    """
    if reference.shape[1] == 1:
        spread = float(reference.astype(np.float64).var()) or 1.0
        return ((scores - reference).astype(np.float64) ** 2)[:, 0] / spread
    logs = [_log_probabilities(each, _are_probabilities(reference)) for each in (reference, scores)]
    losses: Float64Array = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(axis=1)
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
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(strata))
    _, stratum = np.unique(strata[shuffled], return_inverse=True)
    sizes = np.bincount(stratum)
    order = np.argsort(stratum, kind="stable")
    place = np.empty(len(strata))
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    place[order] = (np.arange(len(strata)) - starts + 0.5) / np.repeat(sizes, sizes)
    first = np.argsort(place, kind="stable")[:count]
    return np.sort(shuffled[first])


@dataclass(frozen=True, slots=True)
class NodeLoss:
    """What a node's quantization alone does: the mean loss of its rows, and of each stratum's."""

    node: str
    loss: float
    by_stratum: Float64Array


def node_losses(
    nodes: Sequence[str],
    losses_of: Callable[[str], Float64Array],
    strata: Int64Array,
) -> list[NodeLoss]:
    """Paired over the same rows: `losses_of` gives each row's loss where only that node is quantized."""
    _, stratum = np.unique(strata, return_inverse=True)
    sizes = np.bincount(stratum)
    found = []
    for node in nodes:
        losses = losses_of(node)
        found.append(NodeLoss(node, float(losses.mean()), np.bincount(stratum, losses) / sizes))
    return found


def weighted(losses: Sequence[NodeLoss], suffering: Float64Array) -> dict[str, float]:
    """By node: its loss, with the strata weighted by what they suffer where all is quantized."""
    weights = suffering / suffering.sum() if suffering.sum() > 0 else np.full(len(suffering), 1 / len(suffering))
    return {each.node: float(each.by_stratum @ weights) for each in losses}
