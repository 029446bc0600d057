"""The battery of a device file and of the command line: each key in SI units, ranges, and mistakes with their place."""

from pathlib import Path

import pytest

from kit.cli.battery import BATTERY_OPTIONS
from kit.errors import SpecError
from kit.spec.battery import KEYS, BatteryTable, battery_of
from kit.spec.device import load_device
from kit.spec.ranges import parse_pulse, parse_range, parse_temperature
from kit.spec.types import BatterySpec, Pulse, Range
from tests.spec.test_otii import EXAMPLE

HEAD = '[device]\nname = "tag"\n[link]\nurl = "subprocess:"\n[battery]\n'
FULL = """\
capacity = "220 mAh"
voltage = "3 V"
other_load = "30 uW"
reserve = "5 %"
chemistry = "lithium-primary"
tolerance = "3 %"
other_load_tolerance = "10 %"
health = "90 % to 100 %"
derating = "85 % to 95 %"
self_discharge = "0.05 % to 0.1 %"
temperature = "-10 °C to 30 °C"
efficiency = "80 to 90 %"
resistance = "10 Ohm to 30 Ohm"
cutoff = "2.0 V"
transmit = "30 mW for 5 ms, 1 per minute"
"""


def battery(tmp_path: Path, text: str) -> BatterySpec:
    path = tmp_path / "tag.toml"
    path.write_text(HEAD + text)
    found = load_device(path).battery
    assert found is not None
    return found


def about(low: float, high: float) -> Range:
    return Range(pytest.approx(low), pytest.approx((low + high) / 2), pytest.approx(high))


def test_every_key_in_si_units(tmp_path: Path) -> None:
    assert battery(tmp_path, FULL) == BatterySpec(
        capacity_j=pytest.approx(220 * 3.6 * 3),
        other_load_w=pytest.approx(30e-6),
        reserve_share=0.05,
        voltage_v=3.0,
        chemistry="lithium-primary",
        capacity_tolerance_share=0.03,
        other_load_tolerance_share=0.1,
        health_share=about(0.9, 1.0),
        derating_share=about(0.85, 0.95),
        self_discharge_share=about(0.0005, 0.001),
        temperature_celsius=Range(-10.0, 10.0, 30.0),
        efficiency_share=about(0.8, 0.9),
        resistance_ohm=Range(10.0, 20.0, 30.0),
        cutoff_v=2.0,
        transmit=Pulse(pytest.approx(0.03), pytest.approx(0.005), pytest.approx(1 / 60)),
    )


def test_what_is_not_stated_is_not_known(tmp_path: Path) -> None:
    found = battery(tmp_path, 'energy = "1 Wh"\nother_load = "1 mW"\n')
    assert found == BatterySpec(3600.0, 0.001)
    assert (found.health_share, found.self_discharge_share, found.voltage_v) == (None, None, None)


def test_a_profile_beside_the_file_gives_capacity_and_voltage(tmp_path: Path) -> None:
    (tmp_path / "cell.json").write_bytes(EXAMPLE.read_bytes())
    found = battery(tmp_path, 'otii = "cell.json"\nother_load = "30 uW"\n')
    assert (found.capacity_j, found.voltage_v) == (pytest.approx(220 * 3.6 * 3), 3.0)
    assert found.discharge is not None
    assert found.discharge.cutoff_v == 2.0
    stated = battery(tmp_path, 'otii = "cell.json"\nother_load = "30 uW"\ncapacity = "200 mAh"\n')
    assert stated.capacity_j == pytest.approx(200 * 3.6 * 3)


def test_a_profile_without_a_voltage_has_the_mean_of_its_curve(tmp_path: Path) -> None:
    rows = '[{"voltage": 4, "resistance": 1, "capacity": 0}, {"voltage": 3, "resistance": 1, "capacity": 100}]'
    (tmp_path / "cell.json").write_text(f'{{"dischargetables": [{{"table": {rows}}}]}}')
    assert battery(tmp_path, 'otii = "cell.json"\nother_load = "30 uW"\n').voltage_v == pytest.approx(3.5)


