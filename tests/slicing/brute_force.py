"""What a search must find, by looking at every conjunction with Python's own loops."""

from collections.abc import Iterator, Mapping
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from kit.records import ColumnRecord
from kit.slicing.worst import Slice


def masks(
    columns: Mapping[str, ColumnRecord], depth: int
) -> Iterator[tuple[tuple[tuple[str, str], ...], NDArray[np.bool_]]]:
    """Every conjunction of 1 to `depth` columns and its rows, whatever their number."""
    for size in range(1, depth + 1):
        for names in combinations(columns, size):
            for values in product(*(range(len(columns[name].values)) for name in names)):
                mask = np.ones(len(next(iter(columns.values())).codes), dtype=np.bool_)
                for name, value in zip(names, values, strict=True):
                    mask &= columns[name].codes == value
                yield tuple((n, columns[n].values[v]) for n, v in zip(names, values, strict=True)), mask


def all_slices(
    columns: Mapping[str, ColumnRecord],
    differences: NDArray[np.float64],
    *,
    minimum_rows: int,
    limit: float,
    depth: int,
    weights: NDArray[np.float64],
) -> list[Slice]:
    """Every slice with enough rows, the largest statistic first, then fewer columns."""
    sliced = {
        name: record for name, record in columns.items() if len({*record.codes.tolist()}) > 1
    }  # a constant column slices nothing
    found = []
    for where, mask in masks(sliced, depth) if sliced else ():
        if mask.sum() < minimum_rows:
            continue
        x = weights[mask] * (differences[mask] - limit)
        squares = float((x * x).sum())
        statistic = float(x.sum()) / squares**0.5 if squares > 0 else 0.0
        mean = float((weights[mask] * differences[mask]).sum() / weights[mask].sum())
        found.append(Slice(where, int(mask.sum()), statistic, mean))
    return sorted(found, key=lambda each: (-each.statistic, len(each.where)))
