"""A request under way: how its handler tells progress, takes what is streamed to it, and learns that it may stop."""

import threading
import time
from queue import SimpleQueue
from typing import Protocol

from kit.errors import DeviceError
from kit.wire import FrameType, Message

PROGRESS_S = 0.2
MAX_DATA_BYTES = 1 << 20
_DATA_AHEAD = 8  # most frames of a transfer that wait for the handler; the reader then waits, and so does the host


class RefusalError(DeviceError):
    """The agent will not do what is asked; `reason` is a word that the host can act on (see docs/wire.md)."""

    def __init__(self, what: str, *, next_step: str = "", reason: str = "") -> None:
        super().__init__(what, next_step=next_step)
        self.reason = reason


class CancelledError(RefusalError):
    """The host gave the request up, or is gone."""

    def __init__(self, why: str) -> None:
        super().__init__(why, next_step="ask again", reason="cancelled")


class Outlet(Protocol):
    """Where frames go: a session."""

    def send(self, kind: FrameType, sequence: int, message: Message) -> None:
        """Send a frame. Raises BrokenPipeError if the host is gone."""
        ...


class Work:
    """One request and when it was read off the stream (`time.perf_counter_ns`); `stopped`: why it is to end early."""

    __slots__ = ("_data", "_outlet", "_room", "_told_s", "received_ns", "request", "sequence", "stopped")

    def __init__(self, outlet: Outlet, sequence: int, received_ns: int, request: Message) -> None:
        self._outlet, self.sequence, self.received_ns, self.request = outlet, sequence, received_ns, request
        self.stopped = ""
        self._told_s = time.monotonic()
        self._data: SimpleQueue[bytes] | None = None
        self._room: threading.Semaphore | None = None

    def check(self) -> None:
        """Raises CancelledError if the request is to end early; cheap enough for every turn of a loop."""
        if self.stopped:
            raise CancelledError(self.stopped)

    def stop(self, why: str) -> None:
        """End it early; called from other threads."""
        self.stopped = self.stopped or why
        if self._data is not None:
            self._data.put(b"")

    def tell(self, done: int, total: int) -> None:
        """Send progress now. Raises BrokenPipeError if the host is gone."""
        self._told_s = time.monotonic()
        self.send(FrameType.PROGRESS, Message(self.request.kind, {"done": done, "total": total}))

    def tick(self, done: int, total: int) -> None:
        """Send progress unless that was done less than PROGRESS_S ago. Raises CancelledError."""
        self.check()
        self.tell_at_times(done, total)

    def tell_at_times(self, done: int, total: int) -> None:
        """The same, whether or not it is to end early."""
        if time.monotonic() - self._told_s >= PROGRESS_S:
            self.tell(done, total)

    def send(self, kind: FrameType, message: Message) -> None:
        """Send a frame of this request."""
        self._outlet.send(kind, self.sequence, message)

    def expect_data(self) -> None:
        """From now on `put_data` takes frames for `take_data`."""
        self._room = threading.Semaphore(_DATA_AHEAD)
        self._data = SimpleQueue()
        if self.stopped:
            self._data.put(b"")

    @property
    def is_transfer(self) -> bool:
        """Whether DATA frames are awaited."""
        return self._data is not None

    def put_data(self, data: bytes) -> None:
        """Hand a DATA frame to the handler; waits for room while it works. What it does not await is dropped."""
        room, queue = self._room, self._data
        if room is None or queue is None or not data:
            return
        while not room.acquire(timeout=0.2):
            if self.stopped or self._data is None:
                return
        queue.put(data)

    def take_data(self) -> bytes:
        """The next DATA frame's bytes. Raises CancelledError once all that came before the end were taken."""
        assert self._data is not None
        assert self._room is not None
        data = self._data.get()
        if not data:
            self.check()
        self._room.release()
        return data

    def end_data(self) -> None:
        """Drop what still arrives."""
        self._data = None
