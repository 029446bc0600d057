"""data.shifted: how far the test part is from the rows that calibrated or trained the model.

What chance alone gives is found by permutation of whole clusters between the two parts, so that many rows of few
recordings do not cry wolf. All distances are 0 to 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kit.quality.parts import BoolArray, drawn, flat, input_name
from kit.records import DataCheck, DatasetRecord, Float64Array, Int64Array
from kit.spec.types import DatasetPart

MOST_ROWS = 2000
"""Rows that are drawn of each part."""

MOST_INPUTS = 128
"""Inputs that are compared one by one; of more, so many are drawn."""

MOST_DIMENSIONS = 128
"""Beyond so many inputs, distances between rows are taken between random projections to so many dimensions."""

PERMUTATIONS, COLUMN_PERMUTATIONS = 199, 999
CHANCE_LEVEL = 0.01
"""What chance gives is the distance that at most this share of permutations exceed; of columns, all together."""

LEAST_CLUSTERS = 4
"""With fewer clusters in both parts together, there are too few ways to permute them to tell a shift from chance."""

IDENTITY_SHARE = 0.5
"""A column with more values than this share of clusters names them: between parts, names always differ."""


@dataclass(frozen=True, slots=True)
class Distance:
    """A distance between two parts and what chance gives; `at` is the number of the worst input or column."""

    value: float
    chance: float
    at: int = 0


def shifted(test: DatasetPart, other: DatasetPart, rng: np.random.Generator) -> tuple[DataCheck, ...]:
    """Inputs one by one and all together, classes, metadata columns, against `other`."""
    pooled = _Pooled.of(test, other, rng)
    if pooled is None:
        why = f"Not looked at: fewer than {LEAST_CLUSTERS} clusters, or other shapes, in the two parts."
        return (DataCheck("data.shifted", f"inputs against {other.role}", None, test.record.rows, (), why),)
    permuted = pooled.permutations(rng, PERMUTATIONS)
    return (
        _each_input(pooled, permuted, test, other, rng),
        _together(pooled, permuted, other, rng),
        *_metadata(pooled, test.record, other, rng),
    )


@dataclass(frozen=True, slots=True)
class _Pooled:
    """Rows drawn of both parts: values [n, inputs], cluster int64 [n] from 0, of_test bool [clusters].

    test_rows and other_rows are their numbers, the first and the last of the n.
    """

    values: NDArray[np.generic]
    cluster: Int64Array
    of_test: BoolArray
    test_rows: Int64Array
    other_rows: Int64Array

    @staticmethod
    def of(test: DatasetPart, other: DatasetPart, rng: np.random.Generator) -> "_Pooled | None":
        """Rows drawn of both parts; None where they have no inputs to compare."""
        one, two = flat(test), flat(other)
        if one.shape[1] != two.shape[1] or not one.shape[1]:
            return None
        ours, theirs = drawn(len(one), MOST_ROWS, rng), drawn(len(two), MOST_ROWS, rng)
        cluster, of_test = _pooled_clusters(test.record.cluster[ours], other.record.cluster[theirs])
        if len(of_test) < LEAST_CLUSTERS:
            return None
        return _Pooled(np.concatenate([one[ours], two[theirs]]), cluster, of_test, ours, theirs)

    def permutations(self, rng: np.random.Generator, count: int) -> BoolArray:
        """Which rows are called test: bool [1 + count, rows], the truth first."""
        called = np.stack([self.of_test, *(rng.permutation(self.of_test) for _ in range(count))])
        return called[:, self.cluster]


def _pooled_clusters(one: Int64Array, two: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Clusters of both as codes from 0, none of them shared, and which are the first's."""
    first, second = (np.unique(codes, return_inverse=True)[1].reshape(-1) for codes in (one, two))
    count = int(first.max(initial=-1)) + 1
    code = np.concatenate([first, second + count])
    return np.asarray(code, np.int64), np.arange(int(code.max(initial=-1)) + 1) < count


def _distance(values: Float64Array, at: int = 0, level: float = CHANCE_LEVEL) -> Distance:
    """The first of `values` [1 + permutations], and what chance gives by the others."""
    rank = min(int(np.ceil((1 - level) * len(values))), len(values) - 1) - 1
    return Distance(float(values[0]), float(np.sort(values[1:])[rank]), at)


def _check(subject: str, other: DatasetPart, found: Distance, rows: int, what: str) -> DataCheck:
    if found.value >= 1.0 and subject.startswith("column "):  # a split by a column is meant, and cannot be told apart
        sentence = f"Test and {other.role} part have no value of {subject} in common: they were split by it, or differ."
        return DataCheck("data.split", f"{subject} against {other.role}", 1.0, rows, (), sentence, 1.0)
    beyond = "more than" if found.value > found.chance else "no more than"
    sentence = f"{what} by {found.value:.3f} (0 to 1), {beyond} chance gives ({found.chance:.3f}, by cluster)."
    return DataCheck("data.shifted", f"{subject} against {other.role}", found.value, rows, (), sentence, found.chance)


def _each_input(
    pooled: _Pooled, permuted: BoolArray, test: DatasetPart, other: DatasetPart, rng: np.random.Generator
) -> DataCheck:
    """The largest Kolmogorov-Smirnov distance of an input; chance is that of the largest, whichever it is."""
    inputs = drawn(pooled.values.shape[1], MOST_INPUTS, rng)
    each = np.stack([ks_distances(pooled.values[:, column].astype(np.float64), permuted) for column in inputs])
    worst = int(each[:, 0].argmax())
    found = _distance(each.max(axis=0), int(inputs[worst]))
    name = input_name(test.inputs.shape[1:], found.at)
    drawn_of = f" ({len(inputs)} drawn of {pooled.values.shape[1]:,})" if len(inputs) < pooled.values.shape[1] else ""
    what = f"Of {len(inputs)} inputs{drawn_of}, {name} differs most from the {other.role} part (Kolmogorov-Smirnov)"
    return _check("inputs one by one", other, found, len(pooled.cluster), what)


