"""A run's folder: the plan, a journal of finished steps, objects by digest. Killing it at any time loses no step.

Layout: ``run.json`` (the plan, written before the first step), ``journal.jsonl`` (one line a finished step,
appended and synced), ``objects/`` (models, arrays and records by digest), and what is rendered from them.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from kit.errors import StoreError
from kit.records import RunRecord
from kit.store.codec import decode, encode
from kit.store.objects import Objects, read_regular, write_atomically

T = TypeVar("T")
MAX_TEXT_BYTES = 16 << 20
"""Largest plan, journal or certificate that is read."""


@dataclass(frozen=True, slots=True)
class Step:
    """A finished step: its name and the digest of its record."""

    step: str
    record: str


class Run:
    """One run's folder. Nothing is on disk before the first step is finished, or `begin` is called."""

    def __init__(self, path: Path, record: RunRecord, steps: dict[str, str]) -> None:
        self.path = path
        self.record = record
        self.objects = Objects(path / "objects")
        self.steps = steps
        self._lock: int | None = None

    @classmethod
    def plan(cls, root: Path, record: RunRecord) -> "Run":
        """A new run below `root`, still without a folder."""
        return cls(root / record.run_id, record, {})

    @classmethod
    def load(cls, path: Path, *, hold: bool = False) -> "Run":
        """The run in folder `path`; with `hold` it is kept against a second process before anything is read.

        Raises:
            StoreError: there is no run, it cannot be read, or another process holds it.
        """
        if not (path / "run.json").exists():
            raise StoreError("no run here", where=str(path), next_step="name a run folder, or an id below --runs")
        lock = _locked(path) if hold else None
        try:
            objects = Objects(path / "objects")
            record = decode(read_regular(path / "run.json", MAX_TEXT_BYTES), RunRecord, objects.get)
            run = cls(path, record, dict(_read_journal(path / "journal.jsonl")))
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise
        run._lock = lock
        return run

    def get(self, name: str, kind: type[T]) -> T:
        """The record of a finished step. Raises StoreError if it is not there."""
        self._require(name)
        return decode(self.objects.get(self.steps[name]), kind, self.objects.get)

    def optional_step(self, name: str, kind: type[T], produce: Callable[[], T | None]) -> T | None:
        """The record of step `name`: from the journal if it is there, else produced and journaled.

        What turns out to be absent is journaled as None, and is not tried again.
        """
        if name not in self.steps:
            self.put(name, produce())
        return self.get_optional(name, kind)

    def get_optional(self, name: str, kind: type[T]) -> T | None:
        """The record of a finished step; None if it was absent. Raises StoreError if the step was not finished."""
        self._require(name)
        data = self.objects.get(self.steps[name])
        return None if data == b"null" else decode(data, kind, self.objects.get)

    def put(self, name: str, record: object) -> str:
        """Store a record and journal the step; returns the record's digest."""
        self.begin()
        digest = self.objects.put(encode(record, self.objects.put))
        if self.steps.get(name) == digest:
            return digest
        _append_line(self.path / "journal.jsonl", msgspec.json.encode(Step(step=name, record=digest)))
        self.steps[name] = digest
        return digest

    def put_object(self, data: bytes) -> str:
        """Store bytes (a model, say) and return their digest."""
        self.begin()
        return self.objects.put(data)

    def write(self, name: str, data: bytes) -> Path:
        """Write a rendered file (report, certificate) into the folder, whole."""
        path = self.path / name
        write_atomically(path, data)
        return path

    def _require(self, name: str) -> None:
        if name not in self.steps:
            raise StoreError(
                f"step {name!r} was never finished",
                where=str(self.path),
                next_step=f"finish it: edgeproof {self.record.command[1]} --resume {self.record.run_id}",
            )

    def hold(self) -> None:
        """Keep the folder against a second process until this one ends. Raises StoreError if one is at work."""
        if self._lock is None:
            self._lock = _locked(self.path)

    @property
    def is_held(self) -> bool:
        """Whether this process holds the folder."""
        return self._lock is not None

    def release(self) -> None:
        """Let another process have the folder; the end of this process does it too."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def begin(self) -> None:
        """Make the folder, hold it and write the plan, if that was not done."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.hold()
        plan = self.path / "run.json"
        if not plan.exists():
            write_atomically(plan, encode(self.record, self.objects.put))


def _locked(path: Path) -> int:
    """A descriptor that holds the folder. Raises StoreError if another process does."""
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreError(
            "another process is working on this run",
            where=str(path),
            next_step="wait for it, or end it, and try again",
        ) from error
    return lock


def _append_line(path: Path, line: bytes) -> None:
    """Append and sync a line; one that a kill cut short before it is ended first, so that it spoils nothing."""
    with path.open("a+b") as stream:
        if stream.tell() > 0:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(line + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def _read_journal(path: Path) -> Iterator[tuple[str, str]]:
    """Finished steps; a line that a kill cut short, so that it lacks its end, was not finished.

    Raises StoreError for one that was written whole and cannot be read: its step would be missing without a word.
    """
    if not path.exists():
        return
    for number, line in enumerate(read_regular(path, MAX_TEXT_BYTES).splitlines(), 1):
        try:
            step = msgspec.json.decode(line, type=Step)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            if not line.endswith(b"}"):
                continue
            raise StoreError(
                f"line {number} of the journal is damaged, so its step is missing",
                where=f"{path}:{number}",
                next_step="restore the folder, or remove that line and do its step again with --resume",
            ) from None
        yield step.step, step.record
