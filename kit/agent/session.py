"""One host's conversation: a thread reads; the master's requests go to the desk, all else is settled here."""

import threading
import time
from typing import TYPE_CHECKING

from kit.agent.channel import Channel
from kit.agent.server import refusal
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

if TYPE_CHECKING:
    from kit.agent.desk import Desk

_STRANGER_BYTES = 64 << 10  # most that a frame of a host without the lease may carry


class Session:
    """A channel and what is under way over it. `heard_s` is when the last byte came (`time.monotonic`).

    At most one request is under way and one waits, so that what a host can make the agent hold is bounded.
    """

    def __init__(self, desk: "Desk", channel: Channel) -> None:
        self.name, self.heard_s, self.gone = channel.name, time.monotonic(), False
        self._desk, self._channel, self._decoder = desk, channel, Decoder(_STRANGER_BYTES)
        self._sending, self._guard = threading.Lock(), threading.Lock()
        self._work: Work | None = None
        self._waiting: int | None = None
        self._given_up: int | None = None
        self._deflates = False

    def start(self) -> None:
        """Read in a thread of its own until the host is gone."""
        threading.Thread(target=self._read, name=f"read {self.name}", daemon=True).start()

    def promote(self, *, deflates: bool) -> None:
        """It holds the lease: frames up to the limit are taken, and answers compressed if its link is slow."""
        self._decoder.limit_bytes, self._deflates = MAX_PAYLOAD_BYTES, deflates

    def send(self, kind: FrameType, sequence: int, message: Message) -> None:
        """Send a message. Raises BrokenPipeError if the host is gone, LinkError if the message is over the limit."""
        payload = pack_message(message)
        try:
            data = encode_frame(Frame(kind, sequence, payload), deflate=self._deflates and len(payload) > 256)
        except FrameError as error:
            raise LinkError(f"the answer is too large: {error.what}", next_step="send fewer rows at a time") from None
        with self._sending:
            self._channel.write(data)

    def begin(self, sequence: int, received_ns: int, payload: bytes) -> Work:
        """The waiting request is under way now. Raises LinkError for what is no message."""
        work = Work(self, sequence, received_ns, Message("request"))
        with self._guard:
            self._waiting, self._work = None, work
            if self._given_up == sequence:
                work.stop("cancelled by the host")
            if self.gone:
                work.stop("the host is gone")
        work.request = unpack_message(payload)
        return work

    def finish(self) -> None:
        """Nothing is under way any more."""
        with self._guard:
            self._work = None

    def stop(self, why: str) -> None:
        """End what is under way or waits, and close the channel; from any thread."""
        with self._guard:
            self.gone, work = True, self._work
        if work is not None:
            work.stop(why)
        self._channel.close()

    def _read(self) -> None:
        try:
            while data := self._channel.read():
                received_ns = time.perf_counter_ns()
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
        if frame.type is FrameType.DATA:
            work = self._work
            if work is not None and work.sequence == frame.sequence and len(frame.payload) <= MAX_DATA_BYTES:
                work.put_data(frame.payload)
        elif frame.type is FrameType.REQUEST:
            self._request(frame, received_ns)
        elif frame.type is FrameType.CANCEL:
            self._cancel(frame.sequence)

    def _request(self, frame: Frame, received_ns: int) -> None:
        try:
            if not self._desk.admits(self, frame):
                return
        except EdgeproofError as error:
            self._refuse(frame.sequence, "request", error)
            return
        with self._guard:
            work, is_free = self._work, self._waiting is None
            if is_free:
                self._waiting = frame.sequence
        if not is_free:
            what = RefusalError("two requests are under way already", next_step="wait for their answers")
            self._refuse(frame.sequence, "request", what)
            return
        if work is not None and work.is_transfer:
            work.stop("another request came before the transfer was complete")
        self._desk.hand(self, frame, received_ns)

    def _cancel(self, sequence: int) -> None:
        with self._guard:
            work = self._work
            if self._waiting == sequence:
                self._given_up = sequence
        if work is not None and work.sequence == sequence:
            work.stop("cancelled by the host")

    def _refuse(self, sequence: int, kind: str, error: Exception) -> None:
        self.send(FrameType.ERROR, sequence, refusal(kind, error))

    def answer(self, work: Work, reply: Message) -> None:
        """Send a request's reply; one over the limit becomes an error. Raises BrokenPipeError."""
        try:
            work.send(FrameType.REPLY, reply)
        except LinkError as error:
            work.send(FrameType.ERROR, refusal(work.request.kind, error))
