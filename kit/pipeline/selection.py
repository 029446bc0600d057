"""The rows that a search chooses on, and other rows that confirm what it chose."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kit.errors import UsageError
from kit.records import DatasetRecord, Int64Array
from kit.spec.rows import data_digest
from kit.spec.types import Dataset, DatasetPart, Profile

LEAST_CLUSTERS = 4
"""Fewer clusters cannot be halved into rows to select on and rows to confirm on."""

MOST_GROUPS = 200
"""So many classes and slices, the largest, are evened out between two halves."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows to select on and other rows to confirm on; `said` tells where both come from, `share` scales minima."""

    selection: DatasetPart
    confirmation: DatasetPart
    share: float
    said: str


def rows_of(dataset: Dataset, seed: int) -> Rows:
    """The dataset's selection part and its whole test part; without a selection part, the two halves of the test part.

    Raises:
        UsageError: there is no selection part, and the test part has too few clusters to be halved.
    """
    test, selection = dataset.test, dataset.selection
    if selection is not None:
        said = f"selected on the selection part ({_size(selection)}), confirmed on the test part ({_size(test)})"
        return Rows(selection, test, selection.record.rows / test.record.rows, said)
    chosen = halved(test.record, seed)
    first, second = some_rows(test, np.flatnonzero(chosen)), some_rows(test, np.flatnonzero(~chosen))
    said = f"selected on one half of the test part ({_size(first)}), confirmed on the other ({_size(second)})"
    return Rows(first, second, first.record.rows / test.record.rows, said)


def _size(part: DatasetPart) -> str:
    record = part.record
    clusters = len(np.unique(record.cluster))
    return f"{record.rows:,} rows" + (f" of {clusters:,} {record.cluster_column}s" if record.cluster_column else "")


def some_rows(part: DatasetPart, rows: NDArray[np.intp]) -> DatasetPart:
    """The part's rows `rows` [n], in that order, with a data digest of their own."""
    record, inputs = part.record, part.inputs[rows]
    labels, cluster = record.labels[rows], record.cluster[rows]
    columns = {name: replace(column, codes=column.codes[rows]) for name, column in record.columns.items()}
    digest = data_digest(inputs, record.classes, labels, cluster, columns)
    fewer = replace(record, rows=len(rows), labels=labels, cluster=cluster, columns=columns, data_digest=digest)
    return replace(part, inputs=inputs, record=fewer)


def halved(data: DatasetRecord, seed: int) -> NDArray[np.bool_]:
    """Rows of one half, bool [rows]: whole clusters, with classes and slices as alike in both halves as they can be.

    Largest clusters first, each goes to the half where it evens the counts out (greedy, sum of squared differences,
    each class and slice weighted by its inverse size); ties in size are in an order that `seed` gives.

    Raises:
        UsageError: there are fewer than `LEAST_CLUSTERS` clusters.
    """
    clusters, index = np.unique(data.cluster, return_inverse=True)
    if len(clusters) < LEAST_CLUSTERS:
        raise UsageError(
            f"the test part has {len(clusters)} clusters, too few to select on some and confirm on others",
            next_step='add a [[part]] with role = "selection" to the manifest',
        )
    counts = np.stack([_per_cluster(index, len(clusters), mask) for mask in _groups(data)], axis=1)
    weighted = counts / np.maximum(counts.sum(axis=0), 1.0)
    shuffled = np.random.default_rng(seed).permutation(len(clusters))
    order = shuffled[np.argsort(-counts[shuffled, 0], kind="stable")]
    first, difference = np.zeros(len(clusters), dtype=np.bool_), np.zeros(counts.shape[1])
    for cluster in order:
        first[cluster] = difference @ weighted[cluster] <= 0
        difference += weighted[cluster] if first[cluster] else -weighted[cluster]
    chosen: NDArray[np.bool_] = first[index]
    return chosen


def _groups(data: DatasetRecord) -> list[NDArray[np.bool_]]:
    """All rows, then the largest classes and slices: bool [rows]."""
    codes = [(data.labels, len(data.classes))] + [(each.codes, len(each.values)) for each in data.columns.values()]
    sizes = [(int(size), of, code) for of, n in codes for code, size in enumerate(np.bincount(of, minlength=n))]
    largest = sorted(sizes, key=lambda each: -each[0])[:MOST_GROUPS]
    return [np.ones(data.rows, dtype=np.bool_), *(of == code for _, of, code in largest)]


def _per_cluster(index: NDArray[np.intp], clusters: int, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.bincount(index[mask], minlength=clusters).astype(np.float64)


def strata_of(data: DatasetRecord, profile: Profile) -> Int64Array:
    """Int64 [rows]: equal for rows that are in the same slices of every column that the profile names."""
    columns = list(dict.fromkeys(column for asked in profile.requirements for column in asked.by))
    codes = np.stack([np.zeros(data.rows, np.int64), *(data.columns[column].codes for column in columns)], axis=1)
    _, strata = np.unique(codes, axis=0, return_inverse=True)
    return strata.reshape(-1).astype(np.int64)
