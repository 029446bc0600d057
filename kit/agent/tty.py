"""The agent's serial port: raw, by termios alone, as a board has no library; it outlives an unplugged adapter."""

import contextlib
import errno
import fcntl
import os
import select
import termios
import time

from kit.errors import LinkError

_READ_BYTES = 1 << 14
_RETRY_S = 0.2
_CC, _CFLAG, _ISPEED, _OSPEED = 6, 2, 4, 5
RATES = {int(name[1:]): code for name, code in vars(termios).items() if name[0] == "B" and name[1:].isdecimal()}
"""Baud rates that this system's termios names, and its codes for them (POSIX.1-2017, termios.h, and Linux's own)."""
del RATES[0]  # B0 hangs up


class TtyPort:
    """A port at `path`: 8 data bits, no parity, one stop bit, no flow control; no other program may have it.

    When it hangs up (an adapter unplugged, a terminal closed) it is opened again as soon as it is back; until then
    nothing is read or taken. Closing does not drop DTR. Raises LinkError if it cannot be opened at first.
    """

    def __init__(self, path: str, baud: int) -> None:
        if baud not in RATES:
            rates = ", ".join(str(rate) for rate in sorted(RATES) if rate >= 9600)
            raise LinkError(f"{baud} baud is no rate of this system", where=path, next_step=f"choose one of {rates}")
        self._path, self._baud = path, baud
        self._retry_at_s, self._closed = 0.0, False
        try:
            self._descriptor: int | None = _open(path, RATES[baud])
        except (OSError, termios.error) as error:
            raise _refusal(path, error) from None

    def read(self, timeout_s: float) -> bytes:
        """At least one byte, as soon as there is one; b"" if none came in `timeout_s`. LinkError once closed."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            if self._descriptor is not None and (data := self._read(deadline_s)) is not None:
                return data
            if not self._plugged(deadline_s):
                return b""

    def write(self, data: bytes | memoryview) -> int:
        """Hand over what the port takes now, without waiting; how many bytes that was. LinkError once closed."""
        self._check_open()
        if self._descriptor is None:
            return 0
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError:
            self._hang_up()
            return 0

    def wait_writable(self, timeout_s: float) -> None:
        """Return when the port takes more, or after `timeout_s`."""
        if self._descriptor is None:
            time.sleep(max(0.0, timeout_s))
        else:
            _ready(self._descriptor, select.POLLOUT, timeout_s)

    def close(self) -> None:
        """Give the port back; never raises, may be called twice."""
        self._closed = True
        self._hang_up()

    def _read(self, deadline_s: float) -> bytes | None:
        """What arrives until then; None where the port has hung up."""
        assert self._descriptor is not None
        try:
            if not _ready(self._descriptor, select.POLLIN, deadline_s - time.monotonic()):
                return b""
            if data := os.read(self._descriptor, _READ_BYTES):
                return data
        except BlockingIOError:
            return b""
        except OSError:
            pass  # EIO: it has hung up
        self._hang_up()
        return None

    def _plugged(self, deadline_s: float) -> bool:
        """Whether the port is there again before the deadline; it is looked for a few times a second."""
        self._check_open()
        while self._descriptor is None:
            now_s = time.monotonic()
            if now_s >= self._retry_at_s:
                self._retry_at_s = now_s + _RETRY_S
                with contextlib.suppress(OSError, termios.error):
                    self._descriptor = _open(self._path, RATES[self._baud])
            elif now_s >= deadline_s:
                return False
            else:
                time.sleep(min(deadline_s, self._retry_at_s) - now_s)
        return True

    def _hang_up(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _check_open(self) -> None:
        if self._closed:
            raise LinkError("the port is closed", where=self._path)


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


def _ready(descriptor: int, event: int, timeout_s: float) -> bool:
    """Whether it became ready, or ended, in time."""
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(max(0.0, timeout_s * 1e3)))
