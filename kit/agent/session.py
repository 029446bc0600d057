"""One host's conversation: a thread reads; the master's requests go to the desk, all else is settled here."""

import contextlib
import threading
import time
from typing import Protocol

from kit.agent.channel import Channel
from kit.agent.server import QUICK, refusal
from kit.agent.work import MAX_DATA_BYTES, RefusalError, Work
from kit.errors import EdgeproofError, LinkError
from kit.wire import (
    MAX_PAYLOAD_BYTES,
    UNKNOWN_SEQUENCE,
    Decoder,
    Frame,
    FrameError,
    FrameType,
    Message,
    encode_frame,
    pack_message,
    unpack_message,
)

_STRANGER_BYTES = 64 << 10  # most that a frame of a host without the lease may carry


class Reception(Protocol):
    """Where a session's requests are settled: the desk."""

    def admits(self, session: "Session", work: Work) -> bool:
        """Whether a request is to be done, and not answered yet. Raises RefusalError for a refusal."""
        ...

    def do(self, session: "Session", work: Work) -> None:
        """Answer one request now, in this thread."""
        ...

    def hand(self, session: "Session", work: Work) -> None:
        """Queue a request for the main thread."""
        ...

    def leave(self, session: "Session") -> None:
        """The session has ended."""
        ...


class Session:
    """A channel and what is under way over it.

    `heard_s` (`time.monotonic`) is when the last byte of the lease's holder came, or the last frame of a stranger;
    `is_known` is whether a request ever came.

    At most one request is under way and one waits, so that what a host can make the agent hold is bounded.
    """

    def __init__(self, desk: Reception, channel: Channel) -> None:
        self.name, self.gone, self.is_known, self._is_master = channel.name, False, False, False
        self.since_s = self.heard_s = time.monotonic()
        self._desk, self._channel, self._decoder = desk, channel, Decoder(_STRANGER_BYTES)
        self._sending, self._guard = threading.Lock(), threading.Lock()
        self._works: list[Work] = []  # handed to the desk: the one under way, and one that waits
        self._deflates = False

    def start(self) -> None:
        """Read in a thread of its own until the host is gone."""
        threading.Thread(target=self._read, name=f"read {self.name}", daemon=True).start()

    def promote(self, *, deflates: bool) -> None:
        """It holds the lease: frames up to the limit are taken, and answers compressed if its link is slow."""
        self._decoder.limit_bytes, self._deflates, self._is_master = MAX_PAYLOAD_BYTES, deflates, True

    def send(self, kind: FrameType, sequence: int, message: Message) -> None:
        """Send a message. Raises BrokenPipeError if the host is gone, LinkError if the message is over the limit."""
        payload = pack_message(message)
        try:
            data = encode_frame(Frame(kind, sequence, payload), deflate=self._deflates and len(payload) > 256)
        except FrameError as error:
            raise LinkError(f"the answer is too large: {error.what}", next_step="send fewer rows at a time") from None
        with self._sending:
            self._channel.write(data)

    def finish(self, work: Work) -> None:
        """It is done: the next may come."""
        with self._guard, contextlib.suppress(ValueError):  # a quick one was never handed over
            self._works.remove(work)

    def stop(self, why: str) -> None:
        """End what is under way or waits, and close the channel; from any thread."""
        with self._guard:
            self.gone, works = True, tuple(self._works)
        for work in works:
            work.stop(why)
        self._channel.close()

    def _read(self) -> None:
        try:
            while data := self._channel.read():
                received_ns = time.perf_counter_ns()
                if self._is_master:
                    self.heard_s = time.monotonic()
                self._decoder.feed(data)
                del data
                self._take_frames(received_ns)
        except (OSError, MemoryError, EdgeproofError):
            pass  # the host is gone, or does not listen: there is nobody to tell
        finally:
            self.stop("the host is gone")
            self._desk.leave(self)

    def _take_frames(self, received_ns: int) -> None:
        while not self.gone:
            try:
                frame = self._decoder.next_frame()
            except FrameError as error:
                self._refuse(UNKNOWN_SEQUENCE if error.sequence is None else error.sequence, "frame", error)
                continue
            if frame is None:
                return
            self._take(frame, received_ns)

    def _take(self, frame: Frame, received_ns: int) -> None:
        self.heard_s = time.monotonic()
        if frame.type is FrameType.DATA:
            for work in self._of(frame.sequence):
                if len(frame.payload) <= MAX_DATA_BYTES:
                    work.put_data(frame.payload)
        elif frame.type is FrameType.REQUEST:
            self._request(frame, received_ns)
        elif frame.type is FrameType.CANCEL:
            for work in self._of(frame.sequence):
                work.stop("cancelled by the host")

    def _request(self, frame: Frame, received_ns: int) -> None:
        try:
            work = Work(self, frame.sequence, received_ns, unpack_message(frame.payload))
            self.is_known = True
            if self._desk.admits(self, work):
                self._queue(work)
        except EdgeproofError as error:
            self._refuse(frame.sequence, "request", error)

    def _queue(self, work: Work) -> None:
        """Hand it to the desk; what is quick, and alone, is answered by this thread, which saves the hand-over."""
        with self._guard:
            others, is_quick = tuple(self._works), not self._works and work.request.kind in QUICK
            if len(others) < 2 and not is_quick:
                self._works.append(work)
        if is_quick:
            self._desk.do(self, work)
            return
        if len(others) == 2:
            raise RefusalError("two requests are under way already", next_step="wait for their answers")
        for other in others:
            if other.is_transfer:
                other.stop("another request came before the transfer was complete")
        self._desk.hand(self, work)

    def _of(self, sequence: int) -> tuple[Work, ...]:
        with self._guard:
            return tuple(work for work in self._works if work.sequence == sequence)

    def _refuse(self, sequence: int, kind: str, error: Exception) -> None:
        self.send(FrameType.ERROR, sequence, refusal(kind, error))
