"""The folder of a search: a run folder, so that what was evaluated outlives a kill, and files named for people."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from kit import __version__
from kit.errors import StoreError, UsageError
from kit.records import RunRecord, SearchPoint
from kit.store import Run

BEST, RECORD, POINTS = "best.onnx", "search.json", "points"
_OURS = (BEST, RECORD, POINTS, "objects", "run.json", "journal.jsonl")
_ASIDE = ".replaced"
"""Where the search that --force replaces lies until the first point of the new one."""

_POINT = re.compile(r"point/([1-9][0-9]{0,5})", re.ASCII)
_NEXT = "do not trust this folder; --force in place of --resume starts anew"


class SearchFolder:
    """What a search keeps, as it goes; held against a second process from the start, its plan written at once.

    Args:
        path: the folder, there or not.
        identity: what the search was asked, by RunRecord's fields; a search goes on only with the same.
    """

    def __init__(self, path: Path, identity: RunRecord, *, resume: bool, force: bool) -> None:
        self.path, self.is_put_back = path, False
        with _writing(path):
            _check_place(path, resume=resume)
            path.mkdir(parents=True, exist_ok=True)
        self._run = Run(path, identity, {})
        self._run.hold()
        try:
            _check_content(path)
            _put_back(path)
            self._open(identity, resume=resume, force=force)
        except BaseException:
            self._run.release()
            raise

    def _open(self, identity: RunRecord, *, resume: bool, force: bool) -> None:
        there = (self.path / "run.json").exists()
        if resume:
            if not there:
                raise _nothing(self.path)
            found = Run.load(self.path)
            require_same(identity, found.record, self.path)
            self._run.steps = found.steps
            self._run.record = found.record
            self.points()
        elif there and not force and any(_POINT.fullmatch(step) for step in Run.load(self.path).steps):
            raise UsageError(
                "there is a search in this folder",
                where=str(self.path),
                next_step="--resume goes on; --force starts anew",
            )
        else:
            with _writing(self.path):
                _set_aside(self.path)
                self._run.begin()

    def points(self) -> tuple[SearchPoint, ...]:
        """What was evaluated so far, in order. Raises StoreError for a journal that no search wrote."""
        numbers = []
        for name in self._run.steps:
            found = _POINT.fullmatch(name)
            if found is None:
                raise StoreError(f"{name[:80]!r} is no step of a search", where=str(self.path), next_step=_NEXT)
            numbers.append(int(found[1]))
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            raise StoreError("points are missing from the journal", where=str(self.path), next_step=_NEXT)
        return tuple(self._run.get(f"point/{number}", SearchPoint) for number in sorted(numbers))

    def remember(self, point: SearchPoint, data: bytes) -> None:
        """Keep an evaluated point and its variant's file; an earlier search that it replaces is gone from then on."""
        number = len(self.points()) + 1
        with _writing(self.path):
            self._run.put_object(data)
            self._run.put(f"point/{number}", point)
            self._run.write(f"{POINTS}/{file_name(number, point)}", data)
            shutil.rmtree(self.path / _ASIDE, ignore_errors=True)

    def data_of(self, point: SearchPoint) -> bytes:
        """The file of a point; StoreError if it has changed."""
        return self._run.objects.get(point.variant.model.digest)

    def files(self) -> tuple[str, ...]:
        """The file of each point, relative to the folder."""
        return tuple(f"{POINTS}/{file_name(number, point)}" for number, point in enumerate(self.points(), 1))

    def mend(self) -> None:
        """Read the journal again, and write the points' files that an interrupt prevented or that have changed."""
        self._run.steps = Run.load(self.path).steps
        for name, point in zip(self.files(), self.points(), strict=True):
            path, data = self.path / name, self.data_of(point)
            if not (path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data):
                self.write(name, data)

    def write(self, name: str, data: bytes) -> Path:
        """Write a file into the folder, whole. Raises StoreError where it cannot be written."""
        with _writing(self.path):
            return self._run.write(name, data)

    @property
    def replaces(self) -> bool:
        """Whether an earlier search is only moved aside so far."""
        return (self.path / _ASIDE).exists()

    def release(self) -> None:
        """Let another process have the folder; a search that was to be replaced is back if no new point exists."""
        if self._run.is_held:
            self.is_put_back = self.replaces
            _put_back(self.path)
        self._run.release()


def file_name(number: int, point: SearchPoint) -> str:
    """``03-int8-per-channel+equalize.onnx``; what is no plain character becomes ``_``."""
    return f"{number:02d}-{re.sub(r'[^ -.0-~]', '_', point.variant.recipe.name)[:100]}.onnx"


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


def _check_place(path: Path, *, resume: bool) -> None:
    """Refuse a place where no folder is or can be made, before anything is written."""
    if path.is_symlink() and not path.exists():
        raise UsageError("this is a link to nothing", where=str(path), next_step="give another -o")
    if path.exists() and not path.is_dir():
        raise UsageError("a search needs a folder, and this is a file", where=str(path), next_step="give another -o")
    if resume and not (path / "run.json").exists() and not (path / _ASIDE).exists():
        raise _nothing(path)
    above = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise UsageError("nothing can be written here", where=str(above), next_step="give another -o")


def _nothing(path: Path) -> UsageError:
    return UsageError("there is no search to go on with", where=str(path), next_step="leave --resume out")


def _check_content(path: Path) -> None:
    """Refuse a folder that holds something else, or a link: what is written through it would lie elsewhere."""
    foreign = sorted(each.name for each in path.iterdir() if each.name not in (*_OURS, _ASIDE))
    foreign = [name for name in foreign if not name.startswith(".part-")]
    if foreign:
        raise UsageError(f"the folder holds other things: {', '.join(foreign[:5])}", where=str(path),
                         next_step="give an empty folder, or a name of none, as -o")  # fmt: skip
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            if (each := Path(folder, name)).is_symlink():
                raise StoreError("a link has no place in a search's folder", where=str(each),
                                 next_step="do not trust this folder; remove it, or give another -o")  # fmt: skip


_ORDER = ("journal.jsonl", *(name for name in _OURS if name not in ("journal.jsonl", "run.json")), "run.json")
"""The journal is moved away first and back late, the plan always last: no kill leaves doubt whose points these are."""


def _set_aside(path: Path) -> None:
    """Move an earlier search out of the way, where `_put_back` finds it."""
    there = [name for name in _ORDER if (path / name).exists()]
    if there:
        (path / _ASIDE).mkdir()
    for name in there:
        (path / name).rename(path / _ASIDE / name)


def _put_back(path: Path) -> None:
    """End what --force began: the earlier search goes if a new point exists, and is put back if none does."""
    aside = path / _ASIDE
    if aside.exists() and not ((path / "run.json").exists() and (path / "journal.jsonl").exists()):
        if (aside / "run.json").exists() and (path / "run.json").exists():
            for name in _ORDER:
                _remove(path / name)
        for name in (*_ORDER[1:-1], _ORDER[0], _ORDER[-1]):
            if (aside / name).exists():
                (aside / name).rename(path / name)
    shutil.rmtree(aside, ignore_errors=True)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What the system refuses is a StoreError of this folder."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot be written: {error.strerror}",
            where=str(path),
            next_step="look at the space and the permissions; --resume goes on with what is there",
        ) from error
