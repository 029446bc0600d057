"""What an adb server is asked: its devices, and a service on one of them; every answer bounded in size and time.

Source: AOSP, packages/modules/adb, docs/dev/overview.md: a request is 4 hex digits of length and as many bytes, the
answer OKAY, or FAIL and a text in the same form.
"""

import contextlib
import re
import socket
import time
from dataclasses import dataclass

from kit.errors import LinkError

_START = "start one: adb start-server (Debian: apt install adb)"
_HEX = re.compile(rb"[0-9a-fA-F]{4}")
_LINE = re.compile(
    r"(?P<serial>\(no serial number\)|\S+)\s+(?P<state>no permissions.*|\S+)(?:.*\smodel:(?P<model>\S+))?"
)


@dataclass(frozen=True, slots=True)
class AdbDevice:
    """A device that a server knows: `state` is ``device`` where it can be used, else the server's word for why not."""

    serial: str
    state: str
    model: str = ""


class Server:
    """An adb server at a TCP address; 5037 on this machine unless it was started elsewhere."""

    host, port = "127.0.0.1", 5037

    def __init__(self, host: str = host, port: int = port) -> None:
        self.host, self.port = host, port

    def ask(self, question: str, deadline_s: float) -> str:
        """The answer of a host service such as ``host:version``. Raises LinkError."""
        with self._connected(deadline_s) as stream:
            self._request(stream, question, deadline_s)
            return self._text(stream, deadline_s)

    def open(self, serial: str, service: str, deadline_s: float) -> socket.socket:
        """A connection to a service on a device, from then on a bare stream; the caller closes it. Raises LinkError."""
        stream = self._connected(deadline_s)
        try:
            self._request(stream, f"host:transport:{serial}", deadline_s)
            self._request(stream, service, deadline_s)
        except BaseException:
            stream.close()
            raise
        return stream

    def _connected(self, deadline_s: float) -> socket.socket:
        try:
            stream = socket.create_connection((self.host, self.port), _left_s(deadline_s))
        except OSError as error:
            why = "in time" if isinstance(error, TimeoutError) else f"({error.strerror or error})"
            raise LinkError(f"no adb server answers at {self.host}:{self.port} {why}", next_step=_START) from None
        with contextlib.suppress(OSError):
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stream

    def _request(self, stream: socket.socket, service: str, deadline_s: float) -> None:
        """Send one request and take its OKAY."""
        data = service.encode()
        try:
            stream.settimeout(_left_s(deadline_s))
            stream.sendall(b"%04x" % len(data) + data)
        except OSError as error:
            raise self._lost(error) from None
        status = self._exactly(stream, 4, deadline_s)
        if status == b"FAIL":
            reason = " ".join(self._text(stream, deadline_s).split())[:200] or "no reason given"
            raise LinkError(f"the adb server refuses: {reason}", next_step="look at `adb devices -l`")
        if status != b"OKAY":
            raise self._stranger(status)

    def _text(self, stream: socket.socket, deadline_s: float) -> str:
        """A text with its length before it: at most 65,535 bytes, made printable."""
        digits = self._exactly(stream, 4, deadline_s)
        if not _HEX.fullmatch(digits):
            raise self._stranger(digits)
        text = self._exactly(stream, int(digits, 16), deadline_s).decode(errors="replace")
        return "".join(c for c in text if c.isprintable() or c in "\t\n")

    def _exactly(self, stream: socket.socket, size_bytes: int, deadline_s: float) -> bytes:
        data = b""
        while len(data) < size_bytes:
            try:
                stream.settimeout(_left_s(deadline_s))
                piece = stream.recv(size_bytes - len(data))
            except OSError as error:
                raise self._lost(error) from None
            if not piece:
                raise self._lost(None)
            data += piece
        return data

    def _lost(self, error: OSError | None) -> LinkError:
        how = "does not answer in time" if isinstance(error, TimeoutError) else "closed the connection"
        return LinkError(f"the adb server at {self.host}:{self.port} {how}", next_step="restart it: adb kill-server")

    def _stranger(self, found: bytes) -> LinkError:
        what = f"what answers at {self.host}:{self.port} is no adb server (it says {found!r})"
        return LinkError(what, next_step="check the address; an adb server listens at port 5037")


def devices(server: Server, deadline_s: float) -> list[AdbDevice]:
    """Every device that the server knows, in its order (``host:devices-l``). Raises LinkError.

    A line is a serial number, a state (only "no permissions" has spaces), and then ``key:value`` words.
    """
    lines = server.ask("host:devices-l", deadline_s).splitlines()
    found = (_LINE.match(line) for line in lines)
    return [AdbDevice(each["serial"], each["state"][:60], (each["model"] or "")[:60]) for each in found if each]


def _left_s(deadline_s: float) -> float:
    """Time left, s. Raises TimeoutError if there is none."""
    if (left_s := deadline_s - time.monotonic()) > 0:
        return left_s
    raise TimeoutError
