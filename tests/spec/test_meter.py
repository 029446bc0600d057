"""[meter] of a device file and its keys on the command line: each driver's own, in SI units, within bounds."""

from typing import get_args

import pytest

from kit.errors import SpecError
from kit.meter import METERS
from kit.spec.device import load_device
from kit.spec.meter import METER_KEYS, Driver, meter_at

WRITTEN = {
    "power": ("2 mW", 0.002), "voltage": ("3.3 V", 3.3), "rate": ("100 Hz", 100.0), "share": ("1 %", 0.01),
    "count": ("3", 3.0), "text": ("word", "word"),
}  # fmt: skip
FILE_METERS = ("rapl", "ina", "jetson", "battery", "odpm", "android-battery", "nvml")


def loaded(tmp_path, *lines):
    """The meter of a device file with these lines in [meter]."""
    path = tmp_path / "device.toml"
    head = '[device]\nname = "d"\nemulated = ["meter"]\n\n[link]\nurl = "subprocess:"\n\n[meter]\n'
    path.write_text(head + "".join(f"{line}\n" for line in lines))
    return load_device(path).meter


def test_every_driver_has_keys_and_a_meter():
    assert set(get_args(Driver)) == set(METER_KEYS) == set(METERS)


@pytest.mark.parametrize("driver", METER_KEYS)
def test_all_keys_on_the_command_line(driver):
    options = {name: WRITTEN[kind][0] for name, (_, kind, _) in METER_KEYS[driver].items()}
    spec = meter_at(driver, options)
    found = spec.parameters | spec.words
    assert found == {parameter: pytest.approx(WRITTEN[kind][1]) if kind != "text" else "word"
                     for parameter, kind, _ in METER_KEYS[driver].values()}  # fmt: skip


@pytest.mark.parametrize("driver", METER_KEYS)
def test_all_keys_in_a_device_file(driver, tmp_path):
    lines = [f'driver = "{driver}"']
    for name, (_, kind, _) in METER_KEYS[driver].items():
        lines.append(f"{name} = {WRITTEN[kind][0]}" if kind == "count" else f'{name} = "{WRITTEN[kind][0]}"')
    spec = loaded(tmp_path, *lines)
    assert spec.driver == driver
    assert set(spec.parameters) | set(spec.words) == {parameter for parameter, _, _ in METER_KEYS[driver].values()}


@pytest.mark.parametrize("driver", METER_KEYS)
def test_a_key_of_another_driver_is_refused_with_its_line(driver, tmp_path):
    others = {name: kind for keys in METER_KEYS.values() for name, (_, kind, _) in keys.items()}
    needed = [(name, kind) for name, (_, kind, is_needed) in METER_KEYS[driver].items() if is_needed]
    for name, kind in others.items():
        if name in METER_KEYS[driver]:
            continue
        written = [
            f"{n} = {WRITTEN[k][0]}" if k == "count" else f'{n} = "{WRITTEN[k][0]}"' for n, k in [*needed, (name, kind)]
        ]
        with pytest.raises(SpecError, match=f'"{driver}" has no such constant') as caught:
            loaded(tmp_path, f'driver = "{driver}"', *written)
        assert "device.toml:" in caught.value.where


@pytest.mark.parametrize("driver", FILE_METERS)
def test_files_are_read_at_most_a_thousand_times_a_second(driver, tmp_path):
    with pytest.raises(SpecError, match=r"0\.1 Hz to 1 kHz"):
        loaded(tmp_path, f'driver = "{driver}"', 'sample_rate = "2 kHz"')
    assert loaded(tmp_path, f'driver = "{driver}"', 'sample_rate = "1 kHz"').parameters["sample_rate_hz"] == 1000.0


def test_a_trace_lies_beside_the_device_file(tmp_path):
    assert loaded(tmp_path, 'driver = "replay"', 'file = "trace.csv"').words["file"] == str(tmp_path / "trace.csv")


@pytest.mark.parametrize(
    ("driver", "options", "why"),
    [
        ("voltmeter", {}, "unknown meter"),
        ("replay", {}, "needs file"),
        ("rapl", {"port": "x"}, "has no key 'port'"),
        ("nvml", {"index": "first"}, "number from 0 up"),
        ("ina", {"voltage": "5"}, "needs its unit"),
    ],
)
def test_what_the_command_line_gets_wrong(driver, options, why):
    with pytest.raises(SpecError, match=why) as caught:
        meter_at(driver, options)
    assert caught.value.next_step
