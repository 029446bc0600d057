"""Serial ports of every kind that pyserial opens by URL: as they are (`open_port`), or as a Link (`SerialLink`)."""

import contextlib
import errno
import os
import re
import termios
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import serial
from serial.tools import list_ports

from kit.device.link import LinkHealth
from kit.errors import LinkError, SpecError
from kit.spec.types import DeviceSpec
from kit.wire.port import FilePort
from kit.wire.stream import ReliableStream

_PIECE_BYTES = 1 << 14
_POLL_S, _TICK_S = 0.05, 0.001
_WITH_DESCRIPTOR = ("", "hwgrep", "socket")
_LOCAL_BUFFERED = ("spy", "alt")
_ON_A_NETWORK = ("socket", "rfc2217")
_NO_LINE = ("socket", "loop")  # the rate that is set means nothing there
BITS_A_BYTE = 10  # 8N1: a start bit, eight data bits, a stop bit
_UNPLUGGED = "plug it in again, check cable and power, then run again"


class SerialPort:
    """An open port (see kit.wire.port.Port): bytes as the line gives them, lost and altered ones included.

    It is opened raw, 8 data bits, no parity, one stop bit, no flow control, and locked against other programs where
    the system can. DTR and RTS stay as the system sets them when a port is opened, both asserted, and closing leaves
    them so (HUPCL is off): boards that reset on an edge of these lines are not reset by a second opening.
    """

    def __init__(self, url: str, baud: int, where: str) -> None:
        self.url, self.baud, self._where = url, baud, where
        self._port, self._open = _opened(url, baud, where), True
        self._reading = threading.Lock()
        self._file: FilePort | None = None
        if urlsplit(url).scheme in _WITH_DESCRIPTOR:
            _settle(self._port)
            self._file = FilePort(os.dup(self._port.fileno()), url)

    def read(self, timeout_s: float) -> bytes:
        """At least one byte, as soon as there is one; b"" if none came in `timeout_s`. Raises LinkError."""
        with self._reading, self._told():
            if self._file:
                return self._file.read(timeout_s)
            return self._read_buffered(time.monotonic() + timeout_s)

    def write(self, data: bytes | memoryview) -> int:
        """Hand over what the port takes now, without waiting; how many bytes that was. Raises LinkError."""
        with self._told():
            return self._file.write(bytes(data)) if self._file else self._port.write(bytes(data)) or 0

    def send(self, data: bytes | memoryview, deadline_s: float) -> None:
        """Hand over everything; LinkError if the port has not taken it at the deadline (of `time.monotonic`)."""
        view = memoryview(data).cast("B")
        while view:
            taken = self.write(view[:_PIECE_BYTES])
            view = view[taken:]
            if view and time.monotonic() >= deadline_s:
                raise LinkError(f"{self.url} does not take what is sent to it", where=self._where, next_step=_UNPLUGGED)
            if not taken:
                time.sleep(_TICK_S)

    def close(self) -> None:
        """Give the port back, and end a read that is under way; never raises, may be called twice."""
        was_open, self._open = self._open, False
        if not was_open:
            return
        if self._file:
            self._file.close()
        with self._reading, contextlib.suppress(Exception):
            connection = getattr(self._port, "_socket", None)  # which pyserial leaves open if the other end went first
            self._port.close()
            if connection is not None:
                connection.close()

    def _read_buffered(self, deadline_s: float) -> bytes:
        """From a port whose bytes pass through pyserial; its own timeout is fixed, as to set it may cross the line."""
        while True:
            self._check_open()
            if waiting := self._port.in_waiting:
                return self._port.read(min(waiting, _PIECE_BYTES))
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return b""
            if left_s < _POLL_S:
                time.sleep(min(left_s, _TICK_S))
            elif first := self._port.read(1):
                return first

    def _check_open(self) -> None:
        if not self._open:
            raise LinkError("the link is closed", where=self._where, next_step="open the device again")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever fails inside, as one sentence: this side has closed it, or the port is gone."""
        self._check_open()
        try:
            yield
        except (OSError, TypeError, LinkError):  # a TypeError: pyserial's, of a port that goes meanwhile
            self._check_open()
            what = f"{self.url} was unplugged or hung up"
            raise LinkError(what, where=self._where, next_step=_UNPLUGGED) from None


class SerialLink:
    """A Link (see there) over a serial line: the port, and the reliable stream on it that an agent answers.

    Raises LinkError if the port does not open, or if nothing, or nothing that makes sense, answers in `timeout_s`.
    """

    def __init__(self, spec: DeviceSpec) -> None:
        port = open_port(spec)
        self._nominal_bytes_per_s = None if urlsplit(spec.link).scheme in _NO_LINE else spec.baud / BITS_A_BYTE
        self._stream = ReliableStream.connect(
            port,
            nominal_bytes_per_s=self._nominal_bytes_per_s,
            deadline_s=time.monotonic() + spec.timeout_s,
            where=f"device {spec.name} on {spec.link} at {spec.baud} baud",
        )

    def read(self, deadline_s: float) -> bytes:
        """See Link."""
        return self._stream.read(deadline_s)

    def write(self, data: bytes | memoryview, deadline_s: float) -> None:
        """See Link."""
        self._stream.write(data, deadline_s)

    def health(self) -> LinkHealth:
        """What crossed the line, packets' heads and resends included."""
        seen = self._stream.counters
        return LinkHealth(
            sent_bytes=seen.sent_bytes,
            received_bytes=seen.received_bytes,
            resent_bytes=seen.resent_bytes,
            damaged_packets=seen.damaged_packets,
            round_trip_s=seen.round_trip_s,
            nominal_bytes_per_s=self._nominal_bytes_per_s,
        )

    def limits(self) -> tuple[str, ...]:
        """See Link."""
        return ()

    def process_id(self) -> int | None:
        """See Link."""
        return None

    def close(self) -> None:
        """See Link."""
        self._stream.close()


