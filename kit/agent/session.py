"""One host's conversation: a thread reads; the master's requests go to the desk, all else is settled here."""

import threading
import time
from typing import TYPE_CHECKING

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
        self._waiting: Work | None = None
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

    def begin(self, work: Work) -> None:
        """What waited is under way now."""
        with self._guard:
            self._waiting, self._work = None, work

    def finish(self) -> None:
        """Nothing is under way any more."""
        with self._guard:
            self._work = None

    def stop(self, why: str) -> None:
        """End what is under way or waits, and close the channel; from any thread."""
        with self._guard:
            self.gone, works = True, (self._work, self._waiting)
        for work in works:
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
            work = Work(self, frame.sequence, received_ns, unpack_message(frame.payload))
            if self._desk.admits(self, work):
                self._queue(work)
        except EdgeproofError as error:
            self._refuse(frame.sequence, "request", error)

    def _queue(self, work: Work) -> None:
        """Hand it to the desk; what is quick, and alone, is answered by this thread, which saves the hand-over."""
        under_way = self._work
        if self._waiting is not None:
            raise RefusalError("two requests are under way already", next_step="wait for their answers")
        if under_way is None and work.request.kind in QUICK:
            self._desk.do(self, work)
            return
        with self._guard:
            self._waiting = work
        if under_way is not None and under_way.is_transfer:
            under_way.stop("another request came before the transfer was complete")
        self._desk.hand(self, work)

    def _cancel(self, sequence: int) -> None:
        with self._guard:
            works = (self._work, self._waiting)
        for work in works:
            if work is not None and work.sequence == sequence:
                work.stop("cancelled by the host")

    def _refuse(self, sequence: int, kind: str, error: Exception) -> None:
        self.send(FrameType.ERROR, sequence, refusal(kind, error))
