"""Near copies: rows that differ by less than chance lets rows differ, by locality-sensitive hashing.

Candidates are rows that fall into one cell of random projections (M. Datar and others, SCG 2004); every candidate's
distance is then computed. Distances are Euclidean over inputs divided by their standard deviations.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.quality.parts import BLOCK_VALUES, BoolArray, drawn, row_blocks
from kit.records import Float32Array, Float64Array, Int64Array

NEAR = 0.02
"""Rows are near copies at this share of the median distance between rows, or nearer where chance gets there."""

CHANCE_SHARE = 0.001
"""The distance is lowered until chance makes at most this share of rows near copies."""

TABLES, DIRECTIONS, CELL = 8, 4, 4.0
"""A near pair shares a cell, 4 distances wide, in all 4 directions of a table with 0.8^4, in some table with 98 %."""

NEIGHBOURS = 8
"""Rows that a row is compared with in a cell; fuller cells are looked through in random order."""

SAMPLE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Near:
    """Rows that have a near copy [rows], at most `distance` apart; `chance`: the share that chance would give.

    `why_not` says why none could be looked for, else it is empty.
    """

    found: BoolArray
    distance: float
    typical: float
    chance: float
    why_not: str = ""


def near_copies(values: NDArray[np.generic], kind: Int64Array, group: Int64Array, rng: np.random.Generator) -> Near:
    """Rows of [rows, values] with a near copy in another group (int64 [rows]); `kind` int64 [values] as by `kinds`."""
    nothing = np.zeros(len(values), dtype=np.bool_)
    sample = drawn(len(values), SAMPLE_ROWS, rng)
    mean, weight = _standardizer(values[sample], kind)
    if not weight.any():
        return Near(nothing, 0.0, 0.0, 0.0, "no input varies")
    apart = _distances((_finite(values[sample], mean) - mean) * weight, group[sample])
    if len(apart) < 100:
        return Near(nothing, 0.0, 0.0, 0.0, "there are too few rows to say what is near")
    typical, chance_pairs = float(np.median(apart)), CHANCE_SHARE * len(values) / 2
    distance, dimension = _threshold(apart, typical, chance_pairs / (0.5 * len(values) ** 2))
    if distance < 1e-5 * typical:
        why = f"rows lie so close by themselves (in {dimension:.1f} dimensions) that near copies do not stand out"
        return Near(nothing, distance, typical, 0.0, why)
    found = _search(values, group, mean, weight, distance, rng)
    return Near(found, distance, typical, CHANCE_SHARE)


def _standardizer(sample: NDArray[np.generic], kind: Int64Array) -> tuple[Float32Array, Float32Array]:
    """Mean of each input and 1 / standard deviation of its kind, 0 where that does not vary; float32 [values]."""
    numbers = np.where(np.isfinite(sample.astype(np.float64)), sample.astype(np.float64), np.nan)
    known = np.isfinite(numbers).any(axis=0)
    mean, spread = np.zeros(numbers.shape[1]), np.zeros(numbers.shape[1])
    mean[known], spread[known] = np.nanmean(numbers[:, known], axis=0), np.nanstd(numbers[:, known], axis=0)
    spread = np.sqrt(np.bincount(kind, weights=spread**2) / np.bincount(kind))[kind]
    varies = spread > 1e-12 * np.maximum(1.0, np.abs(mean))
    weight = np.divide(1.0, spread, out=np.zeros_like(spread), where=varies)
    return mean.astype(np.float32), weight.astype(np.float32)


def _finite(rows: NDArray[np.generic], mean: Float32Array) -> Float32Array:
    numbers = rows.astype(np.float32)
    return np.where(np.isfinite(numbers), numbers, mean)


def _distances(rows: Float32Array, group: Int64Array) -> Float64Array:
    """Distances over 0 between rows of different groups, one a pair, rising."""
    squares = (rows.astype(np.float64) ** 2).sum(axis=1)
    gram = (rows @ rows.T).astype(np.float64)
    square = squares[:, None] + squares[None, :] - 2 * gram
    pairs = np.triu(group[:, None] != group[None, :], k=1) & (square > 1e-6 * squares.mean())
    return np.asarray(np.sqrt(np.sort(square[pairs])))


def _threshold(apart: Float64Array, typical: float, share: float) -> tuple[float, float]:
    """The distance within which chance puts at most `share` of pairs, at most `NEAR` of the typical; and the dimension.

    Near 0 the share of pairs within r grows as r^m (P. Grassberger and I. Procaccia, Physica D 9, 1983): m is read off
    between the nearest 0.2 % and 3 % of the sampled pairs.
    """
    near, far = (float(np.quantile(apart, q)) for q in (0.002, 0.03))
    dimension = float(np.log(0.03 / 0.002) / max(np.log(far / near), 1e-9))
    return min(NEAR * typical, near * (share / 0.002) ** (1 / dimension)), dimension


def _search(
    values: NDArray[np.generic],
    group: Int64Array,
    mean: Float32Array,
    weight: Float32Array,
    distance: float,
    rng: np.random.Generator,
) -> BoolArray:
    """Rows with a row of another group within `distance`, among those that share a cell."""
    projected = _projected(values, mean, weight, rng) / np.float32(CELL * distance)
    found = np.zeros(len(values), dtype=np.bool_)
    odd = rng.integers(1 << 62, size=DIRECTIONS, dtype=np.int64) | 1
    for table in range(TABLES):
        part = projected[:, table * DIRECTIONS : (table + 1) * DIRECTIONS]
        cells = np.floor(part + rng.random(DIRECTIONS, dtype=np.float32)).astype(np.int64)
        key = (cells * odd).sum(axis=1)
        shuffled = rng.permutation(len(key))
        order = shuffled[np.argsort(key[shuffled])]
        for step in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
            one, two = order[:-step], order[step:]
            same = (key[one] == key[two]) & (group[one] != group[two]) & ~(found[one] & found[two])
            one, two = one[same], two[same]
            close = _within(values, one, two, mean, weight, distance)
            found[one[close]] = found[two[close]] = True
    return found


def _projected(
    values: NDArray[np.generic], mean: Float32Array, weight: Float32Array, rng: np.random.Generator
) -> Float32Array:
    """Standardized rows along random directions: float32 [rows, TABLES x DIRECTIONS]."""
    directions = rng.standard_normal((values.shape[1], TABLES * DIRECTIONS), dtype=np.float32) * weight[:, None]
    projected = np.empty((len(values), directions.shape[1]), np.float32)
    for where, block in row_blocks(values):
        projected[where] = (np.where(np.isfinite(block), block, mean) - mean) @ directions
    return projected


def _within(
    values: NDArray[np.generic],
    one: Int64Array,
    two: Int64Array,
    mean: Float32Array,
    weight: Float32Array,
    distance: float,
) -> BoolArray:
    """Which pairs of rows are at most `distance` apart."""
    close = np.zeros(len(one), dtype=np.bool_)
    height = max(1, BLOCK_VALUES // max(1, values.shape[1]))
    for start in range(0, len(one), height):
        where = slice(start, start + height)
        difference = (_finite(values[one[where]], mean) - _finite(values[two[where]], mean)) * weight
        close[where] = np.einsum("ij,ij->i", difference, difference) <= distance**2
    return close
