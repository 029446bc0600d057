"""Many bounds at once: how sure each of several must be so that all of them hold together.

Estimates on overlapping slices move together, and so do their largest errors: the quantile of the largest of them, the
max-t of J. P. Romano and M. Wolf (Econometrica 73, 2005; J. American Statistical Association 100, 2005), asks less of
each than C. E. Bonferroni's inequality does, which holds whatever they are. It is drawn from normal multipliers of the
clusters' residuals, for which only their correlations are needed (V. Chernozhukov, D. Chetverikov and K. Kato, Annals
of Statistics 41, 2013). Correlations of few changed rows are too sure of themselves, so the larger of two quantiles
counts: under these residuals', and under those of rows that change anywhere alike. Tests simulate the coverage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from kit.records import Float64Array, Int64Array
from kit.stats.proportions import Counts, PairedCounts, Successes, paired_score, proportion_score
from kit.stats.special import student_t_quantile

DRAWS = 20_000
MOST_ESTIMATES = 200
"""Beyond this many, max-t gains little over Bonferroni (4.23 against 4.34 at 7,000 slices) and costs their square."""

MOST_WORK = 2e10
"""Multiplications that correlations may take: seconds."""

_BLOCK = 4096
_STEPS = 80
_FEW = 200.0


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each unit adds to the estimates that it is in.

    codes: for each partition of the units, int64 [units], the estimate that a unit is in, numbered over all partitions;
    -1 for none. count, value, weight: float64 [units], rows like it, and what each of them has. cluster: int64 [units]
    from 0, None where each row is its own.
    """

    codes: tuple[Int64Array, ...]
    estimates: int
    count: Float64Array
    value: Float64Array
    weight: Float64Array
    cluster: Int64Array | None


def simultaneous_confidence(
    confidence: float, estimates: int, of: Contributions | None, seed: int
) -> tuple[float, str]:
    """Confidence of each one-sided bound so that all `estimates` hold together with `confidence`; and the method.

    `of` None, or too many estimates: Bonferroni.
    """
    if estimates <= 1:
        return confidence, "alone"
    least = (1.0 - confidence) / estimates
    if of is None or estimates > MOST_ESTIMATES or len(of.count) * estimates**2 > MOST_WORK:
        return 1.0 - least, "Bonferroni"
    quantile = max(largest_quantile(each, confidence, seed) for each in (_residuals(of), _overlaps(of)))
    tail = 1.0 - NormalDist().cdf(quantile)
    return 1.0 - min(max(tail, least), 1.0 - confidence), "max-t (Romano and Wolf 2005)"


def largest_quantile(correlation: Float64Array, confidence: float, seed: int) -> float:
    """Quantile of the largest of normal variables with this correlation [k, k], raised for the error of its draws."""
    values, vectors = np.linalg.eigh(correlation)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))).astype(np.float32)
    normal = np.random.default_rng(seed).standard_normal((DRAWS, len(root)), dtype=np.float32)
    largest = np.sort((normal @ root.T).max(axis=1))
    rank = DRAWS * confidence + 2 * np.sqrt(DRAWS * confidence * (1 - confidence))
    return float(largest[min(DRAWS - 1, int(np.ceil(rank)))])


def _residuals(of: Contributions) -> Float64Array:
    """Correlation of the clusters' residuals; estimates in which nothing varies are taken to be independent."""
    weight = of.count * of.weight
    means = []
    for codes in of.codes:
        kept = codes >= 0
        total = np.bincount(codes[kept], weight[kept], of.estimates)
        means.append(np.bincount(codes[kept], (weight * of.value)[kept], of.estimates) / np.maximum(total, 1e-300))
    rest = [
        np.where(codes >= 0, of.weight * (of.value - mean[codes]), 0.0)
        for codes, mean in zip(of.codes, means, strict=True)
    ]
    if of.cluster is None:
        return _correlation(of.codes, of.estimates, [each * np.sqrt(of.count) for each in rest], None)
    return _correlation(of.codes, of.estimates, [each * of.count for each in rest], of.cluster)


def _overlaps(of: Contributions) -> Float64Array:
    """Correlation where rows change alike and by themselves: the share of rows that two slices have in common."""
    root = np.sqrt(of.count) * of.weight
    return _correlation(of.codes, of.estimates, [root] * len(of.codes), None)


