"""TCP connections as host and agent both use them: tuned, never blocking, plain or TLS; and addresses as text."""

import contextlib
import ipaddress
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

DEFAULT_PORT = 7431
BUFFER_BYTES = 1 << 20
_READ_BYTES, _WRITE_BYTES = 1 << 18, 1 << 18
_KEEP_ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}  # tcp(7); s, ms


class SocketStream:
    """A connection, plain or TLS, for one reader and one writer at once; a third thread may close it.

    The socket never blocks: who must wait polls it, so that TLS, whose state is not for two threads, can be locked.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket, self._lock = connection, threading.Lock()
        self._closed, self._users = False, 0
        self._buffer = memoryview(bytearray(_READ_BYTES))

    def receive(self, deadline_s: float | None) -> bytes | None:
        """At least a byte; b"" at the end of the stream; None at the deadline. Raises OSError if it broke."""
        with self._in_use():
            count = self._when_ready(self._take, select.POLLIN, deadline_s)
            return None if count is None else bytes(self._buffer[:count])

    def send(self, data: bytes | memoryview, deadline_s: float) -> bool:
        """Whether all of it was taken before the deadline. Raises OSError if the stream broke."""
        view = memoryview(data)
        with self._in_use():
            while view:
                count = self._when_ready(partial(self._socket.send, view[:_WRITE_BYTES]), select.POLLOUT, deadline_s)
                if count is None or (count < len(view) and time.monotonic() > deadline_s):
                    return False
                view = view[count:]
        return True

    def close(self) -> None:
        """End the stream; whoever waits is woken. May be called twice."""
        with self._lock:
            self._closed = True
            hang_up(self._socket)
            self._close_if_unused()

    def _take(self) -> int:
        """Fill the buffer with what there is; TLS gives one record of 16 KiB at a time (RFC 8446, 5.1)."""
        count = self._socket.recv_into(self._buffer)
        if isinstance(self._socket, ssl.SSLSocket):
            with contextlib.suppress(OSError):  # nothing more for now; a failure is told by the next call too
                while 0 < count < _READ_BYTES and (more := self._socket.recv_into(self._buffer[count:])):
                    count += more
        return count

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        """Keep the descriptor from being closed, and given to others, under a thread that polls it."""
        with self._lock:
            if self._closed:
                raise BrokenPipeError("the connection is closed")
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._closed and not self._users:
            self._socket.close()

    def _when_ready(self, action: Callable[[], int], event: int, deadline_s: float | None) -> int | None:
        """The action's result once the socket lets it; None at the deadline."""
        while True:
            with self._lock:
                try:
                    return action()
                except ssl.SSLWantReadError:
                    event = select.POLLIN
                except ssl.SSLWantWriteError:
                    event = select.POLLOUT
                except BlockingIOError:
                    pass
            poll = select.poll()
            poll.register(self._socket, event)
            if not poll.poll(None if deadline_s is None else max(0.0, (deadline_s - time.monotonic()) * 1e3)):
                return None


def hang_up(connection: socket.socket) -> None:
    """End both directions and wake whoever waits; of the socket itself, since TLS would go on in the clear."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def tune(connection: socket.socket) -> None:
    """No delay for small messages, and a peer that vanished is noticed within half a minute."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):  # Linux has them all
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def widen(connection: socket.socket) -> None:
    """Large buffers; to be called before the connection is made."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)


def is_loopback(address: str) -> bool:
    """Whether a numeric IPv4 or IPv6 address stays on this machine."""
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def join_address(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address (RFC 3986, 3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
