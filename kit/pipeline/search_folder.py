"""The folder of a search: a run folder, so that what was evaluated outlives a kill, and files named for people."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from kit import __version__
from kit.errors import UsageError
from kit.records import RunRecord, SearchPoint
from kit.store import Run

BEST, RECORD, POINTS = "best.onnx", "search.json", "points"
_OURS = (BEST, RECORD, POINTS, "objects", "run.json", "journal.jsonl")


class SearchFolder:
    """What a search keeps, as it goes; one process at a time.

    Args:
        path: the folder, there or not.
        identity: what the search was asked, by RunRecord's fields; a search goes on only with the same.
    """

    def __init__(self, path: Path, identity: RunRecord, *, resume: bool, force: bool) -> None:
        self.path = path
        there = (path / "run.json").exists()
        if there and resume:
            require_same(identity, Run.load(path).record, path)
            self._run = Run.load(path, hold=True)
        else:
            _make_room(path, there=there, resume=resume, force=force)
            self._run = Run.plan(path.parent, identity)

    def points(self) -> tuple[SearchPoint, ...]:
        """What was evaluated so far, in order."""
        names = sorted((name for name in self._run.steps if name.startswith("point/")), key=lambda name: int(name[6:]))
        return tuple(self._run.get(name, SearchPoint) for name in names)

    def remember(self, point: SearchPoint, data: bytes) -> None:
        """Keep an evaluated point and its variant's file."""
        number = len(self.points()) + 1
        self._run.put_object(data)
        self._run.put(f"point/{number}", point)
        self._run.write(f"{POINTS}/{file_name(number, point)}", data)

    def data_of(self, point: SearchPoint) -> bytes:
        """The file of a point; StoreError if it has changed."""
        return self._run.objects.get(point.variant.model.digest)

    def files(self) -> tuple[str, ...]:
        """The file of each point, relative to the folder; one that a kill prevented is written now."""
        names = []
        for number, point in enumerate(self.points(), 1):
            names.append(f"{POINTS}/{file_name(number, point)}")
            if not (self.path / names[-1]).exists():
                self._run.write(names[-1], self.data_of(point))
        return tuple(names)

    def write(self, name: str, data: bytes) -> Path:
        """Write a file into the folder, whole."""
        return self._run.write(name, data)

    def release(self) -> None:
        """Let another process have the folder."""
        self._run.release()


def file_name(number: int, point: SearchPoint) -> str:
    """``03-int8-per-channel+equalize.onnx``."""
    return f"{number:02d}-{point.variant.recipe.name.replace('/', '_')[:100]}.onnx"


def identity_of(path: Path, **asked: object) -> RunRecord:
    """The plan of a search that begins now in the folder `path`; `asked` are RunRecord's other fields."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    name = path.name or path.absolute().name
    return RunRecord(run_id=name, created_utc=now, tool_version=__version__, recipes=(), **asked)  # type: ignore[arg-type]


def require_same(now: RunRecord, planned: RunRecord, path: Path) -> None:
    """Raise UsageError naming what is not as it was when the search began."""
    for what, field in (
        ("the model", "source_digest"),
        ("the profile", "profile_digest"),
        ("the dataset", "dataset_digest"),
        ("the target", "device_name"),
        ("the device file", "device_digest"),
        ("the seed", "seed"),
        ("the version of edgeproof", "tool_version"),
    ):
        if getattr(now, field) != getattr(planned, field):
            raise UsageError(
                f"{what} is not what it was when this search began",
                where=str(path),
                next_step="restore it, or start anew: --force in place of --resume",
            )


def _make_room(path: Path, *, there: bool, resume: bool, force: bool) -> None:
    """Refuse a folder that holds something else; with `force` remove an earlier search."""
    if resume:
        raise UsageError("there is no search to go on with", where=str(path), next_step="leave --resume out")
    if path.exists() and not path.is_dir():
        raise UsageError("a search needs a folder, and this is a file", where=str(path), next_step="give another -o")
    if there and not force:
        raise UsageError(
            "there is a search in this folder", where=str(path), next_step="--resume goes on; --force starts anew"
        )
    foreign = sorted(each.name for each in path.iterdir() if each.name not in _OURS) if path.exists() else []
    if foreign:
        raise UsageError(f"the folder holds other things: {', '.join(foreign[:5])}", where=str(path),
                         next_step="give an empty folder, or a name of none, as -o")  # fmt: skip
    for name in _OURS if there else ():
        each = path / name
        shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink(missing_ok=True)
