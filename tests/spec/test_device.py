import os
import time
from pathlib import Path

import pytest

from kit.errors import SpecError
from kit.spec.device import list_devices, load_device
from kit.spec.types import BatterySpec, BoardSpec, EmulateSpec, LineSpec, MeterSpec

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
    assert device.battery == BatterySpec(pytest.approx(4158.0), 0.03, 0.05, voltage_v=pytest.approx(3.85))


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
    from kit.meter import Watched, open_meter

    path = write(tmp_path, GOOD.replace('"1 kHz"', f'"{rate} Hz"').replace('"2 %"', f'"{accuracy}"'))
    if taken:
        meter = load_device(path).meter
        assert meter is not None
        open_meter(meter, Watched(time.process_time_ns, os.getpid())).close()
        return
    with pytest.raises(SpecError):
        load_device(path)
    parameters = {"idle_power_w": 1.0, "active_power_w": 1.0, "sample_rate_hz": rate}
    spec = MeterSpec("emulated", parameters | {"accuracy_share": float(accuracy.removesuffix(" %")) / 100})
    with pytest.raises(SpecError, match="out of range"):
        open_meter(spec, Watched(time.process_time_ns, os.getpid()))


def test_an_estimate_has_nothing_random(tmp_path: Path) -> None:
    keys = 'idle_power = "1 W"\nactive_power = "2 W"\nseed = 1\n'
    text = f'[device]\nname = "d"\n[link]\nurl = "subprocess:"\n[meter]\ndriver = "estimate"\n{keys}'
    with pytest.raises(SpecError, match=r"meter\.seed.*no such constant"):
        load_device(write(tmp_path, text))


def test_shipped_devices_say_what_is_emulated() -> None:
    shipped, broken = list_devices()
    devices = {device.name: device for device in shipped}
    assert not broken
    assert set(devices) >= {"local", "watch-emulated", "x86-no-vnni-emulated"}
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


def test_a_broken_device_is_named_and_hides_no_other(user_folder: Path) -> None:
    folder = user_folder / "edgeproof" / "devices"
    folder.mkdir(parents=True)
    shipped = [device.name for device in list_devices()[0]]
    (folder / "board.toml").write_text(GOOD)
    assert [device.name for device in list_devices()[0]] == sorted(["board", *shipped])
    assert load_device("board").name == "board"
    (folder / "board.toml").write_text("[")
    (folder / "local.toml").write_bytes(b"\xff")
    devices, broken = list_devices()
    assert [device.name for device in devices] == [name for name in shipped if name != "local"]
    assert [error.where for error in broken] == [f"{folder / 'board.toml'}:1", f"{folder / 'local.toml'}:1"]


def test_a_name_that_is_not_there_suggests_the_nearest() -> None:
    with pytest.raises(SpecError, match='no device named "watch"') as caught:
        load_device("watch")
    assert "watch-emulated" in caught.value.next_step


def test_meters_take_the_parameters_of_the_shipped_files() -> None:
    from kit.meter import Watched, open_meter

    for device in list_devices()[0]:
        if device.meter is None:
            continue
        meter = open_meter(device.meter, Watched(time.process_time_ns, os.getpid()))
        try:
            record = meter.describe()
        finally:
            meter.close()
        assert device.meter.parameters.items() <= record.parameters.items()
        assert (record.obtained == "emulated") == ("meter" in device.emulated)


SMALL = """\
[device]
name = "scanner"
emulated = ["device", "memory", "link"]
[link]
url = "subprocess:"
[emulate]
memory = "256 MiB"
cpu = "50 %"
storage = "64 MiB"
baud = 115200
latency = "1 ms"
bit_error_rate = 1e-5
byte_loss_rate = 0.001
"""

BOARD = """\
[device]
name = "kws"
[link]
url = "/dev/ttyACM0"
baud = 921600
[board]
protocol = "mlperf-tiny"
input_dtype = "uint8"
input_scale = 0.5
input_zero_point = 128
output_order = ["yes", "no"]
output_kind = "scores"
read_back = "sampled"
window = 8
interface_board = true
"""

TCP = """\
[device]
name = "pi"
[link]
url = "tcp://10.0.0.7:7070"
key = "lab.key"
"""

SSH = """\
[device]
name = "pi"
[link]
url = "ssh://pi@10.0.0.7"
command = ["python3", "agent.pyz", "--stdio"]
"""


def test_a_smaller_device_on_this_machine(tmp_path: Path) -> None:
    device = load_device(write(tmp_path, SMALL))
    line = LineSpec(115200, 0.001, 1e-5, 0.001)
    assert device.emulate == EmulateSpec(256 << 20, 0.5, 64 << 20, line)


def test_a_smaller_device_without_a_line(tmp_path: Path) -> None:
    text = SMALL.partition("baud")[0].replace(', "link"', "")
    assert load_device(write(tmp_path, text)).emulate == EmulateSpec(256 << 20, 0.5, 64 << 20, None)


