"""A process on this machine and the stream to it: its own process group, its last words, its end."""

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, cast

from kit.device.limits import Limits
from kit.device.link import LinkHealth
from kit.errors import LinkError

Explain = Callable[[int | None, str], tuple[str, str]]
"""Given the exit status (None: it still runs; -n: signal n) and the last that it said: what happened, what to do."""

_READ_BYTES = 1 << 18
_PIPE_BYTES = 1 << 20  # what an unprivileged process may ask for: /proc/sys/fs/pipe-max-size
_TAIL_BYTES = 4096
_PATIENCE_S = 1.0


class AgentProcess:
    """A command in a process group of its own, in a neutral folder, within `limits`, which it then owns.

    `environment` is all that it gets; None hands on ours. Without `piped` it has no input, and its output is kept
    with its errors. Raises LinkError if it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        explain: Explain | None = None,
        piped: bool = False,
    ) -> None:
        self._limits, self._explain, self._ended = limits, explain or _in_plain_words, False
        try:
            self._process = subprocess.Popen(
                limits.around(command) if limits else list(command),
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE if piped else subprocess.STDOUT,
                bufsize=0, cwd="/", env=environment, start_new_session=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            if limits:
                limits.close()
            raise LinkError(
                f"cannot start {command[0]!r}: {getattr(error, 'strerror', None) or error}",
                where=f"device {name}",
                next_step="install that command, or correct `wrapper` or `command` in the device file",
            ) from None
        self.stdin, self.stdout = self._process.stdin, self._process.stdout if piped else None
        self._tail = _Tail(cast(IO[bytes], self._process.stderr if piped else self._process.stdout))

    @property
    def process_id(self) -> int:
        """Its process, which leads its group."""
        return self._process.pid

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def limits(self) -> tuple[str, ...]:
        """See Link."""
        return self._limits.words if self._limits else ()

    def death(self) -> LinkError:
        """Why its stream ended, in the words of the kernel and of the process; waits a moment for its end."""
        self._wait(_PATIENCE_S)
        self._tail.join()
        if self._limits and self._limits.out_of_memory():
            return LinkError(
                f"out of memory: over its {self._limits.memory_text}",
                next_step="choose a smaller model or raise memory in [emulate]",
            )
        what, next_step = self._explain(self._process.returncode, self._tail.text())
        return LinkError(what, next_step=next_step)

    def close(self) -> None:
        """Let it end by itself, then ask its group to terminate, then kill the group; may be called twice."""
        if self._ended:
            return
        self._close(self.stdin)
        self._wait(0.5)
        for signal_number, patience_s in ((signal.SIGTERM, 0.5), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal_number)
            self._wait(patience_s)
        self._tail.join()
        self._close(self.stdout)
        if self._limits:
            self._limits.close()
        self._ended = True

    def _wait(self, patience_s: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)

    @staticmethod
    def _close(stream: IO[bytes] | None) -> None:
        with contextlib.suppress(OSError):
            if stream:
                stream.close()


class ProcessLink:
    """A Link to a process behind its standard input and output; see AgentProcess for what it takes and raises."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str,
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        explain: Explain | None = None,
    ) -> None:
        self._process = AgentProcess(
            command, name=name, environment=environment, limits=limits, explain=explain, piped=True
        )
        self._in, self._out = (cast(IO[bytes], each).fileno() for each in (self._process.stdin, self._process.stdout))
        for fd in (self._in, self._out):
            os.set_blocking(fd, False)
            with contextlib.suppress(OSError, AttributeError):  # another system, or its limit is lower
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._open, self._users, self._changed = True, 0, threading.Condition()
        self._closing, self._wake = os.pipe()
        self._readable = self._poll(self._out, select.POLLIN)
        self._buffer = memoryview(bytearray(_READ_BYTES))  # kept: fresh memory costs more than a copy out of it
        self._sent_bytes = self._received_bytes = 0

    def read(self, deadline_s: float) -> bytes:
        """See Link."""
        self._enter()
        try:
            if not self._wait(self._readable, deadline_s):
                return b""
            if count := os.readv(self._out, [self._buffer]):
                self._received_bytes += count
                return bytes(self._buffer[:count])
            raise self._process.death()
        finally:
            self._leave()

    def write(self, data: bytes | memoryview, deadline_s: float) -> None:
        """See Link."""
        view = memoryview(data).cast("B")
        self._enter()
        try:
            while view:
                try:
                    taken = os.write(self._in, view)
                except BlockingIOError:
                    if not self._wait(self._poll(self._in, select.POLLOUT), deadline_s):
                        raise LinkError("agent does not take what is sent to it") from None
                    continue
                except BrokenPipeError:
                    raise self._process.death() from None
                self._sent_bytes += taken
                view = view[taken:]
        finally:
            self._leave()

    def health(self) -> LinkHealth:
        """See Link."""
        return LinkHealth(self._sent_bytes, self._received_bytes)

    def limits(self) -> tuple[str, ...]:
        """See Link."""
        return self._process.limits()

    def process_id(self) -> int | None:
        """See Link."""
        return self._process.process_id

    def close(self) -> None:
        """Wake who waits, close the streams, and end the process and its group."""
        with self._changed:
            if self._open:
                self._open = False
                os.close(self._wake)
                self._changed.wait_for(lambda: not self._users)  # descriptors may be given to others once closed
                os.close(self._closing)
        self._process.close()

    def _enter(self) -> None:
        """The descriptors are in use, and stay open until `_leave`. Raises LinkError once the link is closed."""
        with self._changed:
            self._check_open()
            self._users += 1

    def _leave(self) -> None:
        with self._changed:
            self._users -= 1
            if not self._open:
                self._changed.notify_all()

    def _poll(self, fd: int, event: int) -> select.poll:
        """What waits for a descriptor to become ready, to end, or to be closed here."""
        poll = select.poll()
        poll.register(fd, event)
        poll.register(self._closing, select.POLLIN)
        return poll

    def _wait(self, poll: select.poll, deadline_s: float) -> bool:
        """Whether it became ready (or ended) before the deadline. Raises LinkError once the link is closed."""
        is_ready = bool(poll.poll(max(0.0, (deadline_s - time.monotonic()) * 1e3)))
        self._check_open()
        return is_ready

    def _check_open(self) -> None:
        if not self._open:
            raise LinkError("the link is closed", next_step="open the device again")


class _Tail:
    """Reads a stream to its end in a thread and keeps the last few KiB, so that a chatty agent never blocks."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._kept = bytearray()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError), stream:
            while data := stream.read(_TAIL_BYTES):
                self._kept += data
                del self._kept[:-_TAIL_BYTES]

    def join(self) -> None:
        """Wait, for a moment, until everything is read."""
        self._thread.join(_PATIENCE_S)

    def text(self) -> str:
        """What was kept."""
        return self._kept.decode(errors="replace")


def last_line(said: str) -> str:
    """The last line that is not empty, printable and short; with the one before where it is an agent's fix for that."""
    lines = ["", *(line.strip()[-200:] for line in said.splitlines() if line.strip())]
    words = "; ".join(lines[-2:]) if lines[-1].startswith("fix: ") and lines[-2] else lines[-1]
    return "".join(c for c in words if c.isprintable())


def _in_plain_words(status: int | None, said: str) -> tuple[str, str]:
    how = "closed its output" if status is None else "ended" if status == 0 else f"exited with status {status}"
    if status is not None and status < 0:
        how = f"exited with signal {-status}"
    words = last_line(said)
    return f"agent {how}", f"its last words were: {words}" if words else "check memory and load, then run again"
