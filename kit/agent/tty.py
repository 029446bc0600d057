"""The agent's serial port: raw, by termios alone, as a board has no library; it outlives an unplugged adapter."""

import contextlib
import errno
import fcntl
import os
import termios
import threading
import time

from kit.errors import LinkError
from kit.wire.port import FilePort

_RETRY_S = 0.2
_PASSING = "/dev/pts/"
_CC, _CFLAG, _ISPEED, _OSPEED = 6, 2, 4, 5
RATES = {int(name[1:]): code for name, code in vars(termios).items() if name[0] == "B" and name[1:].isdecimal()}
"""Baud rates that this system's termios names, and its codes for them (POSIX.1-2017, termios.h, and Linux's own)."""
del RATES[0]  # B0 hangs up


class TtyPort:
    """A port (see kit.wire.port.Port) at `path`: 8 data bits, no parity, one stop bit, no flow control; ours alone.

    When it hangs up (an adapter unplugged, a terminal closed) it is opened again as soon as it is back; until then
    nothing is read or taken. A name in /dev/pts is an exception: it is soon another's, so its hang-up is the end, and
    reading raises LinkError. Closing does not drop DTR. Raises LinkError if it cannot be opened at first.
    """

    def __init__(self, path: str, baud: int) -> None:
        if baud not in RATES:
            rates = ", ".join(str(rate) for rate in sorted(RATES) if rate >= 9600)
            raise LinkError(f"{baud} baud is no rate of this system", where=path, next_step=f"choose one of {rates}")
        self._path, self._baud = path, baud
        self._retry_at_s, self._closed, self._end = 0.0, threading.Event(), "the port is closed"
        self._reading = threading.Lock()
        try:
            self._file: FilePort | None = FilePort(_open(path, RATES[baud]), path)
        except (OSError, termios.error) as error:
            raise _refusal(path, error) from None

    def read(self, timeout_s: float) -> bytes:
        """At least one byte, as soon as there is one; b"" if none came in `timeout_s`. LinkError once closed."""
        deadline_s = time.monotonic() + timeout_s
        with self._reading:
            while self._plugged(deadline_s):
                if (data := self._read(deadline_s - time.monotonic())) is not None:
                    return data
            return b""

    def write(self, data: bytes) -> int:
        """Hand over what the port takes now, without waiting; how many bytes that was. LinkError once closed."""
        self._check_open()
        file = self._file
        try:
            return file.write(data) if file else 0
        except LinkError:
            return 0  # it has hung up: reading finds out, and opens it again

    def close(self) -> None:
        """Give the port back, and end a read that is under way; never raises, may be called twice."""
        self._closed.set()
        if file := self._file:
            file.close()
        with self._reading:
            self._hang_up()

    def _read(self, timeout_s: float) -> bytes | None:
        """What arrives; None where the port has hung up."""
        assert self._file is not None
        try:
            return self._file.read(timeout_s)
        except LinkError:
            self._check_open()
            self._hang_up()
            if self._path.startswith(_PASSING):
                self._end = "the port has hung up"
                self._closed.set()
            return None

    def _plugged(self, deadline_s: float) -> bool:
        """Whether the port is there again before the deadline; it is looked for a few times a second."""
        self._check_open()
        while self._file is None:
            now_s = time.monotonic()
            if now_s >= self._retry_at_s:
                self._retry_at_s = now_s + _RETRY_S
                with contextlib.suppress(OSError, termios.error):
                    self._file = FilePort(_open(self._path, RATES[self._baud]), self._path)
            elif now_s >= deadline_s:
                return False
            else:
                self._closed.wait(min(deadline_s, self._retry_at_s) - now_s)
            self._check_open()
        return True

    def _hang_up(self) -> None:
        """Let go of what is no port any more."""
        file, self._file = self._file, None
        if file:
            file.close()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise LinkError(self._end, where=self._path)


def _open(path: str, speed: int) -> int:
    """A descriptor of the port, locked and raw, with nothing waiting in it."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        termios.tcsetattr(descriptor, termios.TCSANOW, _raw(termios.tcgetattr(descriptor), speed))
        termios.tcflush(descriptor, termios.TCIFLUSH)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _raw(settings: list[int | list[bytes | int]], speed: int) -> list[int | list[bytes | int]]:
    """Settings that pass every byte unchanged, at once (cfmakeraw of termios(3), 8N1, modem lines ignored)."""
    cc = settings[_CC]
    assert isinstance(cc, list)
    cc[termios.VMIN], cc[termios.VTIME] = 1, 0
    return [0, 0, termios.CS8 | termios.CREAD | termios.CLOCAL, 0, speed, speed, cc]


def _refusal(path: str, error: Exception) -> LinkError:
    """Why a port did not open, and what to do about it."""
    number = error.args[0] if error.args else None
    if number == errno.ENOENT:
        return LinkError("there is no such port", where=path, next_step="look at /dev/tty* with the cable plugged in")
    if number in (errno.EACCES, errno.EPERM):
        step = "add the agent's user to the port's group (`ls -l` names it, often dialout)"
        return LinkError("no permission to open the port", where=path, next_step=step)
    if number in (errno.EBUSY, errno.EAGAIN):
        step = "stop the program that has it: another agent, or a console (getty) on this line"
        return LinkError("the port is in use by another program", where=path, next_step=step)
    return LinkError(f"this is no serial port: {os.strerror(number or 0)}", where=path, next_step="name a /dev/tty*")
