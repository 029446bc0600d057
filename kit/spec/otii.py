"""Battery profiles in Otii's JSON: open-circuit voltage and resistance against used capacity.

The form is that of Qoitech's manual (Otii 3, "Battery profile manager") and of the profiles that Qoitech publishes:
``battery`` {capacity, capacityunit, voltage, voltageunit, cutoffvoltage, model, manufacturer} may be left out, in whole
or in part; ``dischargetables`` has one table or more, each a list of {voltage, resistance, capacity}: V, ohm, and the
capacity used until then, mAh unless the battery's ``capacityunit`` says otherwise. A table's current is ``current``
(``currentunit``), or the mean of its ``dischargeprofile`` where that steps between two currents.
"""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from kit.digest import digest_bytes
from kit.errors import SpecError
from kit.spec.text import shown
from kit.spec.types import DischargeProfile, DischargeTable

SIZE_LIMIT_BYTES = 16 << 20
"""Largest file that is read: a published profile of 12,000 rows has 1.6 MB."""

TABLE_LIMIT, ROW_LIMIT = 64, 1_000_000
KEPT_ROWS = 1001
"""Rows of a table that are kept, evenly over used capacity: a step is a thousandth of it."""

VOLTAGE_LIMIT_V, RESISTANCE_LIMIT_OHM, CAPACITY_LIMIT_C = 1e4, 1e9, 1e12
CAPACITY_LEAST_C = 1e-6

CAPACITY_FACTORS = (0.5, 10.0)
"""A stated capacity beside the longest table's: cold or a heavy load leaves a part, and nothing gives twice as much."""

VOLTAGE_FACTORS = (0.8, 1.25)
"""A nominal voltage beside the least and the greatest in the tables."""

_CHARGE_C = {"mAh": 3.6, "Ah": 3600.0, "uAh": 3.6e-3, "µAh": 3.6e-3, "C": 1.0}
_CURRENT_A = {"A": 1.0, "mA": 1e-3, "uA": 1e-6, "µA": 1e-6, "nA": 1e-9}
_VOLTAGE_V = {"V": 1.0, "mV": 1e-3}
_TEMPERATURE_CELSIUS = {"°C": 1.0, "C": 1.0}


