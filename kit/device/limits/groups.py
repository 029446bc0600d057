"""Where a process may make control groups of its own, version 1 or 2 (Linux: cgroup-v1/*.rst, cgroup-v2.rst)."""

import contextlib
import os
import signal
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "edgeproof-"
_REMOVE_WITHIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in a control group hierarchy that holds this process or one of its ancestors; version is 1 or 2."""

    folder: Path
    version: int


def places_for(controllers: Collection[str]) -> dict[str, Place | None]:
    """Where groups with each of these controllers (``memory``, ``cpu``) can be made; None if nowhere.

    Controllers of version 2 share one place, since a process is in one group of that hierarchy.
    """
    own = _own_groups()
    found: dict[str, Place | None] = dict.fromkeys(controllers)
    unified = [name for name in controllers if name not in own]
    for kind, root, point, options in _mounts():
        if kind == "cgroup2" and unified and "" in own:
            found |= dict.fromkeys(unified, _delegated(Path(point), _below(point, root, own[""]), unified))
        for name in found:
            if kind == "cgroup" and name in options and name in own:
                folder = _below(point, root, own[name])
                found[name] = Place(folder, 1) if os.access(folder, os.W_OK) else None
    return found


def make(place: Place, values: dict[str, str]) -> Path:
    """A new group with these values, less those about swap that this kernel does not have. Raises OSError."""
    sweep(place.folder)
    folder = _new_folder(place.folder)
    try:
        for name, value in values.items():
            if "sw" not in name or (folder / name).exists():
                (folder / name).write_text(value)
    except OSError:
        folder.rmdir()
        raise
    return folder


def remove(folder: Path) -> None:
    """Kill what is left in a group of ours and remove it, as soon as the kernel has let go of its processes."""
    deadline_s = time.monotonic() + _REMOVE_WITHIN_S
    while folder.exists() and time.monotonic() < deadline_s:  # else the next one's sweep tries again
        for process_id in _members(folder):
            with contextlib.suppress(OSError):
                os.kill(process_id, signal.SIGKILL)
        try:
            folder.rmdir()
        except PermissionError:
            return  # another user's
        except OSError:
            time.sleep(0.005)


def sweep(parent: Path) -> None:
    """Remove the groups that owners left here, or in a group beside it, who are no longer alive."""
    for folder in {*parent.glob(f"{PREFIX}*"), *parent.parent.glob(f"*/{PREFIX}*")}:
        namespace, process_id, started = ([*folder.name.removeprefix(PREFIX).split("-"), "", "", ""])[:3]
        if namespace == _pid_namespace() and process_id.isdecimal() and _started(int(process_id)) != started:
            remove(folder)


def _new_folder(parent: Path) -> Path:
    """Named after its owner: a process id alone could be another's by the time that it is looked at."""
    number = 0
    while True:
        owner = f"{_pid_namespace()}-{os.getpid()}-{_started(os.getpid())}"
        folder = parent / f"{PREFIX}{owner}-{number}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
        number += 1


def _delegated(top: Path, own: Path, controllers: Collection[str]) -> Place | None:
    """The nearest ancestor, itself included, that hands these controllers down and lets us make groups in it."""
    for folder in (own, *own.parents):
        if not folder.is_relative_to(top):
            return None
        with contextlib.suppress(OSError):  # a group with processes in it cannot hand controllers down: go up
            handed_down = (folder / "cgroup.subtree_control").read_text().split()
            if missing := [f"+{name}" for name in controllers if name not in handed_down]:
                (folder / "cgroup.subtree_control").write_text(" ".join(missing))
            if os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK):
                return Place(folder, 2)
    return None


def _below(point: str, root: str, group: str) -> Path:
    """A group's folder; a group outside of what is mounted here is looked for at the mount point."""
    outside = ".." in Path(group).parts or not Path(group).is_relative_to(root)
    return Path(point) if outside else Path(point) / Path(group).relative_to(root)


def _own_groups() -> dict[str, str]:
    """This process's group of each controller; that of version 2 is named ""."""
    groups: dict[str, str] = {}
    for line in _lines(Path("/proc/self/cgroup")):
        _, controllers, path = line.split(":", 2)
        groups |= dict.fromkeys(controllers.split(","), path)
    return groups


def _mounts() -> list[tuple[str, str, str, list[str]]]:
    """Kind, root, mount point and options of every control group mount (proc(5), mountinfo)."""
    found = []
    for line in _lines(Path("/proc/self/mountinfo")):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split()[:3]
        if kind in ("cgroup", "cgroup2"):
            root, point = before.split()[3:5]
            found.append((kind, root, point, options.split(",")))
    return found


def _members(folder: Path) -> Iterator[int]:
    for process_id in _lines(folder / "cgroup.procs"):
        yield int(process_id)


def _pid_namespace() -> str:
    """Process ids of another namespace mean nothing here."""
    return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")


def _started(process_id: int) -> str:
    """When a process started, in ticks since boot (proc(5), stat field 22); "" if there is none."""
    lines = _lines(Path(f"/proc/{process_id}/stat"))
    return lines[0].rpartition(")")[2].split()[19] if lines else ""


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
