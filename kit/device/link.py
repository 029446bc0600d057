"""A link is a byte stream to a device: opening, reading, writing, time-outs and closing alike for every kind."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class LinkHealth:
    """What a link has seen so far.

    `nominal_bytes_per_s` is the line's own limit in each direction (baud / 10 for 8N1), None where there is none.
    Resent bytes and damaged packets are None on a stream that the system already makes reliable.
    """

    sent_bytes: int
    received_bytes: int
    resent_bytes: int | None = None
    damaged_packets: int | None = None
    round_trip_s: float | None = None
    nominal_bytes_per_s: float | None = None


@runtime_checkable
class Link(Protocol):
    """An open byte stream. Deadlines are of `time.monotonic`, in s; every failure is a LinkError.

    What a link delivers is in order and unaltered: a line that loses or alters bytes is made reliable below.
    """

    def read(self, deadline_s: float) -> bytes:
        """At least one byte, as soon as there is one; b"" at the deadline. Raises LinkError if the stream has ended."""
        ...

    def write(self, data: bytes | memoryview, deadline_s: float) -> None:
        """Everything, in order. Raises LinkError if the stream has ended or the deadline passes first."""
        ...

    def health(self) -> LinkHealth:
        """Counters since it was opened; still told after it was closed."""
        ...

    def limits(self) -> tuple[str, ...]:
        """What the kernel holds the other end to, and by what means; empty where nothing is emulated."""
        ...

    def process_id(self) -> int | None:
        """The process at the other end, if this link started it on this machine."""
        ...

    def close(self) -> None:
        """End the stream and whatever was started for it; never raises, may be called twice."""
        ...