class _Reader:
    """Values by their path in the JSON; every mistake names the file and that path."""

    def __init__(self, where: str) -> None:
        self.where = where

    def error(self, key: str, what: str, next_step: str = "") -> SpecError:
        """A SpecError about the value at `key`."""
        next_step = next_step or "export the profile again from Otii"
        return SpecError(f"{key}: {what}" if key else what, where=self.where, next_step=next_step)

    def table(self, key: str, value: object) -> dict[str, Any]:
        """A JSON object."""
        if not isinstance(value, dict):
            raise self.error(key, "an object { ... } is expected")
        return value

    def number(self, key: str, value: object, limit: float, *, least: float = 0.0) -> float:
        """A finite number from `least` to `limit`."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, "a number is expected" if value is not None else "this number is missing")
        if not least <= value <= limit:  # NaN is neither
            raise self.error(key, f"{shown(str(value), 40)} is not from {least:g} to {limit:g}")
        return float(value)

    def scale(self, key: str, table: dict[str, Any], unit: str, known: dict[str, float], usual: str) -> float:
        """What one of the unit that `table` names is in SI; `usual` where it names none."""
        name = table.get(unit, usual)
        if not isinstance(name, str) or name not in known:
            what = f"{shown(str(name), 40)!r} is no unit known here"
            raise self.error(f"{key}.{unit}", what, f"known: {', '.join(known)}")
        return known[name]

    def text(self, table: dict[str, Any], name: str) -> str:
        """A text that can be shown; empty where there is none."""
        value = table.get(name, "")
        return shown(value, 60) if isinstance(value, str) else ""


def read_otii(path: Path) -> DischargeProfile:
    """Read a battery profile; long tables are brought to `KEPT_ROWS` rows. Raises SpecError."""
    data = _content(path)
    reader = _Reader(str(path))
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise reader.error("", f"not valid JSON: {shown(str(error))}", "name a battery profile, as JSON") from None
    root = reader.table("", document)
    battery = reader.table("battery", root.get("battery", {}))
    charge_c = reader.scale("battery", battery, "capacityunit", _CHARGE_C, "mAh")
    volt_v = reader.scale("battery", battery, "voltageunit", _VOLTAGE_V, "V")
    tables = _tables(reader, root, charge_c)
    name = " ".join(filter(None, (reader.text(battery, "manufacturer"), reader.text(battery, "model"))))
    return DischargeProfile(
        name=name or path.stem[:60],
        digest=digest_bytes(data),
        capacity_c=_capacity(reader, battery, charge_c, tables),
        voltage_v=_nominal(reader, battery, volt_v, tables),
        cutoff_v=_cutoff(reader, battery, volt_v, tables),
        tables=tables,
    )


def _content(path: Path) -> bytes:
    next_step = "name a battery profile that Otii exported, as JSON"
    try:
        if not path.is_file():  # nor a pipe, which could keep us waiting for ever
            raise SpecError("no such file", where=str(path), next_step=next_step)
        with path.open("rb") as stream:
            data = stream.read(SIZE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError(f"cannot be read: {reason}", where=str(path), next_step="check the path") from None
    if len(data) > SIZE_LIMIT_BYTES:
        raise SpecError(f"larger than {SIZE_LIMIT_BYTES >> 20} MiB", where=str(path), next_step=next_step)
    return data


def _capacity(reader: _Reader, battery: dict[str, Any], charge_c: float, tables: tuple[DischargeTable, ...]) -> float:
    """Stated charge in C, which the tables must bear out; without one, that of the longest table."""
    longest_c = max(table.used_c[-1] for table in tables)
    if "capacity" not in battery:
        return longest_c
    least, most = CAPACITY_LEAST_C / charge_c, CAPACITY_LIMIT_C / charge_c
    capacity_c = reader.number("battery.capacity", battery["capacity"], most, least=least) * charge_c
    if not CAPACITY_FACTORS[0] <= capacity_c / longest_c <= CAPACITY_FACTORS[1]:
        what = f"{capacity_c / 3.6:g} mAh, and the tables use up to {longest_c / 3.6:g} mAh"
        raise reader.error("battery.capacity", what, "check capacityunit, capacity and the tables")
    return capacity_c


def _nominal(
    reader: _Reader, battery: dict[str, Any], volt_v: float, tables: tuple[DischargeTable, ...]
) -> float | None:
    voltage_v = _voltage(reader, battery, "voltage", volt_v)
    low_v, high_v = (pick(pick(table.open_circuit_v) for table in tables) for pick in (min, max))
    low, high = VOLTAGE_FACTORS
    if voltage_v is not None and not low * low_v <= voltage_v <= high * high_v:
        what = f"{voltage_v:g} V, and the tables go from {low_v:g} V to {high_v:g} V"
        raise reader.error("battery.voltage", what, "check voltageunit, voltage and the tables")
    return voltage_v


def _cutoff(
    reader: _Reader, battery: dict[str, Any], volt_v: float, tables: tuple[DischargeTable, ...]
) -> float | None:
    cutoff_v = _voltage(reader, battery, "cutoffvoltage", volt_v)
    high_v = max(max(table.open_circuit_v) for table in tables)
    if cutoff_v is not None and cutoff_v >= high_v:
        what = f"{cutoff_v:g} V, and the tables never exceed {high_v:g} V"
        raise reader.error("battery.cutoffvoltage", what, "check voltageunit, cutoffvoltage and the tables")
    return cutoff_v


def _voltage(reader: _Reader, battery: dict[str, Any], name: str, volt_v: float) -> float | None:
    if battery.get(name) is None:
        return None
    return reader.number(f"battery.{name}", battery[name], VOLTAGE_LIMIT_V / volt_v, least=0.0) * volt_v or None


def _tables(reader: _Reader, root: dict[str, Any], charge_c: float) -> tuple[DischargeTable, ...]:
    """Every table, in order of current; those of one temperature must differ in it."""
    found = root.get("dischargetables")
    if not isinstance(found, list) or not 1 <= len(found) <= TABLE_LIMIT:
        raise reader.error("dischargetables", f"a list of 1 to {TABLE_LIMIT} tables is expected")
    tables = [_table(reader, f"dischargetables[{index}]", each, charge_c) for index, each in enumerate(found)]
    tables.sort(key=lambda table: (table.temperature_celsius or 0.0, table.current_a or 0.0))
    for one, other in pairwise(tables):
        alike = one.temperature_celsius == other.temperature_celsius
        if alike and (one.current_a == other.current_a or None in (one.current_a, other.current_a)):
            what = "two tables of one temperature cannot be told apart"
            raise reader.error("dischargetables", what, "give each its current, or leave one out")
    return tuple(tables)


def _table(reader: _Reader, key: str, value: object, charge_c: float) -> DischargeTable:
    table = reader.table(key, value)
    rows = table.get("table")
    if not isinstance(rows, list) or not 2 <= len(rows) <= ROW_LIMIT:
        raise reader.error(f"{key}.table", f"a list of 2 to {ROW_LIMIT:,} rows is expected")
    values = np.array([_row(reader, f"{key}.table[{index}]", row, charge_c) for index, row in enumerate(rows)])
    back = np.flatnonzero(np.diff(values[:, 0]) < 0)
    if back.size:
        raise reader.error(f"{key}.table[{back[0] + 1}].capacity", "less than in the row before, and it is used up")
    if values[-1, 0] <= values[0, 0]:
        raise reader.error(f"{key}.table", "no capacity is used from its first row to its last")
    if values[-1, 0] < CAPACITY_LEAST_C:
        raise reader.error(f"{key}.table", f"less than {CAPACITY_LEAST_C:g} C is used up to its last row")
    if not values[:, 1].any():
        raise reader.error(f"{key}.table", "its voltage is 0 in every row")
    used_c, voltage_v, resistance_ohm = _thinned(values)
    return DischargeTable(
        tuple(used_c.tolist()),
        tuple(voltage_v.tolist()),
        tuple(resistance_ohm.tolist()),
        _current(reader, key, table),
        _temperature(reader, key, table),
    )


def _row(reader: _Reader, key: str, value: object, charge_c: float) -> tuple[float, float, float]:
    row = reader.table(key, value)
    return (
        reader.number(f"{key}.capacity", row.get("capacity"), CAPACITY_LIMIT_C / charge_c) * charge_c,
        reader.number(f"{key}.voltage", row.get("voltage"), VOLTAGE_LIMIT_V),
        reader.number(f"{key}.resistance", row.get("resistance"), RESISTANCE_LIMIT_OHM),
    )


def _thinned(values: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Columns [3, rows] at strictly rising used charge; a long table by linear interpolation between its rows."""
    values = values[np.r_[np.diff(values[:, 0]) > 0, True]]
    if len(values) <= KEPT_ROWS:
        return values.T
    used_c = np.linspace(values[0, 0], values[-1, 0], KEPT_ROWS)
    return np.stack([used_c, *(np.interp(used_c, values[:, 0], values[:, column]) for column in (1, 2))])


