"""A reliable byte stream on a real port: the engine of reliable.py with a clock and two threads.

One thread reads the port, one keeps the time, so acknowledgements and resends go out while the application is busy.
Both sleep while nothing arrives and nothing is outstanding: a device that measures is not disturbed.
"""

import secrets
import threading
import time

from kit.errors import LinkError
from kit.wire.port import Port
from kit.wire.reliable import Engine, LineCounters, LineSettings, Role, State

_READ_S = 3600.0
_RETRY_NS = 5_000_000
_CLOSE_NS = 2_000_000_000
_ROOM_BYTES = 64 << 10


class ReliableStream:
    """Full duplex, in order, unaltered. Made by `connect` (host) or `listen` (device); owns its port.

    Deadlines are of `time.monotonic`, in s; None waits for as long as it takes. One thread at a time may read, and
    one may write; any may close.
    """

    def __init__(self, port: Port, role: Role, settings: LineSettings, where: str) -> None:
        self._port = port
        self._where = where
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._timer = threading.Condition(self._lock)
        self._timer_due_ns: int | None = None
        self._engine = Engine(role, time.monotonic_ns(), lambda: secrets.randbits(32), settings)
        self._unsent = b""
        self._failure: LinkError | None = None
        self._closed = False
        targets = {"receive": self._receive, "time": self._keep_time}
        self._threads = [
            threading.Thread(target=target, name=f"line {name}", daemon=True) for name, target in targets.items()
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def connect(
        cls, port: Port, *, nominal_bytes_per_s: float | None, deadline_s: float, where: str = "line"
    ) -> "ReliableStream":
        """Open a session with the device at the other end; closes the port and raises LinkError if there is none."""
        stream = cls(port, Role.HOST, LineSettings(nominal_bytes_per_s), where)
        try:
            stream._await_answer(deadline_s)
        except BaseException:
            stream.close()
            raise
        return stream

    @classmethod
    def listen(cls, port: Port, *, nominal_bytes_per_s: float | None, where: str = "line") -> "ReliableStream":
        """The device's end: wait for hosts with `accept`."""
        return cls(port, Role.DEVICE, LineSettings(nominal_bytes_per_s), where)

    @property
    def counters(self) -> LineCounters:
        """What the line has seen; still told after `close`."""
        with self._lock:
            return self._engine.counters

    def accept(self) -> bool:
        """Wait until a host opens a session, and turn to it. False when the port is gone or was closed."""
        with self._lock:
            while not self._engine.accept():
                if self._failure or self._closed:
                    return False
                self._changed.wait()
            return True

    def read(self, deadline_s: float | None) -> bytes:
        """At least one byte, as soon as there is one; b"" at the deadline. Raises LinkError if the session is over."""
        with self._lock:
            while not (data := self._engine.take()):
                self._check()
                if not self._wait(deadline_s):
                    return b""
            self._pump()
            return data

    def write(self, data: bytes | bytearray | memoryview, deadline_s: float | None) -> None:
        """Hand over everything, in order; the last quarter of a second's worth may still be on its way.

        Raises LinkError when the session is over, or if the deadline passes first.
        """
        rest = memoryview(data).cast("B")
        with self._lock:
            while rest:
                self._check()
                rest = rest[self._engine.offer(rest) :]
                self._pump()
                if rest and not self._wait(deadline_s):
                    raise LinkError(
                        f"the line took {len(data) - len(rest)} of {len(data)} bytes in the time given",
                        where=self._where,
                        next_step="allow more time, or use a faster line",
                    )

    def close(self) -> None:
        """Let what was written arrive (for at most 2 s), end the session and close the port; never raises."""
        with self._lock:
            if self._closed:
                return
            deadline_ns = time.monotonic_ns() + _CLOSE_NS
            self._engine.close(time.monotonic_ns(), deadline_ns)
            while self._engine.state is State.OPEN and not self._failure:
                self._pump()
                if not self._wait(deadline_ns / 1e9 + 0.1):
                    break
            self._closed = True
            self._changed.notify_all()
            self._timer.notify()
            self._port.close()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _await_answer(self, deadline_s: float) -> None:
        with self._lock:
            self._pump()
            while self._engine.state is State.OPENING:
                self._check()
                if not self._wait(deadline_s):
                    raise self._nobody()
            self._check()

    def _nobody(self) -> LinkError:
        """Who opens a line and gets no answer wants to know whether anything arrived at all."""
        seen = self._engine.counters
        if seen.received_packets:
            what = f"{seen.received_packets} packets arrived, and none answered the request for a session"
            return LinkError(what, where=self._where, next_step="try again; another host may be using the line")
        if seen.received_bytes:
            what = f"{seen.received_bytes} bytes arrived, and no packet was among them"
            next_step = "check the baud rate, and that the agent (and not a console) uses this line"
            return LinkError(what, where=self._where, next_step=next_step)
        next_step = "check the cable, that the device has power, and that the agent runs on it"
        return LinkError("nobody answers: not one byte arrived", where=self._where, next_step=next_step)

    def _check(self) -> None:
        """Raise if the session is over."""
        if self._closed:
            raise LinkError("the stream was closed", where=self._where, next_step="open the device again")
        if ended := self._engine.ended:
            raise LinkError(ended.what, where=self._where, next_step=ended.next_step)
        if self._failure:
            raise LinkError(self._failure.what, where=self._where, next_step=self._failure.next_step)
        if self._engine.state is State.LISTENING:
            raise LinkError("no host has opened a session", where=self._where, next_step="accept one first")

    def _wait(self, deadline_s: float | None) -> bool:
        """Whether it is worth looking again; False at the deadline."""
        if deadline_s is None:
            return self._changed.wait()
        remaining_s = deadline_s - time.monotonic()
        if remaining_s <= 0:
            return False
        self._changed.wait(remaining_s)
        return True

    def _pump(self) -> None:
        """Send what is due, as far as the port takes it, and set the timer. The lock is held."""
        if self._failure or self._closed:
            return
        try:
            while self._unsent or (data := self._engine.to_send(time.monotonic_ns(), _ROOM_BYTES)):
                data = self._unsent or data
                self._unsent = data[self._port.write(data) :]
                if self._unsent:
                    break
        except (LinkError, OSError) as error:
            self._fail(error)
        self._set_timer()

    def _set_timer(self) -> None:
        due_ns = time.monotonic_ns() + _RETRY_NS if self._unsent else self._engine.due_ns()
        sleeps_until_ns, self._timer_due_ns = self._timer_due_ns, due_ns
        if due_ns is None or sleeps_until_ns is None or due_ns < sleeps_until_ns:
            self._timer.notify()

    def _fail(self, error: LinkError | OSError) -> None:
        if self._failure is None:
            what = error.what if isinstance(error, LinkError) else f"the port failed: {error}"
            next_step = error.next_step if isinstance(error, LinkError) else "plug the device in again"
            self._failure = LinkError(what, where=self._where, next_step=next_step)
            self._changed.notify_all()
            self._timer.notify()

    def _receive(self) -> None:
        """Thread: feed the engine from the port until that is gone."""
        while True:
            try:
                data = self._port.read(_READ_S)
            except (LinkError, OSError) as error:
                with self._lock:
                    self._fail(error)
                    return
            with self._lock:
                if self._closed:
                    return
                if data and self._engine.feed(data, time.monotonic_ns()):
                    self._pump()
                    self._changed.notify_all()

    def _keep_time(self) -> None:
        """Thread: send what falls due while nothing arrives."""
        with self._lock:
            while not (self._closed or self._failure):
                due_ns = self._timer_due_ns
                if due_ns is None:
                    self._timer.wait()
                elif (remaining_ns := due_ns - time.monotonic_ns()) > 0:
                    self._timer.wait(remaining_ns / 1e9)
                else:
                    self._pump()
                    self._changed.notify_all()
