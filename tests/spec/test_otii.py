"""Otii's battery profiles: units, several tables, long tables, and hostile files, each with its place in the JSON."""

import copy
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.errors import SpecError
from kit.spec.otii import KEPT_ROWS, SIZE_LIMIT_BYTES, read_otii

EXAMPLE = Path(__file__).parents[1] / "battery" / "data" / "coin-cell.otii.json"
ROWS = [
    {"voltage": 3.0, "resistance": 10.0, "capacity": 0.5},
    {"voltage": 2.9, "resistance": 12.0, "capacity": 100.0},
    {"voltage": 2.0, "resistance": 40.0, "capacity": 200.0},
]
TINY = [ROWS[0] | {"capacity": 0.0}, ROWS[1] | {"capacity": 1e-300}]
GOOD: dict[str, Any] = {
    "battery": {"capacity": 210, "voltage": 3.0, "cutoffvoltage": 2.0, "model": "CR-made-up", "manufacturer": "Nobody"},
    "dischargetables": [{"current": 5, "currentunit": "mA", "temperature": 25, "table": ROWS}],
}


def write(tmp_path: Path, document: object) -> Path:
    path = tmp_path / "cell.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def with_value(keys: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """GOOD with one value changed; a value of `...` takes the key away."""
    document = copy.deepcopy(GOOD)
    inner: Any = document
    for key in keys[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return document


def test_a_profile_in_si_units(tmp_path: Path) -> None:
    profile = read_otii(write(tmp_path, GOOD))
    assert (profile.name, profile.voltage_v, profile.cutoff_v) == ("Nobody CR-made-up", 3.0, 2.0)
    assert profile.capacity_c == pytest.approx(756.0)
    (table,) = profile.tables
    assert table.used_c == pytest.approx((1.8, 360.0, 720.0))
    assert table.open_circuit_v == (3.0, 2.9, 2.0)
    assert table.resistance_ohm == (10.0, 12.0, 40.0)
    assert (table.current_a, table.temperature_celsius) == (pytest.approx(5e-3), 25.0)


def test_what_may_be_left_out_is_left_out(tmp_path: Path) -> None:
    """The manual's "required fields": tables alone; capacity is then what the longest of them used."""
    profile = read_otii(write(tmp_path, {"dischargetables": [{"table": ROWS}]}))
    assert (profile.name, profile.voltage_v, profile.cutoff_v) == ("cell", None, None)
    assert profile.capacity_c == pytest.approx(720.0)
    assert (profile.tables[0].current_a, profile.tables[0].temperature_celsius) == (None, None)


@pytest.mark.parametrize(
    ("unit", "charge_c"), [("mAh", 756.0), ("Ah", 756e3), ("uAh", 0.756), ("C", 210.0)], ids=["mAh", "Ah", "uAh", "C"]
)
def test_capacity_is_in_its_unit(tmp_path: Path, unit: str, charge_c: float) -> None:
    profile = read_otii(write(tmp_path, with_value(("battery", "capacityunit"), unit)))
    assert profile.capacity_c == pytest.approx(charge_c)
    assert profile.tables[0].used_c[-1] == pytest.approx(charge_c * 200 / 210)


def test_a_current_of_0_says_nothing(tmp_path: Path) -> None:
    """Some published profiles have it."""
    assert read_otii(write(tmp_path, with_value(("dischargetables", 0, "current"), 0))).tables[0].current_a is None


def test_a_stepped_discharge_has_a_mean_current(tmp_path: Path) -> None:
    """10 mA for 2 ms, 0.25 mA for 60 s, in A and s."""
    document = with_value(("dischargetables", 0, "current"), ...)
    steps = {
        "low": {"mode": "current", "value": 0.00025, "time": 60},
        "high": {"mode": "current", "value": 0.01, "time": 0.002},
    }
    document["dischargetables"][0]["dischargeprofile"] = steps
    (table,) = read_otii(write(tmp_path, document)).tables
    assert table.current_a == pytest.approx((0.00025 * 60 + 0.01 * 0.002) / 60.002)
    steps["low"]["mode"] = "power"
    assert read_otii(write(tmp_path, document)).tables[0].current_a is None


def test_tables_come_in_order_of_current(tmp_path: Path) -> None:
    tables = [{"current": current, "currentunit": "mA", "table": ROWS} for current in (40, 0.2, 5)]
    found = read_otii(write(tmp_path, {"dischargetables": tables})).tables
    assert [table.current_a for table in found] == pytest.approx([2e-4, 5e-3, 4e-2])


def test_a_long_table_is_thinned_and_says_the_same(tmp_path: Path) -> None:
    """12,000 rows as in the longest published profile; repeated capacities, as exports have, keep the last."""
    used = np.linspace(0.01, 217.0, 12_000)
    volts = 3.2 - 0.002 * used - 0.5 * (used / 217) ** 20
    rows = [{"capacity": q, "voltage": v, "resistance": 10.0} for q, v in zip(used, volts, strict=True)]
    (table,) = read_otii(write(tmp_path, {"dischargetables": [{"table": [rows[0], *rows]}]})).tables
    assert len(table.used_c) == KEPT_ROWS
    assert (np.diff(table.used_c) > 0).all()
    between = np.interp(used * 3.6, table.used_c, table.open_circuit_v)
    assert between == pytest.approx(volts, abs=2e-4)
    assert (table.used_c[0], table.used_c[-1]) == (pytest.approx(0.036), pytest.approx(781.2))


