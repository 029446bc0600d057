"""A channel is how one host reaches the agent: a stream of bytes, whatever carries it."""

from typing import Protocol

STALL_S = 30.0
"""A host that takes nothing of an answer for so long is gone."""


class Channel(Protocol):
    """One connection of one host, in order and unaltered; `Desk.take` makes a conversation of it.

    One thread reads, any other writes (one at a time), and any may close.
    """

    @property
    def name(self) -> str:
        """Where the host is, for people: ``standard input``, ``127.0.0.1:40112``."""
        ...

    def read(self) -> bytes:
        """At least one byte, as soon as there is one; b"" once the host is gone or the channel is closed."""
        ...

    def write(self, data: bytes | memoryview) -> None:
        """Everything, in order. Raises BrokenPipeError once the host is gone, closed, or takes nothing for STALL_S."""
        ...

    def close(self) -> None:
        """End reads and writes under way, from any thread; never raises, may be called twice."""
        ...
