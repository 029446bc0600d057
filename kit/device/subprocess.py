"""The agent as a process on this machine, behind its standard input and output: the default link (``subprocess:``)."""

import contextlib
import os
import select
import signal
import site
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, cast

import kit
from kit.device.link import LinkHealth
from kit.errors import LinkError
from kit.spec.types import DeviceSpec

_READ_BYTES = 1 << 18
_TAIL_BYTES = 4096
_PATIENCE_S = 1.0
_INHERITED = ("PATH", "TMPDIR", "SYSTEMROOT")


class SubprocessLink:
    """Starts ``[*wrapper, python, -m kit.agent --stdio]`` in a process group of its own, in a neutral folder.

    Raises LinkError if the command cannot be started.
    """

    def __init__(self, spec: DeviceSpec) -> None:
        command = [*spec.wrapper, sys.executable, "-m", "kit.agent", "--stdio"]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                cwd="/", env=_environment(), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise LinkError(
                f"cannot start {command[0]!r}: {error.strerror}",
                where=f"device {spec.name}",
                next_step="install that command, or correct `wrapper` in the device file",
            ) from None
        self._stdin, self._stdout = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)
        self._in, self._out = self._stdin.fileno(), self._stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._open, self._ended = True, False
        self._sent_bytes = self._received_bytes = 0
        self._tail = _Tail(cast(IO[bytes], self._process.stderr))

    def read(self, deadline_s: float) -> bytes:
        """See Link."""
        self._check_open()
        if not _wait(self._out, select.POLLIN, deadline_s):
            return b""
        if data := os.read(self._out, _READ_BYTES):
            self._received_bytes += len(data)
            return data
        raise self._death()

    def write(self, data: bytes | memoryview, deadline_s: float) -> None:
        """See Link."""
        self._check_open()
        self._sent_bytes += len(data)
        view = memoryview(data)
        while view:
            if not _wait(self._in, select.POLLOUT, deadline_s):
                raise LinkError("agent does not take what is sent to it")
            try:
                view = view[os.write(self._in, view) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._death() from None

    def health(self) -> LinkHealth:
        """See Link."""
        return LinkHealth(self._sent_bytes, self._received_bytes)

    def limits(self) -> tuple[str, ...]:
        """See Link."""
        return ()

    def process_id(self) -> int | None:
        """See Link."""
        return self._process.pid

    def close(self) -> None:
        """Close the streams, then let the agent end, then ask its group to terminate, then kill the group."""
        if self._ended:
            return
        self._open = False  # its descriptors may be given to others from here on
        with contextlib.suppress(OSError):
            self._stdin.close()
        self._end(0.5)
        for signal_number, patience_s in ((signal.SIGTERM, 0.5), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal_number)
            self._end(patience_s)
        self._tail.join()
        with contextlib.suppress(OSError):
            self._stdout.close()
        self._ended = True

    def _check_open(self) -> None:
        if not self._open:
            raise LinkError("the link is closed", next_step="open the device again")

    def _end(self, patience_s: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)

    def _death(self) -> LinkError:
        """Why the stream ended, in the words of the kernel and of the agent."""
        self._end(_PATIENCE_S)
        status = self._process.returncode
        how = "closed its output" if status is None else "ended" if status == 0 else f"exited with status {status}"
        if status is not None and status < 0:
            how = f"exited with signal {-status}"
        self._tail.join()
        said = self._tail.last_line()
        return LinkError(
            f"agent {how}",
            next_step=f"its last words were: {said}" if said else "check memory and load, then run again",
        )


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

    def last_line(self) -> str:
        """The last line that is not empty, printable and short."""
        lines = [line for line in self._kept.decode(errors="replace").splitlines() if line.strip()]
        return "".join(c for c in (lines[-1] if lines else "").strip()[-200:] if c.isprintable())


def _wait(fd: int, event: int, deadline_s: float) -> bool:
    """Whether `fd` became ready (or ended) before the deadline."""
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(max(0.0, (deadline_s - time.monotonic()) * 1e3)))


def _environment() -> dict[str, str]:
    """No more than the agent needs; a checkout is importable by its path, an installed package needs none."""
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment |= {"LANG": "C.UTF-8", "PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1", "ORT_DISABLE_TELEMETRY": "1"}
    root = Path(kit.__file__).resolve().parent.parent
    if str(root) not in {str(Path(folder).resolve()) for folder in site.getsitepackages()}:
        environment["PYTHONPATH"] = str(root)
    return environment