def open_port(spec: DeviceSpec) -> SerialPort:
    """Open the port that `spec.link` names at `spec.baud`, for a driver that speaks over the bare line.

    Raises LinkError, in one line, for a port that is not there, not allowed, in use, or of an unknown kind, and
    SpecError for a URL that cannot be one.
    """
    if wrong := _wrong_in(spec.link):
        raise SpecError(
            f"{spec.link} is no port: {wrong[0]}", where=spec.path or f"device {spec.name}", next_step=wrong[1]
        )
    return SerialPort(spec.link, spec.baud, f"device {spec.name}")


def _wrong_in(url: str) -> tuple[str, str] | None:
    """What no port's URL can have, and what to write; pyserial would tell of its own insides."""
    scheme, _, rest = url.partition("://")
    try:
        if scheme in _ON_A_NETWORK and not ((parts := urlsplit(url)).hostname and parts.port):
            return "it names no host and port", f"write {scheme}://HOST:PORT"
    except ValueError as error:  # a port over 65535, half a bracket
        return str(error), f"write {scheme}://HOST:PORT"
    try:
        re.compile(rest.partition("&")[0] if scheme == "hwgrep" else "")
    except re.error as error:
        return f"the pattern does not compile, {error}", "write a regular expression, such as hwgrep://FTDI"
    return None


def _opened(url: str, baud: int, where: str) -> serial.Serial:
    try:
        port = serial.serial_for_url(url, baud, do_not_open=True, timeout=_POLL_S, exclusive=True)
        if urlsplit(url).scheme in _LOCAL_BUFFERED:
            port.write_timeout = 0  # take what fits; the others have none, or lose count of what they took
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
    if "?" in url and "Errno" not in said:
        what = f"{url} has an option that {url.partition(':')[0]}: does not know"
        return LinkError(what, where=where, next_step="leave out what follows the ?")
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
    """Where it is a terminal: no drop of DTR at closing, no empty reads, no waiting in the adapter for more bytes."""
    with contextlib.suppress(OSError, ValueError, AttributeError, termios.error):
        settings = termios.tcgetattr(port.fileno())
        settings[2] &= ~termios.HUPCL
        settings[6][termios.VMIN] = 1
        termios.tcsetattr(port.fileno(), termios.TCSANOW, settings)
        port.set_low_latency_mode(True)
