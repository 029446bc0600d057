"""Who this device is and how it is doing, from what Linux exposes; what cannot be told is None."""

import importlib.resources
import os
import platform
from importlib.resources.abc import Traversable
from pathlib import Path

from kit.agent import allowance
from kit.agent.cpu import describe_processor
from kit.agent.strain import strain
from kit.digest import digest_bytes

_CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_THERMAL, _POWER = Path("/sys/class/thermal"), Path("/sys/class/power_supply")
_DEVICETREE_MODEL, _DMI = Path("/proc/device-tree/model"), Path("/sys/class/dmi/id")
_NO_NAMES = ("none", "to be filled by o.e.m.", "default string", "system product name", "not specified")
_SHARED_WITH_HOST = ("interface.py", "digest.py", "errors.py", "files.py")


def agent_digest() -> str:
    """SHA-256 over the agent's own source files in sorted order, then those that it shares with the host."""
    package = importlib.resources.files("kit")  # a folder, or inside the zip file that the agent runs from
    files = [*_sources(package / "agent"), *_sources(package / "wire"), *(package / name for name in _SHARED_WITH_HOST)]
    return digest_bytes(b"".join(f"{file.name}\n".encode() + file.read_bytes() for file in files))


def _sources(folder: Traversable) -> list[Traversable]:
    return sorted((each for each in folder.iterdir() if each.name.endswith(".py")), key=lambda each: each.name)


def identity() -> dict[str, object]:
    """The fields of the reply to hello: see docs/wire.md."""
    import onnxruntime

    import kit

    processor = describe_processor()
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "cpu_model": processor.model,
        "instruction_sets": list(processor.instruction_sets),
        "instruction_sets_from": processor.source,
        "emulator": processor.emulator,
        "logical_cpus": os.cpu_count() or 1,
        "memory_bytes": allowance.memory_bytes(),
        "runtime": "onnxruntime",
        "runtime_version": onnxruntime.__version__,
        "providers": list(onnxruntime.get_available_providers()),
        "python_version": platform.python_version(),
        "agent_version": kit.__version__,
        "agent_digest": agent_digest(),
        "process_id": os.getpid(),
        "board": board(),
        "thermal_zones": [text for path in sorted(_THERMAL.glob("thermal_zone*/type")) if (text := _text(path))][:32],
        "battery": battery(),
    }


def board() -> str | None:
    """The board's name: of the devicetree (Devicetree Specification, 2.3.2) or of the firmware (SMBIOS, type 1)."""
    names = (_text(_DEVICETREE_MODEL), _text(_DMI / "product_name"))
    return next((name for name in names if name and name.lower() not in _NO_NAMES), None)


def battery() -> str | None:
    """The battery's technology and model as the kernel names them (Linux, ABI/testing/sysfs-class-power)."""
    for supply in sorted(_POWER.glob("*")):
        if _text(supply / "type") == "Battery":
            words = [_text(supply / name) for name in ("technology", "manufacturer", "model_name")]
            return " ".join(word for word in words if word) or supply.name
    return None


def conditions() -> dict[str, float | str | None]:
    """Load, clock in Hz, governor, hottest zone in degrees Celsius, free memory in B, battery share, strain."""
    frequency_khz = _number(_CPUFREQ / "scaling_cur_freq")
    charge_percent = _largest(_POWER, "*/capacity")
    hottest_millicelsius = _largest(_THERMAL, "thermal_zone*/temp")
    return {
        "load_1min": _load_1min(),
        "frequency_hz": None if frequency_khz is None else frequency_khz * 1e3,
        "governor": _text(_CPUFREQ / "scaling_governor"),
        "temperature_celsius": None if hottest_millicelsius is None else hottest_millicelsius / 1e3,
        "available_memory_bytes": allowance.available_bytes(),
        "battery_share": None if charge_percent is None else charge_percent / 100,
        **strain(),
    }


def _load_1min() -> float | None:
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip("\0 \n\t")[:64] or None
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        return float(_text(path) or "")
    except ValueError:
        return None


def _largest(folder: Path, pattern: str) -> float | None:
    values = [value for path in folder.glob(pattern) if (value := _number(path)) is not None]
    return max(values, default=None)
