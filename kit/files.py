"""Files of a machine, this one or the device's, read at once or sampled over time: how sysfs tells power and state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kit.records import Int64Array


@dataclass(frozen=True, slots=True)
class FileSamples:
    """Texts of some files over time: t_ns int64 [n], host's time.monotonic_ns, in the middle of each reading.

    texts: n rows of one text a file, in the order asked for; None where a file could not be read. error_ns bounds how
    far t_ns may be off (half a reading's length, and the clocks' offset). late: readings that were due and not taken.
    """

    t_ns: Int64Array
    texts: tuple[tuple[str | None, ...], ...]
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