def test_a_profile_has_its_own_resistance(tmp_path: Path) -> None:
    """One that is stated beside it would not be used: refused. That of a device file gives way to a named profile."""
    (tmp_path / "cell.json").write_text(EXAMPLE.read_text())
    with pytest.raises(SpecError, match="its own resistance") as caught:
        battery(tmp_path, 'otii = "cell.json"\nother_load = "30 uW"\nresistance = "10 Ohm"\n')
    assert caught.value.where == f"{tmp_path / 'tag.toml'}:8"
    beside = battery(tmp_path, FULL)
    found = battery_of({"otii": str(EXAMPLE)}, beside)
    assert beside.resistance_ohm is not None
    assert found.resistance_ohm is None
    with pytest.raises(SpecError, match="its own resistance"):
        battery_of({"resistance": "10 Ohm"}, found)


def test_a_broken_profile_is_named_by_its_own_path(tmp_path: Path) -> None:
    (tmp_path / "cell.json").write_text("{")
    with pytest.raises(SpecError) as caught:
        battery(tmp_path, 'otii = "cell.json"\nother_load = "30 uW"\n')
    assert caught.value.where == str(tmp_path / "cell.json")


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ('"lithium-primary"', '"kryptonite"', 10, "'kryptonite' is not known here"),
        ('"90 % to 100 %"', '"100 % to 90 %"', 13, "health begins above its end"),
        ('"90 % to 100 %"', '"0 %"', 13, "health of 0 leaves nothing"),
        ('"90 % to 100 %"', '"90 % to 95 % to 100 %"', 13, "health is a share"),
        ('"80 to 90 %"', '"80 to 190 %"', 17, "out of range"),
        ('tolerance = "3 %"', 'tolerance = "100 %"', 11, "tolerance of 100 % leaves nothing"),
        ('reserve = "5 %"', 'reserve = "100 %"', 9, "reserve of 100 % leaves nothing"),
        ('cutoff = "2.0 V"', 'cutoff = "3 V"', 19, "cutoff of 3 V leaves nothing: the battery has 3 V"),
        ('"-10 °C to 30 °C"', '"-10 K to 30 K"', 16, "temperature is a temperature, not"),
        ('"-10 °C to 30 °C"', '"-300 °C"', 16, "out of range"),
        ('"10 Ohm to 30 Ohm"', '"10 V"', 18, 'resistance is a resistance, not "V"'),
        ('"30 mW for 5 ms, 1 per minute"', '"30 mW"', 20, "transmit is work that comes again"),
        ('"30 mW for 5 ms, 1 per minute"', '"30 mW for 5 min, 1 per minute"', 20, "5 s of every second"),
        ('"30 mW for 5 ms, 1 per minute"', '"30 mAh for 5 ms, 1 per minute"', 20, "transmit is a power"),
        ('"0.05 % to 0.1 %"', "true", 15, "self_discharge"),
        ('capacity = "220 mAh"\nvoltage = "3 V"', 'energy = "1 Wh"', 17, "resistance: means nothing where the voltage"),
        ('capacity = "220 mAh"', 'energy = "1 Wh"', 5, "needs capacity and voltage together"),
        ('capacity = "220 mAh"', 'otii = "none.json"', 0, "no such file"),
    ],
)  # fmt: skip
def test_each_mistake_names_its_line(tmp_path: Path, old: str, new: str, line: int, what: str) -> None:
    assert old in FULL
    with pytest.raises(SpecError) as caught:
        battery(tmp_path, FULL.replace(old, new, 1))
    assert what in str(caught.value.what)
    assert caught.value.where == (str(tmp_path / "none.json") if line == 0 else f"{tmp_path / 'tag.toml'}:{line}")


