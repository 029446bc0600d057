"""Every conjunction of up to a few columns that has enough rows.

Columns are put in blocks, and the rows are counted once for every few blocks, into a cube from which all conjunctions
within those blocks are summed: with 14 columns to depth 3 that is 20 passes over the rows and not 469. Columns with so
many values that a cube would be larger than the rows are searched one set at a time, the rows of conjunctions that are
too small left behind: no part of them can have more.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import prod

import numpy as np
from numpy.typing import NDArray

from kit.records import Float64Array, Int64Array
from kit.slicing.table import Table

BoolArray = NDArray[np.bool_]
ColumnSet = tuple[int, ...]
Promising = Callable[[Float64Array], BoolArray]
"""Sums [terms, cells] to which cells may have a conjunction worth seeing below them [cells]."""

CHUNK = 1 << 16
"""Rows at a time: half a megabyte of keys."""

LEAST_CUBE, MOST_CUBE, CUBE_SHARE = 4096, 65_536, 6
"""A cube has a cell for six rows, but not fewer than cost nothing and not more than a processor's cache holds."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The conjunctions over one set of columns that have enough rows.

    columns: numbers of `Table.names`, rising; codes: int64 [columns, cells] into their values; sums: [terms, cells].
    """

    columns: ColumnSet
    codes: Int64Array
    sums: Float64Array


def scan(table: Table, depth: int, minimum_rows: int, promising: Promising | None = None) -> Iterator[Cells]:
    """Conjunctions of 1 to `depth` columns with at least `minimum_rows` rows, each once, in an order that is fixed.

    Where `promising` is given, conjunctions below those that it rejects may be left out.
    """
    left = {each for size in range(1, depth + 1) for each in combinations(range(len(table.names)), size)}
    rows = len(table.codes[0]) if table.codes else 0
    most = _most_cells(rows)
    blocks = [_block(table, columns) for columns in blocks_of(table, depth)]
    for chosen in combinations(blocks, min(depth, len(blocks))):
        if prod(block.cells for block in chosen) > most:
            continue
        columns = {column for block in chosen for column in block.columns}
        wanted = sorted(each for each in left if columns.issuperset(each))
        left.difference_update(wanted)
        yield from _cube(table, chosen, wanted, minimum_rows)
    prefixes = {each[:size] for each in left for size in range(1, depth + 1)}
    root = _Part((), np.zeros((0, 1), dtype=np.int64), np.zeros(rows, dtype=np.int64), None)
    for cells in _below(table, minimum_rows, promising, prefixes, root):
        if cells.columns in left:
            yield cells


@dataclass(frozen=True, slots=True)
class _Block:
    """Columns that are counted together: their code int64 [rows] in 0 .. cells - 1, and with the outcomes, as a last.

    `shape`: how many codes each column has.
    """

    columns: ColumnSet
    shape: tuple[int, ...]
    cells: int
    code: Int64Array
    last: Int64Array


def blocks_of(table: Table, depth: int) -> list[ColumnSet]:
    """Columns in blocks of which any `depth` together fit a cube, where a column allows it: first fit."""
    sizes, within = table.sizes, _most_cells(len(table.codes[0]) if table.codes else 0) ** (1 / depth)
    blocks: list[list[int]] = []
    for column in sorted(range(len(sizes)), key=lambda each: -sizes[each]):
        home = next((b for b in blocks if prod(sizes[each] for each in b) * sizes[column] <= within), None)
        if home is None:
            blocks.append([column])
        else:
            home.append(column)
    return [tuple(block) for block in blocks]


def _most_cells(rows: int) -> int:
    return min(max(rows // CUBE_SHARE, LEAST_CUBE), MOST_CUBE)


def _block(table: Table, columns: ColumnSet) -> _Block:
    code = table.codes[columns[0]]
    for place, column in enumerate(columns[1:]):
        code = np.multiply(code, table.sizes[column], out=code if place else None)
        code += table.codes[column]
    last = code if table.state is None else code * table.terms.shape[1] + table.state
    shape = tuple(table.sizes[column] for column in columns)
    return _Block(columns, shape, prod(shape), code, last)


def _cube(table: Table, chosen: tuple[_Block, ...], wanted: list[ColumnSet], minimum_rows: int) -> Iterator[Cells]:
    """The conjunctions of every set in `wanted`, all within the blocks, from one count of the rows."""
    if not wanted:
        return
    columns = tuple(column for block in chosen for column in block.columns)
    marginals = {columns: _counted(table, chosen)}
    for each in wanted:
        ordered = tuple(column for column in columns if column in each)
        sums = _marginal(marginals, columns, ordered).transpose(*map(ordered.index, each), len(each))
        sums = sums[tuple(slice(table.kept[column]) for column in each)]
        shape = sums.shape[:-1]
        sums = table.finish(sums.reshape(-1, sums.shape[-1]))
        enough = np.flatnonzero(sums[0] >= max(1, minimum_rows))
        if len(enough):
            yield Cells(each, np.array(np.unravel_index(enough, shape)), sums[:, enough])


def _marginal(known: dict[ColumnSet, Float64Array], columns: ColumnSet, kept: ColumnSet) -> Float64Array:
    """Sums by the columns `kept` of `columns`; what was summed on the way, axis by axis, stays `known`."""
    if kept not in known:
        last = max(position for position, column in enumerate(columns) if column not in kept)
        wider = tuple(column for column in columns if column in kept or column == columns[last])
        known[kept] = _marginal(known, columns, wider).sum(axis=wider.index(columns[last]))
    return known[kept]


def _counted(table: Table, chosen: tuple[_Block, ...]) -> Float64Array:
    """Sums over the rows by every column of the blocks: [codes, ..., states or terms].

    Rows are taken by the chunk and in place, so that keys stay in the processor's cache.
    """
    *first, last = chosen
    cells = prod(block.cells for block in chosen)
    digits = last.cells * (1 if table.state is None else table.terms.shape[1])
    shape = tuple(size for block in chosen for size in block.shape)
    cube = np.zeros((cells, len(table.terms) if table.state is None else table.terms.shape[1]))
    for start in range(0, len(last.code), CHUNK):
        part = slice(start, start + CHUNK)
        key = np.zeros_like(last.code[part])
        for block in first:
            key *= block.cells
            key += block.code[part]
        key *= digits
        key += last.last[part]
        cube += table.counted(key, cells, part)
    return cube.reshape(*shape, -1)


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows that are in some live conjunction over `columns`: `at` [n] (None: all), and in which, `cell` [n]."""

    columns: ColumnSet
    codes: Int64Array
    cell: Int64Array
    at: Int64Array | None


