"""The memory that this process may have: what its control groups and its own limits leave of the machine's.

Linux: cgroup-v1/memory.rst, cgroup-v2.rst, proc(5), getrlimit(2). A limit binds in every group above as well, and file
pages that nothing uses at the moment can be taken back, so they count as available, as in MemAvailable.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

_RLIMITS = (("RLIMIT_DATA", "VmData"), ("RLIMIT_AS", "VmSize"))
_FILES = {
    "cgroup": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "cgroup2": ("memory.max", "memory.current", "inactive_file"),
}
"""Of each version: the limit, what is used of it, and the line of memory.stat that tells what can be taken back."""


def memory_bytes(proc: Path = Path("/proc")) -> int | None:
    """All that this process may have; None where nothing tells."""
    limits = [limit for limit, _ in _bounds(proc)]
    return min((each for each in (kib_line(proc / "meminfo", "MemTotal"), *limits) if each is not None), default=None)


def available_bytes(proc: Path = Path("/proc")) -> int | None:
    """What it may still have, now; None where nothing tells."""
    free = [max(0, limit - used) for limit, used in _bounds(proc)]
    return min((each for each in (kib_line(proc / "meminfo", "MemAvailable"), *free) if each is not None), default=None)


def kib_line(file: Path, key: str) -> int | None:
    """The bytes that a line ``key:  123 kB`` tells; None where there is none."""
    for line in _lines(file):
        name, _, value = line.partition(":")
        if name == key and (number := _number(value.split()[0] if value.split() else "")) is not None:
            return number * 1024
    return None


def _bounds(proc: Path) -> Iterator[tuple[int, int]]:
    """Each limit and what is used of it, in bytes."""
    for kind, folder in _groups(proc):
        limit_name, used_name, idle_name = _FILES[kind]
        limit, used = _number(_text(folder / limit_name)), _number(_text(folder / used_name))
        if limit is not None and used is not None:
            yield limit, max(0, used - _idle_bytes(folder / "memory.stat", idle_name))
    import resource

    for name, line in _RLIMITS:
        limit = resource.getrlimit(getattr(resource, name))[0]
        if limit != resource.RLIM_INFINITY and (used := kib_line(proc / "self" / "status", line)) is not None:
            yield limit, used


@functools.cache
def _groups(proc: Path) -> tuple[tuple[str, Path], ...]:
    """This process's memory groups, each with those above it as far as they are mounted here."""
    own, found = dict(_own_groups(proc)), []
    for line in _lines(proc / "self" / "mountinfo"):
        before, _, after = line.partition(" - ")
        place, what = before.split(), after.split()
        if len(place) < 5 or len(what) < 3 or what[0] not in _FILES:
            continue
        controller = "" if what[0] == "cgroup2" else "memory"
        if controller in own and (what[0] == "cgroup2" or "memory" in what[2].split(",")):
            found += [(what[0], folder) for folder in _upwards(Path(place[4]), place[3], own[controller])]
    return tuple((kind, folder) for kind, folder in found if (folder / _FILES[kind][0]).exists())


def _own_groups(proc: Path) -> Iterator[tuple[str, str]]:
    """The group of each controller; that of version 2 is named ""."""
    for line in _lines(proc / "self" / "cgroup"):
        words = line.split(":", 2)
        if len(words) == 3:
            yield from ((controller, words[2]) for controller in words[1].split(","))


def _upwards(point: Path, root: str, group: str) -> list[Path]:
    """A group's folder and those above, up to the mount point; a group outside of what is mounted is sought there."""
    inside = ".." not in Path(group).parts and Path(group).is_relative_to(root)
    folder = point / Path(group).relative_to(root) if inside else point
    return [each for each in (folder, *folder.parents) if each.is_relative_to(point)]


def _idle_bytes(file: Path, key: str) -> int:
    pairs = (line.split() for line in _lines(file))
    return next((_number(pair[1]) or 0 for pair in pairs if len(pair) == 2 and pair[0] == key), 0)


def _number(text: str) -> int | None:
    """A count; None for ``max``, which is no limit, and for what is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _lines(file: Path) -> list[str]:
    return _text(file).splitlines()


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
