"""Requests and answers over one link: one at a time, each with a deadline that grows with its work and its bytes."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kit.device.base import Progress
from kit.device.link import Link
from kit.device.patience import IS_IT_ALIVE, LateError, Patience, least_rate_bytes_per_s
from kit.device.texts import telemetry, text
from kit.errors import DeviceError, LinkError
from kit.records import Telemetry
from kit.spec.text import shown
from kit.spec.types import DeviceSpec
from kit.wire import (
    SLOW_LINK_BYTES_PER_S,
    UNKNOWN_SEQUENCE,
    Decoder,
    Frame,
    FrameType,
    Message,
    Part,
    check_size,
    encode_frame,
    frame_header,
    pack_message,
    unpack_message,
)

KEPT_SAMPLES = 4096
MAX_WORDS = 1000
"""Most characters that are shown of why a device refused, and of what to do about it; an agent of ours says no more."""

_PATIENCES, _SLOWEST_STEP_S = 20, 2.0  # longest request: so many times its patience, and so much for each of its steps
_CANCEL_S, _BYE_S = 0.5, 1.0
_BEATS_A_TIMEOUT = 8  # while a transfer waits: so a device that restarted meanwhile is noticed, with time to go on
_JOINED_BYTES = 32 << 10  # up to here one copy is cheaper than a second call of the system

Source = Callable[[int], Iterable[tuple[bytes | memoryview, bool]]]
"""Given where the device wants to go on: the pieces to send from there, and whether each is to be compressed."""


class RefusedError(DeviceError):
    """The device refused a request; `reason` is its word for why (docs/wire.md), "" if it gave none."""

    def __init__(self, what: str, *, where: str, next_step: str, reason: str) -> None:
        super().__init__(what, where=where, next_step=next_step)
        self.reason = reason


class Conversation:
    """The link, its framing and its one request under way. Threads may share it; one waits for the other.

    After a time-out or an interrupt the request is given up, and what still comes of it ignored; after damage or the
    stream's end every request fails.
    """

    def __init__(self, link: Link, spec: DeviceSpec) -> None:
        self.link, self.spec = link, spec
        self.telemetry: deque[Telemetry] = deque(maxlen=KEPT_SAMPLES)
        self.nominal_bytes_per_s = link.health().nominal_bytes_per_s
        self.deflates = (self.nominal_bytes_per_s or SLOW_LINK_BYTES_PER_S) < SLOW_LINK_BYTES_PER_S
        self.least_bytes_per_s = least_rate_bytes_per_s(link.health())
        self._decoder, self._turn = Decoder(), threading.Lock()
        self._sequence = self._given_up = 0
        self._is_usable, self._is_silent, self._is_cut = True, False, False
        self._has_answered = False
        self._sent_s, self._beat_s = time.monotonic(), float("inf")
        self._quiet_s = self._beat_s  # the longest that nothing is sent in the request under way
        self._ended = threading.Event()

    @property
    def where(self) -> str:
        """The device, for errors."""
        return f"device {self.spec.name}"

    def request(
        self, kind: str, fields: Mapping[str, object] | None = None, parts: list[Part] | None = None, *,
        during: str = "", timeout_s: float | None = None, progress: Progress | None = None, steps: int = 0,
    ) -> Message:  # fmt: skip
        """The reply to one request of so many steps (rows, inferences, sessions).

        Raises DeviceError for a refusal, LinkError for a stream gone wrong or an answer that does not come in time.
        """
        payload = pack_message(Message(kind, fields or {}, parts or []))
        check_size(payload)
        return self._exchange(kind, payload, during or kind, timeout_s, steps, progress, None)

    def stream(self, kind: str, fields: Mapping[str, object], source: Source, progress: Progress) -> Message:
        """A request that the device answers by saying where to go on, whereupon `source` is sent to it."""
        return self._exchange(kind, pack_message(Message(kind, fields)), "deploy", None, 0, progress, source)

    def beat_every(self, lease_s: float) -> None:
        """Keep the lease from now on: something is sent at least every third of it."""
        self._beat_s = lease_s / 3
        threading.Thread(target=self._keep_lease, name=f"lease of {self.spec.name}", daemon=True).start()

    def close(self, *, is_broken: bool = False) -> None:
        """Say bye where the device still listens, then close the link; never raises, may be called twice."""
        self._ended.set()
        if self._is_usable and not self._is_silent and not is_broken:
            with contextlib.suppress(DeviceError):
                self.request("bye", timeout_s=_BYE_S)
        self._is_usable = False
        self.link.close()

    def _exchange(
        self, kind: str, payload: bytes, during: str, timeout_s: float | None, steps: int,
        progress: Progress | None, source: Source | None,
    ) -> Message:  # fmt: skip
        patience_s = (timeout_s or self.spec.timeout_s) + len(payload) / self.least_bytes_per_s
        with self._turn:
            if not self._is_usable:
                what = "the link is closed after an earlier failure"
                raise LinkError(what, where=self.where, next_step="run again")
            self._sequence += 1
            try:
                answer = self._converse(payload, patience_s, steps, progress, source)
                message = unpack_message(answer.payload)
                self._has_answered = True
            except LinkError as error:
                what = f"device {self.spec.name} cannot be reached: {error.what}"
                if self._has_answered:
                    what = f"device {self.spec.name} stopped answering: {error.what} during {during}"
                step = error.next_step or (_NO_AGENT if error.where == "wire" else IS_IT_ALIVE)
                raise _type_of(error)(what, next_step=step) from None
        if answer.type is FrameType.ERROR:
            raise self._refusal(message, during)
        if message.kind != kind:
            raise self.wrong(f"it answered {shown(message.kind)} where {kind} was asked")
        return _Reply(message.kind, message.fields, message.parts, self.where)

    def _converse(
        self, payload: bytes, patience_s: float, steps: int, progress: Progress | None, source: Source | None
    ) -> Frame:
        """The final frame. A frame that was cut off leaves the stream unusable, and so does damage."""
        patience = Patience(patience_s, _PATIENCES * patience_s + _SLOWEST_STEP_S * steps)
        self._is_usable = False
        self._quiet_s = min(self._beat_s, self.spec.timeout_s / _BEATS_A_TIMEOUT if source else self._beat_s)
        try:
            self._send(FrameType.REQUEST, payload, patience.due_s, deflate=self.deflates)
            if source is not None and (early := self._feed(source, patience, progress)) is not None:
                answer = early
            else:
                answer = self._receive(patience, progress)
        except (LateError, KeyboardInterrupt):
            self._give_up()
            raise
        self._is_usable, self._is_silent = True, False
        return answer

    def _feed(self, source: Source, patience: Patience, progress: Progress | None) -> Frame | None:
        """Send what is asked for, listening between the pieces; the final frame if that comes early."""
        frame = self._take(patience)
        if frame is None:
            raise patience.error()
        if frame.type is not FrameType.PROGRESS:
            return frame
        start, total = _progress_of(frame)
        _tell(progress, start, total)
        for piece, deflate in source(start):
            deadline_s = time.monotonic() + self.spec.timeout_s + len(piece) / self.least_bytes_per_s
            self._send(FrameType.DATA, piece, deadline_s, deflate=deflate)
            self._decoder.feed(self._read(0.0))  # once a piece: who never stops talking does not hold the transfer up
            while (frame := self._heard()) is not None:
                if frame.type is not FrameType.PROGRESS:
                    return frame
                _tell(progress, *_progress_of(frame))
        patience.renew()
        return None

    def _receive(self, patience: Patience, progress: Progress | None) -> Frame:
        """The final frame for the request under way."""
        while (frame := self._take(patience)) is not None:
            if frame.type is not FrameType.PROGRESS:
                return frame
            done, total = _progress_of(frame)
            patience.step(done)
            _tell(progress, done, total)
        raise patience.error()

    def _take(self, patience: Patience) -> Frame | None:
        """The next frame of the request under way; None if there is none in time.

        Only the bytes of its final frame, as many as that frame announces, are waited for longer.
        """
        finals = [(kind, self._sequence) for kind in _FINALS]
        while (frame := self._heard(patience)) is None and (data := self._read(patience.due_s)):
            self._decoder.feed(data)
            if self._decoder.awaited() in finals:
                patience.allow(len(data) / self.least_bytes_per_s)
            else:
                patience.drain()
        return frame

    def _heard(self, patience: Patience | None = None) -> Frame | None:
        """The next frame of the request under way among the bytes that came; None if they hold none."""
        while (frame := self._decoder.next_frame()) is not None:
            if frame.type is FrameType.ERROR and frame.sequence == UNKNOWN_SEQUENCE:
                message = unpack_message(frame.payload)
                step = "" if message.absent("reason") or message.absent("next_step") else text(message, "next_step")
                raise LinkError(text(message, "what"), next_step=step or "check the cable or the wrapper")
            if frame.type is FrameType.TELEMETRY:
                self.telemetry.append(telemetry(unpack_message(frame.payload)))
            elif frame.sequence == self._sequence and frame.type in _ANSWERS:
                return frame
            elif not 0 < frame.sequence <= self._given_up:
                raise LinkError(f"a {frame.type.name} frame of request {frame.sequence}, expected {self._sequence}")
            if patience is not None:
                patience.check()
        return None

    def _read(self, due_s: float) -> bytes:
        """What comes before `due_s`; meanwhile the lease is kept, and in a transfer the line asked."""
        while True:
            now_s = time.monotonic()
            beat_due_s = self._sent_s + self._quiet_s
            data = self.link.read(min(max(due_s, now_s), max(beat_due_s, now_s)))
            if data or beat_due_s >= due_s:
                return data
            self._send(FrameType.BEAT, b"", time.monotonic() + self.spec.timeout_s)

    def _send(self, kind: FrameType, payload: bytes | memoryview, deadline_s: float, *, deflate: bool = False) -> None:
        self._is_cut = True
        if deflate or len(payload) <= _JOINED_BYTES:
            self.link.write(encode_frame(Frame(kind, self._sequence, bytes(payload)), deflate=deflate), deadline_s)
        else:
            self.link.write(frame_header(kind, self._sequence, payload), deadline_s)
            self.link.write(payload, deadline_s)
        self._sent_s = time.monotonic()
        self._is_cut = False

    def _give_up(self) -> None:
        """Cancel the request under way and ignore what still comes of it."""
        if self._is_cut:
            return
        with contextlib.suppress(LinkError):
            self._send(FrameType.CANCEL, b"", time.monotonic() + _CANCEL_S)
            self._given_up, self._is_usable, self._is_silent = self._sequence, True, True

    def _keep_lease(self) -> None:
        """Send a beat where nothing else was sent for a while; a request under way does that itself."""
        while not self._ended.wait(self._beat_s / 4):
            if time.monotonic() - self._sent_s < self._beat_s or not self._turn.acquire(blocking=False):
                continue
            try:
                if self._is_usable and not self._ended.is_set():
                    self._send(FrameType.BEAT, b"", time.monotonic() + _CANCEL_S)
            except LinkError:
                self._is_usable = False  # the next request says so
            finally:
                self._turn.release()

    def wrong(self, what: str) -> DeviceError:
        """The error for an answer that cannot be."""
        return _wrong(what, self.where)

    def _refusal(self, message: Message, during: str) -> RefusedError:
        reason = "" if message.absent("reason") else text(message, "reason", 32)
        what = f"refused {during}: {text(message, 'what')[:MAX_WORDS]}"
        step = text(message, "next_step")[:MAX_WORDS]
        return RefusedError(what, where=self.where, next_step=step, reason=reason)


_FINALS = (FrameType.REPLY, FrameType.ERROR)
_ANSWERS = (FrameType.PROGRESS, *_FINALS)
_NO_AGENT = (
    "what answers there is no edgeproof agent, or another release: check its port, URL or command, "
    "and use the same release on host and device"
)


@dataclass(frozen=True, slots=True)
class _Reply(Message):
    """A reply whose getters name the device that sent something else."""

    device: str = ""

    def _wrong(self, name: str, expected: str) -> DeviceError:
        return _wrong(self._found(name, expected), self.device)


def _wrong(what: str, where: str) -> DeviceError:
    return DeviceError(what, where=where, next_step="use the same edgeproof release on host and device")


def _type_of(error: LinkError) -> type[LinkError]:
    """The class in which a failure is told on: being late is kept apart, since the link may be sound."""
    return LateError if isinstance(error, LateError) else LinkError


def _progress_of(frame: Frame) -> tuple[int, int]:
    message = unpack_message(frame.payload)
    total = message.integer("total", 1)
    return message.integer("done", 0, total), total


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)