def ks_distances(values: Float64Array, of_test: BoolArray) -> Float64Array:
    """Kolmogorov-Smirnov distance of `values` [rows] between the rows called test and the others, for each calling.

    of_test: bool [callings, rows]. NaN counts as the largest value.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    last &= np.append(~(np.isnan(ordered[1:]) & np.isnan(ordered[:-1])), True)
    called = np.cumsum(of_test[:, order], axis=1, dtype=np.int32)
    size = called[:, -1:].astype(np.float64)
    rest = len(values) - size
    below = np.arange(1, len(values) + 1)[last]
    difference = called[:, last] * (1 / size + 1 / rest) - below / rest
    return np.asarray(np.abs(difference).max(axis=1))


def _together(pooled: _Pooled, permuted: BoolArray, other: DatasetPart, rng: np.random.Generator) -> DataCheck:
    """The energy coefficient H of all inputs together (G. J. Szekely and M. L. Rizzo, WIREs Comp. Stat. 8, 2016)."""
    rows = drawn(len(pooled.cluster), MOST_ROWS, rng)
    values = _standardized(pooled.values[rows])
    if values.shape[1] > MOST_DIMENSIONS:
        values = values @ (rng.standard_normal((values.shape[1], MOST_DIMENSIONS)) / np.sqrt(MOST_DIMENSIONS))
    found = _distance(np.sqrt(energy_coefficients(_apart(values), permuted[:, rows])))
    what = f"All inputs together differ from the {other.role} part (root of the energy coefficient)"
    return _check("inputs together", other, found, len(rows), what)


def _standardized(values: NDArray[np.generic]) -> Float64Array:
    numbers = values.astype(np.float64)
    numbers = np.where(np.isfinite(numbers), numbers, 0.0)
    spread = numbers.std(axis=0)
    return np.asarray((numbers - numbers.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _apart(values: Float64Array) -> Float64Array:
    squares = (values**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * values @ values.T, 0.0)))


def energy_coefficients(apart: Float64Array, of_test: BoolArray) -> Float64Array:
    """H of distances `apart` [rows, rows] between the rows called test and the others, for each calling; 0 to 1."""
    test = of_test.astype(np.float64)
    rest = 1.0 - test
    to_test, to_rest = test @ apart, rest @ apart
    size, others = test.sum(axis=1), rest.sum(axis=1)
    between = (to_test * rest).sum(axis=1) / (size * others)
    within = (to_test * test).sum(axis=1) / size**2 + (to_rest * rest).sum(axis=1) / others**2
    share = np.divide(2 * between - within, 2 * between, out=np.zeros_like(between), where=between > 0)
    return np.asarray(np.clip(share, 0.0, 1.0))


def _metadata(
    pooled: _Pooled, test: DatasetRecord, other: DatasetPart, rng: np.random.Generator
) -> tuple[DataCheck, ...]:
    """The shares of the classes, and every metadata column that both parts have; one look each."""
    looks = _looks(pooled, test, other.record)
    permuted = pooled.permutations(rng, COLUMN_PERMUTATIONS)
    level = CHANCE_LEVEL / max(1, len(looks))
    return tuple(
        _check(
            name,
            other,
            _distance(look(permuted), 0, level),
            len(pooled.cluster),
            f"Test and {other.role} part differ in {name} (shares or ranks)",
        )
        for name, look in looks.items()
    )


def _looks(
    pooled: _Pooled, test: DatasetRecord, other: DatasetRecord
) -> dict[str, Callable[[BoolArray], Float64Array]]:
    """What compares each column under every calling: kinds by total variation, numbers by Kolmogorov-Smirnov."""
    ours, theirs = pooled.test_rows, pooled.other_rows
    looks: dict[str, Callable[[BoolArray], Float64Array]] = {}
    if test.targets is None and test.classes:
        labels = np.concatenate([test.labels[ours], other.labels[theirs]])
        looks["classes"] = partial(variations, labels)
    for name in sorted(test.columns.keys() & other.columns.keys()):
        one, two = test.columns[name], other.columns[name]
        known = {value: code for code, value in enumerate(dict.fromkeys((*one.values, *two.values)))}
        if name != test.cluster_column and len(known) <= IDENTITY_SHARE * len(pooled.of_test):
            codes = (
                np.array([known[v] for v in c.values], np.int64)[c.codes[r]] for c, r in ((one, ours), (two, theirs))
            )
            looks[f"column {name}"] = partial(variations, np.concatenate(list(codes)))
    for name in sorted(test.numbers.keys() & other.numbers.keys()):
        numbers = np.concatenate([test.numbers[name][ours], other.numbers[name][theirs]])
        looks[f"column {name}"] = partial(ks_distances, numbers)
    return looks


def variations(codes: Int64Array, of_test: BoolArray) -> Float64Array:
    """Total variation distance of kinds `codes` [rows] between the rows called test and the others, each calling."""
    kinds = np.eye(int(codes.max(initial=0)) + 1)[codes]
    one, two = of_test @ kinds, ~of_test @ kinds
    one, two = (part / np.maximum(part.sum(axis=1, keepdims=True), 1) for part in (one, two))
    return np.asarray(0.5 * np.abs(one - two).sum(axis=1))
