"""A smaller device on this machine: memory and processor time that the kernel itself holds a process to.

Control groups of version 2 where they are delegated, else of version 1, else an rlimit for memory. A share of a core
needs a control group: without one it is refused, for nothing else enforces it.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from kit.device.limits import groups
from kit.errors import DeviceError
from kit.spec.types import EmulateSpec

_PERIOD_US = 10_000
_LEAST_QUOTA_US = 1000  # the kernel's own (kernel/sched: min_cfs_quota_period)
_LONGEST_PERIOD_US = 1_000_000


class Limits:
    """What one process, and all that it starts, is held to. The groups are made here and removed by `close`.

    Raises DeviceError where the kernel lets us enforce no such limit.
    """

    def __init__(self, *, memory_bytes: int | None = None, cpu_share: float | None = None) -> None:
        self.words: tuple[str, ...] = ()
        self.memory_text = "" if memory_bytes is None else size_text(memory_bytes)
        self._groups: list[Path] = []
        self._memory_group: Path | None = None
        self._rlimit_kib: int | None = None
        try:
            if memory_bytes is not None:
                self._limit_memory(memory_bytes)
            if cpu_share is not None:
                self._limit_cpu(cpu_share)
        except BaseException:
            self.close()
            raise

    def around(self, command: Sequence[str]) -> list[str]:
        """The command that joins the groups and only then becomes `command`: no instruction of it runs outside."""
        script = "".join(f'echo $$ > "${number}/cgroup.procs" && ' for number, _ in enumerate(self._groups, 1))
        script += f"shift {len(self._groups)} && "
        if self._rlimit_kib is not None:
            script += f"ulimit -d {self._rlimit_kib} && "
        return ["/bin/sh", "-c", f'{script}exec "$@"', "sh", *map(str, self._groups), *command]

    def out_of_memory(self) -> bool:
        """Whether the kernel has killed a process for going over the memory limit."""
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError, TypeError):
                if self._memory_group is not None:
                    lines = (self._memory_group / name).read_text().splitlines()
                    return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)
        return False

    def close(self) -> None:
        """End what still runs in the groups and remove them; may be called twice."""
        while self._groups:
            groups.remove(self._groups.pop())

    def _limit_memory(self, size_bytes: int) -> None:
        place = groups.place_for("memory")
        if place is None:
            self._rlimit_kib = size_bytes // 1024
            self.words += (f"{self.memory_text} of private writable address space (rlimit, RLIMIT_DATA)",)
            return
        size = str(size_bytes)
        if place.version == 2:
            self._memory_group = self._make(place, {"memory.max": size}, {"memory.swap.max": "0"})
        else:
            swap = {"memory.memsw.limit_in_bytes": size, "memory.swappiness": "0"}
            self._memory_group = self._make(place, {"memory.limit_in_bytes": size}, swap)
        self.words += (f"{self.memory_text} of memory (cgroup v{place.version})",)

    def _limit_cpu(self, share: float) -> None:
        place = groups.place_for("cpu")
        if place is None:
            raise _no_group("a share of a core")
        period_us = min(_LONGEST_PERIOD_US, max(_PERIOD_US, round(_LEAST_QUOTA_US / share)))
        quota_us = max(_LEAST_QUOTA_US, round(share * period_us))
        if place.version == 2:
            self._make(place, {"cpu.max": f"{quota_us} {period_us}"}, {})
        else:
            self._make(place, {"cpu.cfs_period_us": str(period_us), "cpu.cfs_quota_us": str(quota_us)}, {})
        means = "cgroup v2" if place.version == 2 else "cgroup v1 cfs quota"
        self.words += (f"{share:.4g} of a core ({means})",)

    def _make(self, place: groups.Place, values: dict[str, str], optional: dict[str, str]) -> Path:
        try:
            self._groups.append(groups.make(place, values, optional))
        except OSError as error:
            raise _no_group(f"{' and '.join(values)} ({error.strerror})") from None
        return self._groups[-1]


def limits_of(emulate: EmulateSpec | None) -> Limits | None:
    """The limits that a device file asks for; None where it asks for none. Raises DeviceError."""
    if emulate is None or emulate.memory_bytes is emulate.cpu_share is None:
        return None
    return Limits(memory_bytes=emulate.memory_bytes, cpu_share=emulate.cpu_share)


def size_text(size_bytes: int) -> str:
    """``256 MiB``, or bytes where it is no whole number of KiB."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size_bytes >> power and size_bytes % (1 << power) == 0:
            return f"{size_bytes >> power} {unit}"
    return f"{size_bytes} bytes"


def _no_group(what: str) -> DeviceError:
    return DeviceError(
        f"the kernel does not let this user limit {what}",
        where="[emulate]",
        next_step="run as root, or in a session that systemd delegates cgroups to, or remove that limit",
    )
