"""Rows that look alike to the model, as columns: slices of data that has none, or none that tells.

Clusters are made of what the reference computes of the inputs, on all rows, and never of labels or of what an optimized
model says. They are as fixed before the judging as a column of the data is, so that all rows may be searched by them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.records import ColumnRecord, Float64Array, Int64Array

COUNTS = (5, 10, 20)
"""How many clusters, one column each: few are large and sure, many are sharp."""

LEAST_ROWS = 30
"""Rows that a cluster has on average, at the least."""

MOST_DIMENSIONS = 32
"""Principal components that are kept: in more, all rows are about equally far apart."""

MOST_FITTED = 20_000
"""Rows, drawn at random, that centres are fitted to; all rows are then given to the nearest one."""

STARTS, STEPS = 4, 50
_CHUNK = 1 << 14


@dataclass(frozen=True, slots=True)
class Clustering:
    """codes: int64 [rows], 0 to clusters - 1, the largest cluster first; nearest: int64 [clusters], the row nearest to
    each centre; inertia: sum of squared distances, over standardized components."""

    codes: Int64Array
    nearest: Int64Array
    inertia: float


def cluster_columns(
    embedding: NDArray[np.floating], decisions: Int64Array, classes: tuple[str, ...], seed: int = 0
) -> dict[str, ColumnRecord]:
    """Columns "cluster of 5", "cluster of 10" and so on; none where rows are too few or all alike.

    Args:
        embedding: float [rows, dimensions], what the reference computes of each row; a row that is not finite is in a
            cluster of such rows.
        decisions: int64 [rows], what the reference decides; only to name clusters by. Empty: they are not.
        seed: of starts, and of the rows that centres are fitted to.
    """
    finite = np.isfinite(embedding).all(axis=1)
    components = principal_components(embedding[finite])
    if not components.shape[1]:
        return {}
    columns = {}
    for count in COUNTS:
        if count * LEAST_ROWS > len(components):
            break
        found = k_means(components, count, seed)
        codes = np.full(len(finite), int(found.codes.max()) + 1, dtype=np.int64)
        codes[finite] = found.codes
        nearest = np.flatnonzero(finite)[found.nearest]
        names = _names(codes, nearest, decisions, classes)
        columns[f"cluster of {count}"] = ColumnRecord(names if finite.all() else (*names, "not finite"), codes)
    return columns


def principal_components(rows: NDArray[np.floating]) -> Float64Array:
    """Standardized dimensions turned to their principal axes, the largest first: float64 [rows, components].

    As many as have a thousandth of the largest's variance, at most `MOST_DIMENSIONS`; none where all rows are alike.
    Source: I. T. Jolliffe, Principal Component Analysis, 2002, 2.3.
    """
    values = np.asarray(rows, dtype=np.float64)
    if len(values) < 2:
        return np.zeros((len(values), 0))
    centred = values - values.mean(axis=0)
    spread = centred.std(axis=0)
    varies = spread > 1e-9 * np.maximum(1.0, np.abs(values).max(axis=0))
    standard = centred[:, varies] / spread[varies]
    if not standard.shape[1]:
        return np.zeros((len(values), 0))
    variances, axes = np.linalg.eigh(standard.T @ standard / len(values))
    kept = np.flatnonzero(variances > 1e-3 * variances[-1])[::-1][:MOST_DIMENSIONS]
    axes = axes[:, kept] * np.sign(axes[np.abs(axes[:, kept]).argmax(axis=0), kept])
    return np.asarray(standard @ axes)


def k_means(points: Float64Array, count: int, seed: int = 0) -> Clustering:
    """The best of `STARTS` runs of Lloyd's algorithm (IEEE Trans. Information Theory 28, 1982), each from centres that
    are drawn with probability in proportion to the squared distance from those before (D. Arthur and S. Vassilvitskii,
    k-means++, SODA 2007).

    Args:
        points: float64 [rows, dimensions], finite, at least `count` rows. Fewer distinct ones give fewer clusters.
    """
    rng = np.random.default_rng(seed)
    fitted = points if len(points) <= MOST_FITTED else points[rng.choice(len(points), MOST_FITTED, replace=False)]
    runs = [_lloyd(fitted, _first_centres(fitted, count, rng)) for _ in range(STARTS)]
    centres = min(runs, key=lambda run: run[1])[0]
    codes, distances = _nearest(points, centres)
    used, codes, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    codes = np.argsort(order)[codes].astype(np.int64)
    first = np.lexsort((distances, codes))
    nearest = first[np.searchsorted(codes[first], np.arange(len(used)))]
    return Clustering(codes, nearest.astype(np.int64), float(distances.sum()))


def _first_centres(points: Float64Array, count: int, rng: np.random.Generator) -> Float64Array:
    centres = points[rng.integers(len(points))][None]
    distances = _nearest(points, centres)[1]
    while len(centres) < count and distances.sum() > 0:
        drawn = points[rng.choice(len(points), p=distances / distances.sum())][None]
        centres = np.concatenate([centres, drawn])
        distances = np.minimum(distances, _nearest(points, drawn)[1])
    return np.asarray(centres)


def _lloyd(points: Float64Array, centres: Float64Array) -> tuple[Float64Array, float]:
    """Centres that no longer move, or after `STEPS`, and the sum of squared distances."""
    codes, distances = _nearest(points, centres)
    for _ in range(STEPS):
        sizes = np.bincount(codes, minlength=len(centres))
        sums = np.stack([np.bincount(codes, axis, len(centres)) for axis in points.T], axis=1)
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
        before = codes
        codes, distances = _nearest(points, centres)
        if np.array_equal(before, codes):
            break
    return centres, float(distances.sum())


def _nearest(points: Float64Array, centres: Float64Array) -> tuple[Int64Array, Float64Array]:
    """The nearest centre of each point [rows] and its squared distance."""
    codes = np.empty(len(points), dtype=np.int64)
    distances = np.empty(len(points))
    squares = (centres**2).sum(axis=1)
    for start in range(0, len(points), _CHUNK):
        part = points[start : start + _CHUNK]
        apart = squares - 2 * part @ centres.T
        codes[start : start + _CHUNK] = nearest = apart.argmin(axis=1)
        least = apart[np.arange(len(part)), nearest] + (part**2).sum(axis=1)
        distances[start : start + _CHUNK] = np.maximum(least, 0.0)
    return codes, distances


def _names(codes: Int64Array, nearest: Int64Array, decisions: Int64Array, classes: tuple[str, ...]) -> tuple[str, ...]:
    """ "1: 412 rows, nearest row 17, mostly walk": the class that the reference decides on most rows of it."""
    names = []
    for code, row in enumerate(nearest.tolist()):
        inside = codes == code
        name = f"{code + 1}: {int(inside.sum()):,} rows, nearest row {row}"
        if len(decisions) and classes:
            often = np.bincount(decisions[inside], minlength=len(classes))
            share = often.max() / inside.sum()
            name += f", {'all' if share == 1 else 'mostly' if share > 0.5 else 'often'} {classes[int(often.argmax())]}"
        names.append(name)
    return tuple(names)