def _correlation(
    codes: Sequence[Int64Array], estimates: int, amounts: Sequence[Float64Array], cluster: Int64Array | None
) -> Float64Array:
    """Correlation of the clusters' sums of `amounts`, block by block of clusters; each unit its own where None."""
    units = len(codes[0])
    order = np.arange(units) if cluster is None else np.argsort(cluster, kind="stable")
    block = np.arange(units) if cluster is None else np.unique(cluster[order], return_inverse=True)[1]
    product = np.zeros((estimates, estimates))
    starts = np.searchsorted(block, np.arange(0, int(block[-1]) + 1, _BLOCK)) if units else np.zeros(0, dtype=np.int64)
    for start, end in zip(starts, [*starts[1:], units], strict=True):
        sums = _sums(codes, amounts, order[start:end], block[start:end] - block[start], estimates)
        product += sums.T @ sums
    spread = np.sqrt(np.diag(product))
    scale = np.where(spread > 0, 1.0 / np.where(spread > 0, spread, 1.0), 0.0)
    result = product * scale * scale[:, None]
    np.fill_diagonal(result, 1.0)
    return result


def _sums(
    codes: Sequence[Int64Array],
    amounts: Sequence[Float64Array],
    units: NDArray[np.intp],
    row: Int64Array,
    estimates: int,
) -> NDArray[np.float32]:
    """Sums of the amounts of some units, float32 [clusters, estimates]; `row` [units] is each unit's cluster."""
    size = (int(row[-1]) + 1) * estimates
    flat = np.zeros(size)
    for code, amount in zip(codes, amounts, strict=True):
        kept = code[units] >= 0
        flat += np.bincount((row * estimates + code[units])[kept], amount[units][kept], size)
    return flat.reshape(-1, estimates).astype(np.float32)


def critical_values(confidence: float, df: Float64Array) -> Float64Array:
    """Student's t quantiles at one probability, [n]: exact below 200 degrees of freedom, by expansion above.

    Source: Abramowitz and Stegun 26.7.5; its relative error is below 1e-8 for probabilities up to 1 - 1e-8.
    """
    z = NormalDist().inv_cdf(confidence)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    few = {each: student_t_quantile(confidence, each) for each in np.unique(df[df < _FEW]).tolist()}
    large = np.full(len(df), z) + sum(term / np.maximum(df, _FEW) ** power for power, term in enumerate(terms, start=1))
    return np.asarray([few.get(each, value) for each, value in zip(df.tolist(), large, strict=True)])


def many_bounds(counts: Sequence[Counts], confidence: float) -> list[tuple[float, float]]:
    """Lower and upper bound of each, one-sided at `confidence`: what `Counts.bounds` gives, thousands at a time."""
    found: list[tuple[float, float]] = [(0.0, 0.0)] * len(counts)
    for kind in (PairedCounts, Successes):
        chosen = [index for index, each in enumerate(counts) if isinstance(each, kind)]
        for index, bounds in zip(chosen, _inverted([counts[index] for index in chosen], confidence), strict=True):
            found[index] = bounds
    for index, each in enumerate(counts):
        if not isinstance(each, PairedCounts | Successes):
            found[index] = each.bounds(confidence)
    return found


def _inverted(counts: Sequence[Counts], confidence: float) -> list[tuple[float, float]]:
    """Bounds of counts of one kind, by bisection of all of them at once."""
    if not counts:
        return []
    estimate, rows, df = (np.array([getattr(c, name) for c in counts]) for name in ("estimate", "rows", "df"))
    critical = critical_values(confidence, df)
    if isinstance(counts[0], PairedCounts):
        wrong, right = (np.array([getattr(c, name) for c in counts]) for name in ("to_wrong", "to_right"))
        least = -1.0

        def score(value: Float64Array) -> Float64Array:
            return paired_score(wrong, right, rows, value)
    else:
        successes, least = np.array([getattr(c, "successes") for c in counts]), 0.0  # noqa: B009

        def score(value: Float64Array) -> Float64Array:
            return proportion_score(successes, rows, value)

    inside, outside = estimate.copy(), np.ones_like(estimate)
    for _ in range(_STEPS):
        middle = 0.5 * (inside + outside)
        below = score(middle) > -critical
        inside, outside = np.where(below, middle, inside), np.where(below, outside, middle)
    upper, inside, outside = outside, estimate.copy(), np.full_like(estimate, least)
    for _ in range(_STEPS):
        middle = 0.5 * (inside + outside)
        above = score(middle) < critical
        inside, outside = np.where(above, middle, inside), np.where(above, outside, middle)
    return list(zip(outside.tolist(), upper.tolist(), strict=True))
