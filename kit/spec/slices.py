"""Slices in a profile: expressions over columns, scenarios of a few rows, and bins of numbers."""

from typing import Annotated

import msgspec
from msgspec import Meta

from kit.errors import SpecError
from kit.spec.expression import LENGTH_LIMIT, parse_expression
from kit.spec.shapes import ColumnName, Name, Text
from kit.spec.toml import Document
from kit.spec.types import SliceSpec

MOST_SLICES, MOST_ROWS, MOST_BINS = 1000, 10_000, 100

Where = Annotated[
    str,
    Meta(min_length=1, max_length=LENGTH_LIMIT, description='an expression, such as age >= 65 and sex == "F"'),
]
_NUMBER_OF_BINS = {"minimum": 2, "maximum": MOST_BINS}  # checked here, where the column's line is known
Bins = Annotated[
    dict[ColumnName, Annotated[int, Meta(description="bins", extra_json_schema=_NUMBER_OF_BINS)]],
    Meta(description="columns of numbers, and into how many quantile bins each is cut"),
]


class SliceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A slice with a name: an expression over columns, or a scenario's rows."""

    name: Name
    where: Where | None = None
    rows: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=2**40, description="number of a row of the test part, from 0")], ...],
        Meta(max_length=MOST_ROWS, description="a scenario's rows, numbered from 0"),
    ] = ()
    why: Text = ""


SliceTables = Annotated[tuple[SliceTable, ...], Meta(max_length=MOST_SLICES, description="slices with a name")]


def slice_specs(document: Document, tables: tuple[SliceTable, ...]) -> tuple[SliceSpec, ...]:
    """The profile's ``[[slice]]`` tables, checked. Raises SpecError with the key's line."""
    seen: dict[str, int] = {}
    for index, table in enumerate(tables):
        if table.name in seen:
            line = document.line(("slice", seen[table.name]))
            what = f'"{table.name}" is already the name of the slice on line {line}'
            raise document.error(("slice", index, "name"), what, "give each slice its own name")
        seen[table.name] = index
    return tuple(_slice(document, index, table) for index, table in enumerate(tables))


def check_bins(document: Document, bins: dict[str, int]) -> dict[str, int]:
    """The profile's ``[bins]``, each in range. Raises SpecError with the column's line."""
    for name, number in bins.items():
        if not 2 <= number <= MOST_BINS:
            what = f"{number} is no number of bins: from 2 to {MOST_BINS}"
            raise document.error(("bins", name), what, "4 are quartiles, of about as many rows each")
    return bins


def _slice(document: Document, index: int, table: SliceTable) -> SliceSpec:
    key = ("slice", index)
    if (table.where is None) == (not table.rows):
        raise document.error(key, "needs `where` (an expression) or `rows` (a scenario), and not both", "keep one")
    if table.where is not None:
        try:
            parse_expression(table.where)
        except SpecError as error:
            raise document.error((*key, "where"), error.what, error.next_step) from None
    if len(set(table.rows)) < len(table.rows):
        position, row = next((i, row) for i, row in enumerate(table.rows) if row in table.rows[:i])
        raise document.error((*key, "rows", position), f"row {row} is listed twice", "list it once")
    return SliceSpec(table.name, table.where or "", table.rows, table.why, document.line(key))
