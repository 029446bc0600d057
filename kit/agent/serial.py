"""Hosts on a serial line, one session after another: a reliable stream on the agent's port (see kit.wire.stream)."""

import threading
import time

from kit.agent.channel import STALL_S
from kit.agent.desk import Desk
from kit.agent.tty import TtyPort
from kit.errors import LinkError
from kit.wire.stream import ReliableStream

_POLL_S = 0.5


def serve(desk: Desk, path: str, baud: int) -> None:
    """Give every session that a host opens on the port to the desk, until the port is closed. Raises LinkError."""
    nominal_bytes_per_s = baud / 10  # 8 data bits, a start and a stop bit
    stream = ReliableStream.listen(TtyPort(path, baud), nominal_bytes_per_s=nominal_bytes_per_s, where=path)
    try:
        while stream.accept():
            channel = SerialChannel(stream, path, nominal_bytes_per_s)
            desk.take(channel)
            channel.wait_closed()
    finally:
        stream.close()


class SerialChannel:
    """One session on the line; the line itself stays open for the next."""

    def __init__(self, stream: ReliableStream, name: str, nominal_bytes_per_s: float) -> None:
        self.name = name
        self._stream, self._nominal_bytes_per_s = stream, nominal_bytes_per_s
        self._closed = threading.Event()

    def read(self) -> bytes:
        """See Channel."""
        try:
            while not self._closed.is_set():
                if data := self._stream.read(time.monotonic() + _POLL_S):
                    return data
        except LinkError:
            pass  # the host ended the session, or opened another
        return b""

    def write(self, data: bytes | memoryview) -> None:
        """See Channel."""
        deadline_s = time.monotonic() + STALL_S + 2 * len(data) / self._nominal_bytes_per_s
        if self._closed.is_set():
            raise BrokenPipeError("the session is closed")
        try:
            self._stream.write(data, deadline_s)
        except LinkError as error:
            raise BrokenPipeError(error.what) from None

    def close(self) -> None:
        """See Channel."""
        self._closed.set()

    def wait_closed(self) -> None:
        """Return once the desk has closed this session."""
        self._closed.wait()
