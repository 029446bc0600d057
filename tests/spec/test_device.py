import os
import time
from pathlib import Path

import pytest

from kit.errors import SpecError
from kit.spec.device import list_devices, load_device
from kit.spec.types import BatterySpec, MeterSpec

GOOD = """\
[device]
name = "board"
description = "A board."
emulated = ["device", "meter"]
[link]
url = "subprocess:"
wrapper = ["nice", "-n", "5"]
threads = 2
timeout = "1 min"
[meter]
driver = "emulated"
idle_power = "8 mW"
active_power = "180 mW"
accuracy = "2 %"
noise = "1 mW"
resolution = "0.5 mW"
sample_rate = "1 kHz"
seed = 7
[battery]
capacity = "300 mAh"
voltage = "3.85 V"
other_load = "30 mW"
reserve = "5 %"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "d.toml"
    path.write_text(text)
    return path


def test_a_device_in_si_units(tmp_path: Path) -> None:
    device = load_device(write(tmp_path, GOOD))
    assert (device.name, device.link, device.wrapper) == ("board", "subprocess:", ("nice", "-n", "5"))
    assert (device.threads, device.timeout_s, device.emulated) == (2, 60.0, ("device", "meter"))
    assert device.timing_is_real
    assert device.meter == MeterSpec(
        "emulated",
        {
            "idle_power_w": 0.008,
            "active_power_w": 0.18,
            "accuracy_share": 0.02,
            "noise_w": 0.001,
            "resolution_w": 0.0005,
            "sample_rate_hz": 1000.0,
            "seed": 7.0,
        },
    )
    assert device.battery == BatterySpec(pytest.approx(4158.0), 0.03, 0.05)


def test_the_least_device(tmp_path: Path) -> None:
    device = load_device(write(tmp_path, '[device]\nname = "d"\n[link]\nurl = "subprocess:"\n'))
    assert (device.meter, device.battery, device.threads, device.timeout_s) == (None, None, 1, 30.0)


def test_a_battery_by_its_energy(tmp_path: Path) -> None:
    text = GOOD.replace('capacity = "300 mAh"\nvoltage = "3.85 V"', 'energy = "1.155 Wh"')
    battery = load_device(write(tmp_path, text)).battery
    assert battery is not None
    assert battery.capacity_j == pytest.approx(4158.0)


@pytest.mark.parametrize(
    ("old", "new", "line", "what", "next_step"),
    [
        ('driver = "emulated"', 'driver = "emulted"', 11, "'emulted' is not known", 'did you mean "emulated"?'),
        ("noise", "nose", 15, "meter.nose: unknown key", 'did you mean "noise"?'),
        ('"8 mW"', '"8 mAh"', 12, 'idle_power is a power, not "mAh"', 'such as "12 mW"'),
        ('"8 mW"', '"200 mW"', 13, "less than idle_power", "check both"),
        ('active_power = "180 mW"\n', "", 10, 'the meter "emulated" needs it', "mW"),
        ('driver = "emulated"', 'driver = "estimate"', 14, 'the meter "estimate" has no such constant', "idle_power"),
        ('["device", "meter"]', '["device"]', 4, "the meter is emulated and not listed", 'add "meter"'),
        ('["device", "meter"]', '["meter", "meter"]', 4, "a part is listed twice", "once"),
        ('["device", "meter"]', '["wheel", "meter"]', 4, "'wheel' is not known here", "known: battery"),
        ('"device", "meter"', '"processor", "meter"', 1, "processor's times are no latency", "timing_is_real = false"),
        ('url = "subprocess:"\n', "", 5, "link.url: this key is missing", "subprocess:"),
        ('"subprocess:"', '"subprocess"', 6, "of another form", "a URL"),
        ('"1 min"', '"1 mW"', 9, "timeout is a time", "ms or s"),
        ("threads = 2", "threads = 0", 8, "expected a whole number >= 1", "threads"),
        ("threads = 2", 'threads = "two"', 8, "expected a whole number, got text in quotes", "threads"),
        ('voltage = "3.85 V"\n', "", 19, "needs capacity and voltage together", 'voltage = "3.85 V"'),
        ('voltage = "3.85 V"', 'energy = "1 Wh"', 19, "or energy alone", "energy"),
        ('"300 mAh"', '"300 mWh"', 20, 'capacity is a charge, not "mWh"', "mAh or Ah"),
        ('other_load = "30 mW"\n', "", 19, "battery.other_load: this key is missing", "a power"),
        ('"1 kHz"', '"0.5 Hz"', 17, "sample_rate: 0.5 Hz is not from 1 Hz to 1 kHz", "1 kHz"),
        ('"1 kHz"', '"1.001 kHz"', 17, "sample_rate: 1.001 kHz is not from 1 Hz to 1 kHz", "1 kHz"),
        ('"2 %"', '"100 %"', 14, "accuracy: 100 % is not below 100 %", "below 100 %"),
        ('"5 %"', '"500 %"', 23, "out of range", "percent"),
    ],
)
def test_each_mistake_names_its_line_and_what_is_right(
    tmp_path: Path, old: str, new: str, line: int, what: str, next_step: str
) -> None:
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        load_device(path)
    assert caught.value.where == f"{path}:{line}"
    assert what in caught.value.what
    assert next_step in caught.value.next_step


@pytest.mark.parametrize("device", ['name = "d"', 'name = "d"\nemulated = []'])
def test_times_that_are_not_real_are_of_something_emulated(tmp_path: Path, device: str) -> None:
    text = f'[device]\n{device}\ntiming_is_real = false\n[link]\nurl = "subprocess:"\n'
    with pytest.raises(SpecError, match="nothing is listed as emulated") as caught:
        load_device(write(tmp_path, text))
    assert "processor" in caught.value.next_step


@pytest.mark.parametrize(
    ("rate", "accuracy", "taken"),
    [(1.0, "0 %", True), (1000.0, "99.9 %", True), (0.99, "0 %", False), (1000.1, "0 %", False), (1.0, "100 %", False)],
)
def test_the_emulated_meter_takes_what_the_file_may_say(
    tmp_path: Path, rate: float, accuracy: str, taken: bool
) -> None:
    from kit.meter import open_meter

    path = write(tmp_path, GOOD.replace('"1 kHz"', f'"{rate} Hz"').replace('"2 %"', f'"{accuracy}"'))
    if taken:
        meter = load_device(path).meter
        assert meter is not None
        open_meter(meter, cpu_time_ns=time.process_time_ns, process_id=os.getpid()).close()
        return
    with pytest.raises(SpecError):
        load_device(path)
    parameters = {"idle_power_w": 1.0, "active_power_w": 1.0, "sample_rate_hz": rate}
    spec = MeterSpec("emulated", parameters | {"accuracy_share": float(accuracy.removesuffix(" %")) / 100})
    with pytest.raises(SpecError, match="out of range"):
        open_meter(spec, cpu_time_ns=time.process_time_ns, process_id=os.getpid())


def test_an_estimate_has_nothing_random(tmp_path: Path) -> None:
    keys = 'idle_power = "1 W"\nactive_power = "2 W"\nseed = 1\n'
    text = f'[device]\nname = "d"\n[link]\nurl = "subprocess:"\n[meter]\ndriver = "estimate"\n{keys}'
    with pytest.raises(SpecError, match=r"meter\.seed.*nothing random"):
        load_device(write(tmp_path, text))


def test_shipped_devices_say_what_is_emulated() -> None:
    devices = {device.name: device for device in list_devices()}
    assert set(devices) == {"local", "watch-emulated", "x86-no-vnni-emulated"}
    for name, device in devices.items():
        assert Path(device.path).stem == name
        assert device.description
        assert ("emulated" in name) == bool(device.emulated)
    assert devices["watch-emulated"].emulated == ("device", "meter", "battery")
    no_vnni = devices["x86-no-vnni-emulated"]
    assert "processor" in no_vnni.emulated
    assert (no_vnni.timing_is_real, no_vnni.meter, no_vnni.timeout_s) == (False, None, 120.0)
    assert no_vnni.wrapper == ("qemu-x86_64-static", "-cpu", "Haswell")
    local = devices["local"].meter
    assert local is not None
    assert local.driver == "estimate"


def test_one_s_own_device_is_listed_and_a_broken_one_named(user_folder: Path) -> None:
    folder = user_folder / "edgeproof" / "devices"
    folder.mkdir(parents=True)
    (folder / "board.toml").write_text(GOOD)
    assert [device.name for device in list_devices()] == ["board", "local", "watch-emulated", "x86-no-vnni-emulated"]
    assert load_device("board").name == "board"
    (folder / "board.toml").write_text("[")
    with pytest.raises(SpecError) as caught:
        list_devices()
    assert caught.value.where == f"{folder / 'board.toml'}:1"


def test_a_name_that_is_not_there_suggests_the_nearest() -> None:
    with pytest.raises(SpecError, match='no device named "watch"') as caught:
        load_device("watch")
    assert "watch-emulated" in caught.value.next_step


def test_meters_take_the_parameters_of_the_shipped_files() -> None:
    from kit.meter import open_meter

    for device in list_devices():
        if device.meter is None:
            continue
        meter = open_meter(device.meter, cpu_time_ns=time.process_time_ns, process_id=os.getpid())
        try:
            record = meter.describe()
        finally:
            meter.close()
        assert device.meter.parameters.items() <= record.parameters.items()
        assert (record.obtained == "emulated") == ("meter" in device.emulated)