def test_the_example_profile() -> None:
    profile = read_otii(EXAMPLE)
    assert profile.capacity_c == pytest.approx(792.0)
    assert [table.current_a for table in profile.tables] == pytest.approx([1e-4, 5e-3])
    assert "Made-up" in EXAMPLE.read_text()


@pytest.mark.parametrize(
    ("keys", "value", "what"),
    [
        (("dischargetables",), ..., "dischargetables: a list of 1 to 64 tables"),
        (("dischargetables",), [], "dischargetables: a list of 1 to 64 tables"),
        (("dischargetables",), [{"table": ROWS}] * 65, "dischargetables: a list of 1 to 64 tables"),
        (("dischargetables",), [{"table": ROWS}] * 2, "cannot be told apart"),
        (("dischargetables", 0), [], "dischargetables[0]: an object"),
        (("dischargetables", 0, "table"), ROWS[:1], "dischargetables[0].table: a list of 2"),
        (("dischargetables", 0, "table", 1), 3, "dischargetables[0].table[1]: an object"),
        (("dischargetables", 0, "table", 1, "voltage"), ..., "table[1].voltage: this number is missing"),
        (("dischargetables", 0, "table", 1, "voltage"), "3", "table[1].voltage: a number is expected"),
        (("dischargetables", 0, "table", 1, "voltage"), True, "table[1].voltage: a number is expected"),
        (("dischargetables", 0, "table", 1, "resistance"), -1, "table[1].resistance: -1 is not from 0"),
        (("dischargetables", 0, "table", 2, "capacity"), 50, "table[2].capacity: less than in the row before"),
        (("dischargetables", 0, "table", 2, "capacity"), 1e300, "table[2].capacity: 1e+300 is not from 0"),
        (("dischargetables", 0, "table"), [ROWS[0]] * 3, "table: no capacity is used"),
        (("dischargetables", 0, "currentunit"), "mV", "dischargetables[0].currentunit: 'mV' is no unit"),
        (("dischargetables", 0, "current"), -5, "dischargetables[0].current: -5 is not from 0"),
        (("dischargetables", 0, "temperature"), 4000, "dischargetables[0].temperature: 4000 is not from -60"),
        (("dischargetables", 0, "temperatureunit"), "K", "temperatureunit: 'K' is no unit"),
        (("dischargetables", 0, "dischargeprofile"), {}, None),
        (("battery",), 3, "battery: an object"),
        (("battery", "capacity"), 0, "battery.capacity: 0 is not from"),
        (("battery", "capacity"), None, "battery.capacity: this number is missing"),
        (("battery", "capacity"), 1, "battery.capacity: 1 mAh, and the tables use up to 200 mAh"),
        (("battery", "capacity"), 2100, "battery.capacity: 2100 mAh, and the tables"),
        (("battery", "voltageunit"), "mV", "battery.voltage: 0.003 V, and the tables go from 2 V to 3 V"),
        (("battery", "voltage"), 3.85, "battery.voltage: 3.85 V, and the tables"),
        (("battery", "cutoffvoltage"), 5, "battery.cutoffvoltage: 5 V, and the tables never exceed 3 V"),
        (("dischargetables", 0, "table"), TINY, "less than 1e-06 C is used"),
        (("dischargetables", 0, "table"), [row | {"voltage": 0} for row in ROWS], "its voltage is 0 in every row"),
        (("battery", "capacityunit"), ["mAh"], "battery.capacityunit"),
        (("battery", "cutoffvoltage"), "low", "battery.cutoffvoltage: a number"),
        (("battery", "model"), "\u202eevil\x1b[2J", None),
        (("battery", "model"), 7, None),
    ],
)  # fmt: skip
def test_each_mistake_names_the_file_and_its_path_in_it(
    tmp_path: Path, keys: tuple[str | int, ...], value: object, what: str | None
) -> None:
    path = write(tmp_path, with_value(keys, value))
    if what is None:  # odd, and no mistake
        assert read_otii(path).name.isprintable()
        return
    with pytest.raises(SpecError) as caught:
        read_otii(path)
    assert what in caught.value.what
    assert caught.value.where == str(path)
    assert caught.value.next_step


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "NaN", '{"dischargetables": NaN}', "[" * 100_000, "\x00\xff", "1e999"]
)
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SpecError):
        read_otii(write(tmp_path, text))


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="larger than 16 MiB"):
        read_otii(write(tmp_path, " " * (SIZE_LIMIT_BYTES + 1)))


@pytest.mark.parametrize("digits", [400, 4000, 100_000])
def test_a_number_of_many_digits_is_refused_like_any_other(tmp_path: Path, digits: int) -> None:
    text = json.dumps(GOOD).replace("2.9", "9" * digits)
    with pytest.raises(SpecError, match=r"is not from 0|not valid JSON"):
        read_otii(write(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_bytes(b'{"battery": "\xff\xfe"}')
    with pytest.raises(SpecError, match="not valid JSON"):
        read_otii(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none.json", Path("a\x00b")):
        with pytest.raises(SpecError):
            read_otii(path)


def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path: Path) -> None:
    """Bytes flipped, cut and doubled at random: a profile or a SpecError."""
    data, rng, refused = json.dumps(GOOD).encode(), random.Random(5), 0
    path = tmp_path / "cell.json"
    for _ in range(400):
        start = rng.randrange(len(data))
        stop = min(len(data), start + rng.randrange(1, 12))
        replaced = rng.choice([b"", bytes(rng.randrange(256) for _ in range(stop - start)), data[start:stop] * 2])
        path.write_bytes(data[:start] + replaced + data[stop:])
        try:
            assert read_otii(path).tables
        except SpecError:
            refused += 1
    assert refused > 100