def test_a_board_with_its_own_firmware(tmp_path: Path) -> None:
    device = load_device(write(tmp_path, BOARD))
    assert (device.link, device.baud) == ("/dev/ttyACM0", 921600)
    assert device.board == BoardSpec(
        "mlperf-tiny", "uint8", 0.5, 128, ("yes", "no"), "scores", "sampled", 8, interface_board=True
    )


def test_a_key_is_beside_its_device_file_unless_it_says_where(tmp_path: Path) -> None:
    assert load_device(write(tmp_path, TCP)).key == str(tmp_path / "lab.key")
    assert load_device(write(tmp_path, TCP.replace("lab.key", "/etc/lab.key"))).key == "/etc/lab.key"
    assert load_device(write(tmp_path, TCP.replace('key = "lab.key"\n', ""))).key == ""


def test_the_command_at_the_other_end(tmp_path: Path) -> None:
    assert load_device(write(tmp_path, SSH)).command == ("python3", "agent.pyz", "--stdio")


@pytest.mark.parametrize(
    ("good", "old", "new", "line", "what", "next_step"),
    [
        (SMALL, '"256 MiB"', '"256 Mib"', 7, 'memory is a size, not "Mib"', "MiB"),
        (SMALL, '"50 %"', '"0.5 %"', 8, "is less than the kernel can share out", "1 %"),
        (SMALL, '"50 %"', '"500 %"', 8, "cpu is a share from 0 to 1", "15 %"),
        (SMALL, "baud = 115200", "baud = 9", 10, "emulate.baud: expected a whole number >= 50", "rate"),
        (SMALL, "baud = 115200\n", "", 6, "a line's errors or latency and no line", "baud = 115200"),
        (SMALL, "1e-5", "0.5", 12, "emulate.bit_error_rate: expected a number <= 0.1", "how often"),
        (SMALL, "0.001", "-0.001", 13, "emulate.byte_loss_rate: expected a number >= 0", "how often"),
        (SMALL, '"device", "memory"', '"memory"', 3, "limits the device, which is not listed", 'add "device"'),
        (SMALL, '"memory", ', "", 3, "[emulate] limits the memory, which is not listed", 'add "memory"'),
        (SMALL, ', "link"', "", 3, "[emulate] limits the link, which is not listed", 'add "link"'),
        (SMALL, '"subprocess:"', '"tcp://10.0.0.7:7070"', 6, "only an agent on this machine", '"subprocess:"'),
        (SMALL, "storage", "stroage", 9, "emulate.stroage: unknown key", 'did you mean "storage"?'),
        (BOARD, '"mlperf-tiny"', '"mlperf"', 7, "'mlperf' is not known here", 'did you mean "mlperf-tiny"?'),
        (BOARD, '"uint8"', '"uint16"', 8, "'uint16' is not known here", "uint8"),
        (BOARD, "0.5", "0", 9, "board.input_scale: expected a number > 0", "one step"),
        (BOARD, "128", "1000", 10, "board.input_zero_point: expected a whole number <= 255", "stands for 0"),
        (BOARD, '"sampled"', '"sometimes"', 13, "'sometimes' is not known here", "sampled"),
        (BOARD, "window = 8", "window = 99", 14, "board.window: expected a whole number <= 64", "0: probe"),
        (BOARD, "921600", "9", 5, "link.baud: expected a whole number >= 50", "115200"),
        (BOARD, '"/dev/', '"mlperf-tiny+/dev/', 4, "of another form", "such as"),
        (BOARD, '"/dev/ttyACM0"', '"mlperf-tiny+socket://a:1"', 4, "is for the command line", "add [board]"),
        (BOARD, "ttyACM0", "ttyACM0?baud=9600", 4, "?baud= is for the command line", "write baud ="),
        (BOARD, "baud = 921600", 'key = "k"', 5, "is what a TCP agent demands", "kind tcp"),
        (TCP, 'key = "lab.key"', "baud = 9600", 5, "is the rate of a serial line", "kind serial"),
        (TCP, 'key = "lab.key"', 'wrapper = ["nice"]', 5, "goes before the command of an agent", "kind subprocess"),
        (TCP, 'key = "lab.key"', 'command = ["a"]', 5, "starts the agent at the other end", "kind ssh or adb"),
        (TCP, "7070", "7070?key=lab.key", 4, "?key= is for the command line", "write key ="),
        (SSH, '["python3", "agent.pyz", "--stdio"]', '"python3"', 5, "expected a list", "one word an element"),
        (SSH, '"agent.pyz"', '""', 5, "length >= 1", "one word an element"),
    ],
)
def test_each_mistake_about_links_limits_and_boards_names_its_line(
    tmp_path: Path, good: str, old: str, new: str, line: int, what: str, next_step: str
) -> None:
    assert old in good
    path = write(tmp_path, good.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        load_device(path)
    assert caught.value.where == f"{path}:{line}", caught.value.what
    assert what in caught.value.what
    assert next_step in caught.value.next_step
