"""Which meters there are: what each driver measures and needs, and those that are found on this machine."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from kit.errors import MeasurementError
from kit.files import Files
from kit.meter import METERS
from kit.meter.hwmon import paths_of
from kit.meter.ina import find_channels
from kit.meter.jetson import find_rails
from kit.meter.rapl import find_domains
from kit.spec import units
from kit.spec.meter import METER_KEYS, Driver


@dataclass(frozen=True, slots=True)
class DriverWords:
    """What a driver measures, what it needs, and the library that not every installation has, with its extra."""

    measures: str
    needs: str
    library: str = ""
    extra: str = ""


DRIVERS: dict[Driver, DriverWords] = {
    "ppk2": DriverWords("current of a Nordic PPK2, 100,000 samples/s, and 8 digital inputs", "its serial port"),
    "lpm01a": DriverWords("current of an ST X-NUCLEO-LPM01A, to 100,000 samples/s", "its serial port"),
    "joulescope": DriverWords(
        "current and voltage of a Joulescope JS110 or JS220, to 2,000,000 samples/s", "a Joulescope on USB",
        "pyjoulescope_driver", "joulescope",
    ),
    "usb-meter": DriverWords("power through a UM24C, UM25C or UM34C, a few samples/s", "its serial port"),
    "rapl": DriverWords("energy of an Intel or AMD processor, its package or its cores", "Linux, and mostly root"),
    "ina": DriverWords("power of a rail with an INA2xx sensor", "Linux with its hwmon driver"),
    "jetson": DriverWords("power of the rails of an NVIDIA Jetson", "a Jetson"),
    "battery": DriverWords("power that a battery gives, by its own gauge", "a device on battery"),
    "odpm": DriverWords("energy of the rails of a phone with on-device power monitors", "Android, and mostly root"),
    "android-battery": DriverWords("power that a phone's battery gives, by its own gauge", "a device over adb"),
    "nvml": DriverWords("energy of an NVIDIA GPU", "an NVIDIA GPU with its driver", "pynvml", "nvml"),
    "replay": DriverWords("a trace that was recorded before, by this tool or another", "its file"),
    "emulated": DriverWords("nothing: a process's CPU time at declared powers, with a meter's faults", "two powers"),
    "estimate": DriverWords("nothing: CPU time at declared powers; never certifies", "two powers"),
}  # fmt: skip
"""For each driver, in the order in which they are shown: instruments, counters and gauges, then what is no meter."""

USB_METERS: dict[tuple[str, str], tuple[Driver, str]] = {
    ("1915", "c00a"): ("ppk2", "Nordic PPK2"),
    ("16d0", "0e88"): ("joulescope", "Joulescope JS110"),
    ("16d0", "10ba"): ("joulescope", "Joulescope JS220"),
}
"""USB vendor and product (both makers' udev rules) of meters that have ids of their own."""


@dataclass(frozen=True, slots=True)
class DriverRow:
    """A driver: its words, whether this release has it, and whether its library is installed here."""

    name: Driver
    words: DriverWords
    is_here: bool
    has_library: bool


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key of [meter]: how it is written, whether it must be there, and what else it can be or means."""

    name: str
    example: str
    is_needed: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class FoundMeter:
    """A meter on this machine: the driver and the keys that open it, and what stands in the way of that, if known."""

    driver: Driver
    what: str
    keys: dict[str, str]
    trouble: str = ""


def drivers() -> list[DriverRow]:
    """Every driver."""
    return [
        DriverRow(name, words, name in METERS, not words.library or importlib.util.find_spec(words.library) is not None)
        for name, words in DRIVERS.items()
    ]


def keys_of(driver: Driver) -> list[KeyRow]:
    """The keys of a driver, needed ones first."""
    rows = []
    for name, (_, kind, is_needed) in METER_KEYS[driver].items():
        example, note = _WORDS.get((driver, name), ("", "")), _NOTES.get(name, "")
        rows.append(KeyRow(name, f"{name}={example[0] or _example(name, kind)}", is_needed, example[1] or note))
    return sorted(rows, key=lambda row: not row.is_needed)


_EXAMPLES = {
    "port": "/dev/ttyACM0", "file": "trace.csv", "voltage": "3.3V", "sample_rate": "100Hz", "accuracy": "1%",
    "idle_power": "50mW", "active_power": "2W", "offset": "1mW", "resolution": "100uW", "noise": "2mW",
}  # fmt: skip
_NOTES = {
    "trigger": "the digital input that is high while an inference runs",
    "accuracy": "of the reading, as a calibration or its maker states it",
    "offset": "likewise, whatever the reading",
    "resolution": "one step of the reading",
    "idle_power": "with nothing to do",
    "active_power": "what one busy core adds",
}
_RAILS = "a rail by its label, or several as A+B"
_WORDS: dict[tuple[Driver, str], tuple[str, str]] = {
    ("ppk2", "mode"): ("ampere", "or source: the PPK2 feeds the device"),
    ("lpm01a", "mode"): ("dynamic", "or static"),
    ("battery", "mode"): ("now", "or counter"),
    ("battery", "part"): ("BAT0", "the supply by its name"),
    ("android-battery", "mode"): ("now", "or counter"),
    ("android-battery", "current_unit"): ("uA", "or mA: what current_now tells"),
    ("rapl", "part"): ("package", "or core, dram, psys, or one package as package-0"),
    ("ina", "part"): ("VDD_CPU", _RAILS),
    ("jetson", "part"): ("VDD_IN", _RAILS),
    ("odpm", "part"): ("VSYS_PWR_WLAN_BT", _RAILS),
}
"""What texts of a driver can be."""


def _example(name: str, kind: str) -> str:
    other = "0" if kind == "count" else "NAME" if kind == "text" else units.UNITS[kind].example  # type: ignore[index]
    return _EXAMPLES.get(name, other)


def found_here(files: Files) -> list[FoundMeter]:
    """Meters of the machine that has `files`, most trusted first; looked for and not opened."""
    finders = (_usb, _ina, _jetson, _rapl, _battery, _odpm, _nvml)
    return [found for finder in finders for found in finder(files)]


def _usb(files: Files) -> Iterator[FoundMeter]:
    for path in files.glob("/sys/bus/usb/devices/*/idVendor"):
        folder = PurePosixPath(path).parent
        known = USB_METERS.get((_text(files, path).lower(), _text(files, f"{folder}/idProduct").lower()))
        if known is None:
            continue
        driver, name = known
        serial = _text(files, f"{folder}/serial")
        what = f"{name}, serial number {serial}" if serial else name
        if driver == "joulescope":
            yield FoundMeter(driver, what, {"serial": serial} if serial else {})
            continue
        ports = files.glob(f"{folder}:*/tty/*") or files.glob(f"{folder}/{folder.name}:*/tty/*")
        keys = {"port": f"/dev/{PurePosixPath(ports[0]).name}"} if ports else {}
        yield FoundMeter(driver, what, keys, "" if ports else "it has no serial port: is its driver loaded?")


def _ina(files: Files) -> Iterator[FoundMeter]:
    for rail in find_channels(files):
        yield FoundMeter("ina", f"power monitor {rail.name}", {"part": rail.name}, _why_not(files, paths_of([rail])))


def _jetson(files: Files) -> Iterator[FoundMeter]:
    for rail in find_rails(files):
        yield FoundMeter("jetson", f"rail {rail.name}", {"part": rail.name}, _why_not(files, paths_of([rail])))


def _rapl(files: Files) -> Iterator[FoundMeter]:
    for domain in find_domains(files):
        yield FoundMeter("rapl", f"RAPL {domain.name}", {"part": domain.name}, _why_not(files, [domain.path]))


def _battery(files: Files) -> Iterator[FoundMeter]:
    for path in files.glob("/sys/class/power_supply/*/type"):
        folder = PurePosixPath(path).parent
        if _text(files, path) == "Battery" and _text(files, f"{folder}/scope") != "Device":  # a mouse's is no device's
            status = _text(files, f"{folder}/status")
            trouble = "" if status == "Discharging" else f"it is {status.lower()}: it tells power when it discharges"
            yield FoundMeter("battery", f"battery {folder.name}", {"part": folder.name}, trouble if status else "")


def _odpm(files: Files) -> Iterator[FoundMeter]:
    for path in files.glob("/sys/bus/iio/devices/iio:device*/energy_value"):
        name = PurePosixPath(path).parent.name
        yield FoundMeter("odpm", f"power monitor {name}", {}, _why_not(files, [path]))


def _nvml(files: Files) -> Iterator[FoundMeter]:
    for index, path in enumerate(files.glob("/proc/driver/nvidia/gpus/*/information")):
        lines = dict(line.split(":", 1) for line in _text(files, path).splitlines() if ":" in line)
        yield FoundMeter("nvml", lines.get("Model", "NVIDIA GPU").strip(), {"index": str(index)})


def _text(files: Files, path: str) -> str:
    try:
        return files.read(path).strip("\0 \n")
    except MeasurementError:
        return ""


def _why_not(files: Files, paths: list[str]) -> str:
    for path in paths:
        try:
            files.read(path)
        except MeasurementError as error:
            return f"{PurePosixPath(path).name} {error.what}"
    return ""
