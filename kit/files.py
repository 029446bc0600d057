"""Files of a machine, this one or the device's, read at once or sampled over time: how sysfs tells power and state."""

import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kit.errors import MeasurementError

MAX_TEXT_BYTES = 16 << 10
"""Most that is read of one file; what sysfs tells is at most a page of 4 KiB."""

MAX_PATHS = 4096
MIN_PERIOD_S = 1e-3
_MAX_KEPT_BYTES = 64 << 20
_ROW_BYTES, _TEXT_BYTES = 200, 60  # what Python keeps beside the characters
_WIDE, _SLACK_NS = 8, 50_000  # a reading was interrupted if it took so many times the median, and so much more
_FIRST_TRIES = 3
_LAST_TRIES = 5

Row = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class FileSamples:
    """Texts of some files over time: t_ns int64 [n], host's time.monotonic_ns, in the middle of each reading.

    texts: n rows of one text a file, in the order asked for; None where a file could not be read. error_ns bounds how
    far t_ns may be off (half a reading's length, and the clocks' offset). late: readings that were due and not taken.
    """

    t_ns: NDArray[np.int64]
    texts: tuple[Row, ...]
    error_ns: int
    late: int


class Sampling(Protocol):
    """Files being sampled."""

    def stop(self) -> FileSamples:
        """End, with a last reading; everything since it began. Raises MeasurementError if nothing was read."""
        ...


@runtime_checkable
class Files(Protocol):
    """The files of one machine; paths are absolute there. What is not there is told by MeasurementError."""

    def glob(self, pattern: str) -> list[str]:
        """Paths that match, sorted."""
        ...

    def read(self, path: str) -> str:
        """One file's text, without the newline at its end."""
        ...

    def sample(self, paths: Sequence[str], *, period_s: float) -> Sampling:
        """Begin to read the files, all of them each `period_s`."""
        ...


class LocalFiles:
    """The files of this machine below `root`; times are those of `clock_ns`."""

    def __init__(self, root: Path = Path("/"), clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._root, self._clock_ns = root, clock_ns

    def glob(self, pattern: str) -> list[str]:
        """See Files; the first 4096 of them."""
        found = itertools.islice(self._root.glob(pattern.lstrip("/")), MAX_PATHS)
        return sorted(f"/{each.relative_to(self._root)}" for each in found)

    def read(self, path: str) -> str:
        """See Files; of a long file its first 16 KiB. Raises MeasurementError, saying why."""
        try:
            return read_text(self._place(path))
        except OSError as error:
            step = "let this user read it, or run as root" if isinstance(error, PermissionError) else "check the path"
            raise MeasurementError(f"cannot be read: {error.strerror}", where=path, next_step=step) from None

    def sample(self, paths: Sequence[str], *, period_s: float) -> "Sampler":
        """See Files; at most 1000 times a second. Raises MeasurementError if none of them can be read now."""
        return Sampler.of_files([self._place(path) for path in paths], period_s, clock_ns=self._clock_ns)

    def _place(self, path: str) -> Path:
        return self._root / path.lstrip("/")


class Sampler:
    """What `read` returns, on a fixed grid, by a thread of its own: it must return in time, and never raise.

    A grid point that passed while the thread could not run is late, never made up. At most `kept_bytes` are kept: where
    they are full, each second reading is let go (and is late), and the period doubles.
    """

    def __init__(
        self, read: Callable[[], Row], period_s: float, *, clock_ns: Callable[[], int] = time.monotonic_ns,
        what: str = "the source", kept_bytes: int = _MAX_KEPT_BYTES,
    ) -> None:  # fmt: skip
        self._read, self._clock_ns, self._what, self._kept_bytes = read, clock_ns, what, kept_bytes
        self._period_ns = int(max(period_s, MIN_PERIOD_S) * 1e9)
        self._rows: list[tuple[int, int, Row]] = []
        self._late = self._bytes = 0
        read()  # the first reading takes longer, since nothing of it is in any cache
        for _ in range(_FIRST_TRIES):
            self._take()
        self._rows = [min(self._rows, key=lambda row: row[1] - row[0])]  # an interrupted one would be let go
        if all(text is None for text in self._rows[0][2]):
            raise self._nothing()
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="sample files", daemon=True)
        self._thread.start()

    @classmethod
    def of_files(
        cls, places: Sequence[Path], period_s: float, *, clock_ns: Callable[[], int], kept_bytes: int = _MAX_KEPT_BYTES
    ) -> "Sampler":
        """The texts of files; None for one that cannot be read."""
        what = ", ".join(map(str, places))
        return cls(lambda: tuple(map(_text, places)), period_s, clock_ns=clock_ns, what=what, kept_bytes=kept_bytes)

    def end(self) -> None:
        """End without a result; may be called twice."""
        self._halt.set()
        self._thread.join()

    def stop(self) -> FileSamples:
        """See Sampling. Readings that were interrupted (8 times the median's length) are late ones."""
        self.end()
        widest_ns = _WIDE * np.median([after - before for before, after, _ in self._rows]) + _SLACK_NS
        for _ in range(_LAST_TRIES):
            self._take()
            if self._rows[-1][1] - self._rows[-1][0] <= widest_ns:
                break
        before_ns, after_ns = np.array([row[:2] for row in self._rows], np.int64).T
        is_kept = after_ns - before_ns <= widest_ns
        texts = tuple(row[2] for row, kept in zip(self._rows, is_kept, strict=True) if kept)
        width_ns, t_ns = (after_ns - before_ns)[is_kept], ((before_ns + after_ns) // 2)[is_kept]
        if all(text is None for row in texts for text in row):
            raise self._nothing()
        return FileSamples(t_ns, texts, int(width_ns.max()) // 2 + 1, self._late + int((~is_kept).sum()))

    def _nothing(self) -> MeasurementError:
        return MeasurementError(f"cannot be read: {self._what[:500]}", next_step="check the paths and rights")

    def _take(self) -> None:
        before_ns = self._clock_ns()
        row = self._read()
        after_ns = self._clock_ns()
        last: Row = self._rows[-1][2] if self._rows else ()
        self._rows.append((before_ns, after_ns, last if row == last else row))  # what is the same is kept once
        self._bytes += _ROW_BYTES + (0 if row == last else sum(_TEXT_BYTES + len(text or "") for text in row))

    def _sample(self) -> None:
        due_ns = self._rows[0][0] + self._period_ns
        while not self._halt.wait(max(0, due_ns - self._clock_ns()) / 1e9):
            self._take()
            if self._bytes > self._kept_bytes:
                self._thin()
            late = max(0, self._rows[-1][0] - due_ns) // self._period_ns
            self._late += late
            due_ns += (late + 1) * self._period_ns

    def _thin(self) -> None:
        let_go = len(self._rows) // 2
        self._rows = self._rows[::2]
        self._late, self._bytes, self._period_ns = self._late + let_go, self._bytes // 2, self._period_ns * 2


def read_text(place: Path) -> str:
    """The text of a plain file, at most 16 KiB, without the newline at its end. Raises OSError."""
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe must not block
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "it is no plain file")
        return os.read(descriptor, MAX_TEXT_BYTES).decode(errors="replace").rstrip("\n")
    finally:
        os.close(descriptor)


def _text(place: Path) -> str | None:
    try:
        return read_text(place)
    except OSError:
        return None
