"""The driver for our own agent, over any link: one request at a time, each with a deadline that grows with its work."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from kit.device.base import BusyWindow, LatencySamples, MemorySamples, Progress
from kit.device.link import Link
from kit.device.patience import IS_IT_ALIVE, Patience
from kit.device.texts import device_record, text
from kit.digest import digest_bytes
from kit.errors import DeviceError, LinkError
from kit.records import Conditions, DeviceRecord, Float32Array, Int64Array
from kit.spec.types import DeviceSpec
from kit.wire import (
    PROTOCOLS,
    UNKNOWN_SEQUENCE,
    Decoder,
    Frame,
    FrameType,
    Message,
    Part,
    encode_frame,
    pack_message,
    unpack_message,
)

CHUNK_BYTES = 1 << 20
ROWS_BYTES = 4 << 20
MAX_TIMED_ROWS = 1024
_SLOWEST_LINK_BYTES_PER_S = 1e6
_CLOCK_PINGS = 16
_PATIENCES, _SLOWEST_STEP_S = 20, 2.0  # longest request: so many times its patience, and so much for each of its steps


class AgentDevice:
    """A Device (see kit.device.base) whose agent answers at the other end of the link that `connect` opens."""

    def __init__(self, connect: Callable[[], Link], spec: DeviceSpec) -> None:
        self._link, self._spec, self._decoder = connect(), spec, Decoder()
        self._sequence = 0
        self._in_step = True
        try:
            hello = self._request(
                "hello", {"protocol": PROTOCOLS[-1], "threads": spec.threads}, timeout_s=spec.timeout_s
            )
            self._process_id = hello.integer("process_id", 1)
            self._record = device_record(hello, spec)
        except BaseException:
            self.close()
            raise

    def identify(self) -> DeviceRecord:
        """Who the device is; a processor that is found to be emulated is named so, declared or not."""
        return self._record

    def conditions(self) -> Conditions:
        """Its state now."""
        reply = self._request("conditions")

        def number(name: str) -> float | None:
            return None if reply.absent(name) else reply.number(name, -1e3)

        return Conditions(
            utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
            load_1min=number("load_1min"),
            frequency_hz=number("frequency_hz"),
            governor=None if reply.absent("governor") else text(reply, "governor", 64),
            temperature_celsius=number("temperature_celsius"),
            available_memory_bytes=None if reply.absent(_FREE) else reply.integer(_FREE),
            battery_share=number("battery_share"),
        )

    def deploy(self, model: bytes, progress: Progress | None = None) -> str:
        """Send what the device lacks of `model`, in pieces; it verifies the digest, which is returned."""
        if not model:
            raise DeviceError("an empty model cannot be deployed", where=self._where())
        digest = digest_bytes(model)
        state = self._request("has", {"digest": digest})
        complete, offset = state.flag("complete"), state.integer("received_bytes", 0, len(model))
        while not complete:
            chunk = model[offset : offset + CHUNK_BYTES]
            fields = {"digest": digest, "offset": offset, "size_bytes": len(model)}
            complete = self._request("put", fields, [chunk], during="deploy").flag("complete")
            offset += len(chunk)
            if offset >= len(model) and not complete:
                raise self._wrong("the device took the whole model and says it is incomplete")
            _tell(progress, offset, len(model))
        _tell(progress, len(model), len(model))
        return digest

    def predict(
        self,
        digest: str,
        inputs: NDArray[np.generic],
        *,
        output: str | None,
        exact: bool,
        progress: Progress | None = None,
    ) -> Float32Array:
        """Scores float32 [rows, classes], each row inferred by itself, whatever the size of a message."""
        rows, scores = len(inputs), []
        step = self._rows_a_message(inputs)
        for start in range(0, rows, step):
            batch = inputs[start : start + step]
            fields = {"digest": digest, "output": output, "exact": exact}
            reply = self._request(
                "predict", fields, [batch], progress=_shifted(progress, start, rows), steps=len(batch)
            )
            scores.append(self._scores(reply, len(batch)))
            _tell(progress, min(start + step, rows), rows)
        if len({each.shape[1] for each in scores}) != 1:
            raise self._wrong(f"no scores, or a changing number of classes, for {rows} rows")
        return np.concatenate(scores)

    def time_inferences(
        self, digest: str, inputs: NDArray[np.generic], *, count: int, min_s: float, progress: Progress | None = None
    ) -> LatencySamples:
        """Time at least `count` inferences and `min_s`; at most 1024 rows, evenly spread, are cycled through."""
        fields = {"digest": digest, "count": count, "min_s": min_s}
        reply = self._request("time", fields, [self._few_rows(inputs)], progress=progress, steps=count + int(min_s))
        samples = self._int64(reply, 0)
        if len(samples) < count:
            raise self._wrong(f"the device timed {len(samples)} inferences, {count} were asked for")
        return LatencySamples(
            samples_ns=samples,
            clock=text(reply, "clock", 200),
            clock_resolution_ns=reply.integer("clock_resolution_ns", 1),
            load_ns=reply.integer("load_ns"),
            first_run_ns=reply.integer("first_run_ns"),
            cpu_ns=reply.integer("cpu_ns"),
        )

    def measure_memory(self, digest: str, inputs: NDArray[np.generic], *, sessions: int) -> MemorySamples | None:
        """Peak and steady memory of fresh sessions; None where the agent has no method."""
        fields = {"digest": digest, "sessions": sessions}
        reply = self._request("memory", fields, [np.ascontiguousarray(inputs[:1])], steps=sessions)
        if reply.absent("method"):
            return None
        peak_bytes, steady_bytes = self._int64(reply, 0), self._int64(reply, 1)
        if not len(peak_bytes) == len(steady_bytes) == sessions:
            raise self._wrong(f"the device measured {len(peak_bytes)} sessions, {sessions} were asked for")
        return MemorySamples(peak_bytes, steady_bytes, reply.integer("baseline_bytes"), text(reply, "method"))

    def run_busy(self, digest: str, inputs: NDArray[np.generic], *, duration_s: float) -> BusyWindow:
        """Run back to back; 0 s only loads the model."""
        fields = {"digest": digest, "duration_s": duration_s}
        timeout_s = self._spec.timeout_s + duration_s
        reply = self._request("busy", fields, [self._few_rows(inputs)], timeout_s=timeout_s)
        start_ns = reply.integer("start_ns")
        end_ns = reply.integer("end_ns", start_ns)
        return BusyWindow(start_ns, end_ns, reply.integer("inferences"), reply.integer("cpu_ns"))

    def clock_offset_ns(self) -> tuple[int, int]:
        """Offset from the fastest of 16 round trips, its error at most half of that trip (Cristian 1989)."""
        best_trip_ns, offset_ns = 1 << 62, 0
        for _ in range(_CLOCK_PINGS):
            sent_ns = time.monotonic_ns()
            device_ns = self._request("clock").integer("clock_ns")
            trip_ns = time.monotonic_ns() - sent_ns
            if trip_ns < best_trip_ns:
                best_trip_ns, offset_ns = trip_ns, device_ns - (sent_ns + trip_ns // 2)
        return offset_ns, best_trip_ns // 2 + 1

    def cpu_time_ns(self) -> int:
        """CPU time of the agent's process."""
        return self._request("clock").integer("cpu_ns")

    def process_id(self) -> int | None:
        """The process that the agent says it is, if it is the one that the link started or of its group."""
        started = self._link.process_id()
        with contextlib.suppress(OSError):
            if started is not None and os.getpgid(self._process_id) == started:
                return self._process_id
        return None

    def close(self) -> None:
        """Say bye where the agent still listens, then close the link, which ends the agent."""
        if self._in_step:
            with contextlib.suppress(DeviceError):
                self._request("bye", timeout_s=1.0)
        self._in_step = False
        self._link.close()

    def _request(
        self, kind: str, fields: Mapping[str, object] | None = None, parts: list[Part] | None = None, *,
        during: str = "", timeout_s: float | None = None, progress: Progress | None = None, steps: int = 0,
    ) -> Message:  # fmt: skip
        """The reply to one request of so many steps (rows, inferences, sessions).

        Raises DeviceError for a refusal, LinkError for a stream gone wrong.
        """
        during = during or kind
        if not self._in_step:
            raise LinkError("the link is closed after an earlier failure", where=self._where(), next_step="run again")
        payload = pack_message(Message(kind, fields or {}, parts or []))
        self._sequence += 1
        frame = encode_frame(Frame(FrameType.REQUEST, self._sequence, payload))
        patience_s = (timeout_s or self._spec.timeout_s) + len(payload) / _SLOWEST_LINK_BYTES_PER_S
        self._in_step = False
        try:
            self._link.write(frame, time.monotonic() + patience_s)
            answer = self._receive(Patience(patience_s, _PATIENCES * patience_s + _SLOWEST_STEP_S * steps), progress)
        except LinkError as error:
            raise self._failure(error, during) from None
        self._in_step = True
        message = self._unpacked(answer, during)
        if answer.type is FrameType.ERROR:
            raise DeviceError(
                f"refused {during}: {text(message, 'what')}",
                where=self._where(),
                next_step=text(message, "next_step"),
            )
        return message

    def _receive(self, patience: Patience, progress: Progress | None) -> Frame:
        """The final frame for the request under way."""
        while True:
            frame = self._decoder.next_frame()
            if frame is None:
                data = self._link.read(patience.due_s)
                if not data:
                    raise patience.error()
                self._decoder.feed(data)
            elif frame.type is FrameType.ERROR and frame.sequence == UNKNOWN_SEQUENCE:
                raise LinkError(text(unpack_message(frame.payload), "what"), next_step="check the cable or the wrapper")
            elif frame.sequence == self._sequence and frame.type is FrameType.PROGRESS:
                message = unpack_message(frame.payload)
                total = message.integer("total", 1)
                done = message.integer("done", 0, total)
                patience.step(done)
                _tell(progress, done, total)
            elif frame.sequence == self._sequence and frame.type is not FrameType.REQUEST:
                return frame
            else:
                raise LinkError(f"a {frame.type.name} frame of request {frame.sequence}, expected {self._sequence}")

    def _unpacked(self, frame: Frame, during: str) -> Message:
        try:
            return unpack_message(frame.payload)
        except LinkError as error:
            raise self._failure(error, during) from None

    def _failure(self, error: LinkError, during: str) -> LinkError:
        """The same failure, naming device and request."""
        return LinkError(
            f"device {self._spec.name} stopped answering: {error.what} during {during}",
            next_step=error.next_step or IS_IT_ALIVE,
        )

    def _where(self) -> str:
        return f"device {self._spec.name}"

    def _wrong(self, what: str) -> DeviceError:
        return DeviceError(what, where=self._where(), next_step="use the same edgeproof release on host and device")

    def _scores(self, reply: Message, rows: int) -> Float32Array:
        scores = reply.tensor()
        if scores.dtype != np.float32 or scores.ndim != 2 or len(scores) != rows or not scores.shape[1]:
            raise self._wrong(f"scores are {scores.dtype} {scores.shape}, not float32 [{rows}, classes]")
        return scores.astype(np.float32)

    def _int64(self, reply: Message, index: int) -> Int64Array:
        values = reply.tensor(index)
        if values.dtype != np.int64 or values.ndim != 1 or values.astype(np.int64).min(initial=0) < 0:
            raise self._wrong(f"part {index} is {values.dtype} {values.shape}, not int64 [n] from 0")
        return values.astype(np.int64)

    def _rows_a_message(self, inputs: NDArray[np.generic]) -> int:
        if inputs.ndim < 1 or not len(inputs):
            raise DeviceError("there are no rows to send", where=self._where(), next_step="check the dataset")
        return max(1, ROWS_BYTES // max(1, inputs[:1].nbytes))

    def _few_rows(self, inputs: NDArray[np.generic]) -> NDArray[np.generic]:
        """As many rows as one message may carry, evenly spread over all."""
        few = min(len(inputs), MAX_TIMED_ROWS, self._rows_a_message(inputs))
        return np.ascontiguousarray(inputs[np.linspace(0, len(inputs) - 1, few).astype(np.intp)])


_FREE = "available_memory_bytes"


def _tell(progress: Progress | None, done: int, total: int) -> None:
    if progress is not None:
        progress(done, total)


def _shifted(progress: Progress | None, start: int, total: int) -> Progress:
    """Progress within one message as progress of the whole."""
    return lambda done, _: _tell(progress, start + done, total)
