"""Meters that are found: on trees of files as machines have them, each with what stands in its way."""

import os
from pathlib import Path

import pytest

from kit.files import LocalFiles
from kit.pipeline.meter_list import DRIVERS, FoundMeter, drivers, found_here, keys_of
from kit.spec.meter import METER_KEYS, meter_at


def tree(root: Path, files: dict[str, str]) -> LocalFiles:
    for path, text in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")
    return LocalFiles(root)


USB = "/sys/bus/usb/devices"
PPK2 = {
    f"{USB}/1-1/idVendor": "1915", f"{USB}/1-1/idProduct": "c00a", f"{USB}/1-1/serial": "F2A1",
    f"{USB}/1-1:1.1/tty/ttyACM3/dev": "166:3",
}  # fmt: skip
POWERCAP = "/sys/class/powercap"


def test_a_machine_without_any_has_none(tmp_path: Path) -> None:
    assert found_here(LocalFiles(tmp_path)) == []


def test_a_ppk2_is_found_with_its_port(tmp_path: Path) -> None:
    other = {f"{USB}/1-2/idVendor": "1d6b", f"{USB}/1-2/idProduct": "0002"}
    found = found_here(tree(tmp_path, PPK2 | other))
    assert found == [FoundMeter("ppk2", "Nordic PPK2, serial number F2A1", {"port": "/dev/ttyACM3"})]


def test_a_ppk2_whose_driver_is_missing_says_so(tmp_path: Path) -> None:
    (found,) = found_here(tree(tmp_path, {path: text for path, text in PPK2.items() if "tty" not in path}))
    assert (found.keys, found.trouble) == ({}, "it has no serial port: is its driver loaded?")


def test_joulescopes_are_told_apart_by_their_serial_numbers(tmp_path: Path) -> None:
    files = {
        f"{USB}/2-1/idVendor": "16D0", f"{USB}/2-1/idProduct": "10BA", f"{USB}/2-1/serial": "000415",
        f"{USB}/2-2/idVendor": "16d0", f"{USB}/2-2/idProduct": "0e88",
    }  # fmt: skip
    assert found_here(tree(tmp_path, files)) == [
        FoundMeter("joulescope", "Joulescope JS220, serial number 000415", {"serial": "000415"}),
        FoundMeter("joulescope", "Joulescope JS110", {}),
    ]


def test_rapl_domains_that_this_user_cannot_read_say_so(tmp_path: Path) -> None:
    domain = f"{POWERCAP}/intel-rapl:0"
    files = {
        f"{domain}/name": "package-0",
        f"{domain}/energy_uj": "12",
        f"{domain}/max_energy_range_uj": "262143328850",
    }
    machine = tree(tmp_path, files)
    assert found_here(machine) == [FoundMeter("rapl", "RAPL package-0", {"part": "package-0"})]
    (tmp_path / f"{domain}/energy_uj".lstrip("/")).chmod(0)
    if os.geteuid():
        (found,) = found_here(machine)
        assert "energy_uj cannot be read: Permission denied" in found.trouble


@pytest.mark.parametrize(
    ("files", "trouble"),
    [
        ({"status": "Discharging"}, ""),
        ({"status": "Charging"}, "it is charging: it tells power when it discharges"),
        ({}, ""),
    ],
)
def test_a_battery_is_of_use_when_it_discharges(files: dict[str, str], trouble: str, tmp_path: Path) -> None:
    supplies = "/sys/class/power_supply"
    given = {f"{supplies}/BAT0/type": "Battery", f"{supplies}/AC/type": "Mains"}
    given |= {f"{supplies}/BAT0/{name}": text for name, text in files.items()}
    given |= {f"{supplies}/hidpp_battery_0/type": "Battery", f"{supplies}/hidpp_battery_0/scope": "Device"}
    assert found_here(tree(tmp_path, given)) == [FoundMeter("battery", "battery BAT0", {"part": "BAT0"}, trouble)]


def test_monitors_on_a_board_a_phone_s_rails_and_a_gpu(tmp_path: Path) -> None:
    hwmon = "/sys/class/hwmon/hwmon2"
    files = {
        f"{hwmon}/name": "ina226", f"{hwmon}/in1_input": "5000", f"{hwmon}/curr1_input": "100",
        f"{hwmon}/power1_input": "500000", "/sys/class/hwmon/hwmon0/name": "acpitz",
        "/sys/bus/iio/devices/iio:device1/energy_value": "t=1",
        "/proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA L4\nIRQ:   1",
    }  # fmt: skip
    assert found_here(tree(tmp_path, files)) == [
        FoundMeter("ina", "power monitor ina226", {"part": "ina226"}),
        FoundMeter("odpm", "power monitor iio:device1", {}),
        FoundMeter("nvml", "NVIDIA L4", {"index": "0"}),
    ]


def test_hostile_files_are_looked_at_and_no_more(tmp_path: Path) -> None:
    files = dict.fromkeys((*PPK2, f"{POWERCAP}/intel-rapl:0/energy_uj"), "\x00\x1b[31m" * 10000)
    for found in found_here(tree(tmp_path, files)):
        assert isinstance(found, FoundMeter)


@pytest.mark.parametrize("driver", list(DRIVERS))
def test_the_example_of_every_needed_key_is_one_that_the_driver_takes(driver: str) -> None:
    rows = keys_of(driver)  # type: ignore[arg-type]
    assert {row.name for row in rows} == set(METER_KEYS[driver])  # type: ignore[index]
    assert [row.is_needed for row in rows] == sorted((row.is_needed for row in rows), reverse=True)
    meter_at(driver, dict(row.example.split("=", 1) for row in rows))


def test_the_words_that_a_key_can_be_are_those_that_its_driver_takes() -> None:
    """As the drivers have them; a note for a key that is not there would be shown to nobody."""
    from kit.meter.lpm01a import _MODES as LPM01A
    from kit.meter.ppk2 import _MODES as PPK2_MODES
    from kit.pipeline.meter_list import _NOTES, _WORDS

    for driver, modes in (("ppk2", PPK2_MODES), ("lpm01a", LPM01A)):
        (row,) = (row for row in keys_of(driver) if row.name == "mode")  # type: ignore[arg-type]
        assert set(modes) <= set(f"{row.example} {row.note}".replace("=", " ").replace(":", " ").split())
    for driver, name in _WORDS:
        assert name in METER_KEYS[driver]
    for name in _NOTES:
        assert any(name in keys for keys in METER_KEYS.values())


def test_every_driver_says_what_it_measures_and_needs() -> None:
    rows = drivers()
    assert [row.name for row in rows] == list(DRIVERS)
    for row in rows:
        assert row.words.measures
        assert row.words.needs
        assert bool(row.words.library) == bool(row.words.extra)
        assert row.is_here
