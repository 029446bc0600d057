"""Groups of people: the combinations of values of columns, every one by name."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from kit.records import ColumnRecord, Int64Array
from kit.spec.subjects import JOINED, named_part
from kit.stats.cells import BoolArray, group_codes
from kit.stats.groups import renumbered

MOST_GROUPS = 1000
"""Every two groups are compared: so many make a million pairs."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of one column or of several crossed: `names` as ``sex=F & race=Black``, codes [rows] into them.

    Values of one column are groups though no row has them; of a crossing only combinations that some row has, and
    `empty` counts the others.
    """

    columns: tuple[str, ...]
    names: tuple[str, ...]
    codes: Int64Array
    empty: int

    @property
    def subject(self) -> str:
        """The columns as a finding names them."""
        return JOINED.join(self.columns)


def groupings(by: tuple[str, ...], cross: int) -> Iterator[tuple[str, ...]]:
    """Each column, then each two of them, up to each `cross`, in the order given."""
    for depth in range(1, max(1, cross) + 1):
        yield from itertools.combinations(by, depth)


def grouped(columns: Mapping[str, ColumnRecord]) -> Groups:
    """The groups of some columns (at least one), the last one's values changing fastest."""
    sizes = [len(column.values) for column in columns.values()]
    codes = np.asarray(group_codes([column.codes for column in columns.values()], sizes), dtype=np.int64)
    texts = [[named_part(name, value) for value in column.values] for name, column in columns.items()]
    if len(sizes) == 1:
        return Groups(tuple(columns), tuple(texts[0]), codes, 0)
    present = np.unique(codes)
    names = [JOINED.join(text[k] for text, k in zip(texts, place, strict=True)) for place in _places(present, sizes)]
    return Groups(tuple(columns), tuple(names), renumbered(codes, math.prod(sizes))[0], math.prod(sizes) - len(names))


def _places(codes: Int64Array, sizes: list[int]) -> Iterator[tuple[int, ...]]:
    return zip(*(place.tolist() for place in np.unravel_index(codes, sizes)), strict=True)


def separate(codes: Int64Array, groups: int, cluster: Int64Array | None) -> BoolArray:
    """Whether no cluster has rows of both groups: bool [groups, groups]; `cluster` None: every row is its own."""
    apart = np.ones((groups, groups), dtype=np.bool_)
    if cluster is None:
        return apart
    _, place = np.unique(cluster, return_inverse=True)
    both = np.unique(place.reshape(-1) * groups + codes)
    if len(both) == place.max(initial=-1) + 1:
        return apart
    members = np.split(both % groups, np.flatnonzero(np.diff(both // groups)) + 1)
    for present in {tuple(each.tolist()) for each in members if len(each) > 1}:
        apart[np.ix_(present, present)] = False
    np.fill_diagonal(apart, True)
    return apart