def _below(
    table: Table, minimum_rows: int, promising: Promising | None, prefixes: set[ColumnSet], part: _Part
) -> Iterator[Cells]:
    """Conjunctions that extend those of `part`, sets of columns that begin with one of `prefixes`."""
    for column in range(part.columns[-1] + 1 if part.columns else 0, len(table.names)):
        if (*part.columns, column) not in prefixes:
            continue
        key, owner = _children(table, part, column)
        code = owner % table.sizes[column]
        sums = table.finish(table.sums(key, len(owner), part.at))
        enough = (sums[0] >= max(1, minimum_rows)) & (code < table.kept[column])
        if not enough.any():
            continue
        parents = owner[enough] // table.sizes[column]
        codes = np.concatenate([part.codes[:, parents], code[None, enough]])
        cells = Cells((*part.columns, column), codes, sums[:, enough])
        yield cells
        live = enough.copy()
        if promising is not None:
            live[enough] = promising(cells.sums)
        if live.any():
            narrowed = _narrowed(part, cells, key, live, enough)
            yield from _below(table, minimum_rows, promising, prefixes, narrowed)


def _children(table: Table, part: _Part, column: int) -> tuple[Int64Array, Int64Array]:
    """For each row the child that it is in [n], and for each child its parent x values + code [m]."""
    codes, size = table.codes[column], table.sizes[column]
    key = part.cell * size + (codes if part.at is None else codes[part.at])
    cells = part.codes.shape[1] * size
    if cells <= max(LEAST_CUBE, 4 * len(key)):
        return key, np.arange(cells)
    owner, key = np.unique(key, return_inverse=True)
    return key.astype(np.int64, copy=False), owner


def _narrowed(part: _Part, cells: Cells, key: Int64Array, live: BoolArray, enough: BoolArray) -> _Part:
    """The rows of the live cells only."""
    numbers = np.where(live, np.cumsum(live) - 1, -1)
    cell = numbers[key]
    at = np.flatnonzero(cell >= 0)
    return _Part(cells.columns, cells.codes[:, live[enough]], cell[at], at if part.at is None else part.at[at])
