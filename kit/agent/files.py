"""The device's files that tell power and state, for meters of the host: only those, bounded in size and in rate."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kit.agent.work import RefusalError, Work
from kit.errors import MeasurementError
from kit.files import MAX_PATHS, Files, FileSamples, LocalFiles, Row, Sampler, read_text
from kit.wire import Message

ROOT = Path("/")
SUBSYSTEMS = ("hwmon", "power_supply", "powercap", "thermal")
MAX_SAMPLED = 32
MAX_PERIOD_S = 3600.0
_PLACES = re.compile(rf"/sys/(?:class/(?:{'|'.join(SUBSYSTEMS)})|bus/(?:i2c|iio)|devices)/[^\0\ud800-\udfff]{{1,400}}")
_OLD_MONITOR = re.compile(r"/[0-9]+-[0-9a-f]{4}/(?:name|(?:in|curr|power|energy|rail_name)[0-9a-z_]*)$")
"""Old drivers have the monitor's attributes in its own folder on the I2C bus, beside what may be secret."""

_MAX_WILDCARDS = 4
_KEPT_BYTES = 16 << 20
_PART_ROWS, _PART_BYTES = 16384, 1 << 20  # of one answer; a slow line's host waits no longer for it

Handler = Callable[[Work], Message]


class FileRequests:
    """The requests `file_glob`, `file_read`, `file_sample` and `file_samples` of docs/wire.md."""

    def __init__(self, root: Path | None = None) -> None:
        self._root = ROOT if root is None else root
        self._files: Files = LocalFiles(self._root, time.perf_counter_ns)
        self._sampler: Sampler | None = None
        self._rest: FileSamples | None = None
        self.handlers: dict[str, Handler] = {
            "file_glob": self._glob,
            "file_read": self._read,
            "file_sample": self._sample,
            "file_samples": self._samples,
        }

    def close(self) -> None:
        """End the sampling, if any, and let go of what it read."""
        sampler, self._sampler, self._rest = self._sampler, None, None
        if sampler is not None:
            sampler.end()

    def is_allowed(self, path: str) -> bool:
        """Whether a file, wherever its links lead, is an attribute of a sensor, a supply, a zone or a rail."""
        root = os.path.realpath(self._root)
        real = os.path.relpath(os.path.realpath(f"{root}/{path.lstrip('/')}"), root)
        parts = Path(real).parts
        is_sensor = any(part in SUBSYSTEMS or part.startswith("iio:device") for part in parts[2:-1])
        if parts[:2] == ("sys", "devices"):
            return is_sensor or bool(_OLD_MONITOR.search(real))
        return parts[:2] == ("sys", "class") and is_sensor  # it is not there: all that is leads to devices

    def _glob(self, work: Work) -> Message:
        pattern = _place(work.request.text("pattern", limit=512))
        if "**" in pattern or sum("*" in part for part in pattern.split("/")) > _MAX_WILDCARDS:
            raise RefusalError(f"{pattern} is too wide a search", next_step="name more of the folders")
        paths = [path for path in self._files.glob(pattern) if self.is_allowed(path)]
        return Message("file_glob", {"count": len(paths)}, ["\0".join(paths[:MAX_PATHS]).encode()])

    def _read(self, work: Work) -> Message:
        path = self._checked(work.request.text("path", limit=512))
        try:
            text = read_text(self._root / path.lstrip("/"))
        except OSError as error:
            what = f"{path} cannot be read: {error.strerror}"
            denied = isinstance(error, PermissionError)
            step = "let the agent's user read it, or run the agent as root" if denied else "check the path"
            raise RefusalError(what, next_step=step, reason="file") from None
        return Message("file_read", {}, [text.encode()])

    def _sample(self, work: Work) -> Message:
        blob = work.request.blob()
        paths = [self._checked(path) for path in blob[: MAX_SAMPLED * 512].decode(errors="replace").split("\0")]
        period_s = work.request.number("period_s", 0, MAX_PERIOD_S)
        if len(paths) > MAX_SAMPLED:
            raise RefusalError(f"{len(paths)} files are too many", next_step=f"sample at most {MAX_SAMPLED}")
        self.close()
        places = [self._root / path.lstrip("/") for path in paths]
        try:
            self._sampler = Sampler.of_files(places, period_s, clock_ns=time.perf_counter_ns, kept_bytes=_KEPT_BYTES)
        except MeasurementError as error:
            raise RefusalError(error.what, next_step=error.next_step, reason="file") from None
        return Message("file_sample")

    def _samples(self, _: Work) -> Message:
        """The oldest samples that were not told yet; the first such request ends the sampling."""
        if self._sampler is not None:
            sampler, self._sampler = self._sampler, None
            self._rest = sampler.stop()
        rest = self._rest
        if rest is None:
            raise RefusalError("no files are being sampled", next_step="begin with file_sample")
        count = _fitting(rest.texts)
        left = len(rest.texts) - count
        part = FileSamples(rest.t_ns[:count], rest.texts[:count], rest.error_ns, rest.late)
        self._rest = FileSamples(rest.t_ns[count:], rest.texts[count:], rest.error_ns, rest.late) if left else None
        return _packed(part, left)

    def _checked(self, path: str) -> str:
        if not self.is_allowed(_place(path)):
            raise _refused(path)
        return path


def _place(path: str) -> str:
    """A path or pattern where meters may look. Raises RefusalError for any other."""
    if not _PLACES.fullmatch(path) or ".." in path.split("/"):
        raise _refused(path)
    return path


def _refused(path: str) -> RefusalError:
    step = f"ask for what is below /sys/class/{{{','.join(SUBSYSTEMS)}}} or /sys/bus/{{i2c,iio}}"
    return RefusalError(f"{path[:200]} is no file of a sensor or a supply", next_step=step)


def _fitting(texts: tuple[Row, ...]) -> int:
    """How many rows one answer takes, at least one."""
    size_bytes = 0
    for count, row in enumerate(texts[:_PART_ROWS]):
        size_bytes += sum(4 * len(text) for text in row if text is not None)
        if size_bytes > _PART_BYTES and count:
            return count
    return min(len(texts), _PART_ROWS)


def _packed(samples: FileSamples, left: int) -> Message:
    """t_ns int64 [n]; int32 [n, files], which of the texts, -1 for none; the texts, each once, between NULs."""
    numbers: dict[str, int] = {}
    index = [
        [-1 if text is None else numbers.setdefault(text.replace("\0", "\ufffd"), len(numbers)) for text in row]
        for row in samples.texts
    ]
    fields = {"late": samples.late, "error_ns": samples.error_ns, "left": left}
    blob = "\0".join(numbers).encode()
    return Message("file_samples", fields, [samples.t_ns, np.array(index, np.int32), blob])
