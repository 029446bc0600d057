"""Serial ports of every kind that pyserial opens by URL: as they are (`open_port`), or as a Link (`SerialLink`)."""

import contextlib
import errno
import os
import re
import select
import termios
import time
from urllib.parse import urlsplit

import serial
from serial.tools import list_ports

from kit.errors import LinkError
from kit.spec.types import DeviceSpec

_READ_BYTES = 1 << 14
_POLL_S, _TICK_S = 0.05, 0.001
_WITH_DESCRIPTOR = ("", "hwgrep", "socket")
_UNPLUGGED = "plug it in again, check cable and power, then run again"


class SerialPort:
    """An open port: bytes as the line gives them, lost and altered ones included. Every failure is a LinkError.

    It is opened raw, 8 data bits, no parity, one stop bit, no flow control, and locked against other programs where
    the system can. DTR and RTS stay as the system sets them when a port is opened, both asserted, and closing leaves
    them so (HUPCL is off): boards that reset on an edge of these lines are not reset by a second opening.
    """

    def __init__(self, url: str, baud: int, where: str) -> None:
        self.url, self.baud, self._where = url, baud, where
        self._port: serial.Serial | None = _opened(url, baud, where)
        self._descriptor: int | None = None
        if urlsplit(url).scheme in _WITH_DESCRIPTOR:
            self._descriptor = self._port.fileno()
            _settle(self._port)

    def read(self, timeout_s: float) -> bytes:
        """At least one byte, as soon as there is one; b"" if none came in `timeout_s`. Raises LinkError."""
        try:
            if self._descriptor is None:
                return self._read_buffered(time.monotonic() + timeout_s)
            if not _ready(self._descriptor, select.POLLIN, timeout_s):
                return b""
            if data := os.read(self._descriptor, _READ_BYTES):
                return data
        except BlockingIOError:
            return b""
        except (OSError, TypeError) as error:  # pyserial lets a TypeError out of a port that was closed meanwhile
            raise self._gone(error) from None
        raise self._gone(None)

    def write(self, data: bytes | memoryview) -> int:
        """Hand over what the port takes now, without waiting; how many bytes that was. Raises LinkError."""
        try:
            if self._descriptor is not None:
                return os.write(self._descriptor, data)
            return self._open_port().write(bytes(data)) or 0
        except (BlockingIOError, serial.SerialTimeoutException):
            return 0
        except (OSError, TypeError) as error:
            raise self._gone(error) from None

    def send(self, data: bytes | memoryview, deadline_s: float) -> None:
        """Hand over everything; LinkError if the port has not taken it at the deadline (of `time.monotonic`)."""
        view = memoryview(data)
        while view:
            view = view[self.write(view) :]
            left_s = deadline_s - time.monotonic()
            if view and left_s <= 0:
                raise LinkError(f"{self.url} does not take what is sent to it", where=self._where, next_step=_UNPLUGGED)
            if view:
                self.wait_writable(left_s)

    def wait_writable(self, timeout_s: float) -> None:
        """Return when the port takes more, or after `timeout_s`."""
        if self._descriptor is None:
            time.sleep(min(timeout_s, _TICK_S))
        else:
            _ready(self._descriptor, select.POLLOUT, timeout_s)

    def close(self) -> None:
        """Give the port back; never raises, may be called twice."""
        port, self._port, self._descriptor = self._port, None, None
        if port is not None:
            connection = getattr(port, "_socket", None)  # which pyserial leaves open where the other end went first
            with contextlib.suppress(Exception):
                port.close()
            if connection is not None:
                connection.close()

    def _read_buffered(self, deadline_s: float) -> bytes:
        """From a port whose bytes pass through pyserial; its own timeout is fixed, as to set it may cross the line."""
        port = self._open_port()
        while True:
            if waiting := port.in_waiting:
                return port.read(min(waiting, _READ_BYTES))
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return b""
            if left_s < _POLL_S:
                time.sleep(min(left_s, _TICK_S))
            elif first := port.read(1):
                return first

    def _open_port(self) -> serial.Serial:
        if self._port is None:
            raise LinkError("the link is closed", where=self._where, next_step="open the device again")
        return self._port

    def _gone(self, error: Exception | None) -> LinkError:
        self._open_port()
        why = f" ({_short(error)})" if error else ""
        return LinkError(f"{self.url} was unplugged or hung up{why}", where=self._where, next_step=_UNPLUGGED)


def open_port(spec: DeviceSpec) -> SerialPort:
    """Open the port that `spec.link` names at `spec.baud`, for a driver that speaks over the bare line.

    Raises LinkError, in one line, for a port that is not there, not allowed, in use, or of an unknown kind.
    """
    return SerialPort(spec.link, spec.baud, f"device {spec.name}")


def _opened(url: str, baud: int, where: str) -> serial.Serial:
    try:
        port = serial.serial_for_url(
            url, baud, do_not_open=True, timeout=_POLL_S, write_timeout=_POLL_S, exclusive=True
        )
        port.open()
    except Exception as error:  # of a URL that makes no sense, pyserial lets through whatever it trips over
        raise _refusal(url, baud, where, error) from None
    return port


def _refusal(url: str, baud: int, where: str, error: Exception) -> LinkError:
    """Why a port did not open, and what to do about it."""
    number, said = getattr(error, "errno", None), str(error)
    if number == errno.ENOENT or "no ports found" in said:
        return LinkError(f"there is no port {url}", where=where, next_step=_choose())
    if number in (errno.EACCES, errno.EPERM):
        step = "add yourself to its group (`ls -l` names it, often dialout), log in again, then run again"
        return LinkError(f"no permission to open {url}", where=where, next_step=step)
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in said:
        step = f"close the program that has it (`fuser {url}` names it), then run again"
        return LinkError(f"{url} is in use by another program", where=where, next_step=step)
    if "configure port" in said or number in (errno.ENOTTY, errno.EISDIR, errno.ENXIO, errno.EIO):
        return LinkError(f"{url} is no serial port, or its adapter is gone", where=where, next_step=_choose())
    if "invalid URL" in said:
        step = "write a port such as /dev/ttyUSB0, or socket://, rfc2217://, hwgrep://, spy://"
        return LinkError(f"{url} is a URL of an unknown kind", where=where, next_step=step)
    if "baud" in said.lower():
        return LinkError(f"{url} cannot run at {baud} baud", where=where, next_step="state a rate that the port has")
    return LinkError(f"cannot open {url}: {_short(error)}", where=where, next_step="check the address and the cable")


def _choose() -> str:
    """The ports that there are."""
    ports = sorted(port.device for port in list_ports.comports())
    return f"ports here: {', '.join(ports[:8])}" if ports else "there is no serial port on this machine; plug it in"


def _short(error: Exception) -> str:
    """What a library says, as one printable line, without the number and the name of the port that it repeats."""
    line = " ".join(str(error).split())
    found = re.search(r"\[Errno -?\d+\] ([^:\]]+)", line)
    return "".join(c for c in (found[1] if found else line)[:160] if c.isprintable())


def _settle(port: serial.Serial) -> None:
    """No drop of DTR at closing, and no waiting in the adapter for more bytes, where there are such things."""
    with contextlib.suppress(OSError, ValueError, AttributeError, termios.error):
        settings = termios.tcgetattr(port.fileno())
        settings[2] &= ~termios.HUPCL
        termios.tcsetattr(port.fileno(), termios.TCSANOW, settings)
        port.set_low_latency_mode(True)


def _ready(descriptor: int, event: int, timeout_s: float) -> bool:
    """Whether it became ready, or ended, in time."""
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(max(0.0, timeout_s * 1e3)))
