"""A smaller device on this machine: memory and processor time that the kernel itself holds a process to.

Control groups of version 2 where they are delegated, else of version 1, else an rlimit for memory. A share of a core
needs a control group: without one it is refused, for nothing else enforces it.
"""

from collections.abc import Sequence
from pathlib import Path

from kit.device.limits import groups
from kit.errors import DeviceError
from kit.spec.types import EmulateSpec

_PERIOD_US = 20_000
_LEAST_QUOTA_US, _LONGEST_PERIOD_US = 1000, 1_000_000  # the kernel's own (Linux, scheduler/sched-bwc.rst)
_OOM_COUNTERS = ("memory.events", "memory.oom_control")  # of version 2, of version 1


class Limits:
    """What one process, and all that it starts, is held to: memory in bytes, processor time as a share of one core.

    `words` says what is held and by what means. The groups are made here and removed by `close`. Raises DeviceError
    where the kernel lets this user enforce no such limit.
    """

    def __init__(self, *, memory_bytes: int | None = None, cpu_share: float | None = None) -> None:
        self.memory_text = "" if memory_bytes is None else size_text(memory_bytes)
        self.words: tuple[str, ...] = ()
        self._groups: list[Path] = []
        self._rlimit_bytes: int | None = None
        wanted = {name: value for name, value in (("memory", memory_bytes), ("cpu", cpu_share)) if value is not None}
        settings: dict[groups.Place, dict[str, str]] = {}
        for controller, place in groups.places_for(wanted).items():
            if place:
                make = _memory_settings if controller == "memory" else _cpu_settings
                settings.setdefault(place, {}).update(make(place.version, wanted[controller]))
            elif controller == "memory":
                self._rlimit_bytes = memory_bytes
            else:
                raise _refused("processor time")
            self.words += (self._words(controller, wanted[controller], place),)
        self._make(settings)

    def around(self, command: Sequence[str]) -> list[str]:
        """The command that joins the groups and only then becomes `command`: no instruction of it runs outside."""
        script = "".join(f'echo $$ > "${number}/cgroup.procs" && ' for number, _ in enumerate(self._groups, 1))
        if self._rlimit_bytes is not None:
            script += f"ulimit -d {self._rlimit_bytes // 1024} && "
        script += f'shift {len(self._groups)} && exec "$@"'
        return ["/bin/sh", "-c", script, "sh", *map(str, self._groups), *command]

    def out_of_memory(self) -> bool:
        """Whether the kernel has killed a process for going over the memory limit."""
        counters = [group / name for group in self._groups for name in _OOM_COUNTERS]
        lines = [line for file in counters if file.exists() for line in file.read_text().splitlines()]
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)

    def close(self) -> None:
        """End what still runs in the groups and remove them; may be called twice."""
        while self._groups:
            groups.remove(self._groups.pop())

    def _make(self, settings: dict[groups.Place, dict[str, str]]) -> None:
        for place, values in settings.items():
            try:
                self._groups.append(groups.make(place, values))
            except OSError as error:
                self.close()
                raise _refused(f"{', '.join(values)} ({error.strerror})") from None

    def _words(self, controller: str, value: float, place: groups.Place | None) -> str:
        if place is None:
            return f"{self.memory_text} of writable address space (rlimit RLIMIT_DATA)"
        if controller == "memory":
            return f"{self.memory_text} of memory (cgroup v{place.version})"
        return f"{value:.4g} of a core (cgroup v{place.version}{' cfs quota' if place.version == 1 else ''})"


def limits_of(emulate: EmulateSpec | None) -> Limits | None:
    """The limits that a device file asks for; None where it asks for none. Raises DeviceError."""
    if emulate is None or (emulate.memory_bytes is None and emulate.cpu_share is None):
        return None
    return Limits(memory_bytes=emulate.memory_bytes, cpu_share=emulate.cpu_share)


def size_text(size_bytes: int) -> str:
    """``256 MiB``, or bytes where it is no whole number of KiB."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size_bytes >> power and size_bytes % (1 << power) == 0:
            return f"{size_bytes >> power} {unit}"
    return f"{size_bytes} bytes"


def _memory_settings(version: int, size_bytes: float) -> dict[str, str]:
    """Swap is no more memory: the limit holds for both together, or there is none of it."""
    size = str(int(size_bytes))
    if version == 2:
        return {"memory.max": size, "memory.swap.max": "0"}
    return {"memory.limit_in_bytes": size, "memory.memsw.limit_in_bytes": size, "memory.swappiness": "0"}


def _cpu_settings(version: int, share: float) -> dict[str, str]:
    """A period as short as the kernel's least quota allows: pauses should be short against an inference."""
    period_us = min(_LONGEST_PERIOD_US, max(_PERIOD_US, round(_LEAST_QUOTA_US / share)))
    quota_us = max(_LEAST_QUOTA_US, round(share * period_us))
    if version == 2:
        return {"cpu.max": f"{quota_us} {period_us}"}
    return {"cpu.cfs_period_us": str(period_us), "cpu.cfs_quota_us": str(quota_us)}


def _refused(what: str) -> DeviceError:
    return DeviceError(
        f"the kernel does not let this user limit {what}",
        where="[emulate]",
        next_step="run as root, or in a session that systemd delegates its control groups to, or remove that limit",
    )
