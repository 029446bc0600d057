"""What holds a processor back, or shares it: cooling, throttling, waiting, others. What cannot be told is None."""

import os
import time
from pathlib import Path

_THERMAL, _CPUS = Path("/sys/class/thermal"), Path("/sys/devices/system/cpu")
_PRESSURE, _STAT = Path("/proc/pressure"), Path("/proc/stat")
_OWN_GROUPS, _GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_SLOWS_NOTHING = ("fan", "lcd", "backlight", "brightness", "wifi", "wlan", "tcc offset")
_READ_BYTES = 4096


def strain() -> dict[str, float | int | None]:
    """Fields of the reply to `conditions` that tell why a device would be slower than it can be: see docs/wire.md."""
    return {
        "cooling_share": cooling_share(_THERMAL),
        "throttle_count": throttle_count(_CPUS),
        "cpu_pressure_share": pressure_share(_PRESSURE / "cpu"),
        "memory_pressure_share": pressure_share(_PRESSURE / "memory"),
        "busy_cpu_s": busy_cpu_s(_STAT),
        "process_cpu_s": time.process_time(),
        "held_back_s": held_back_s(_OWN_GROUPS, _GROUPS),
    }


def cooling_share(thermal: Path) -> float | None:
    """The most engaged cooling device of those that slow something, 0 to 1 of its highest state.

    Source: Linux, ABI/testing/sysfs-class-thermal. Fans and screens cool and slow nothing; "TCC Offset" is a setting.
    """
    shares = [_share(device) for device in thermal.glob("cooling_device*") if _slows(device)]
    return max((share for share in shares if share is not None), default=None)


def _slows(device: Path) -> bool:
    kind = (_read(device / "type") or "").lower()
    return not any(word in kind for word in _SLOWS_NOTHING)


def _share(device: Path) -> float | None:
    state, most = _integer(device / "cur_state"), _integer(device / "max_state")
    return None if state is None or not most or most < 0 else min(max(state, 0) / most, 1.0)


def throttle_count(cpus: Path) -> int | None:
    """Thermal throttling events of all cores and packages since the start (Linux, arch/x86, thermal_throttle).

    A package's events are told by each of its cores: they count once a core, which a rise survives.
    """
    counts = [_integer(path) for path in cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count")]
    told = [count for count in counts if count is not None]
    return sum(told) if told else None


def pressure_share(path: Path) -> float | None:
    """Share of the last 10 s in which some task waited: "some avg10" (Linux, accounting/psi.rst)."""
    for word in (_read(path) or "").partition("\n")[0].split():
        if word.startswith("avg10="):
            percent = _float(word.removeprefix("avg10="))
            return None if percent is None else percent / 100
    return None


def busy_cpu_s(stat: Path) -> float | None:
    """CPU time that all processes used on all processors, and hypervisors took, since the start, in s (proc(5), stat).

    user + nice + system + irq + softirq + steal; guests are part of user and nice.
    """
    fields = (_read(stat) or "").partition("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu" or not all(field.isdecimal() for field in fields[1:9]):
        return None
    user, nice, system, _idle, _waiting, irq, softirq, steal = (int(field) for field in fields[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def held_back_s(own: Path, mounted: Path) -> float | None:
    """Time that the CPU quota of this process's control group has kept it from running, in s; None without a group.

    Source: Linux, scheduler/sched-bwc.rst (version 1: throttled_time, ns) and cgroup-v2.rst (throttled_usec).
    """
    groups = [line.split(":", 2) for line in (_read(own) or "").splitlines()]
    for _, controllers, path in (group for group in groups if len(group) == 3):
        if "cpu" in controllers.split(","):
            folder, key, unit_s = mounted / controllers, "throttled_time", 1e-9
        elif not controllers:
            folder, key, unit_s = mounted, "throttled_usec", 1e-6
        else:
            continue
        for told in (_read(folder / path.strip("/") / "cpu.stat") or "").splitlines():
            name, _, value = told.partition(" ")
            if name == key and value.isdecimal():
                return int(value) * unit_s
    return None


def _read(path: Path) -> str | None:
    """The first 4 KiB: these files begin with what is wanted, and some go on for long."""
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(_READ_BYTES).decode("ascii", "replace")
    except OSError:
        return None


def _integer(path: Path) -> int | None:
    try:
        return int(_read(path) or "")
    except ValueError:
        return None


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
