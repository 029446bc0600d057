"""Columns of a recorded trace: what their names say of quantity and unit, and the numbers below them."""

import contextlib
import re
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.errors import MeasurementError
from kit.records import Float64Array

_PREFIXES = {"": 1.0, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3, "k": 1e3}
_QUANTITIES = {
    "t": ("s", r"t|time|timestamp|utc|elapsed"),
    "power": ("w", r"p|power|main power|mp"),
    "current": ("a", r"i|current|main current|mc"),
    "voltage": ("v", r"v|u|voltage|main voltage|mv"),
}
_NAME = re.compile(r"(.+?)[ _]*[\[(_ ]\s*([nuµmk]?[swav])\s*[\])]?", re.IGNORECASE)
_BIT = re.compile(r"d([0-7])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Column:
    """What a column is: t, power, current, voltage, trigger or bit 0 to 7, and what one of its unit is worth in SI."""

    quantity: str
    scale: float


def column_of(name: str) -> Column | None:
    """What a column's name says, such as power_w, "Timestamp(ms)" or "Current [uA]"; None for any other."""
    plain = " ".join(name.replace("\u03bc", "µ").split()).strip("\"' ")
    if plain.casefold() == "trigger":
        return Column("trigger", 1.0)
    if bit := _BIT.fullmatch(plain):
        return Column(f"bit {bit[1]}", 1.0)
    found = _NAME.fullmatch(plain)
    if found is None:
        return None
    base, unit = found[1].strip(" _").casefold(), found[2].lower()
    for quantity, (si, names) in _QUANTITIES.items():
        if unit.endswith(si) and unit[:-1] in _PREFIXES and re.fullmatch(names, base):
            return Column(quantity, _PREFIXES[unit[:-1]])
    return None


def columns_of(names: Iterable[str], where: str) -> dict[str, Column]:
    """By name, those that are known. Raises MeasurementError where time, or what gives power, is missing or double."""
    listed = list(names)
    found = [(name, column) for name in listed if (column := column_of(name)) is not None]
    known, quantities = dict(found), [column.quantity for _, column in found]
    has_power = "power" in quantities or "current" in quantities
    if quantities.count("t") != 1 or not has_power or len(set(quantities)) < len(quantities):
        what = f"its columns are {', '.join(listed[:20])[:300]}"
        step = "name each with its unit: t_s, and power_w, or current_a and voltage_v (also ms, us; mw, uw; ma, ua; mv)"
        raise MeasurementError(what, where=where, next_step=step)
    return known


def in_si(known: Mapping[str, Column], values_of: Callable[[str], Float64Array]) -> dict[str, Float64Array]:
    """float64 [n] by quantity, in SI units; the bits of digital inputs are put together as trigger."""
    values = {column.quantity: values_of(name) * column.scale for name, column in known.items()}
    bits = {name: values.pop(name) for name in list(values) if name.startswith("bit ")}
    if bits and "trigger" not in values:
        values["trigger"] = np.sum([(column != 0) * 2.0 ** int(name[4:]) for name, column in bits.items()], axis=0)
    return values


def read_table(path: Path, lines: Iterable[str], first: int) -> tuple[list[str], Float64Array]:
    """The names in a table's first line, and its numbers float64 [rows, columns]; empty cells are NaN.

    first: the number of the first line in the file, for errors. Commas, semicolons or tabs divide it. Raises
    MeasurementError with the line.
    """
    values, names, mark = array("d"), list[str](), ","
    for number, line in enumerate(lines, first):
        text = line.rstrip("\r\n")
        if not names:
            mark = next((each for each in ("\t", ";") if each in text), ",")
            names = [name.strip() for name in text.split(mark)]
        elif text.strip():
            values.extend(_numbers(f"{path}:{number}", text.split(mark), names, is_plain="_" not in text))
    return names, np.array(values, np.float64).reshape(-1, len(names))


def _numbers(where: str, cells: list[str], names: list[str], *, is_plain: bool) -> list[float]:
    """One row; is_plain: nothing in it is a number to Python alone, such as 2_0."""
    if len(cells) != len(names):
        what = f"it has {len(cells)} values, and there are {len(names)} columns"
        raise MeasurementError(
            what, where=where, next_step="was the file cut off, or is the mark between them another?"
        )
    if is_plain:
        with contextlib.suppress(ValueError):
            return [float(cell) if cell.strip() else np.nan for cell in cells]
    return [_cell(where, name, cell) for name, cell in zip(names, cells, strict=True)]


def _cell(where: str, name: str, cell: str) -> float:
    """One value; what is no number in a column that is not used is NaN."""
    try:
        return float(cell.replace("_", "no number")) if cell.strip() else np.nan
    except ValueError:
        if column_of(name) is None:
            return np.nan
        what = f"{name} is {cell.strip()[:40]!r}, which is no number"
        raise MeasurementError(
            what, where=where, next_step="write numbers with a point, and leave unknown ones empty"
        ) from None