def test_the_command_line_has_every_key_of_the_file() -> None:
    assert set(KEYS) == set(BatteryTable.__struct_fields__) == set(BATTERY_OPTIONS)


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    beside = battery(tmp_path, FULL)
    found = battery_of({"health": "80 %", "other_load": "1 mW"}, beside)
    assert (found.health_share, found.other_load_w) == (Range(0.8, 0.8, 0.8), 0.001)
    assert (found.capacity_j, found.cutoff_v) == (beside.capacity_j, 2.0)
    assert battery_of({"capacity": "100 mAh"}, beside).capacity_j == pytest.approx(100 * 3.6 * 3)
    assert battery_of({"voltage": "2.4 V"}, beside).capacity_j == pytest.approx(beside.capacity_j * 0.8)


@pytest.mark.parametrize(
    ("options", "where", "what"),
    [
        ({"other_load": "3 mAh", "energy": "1 Wh"}, "--other-load", "other_load is a power"),
        ({"energy": "1 Wh"}, "battery", "without the model is not known"),
        ({"other_load": "3 mW"}, "battery", "needs capacity and voltage together"),
        ({"other_load": "3 mW", "capacity": "3 Ah", "energy": "1 Wh"}, "battery", "or energy alone"),
        ({"other_load": "3 mW", "energy": "1 Wh", "cutoff": "2 V"}, "--cutoff", "where the voltage is not known"),
        ({"other_load": "3 mW", "capacity": "1 Ah", "voltage": "3 V", "cutoff": "5 V"}, "--cutoff", "has 3 V"),
        ({"other_load": "3 mW", "energy": "1 Wh", "reserve": "100 %"}, "--reserve", "leaves nothing"),
        ({"other_load": "3 mW", "otii": str(EXAMPLE), "cutoff": "4 V"}, "--cutoff", "cutoff of 4 V leaves nothing"),
        ({"other_load": "3 mW", "otii": "/none"}, "/none", "no such file"),
    ],
)
def test_a_mistake_on_the_command_line_names_the_option(options: dict[str, str], where: str, what: str) -> None:
    with pytest.raises(SpecError) as caught:
        battery_of(options)
    assert what in caught.value.what
    assert caught.value.where == where
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("1.2 mJ", "energy", (1.2e-3, 1.2e-3, 1.2e-3)),
        ("1 mJ to 3 mJ", "energy", (1e-3, 2e-3, 3e-3)),
        ("1 to 3 mJ", "energy", (1e-3, 2e-3, 3e-3)),
        ("500 uJ to 1 mJ", "energy", (0.5e-3, 0.75e-3, 1e-3)),
        ("1 to 3 %", "share", (0.01, 0.02, 0.03)),
        (0.5, "share", (0.5, 0.5, 0.5)),
    ],
)
def test_ranges(text: str | float, kind: str, expected: tuple[float, float, float]) -> None:
    found = parse_range(text, kind)  # type: ignore[arg-type]
    assert (found.low, found.likely, found.high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("20 °C", (20, 20, 20)), ("-10 to 30 °C", (-10, 10, 30)), ("\u22125 C", (-5, -5, -5)), (25, (25, 25, 25))],
)
def test_temperatures(text: str | float, expected: tuple[float, float, float]) -> None:
    found = parse_temperature(text)
    assert (found.low, found.likely, found.high) == expected


@pytest.mark.parametrize("text", ["", "to", "°C", "1 to 2 to 3", "9" * 500, "20 °F", "nan"])
def test_what_is_no_temperature(text: str) -> None:
    with pytest.raises(SpecError):
        parse_temperature(text)


@pytest.mark.parametrize("text", ["", "for,", "1 W for 1 s", "x" * 500, "1 W for 1 s, often", "1 W for 1 W, 1 Hz"])
def test_what_is_no_pulse(text: str) -> None:
    with pytest.raises(SpecError):
        parse_pulse(text)
