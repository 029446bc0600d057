"""Optimizations of known harm: rows with ten columns, and what one cost each row."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.records import ColumnRecord
from kit.slicing.confirm import Found, search
from kit.slicing.differences import Differences

CARDINALITIES = (2, 3, 4, 5, 6, 4, 3, 5, 4, 2)
ACCURACY = 0.9
PLANTED = {"c2": 1, "c4": 3, "c6": 0}
SHARE, HARM = 0.01, 0.15
NOISE = 0.005
"""Rows that flip each way for no reason."""

LIMIT = 0.03


@dataclass(frozen=True)
class World:
    """Columns, the true harm of each row and its cluster; what an optimization does in it is drawn by `flips`."""

    columns: dict[str, ColumnRecord]
    planted: NDArray[np.bool_]
    cluster: NDArray[np.int64] | None


def world(rows: int, seed: int, *, rows_a_cluster: int = 1) -> World:
    """Columns of uneven values, drawn row by row; the planted conjunction has `SHARE` of all rows."""
    rng = np.random.default_rng([seed, rows])
    codes = {f"c{n}": rng.choice(size, rows, p=_uneven(size)) for n, size in enumerate(CARDINALITIES)}
    planted = rng.random(rows) < SHARE
    for name, value in PLANTED.items():
        codes[name] = np.where(planted, value, codes[name])
    others = ~planted & np.all([codes[name] == value for name, value in PLANTED.items()], axis=0)
    codes["c2"] = np.where(others, 0, codes["c2"])
    cluster = np.arange(rows) // rows_a_cluster if rows_a_cluster > 1 else None
    columns = {
        name: ColumnRecord(tuple(f"v{value}" for value in range(size)), codes[name].astype(np.int64))
        for (name, size) in zip(codes, CARDINALITIES, strict=True)
    }
    return World(columns, planted, cluster)


def _uneven(size: int) -> NDArray[np.float64]:
    weights = 1.0 / np.arange(1, size + 1) ** 0.5
    return np.asarray(weights / weights.sum())


def flips(of: World, seed: int, *, harm: float, noise: float = NOISE, icc: float = 0.0) -> Differences:
    """1 turned wrong, -1 turned right: each `noise` of all rows, and `harm` more turned wrong where it is planted.

    `icc`: how much the noise of a cluster's rows is alike, by a rate of each cluster's own from a beta distribution.
    """
    rng = np.random.default_rng([seed, 1])
    rows = len(of.planted)
    wrong_rate = np.full(rows, noise) if of.cluster is None else _rates(of.cluster, noise, icc, rng)
    right_rate = np.full(rows, noise) if of.cluster is None else _rates(of.cluster, noise, icc, rng)
    wrong = rng.random(rows) < wrong_rate + np.where(of.planted, harm, 0.0)
    right = ~wrong & (rng.random(rows) < right_rate)
    return Differences(wrong.astype(np.float64) - right, cluster=of.cluster)


def _rates(cluster: NDArray[np.int64], mean: float, icc: float, rng: np.random.Generator) -> NDArray[np.float64]:
    if icc == 0:
        return np.full(len(cluster), mean)
    weight = 1 / icc - 1
    return np.asarray(rng.beta(mean * weight, (1 - mean) * weight, int(cluster[-1]) + 1)[cluster])


def trials(
    count: int, rows: int, *, harm: float, limit: float = LIMIT, minimum_rows: int = 100, **how: float
) -> Iterator[tuple[World, Differences, Found]]:
    """Searches of `count` optimizations, each with rows, flips and a split of its own."""
    rows_a_cluster = int(how.pop("rows_a_cluster", 1))
    for seed in range(count):
        made = world(rows, seed, rows_a_cluster=rows_a_cluster)
        differences = flips(made, seed, harm=harm, **how)
        found = search(made.columns, differences, limit=limit, minimum_rows=minimum_rows, minimum_clusters=5, seed=seed)
        yield made, differences, found


def is_named(found: Found) -> bool:
    """Whether the planted conjunction is confirmed, by exactly its own three columns and values."""
    return any(dict(each.where) == {n: f"v{v}" for n, v in PLANTED.items()} for each in found.confirmed)


def is_false(of: World, found: Found, limit: float) -> bool:
    """Whether something is confirmed that truly loses no more than the limit."""
    return any(float((of.planted[found.family.mask(each.number)]).mean()) * HARM <= limit for each in found.confirmed)


def share_interval(successes: int, count: int) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share at 95 %."""
    from scipy.stats import binomtest

    ends = binomtest(successes, count).proportion_ci(0.95)
    return float(ends.low), float(ends.high)
