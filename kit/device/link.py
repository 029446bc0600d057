"""A link is a byte stream to a device: opening, reading, writing, time-outs and closing alike for every kind."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Link(Protocol):
    """An open byte stream. Deadlines are of `time.monotonic`, in s; every failure is a LinkError."""

    def read(self, deadline_s: float) -> bytes:
        """At least one byte, as soon as there is one; b"" at the deadline. Raises LinkError if the stream has ended."""
        ...

    def write(self, data: bytes, deadline_s: float) -> None:
        """Everything, in order. Raises LinkError if the stream has ended or the deadline passes first."""
        ...

    def process_id(self) -> int | None:
        """The process at the other end, if this link started it on this machine."""
        ...

    def close(self) -> None:
        """End the stream and whatever was started for it; never raises, may be called twice."""
        ...