def _current(reader: _Reader, key: str, table: dict[str, Any]) -> float | None:
    """Mean current in A; None where it is not said: some exports say 0, or step between powers."""
    ampere_a = reader.scale(key, table, "currentunit", _CURRENT_A, "A")
    if table.get("current"):
        return reader.number(f"{key}.current", table["current"], 1e6 / ampere_a) * ampere_a
    profile = table.get("dischargeprofile")
    if profile is None:
        return None
    steps = [reader.table(f"{key}.dischargeprofile", profile).get(name) for name in ("low", "high")]
    if not all(isinstance(step, dict) and step.get("mode") == "current" for step in steps):
        return None
    charge_c = total_s = 0.0
    for name, step in zip(("low", "high"), steps, strict=True):
        place = f"{key}.dischargeprofile.{name}"
        time_s = reader.number(f"{place}.time", step.get("time"), 1e9)  # type: ignore[union-attr]
        charge_c += reader.number(f"{place}.value", step.get("value"), 1e6) * time_s  # type: ignore[union-attr]
        total_s += time_s
    return charge_c / total_s if charge_c > 0 and math.isfinite(charge_c) else None


def _temperature(reader: _Reader, key: str, table: dict[str, Any]) -> float | None:
    if table.get("temperature") is None:
        return None
    reader.scale(key, table, "temperatureunit", _TEMPERATURE_CELSIUS, "°C")
    return reader.number(f"{key}.temperature", table["temperature"], 150.0, least=-60.0)
