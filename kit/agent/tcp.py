"""The agent over TCP: on loopback as it is; on any other address, and whenever there is a key, only over TLS.

A connection is admitted in a thread of its own, within a time; a stranger can neither hold up nor crowd out a host.
"""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from kit.agent.channel import STALL_S, Channel
from kit.errors import LinkError, UsageError
from kit.wire import UNKNOWN_SEQUENCE, Frame, FrameType, Message, encode_frame, pack_message
from kit.wire.secure import Key
from kit.wire.sockets import SocketStream, hang_up, is_loopback, join_address, tune, widen

MAX_PENDING, MAX_OPEN = 8, 32  # of those open, the desk keeps half at most
ADMISSION_S = 10.0
_PIECE_BYTES = 256 << 10
_DRAIN_S, _DRAIN_BYTES = 1.0, 1 << 20
_TLS_HANDSHAKE = b"\x16"  # RFC 8446, 5.1: the first byte that a TLS client sends
TLS_ALERT = bytes.fromhex("15 0303 0002 0246")
"""What a TLS server says to a client that does not speak TLS: a fatal protocol_version alert (RFC 8446, 5.1 and 6)."""


class TcpChannel:
    """One host's connection, as the desk takes it."""

    def __init__(self, stream: SocketStream, name: str, ended: Callable[["TcpChannel"], None]) -> None:
        self.name = name
        self._stream, self._ended = stream, ended

    def read(self) -> bytes:
        """At least a byte, or b"" once the host is gone."""
        try:
            return self._stream.receive(None) or b""
        except OSError:
            return b""

    def write(self, data: bytes | memoryview) -> None:
        """All of it. Raises BrokenPipeError if the host is gone, or takes less than 256 KiB within STALL_S."""
        view = memoryview(data)
        for start in range(0, len(view), _PIECE_BYTES):
            if not self._is_sent(view[start : start + _PIECE_BYTES]):
                raise BrokenPipeError(f"{self.name} is gone")

    def _is_sent(self, piece: memoryview) -> bool:
        try:
            return self._stream.send(piece, time.monotonic() + STALL_S)
        except OSError:
            return False

    def close(self) -> None:
        """End it, from any thread; may be called twice."""
        self._stream.close()
        self._ended(self)


class Desk(Protocol):
    """What takes an admitted connection, and closes it when it is done with it."""

    def take(self, channel: Channel) -> None:
        """Serve this host."""
        ...


class Listener:
    """An agent's address. Raises UsageError for one that is not safe without a key, LinkError if it cannot be had."""

    def __init__(self, host: str, port: int, key_path: str | Path | None = None) -> None:
        self._key = Key(key_path) if key_path else None
        try:
            self._socket = _listening(host, port, any_address=self._key is not None)
        except (OSError, UnicodeError) as error:
            what = f"cannot listen on {join_address(host, port)}: {getattr(error, 'strerror', None) or error}"
            raise LinkError(what, next_step="end what listens there, or choose another HOST:PORT") from None
        self.address = join_address(*self._socket.getsockname()[:2])
        self._lock = threading.Lock()
        self._pending: list[_Visitor] = []
        self._open: set[TcpChannel] = set()

    def serve(self, desk: Desk) -> None:
        """Admit hosts until `close`; each is given to the desk in a thread of its own."""
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                if self._socket.fileno() < 0:
                    return
                time.sleep(0.05)  # out of descriptors, or the peer is gone already
                continue
            visitor = _Visitor(connection, join_address(*peer[:2]))
            self._let_wait(visitor)  # here, so that the order is that of their coming
            threading.Thread(target=self._admit, args=(visitor, desk), daemon=True).start()

    def close(self) -> None:
        """Stop listening; hosts that were admitted stay. May be called twice."""
        listening, self._socket = self._socket, _closed_socket()
        hang_up(listening)
        listening.close()

    def _admit(self, visitor: "_Visitor", desk: Desk) -> None:
        """Give a visitor who proves to be a host to the desk; any other is gone after this."""
        channel = None
        with contextlib.suppress(OSError):  # silent, slow, or no holder of the key
            if self._is_proven(visitor):
                channel = self._channel(visitor)
        with self._lock:
            if visitor in self._pending:
                self._pending.remove(visitor)
        if channel is None:
            visitor.connection.close()
        else:
            desk.take(channel)

    def _let_wait(self, visitor: "_Visitor") -> None:
        """Count it among those who have proven nothing; if there are too many, the oldest makes room."""
        with self._lock:
            self._pending.append(visitor)
            while len(self._pending) > MAX_PENDING:
                self._pending.pop(0).send_away()

    def _is_proven(self, visitor: "_Visitor") -> bool:
        """Whether it speaks as this agent does and, if there is a key, holds it; else it is told."""
        connection = visitor.connection
        tune(connection)
        connection.settimeout(ADMISSION_S)
        first = connection.recv(1, socket.MSG_PEEK)
        speaks_tls = first == _TLS_HANDSHAKE
        if first and speaks_tls != bool(self._key):
            _refuse(connection, TLS_ALERT if self._key else _error(*_NO_KEY_HERE))
            return False
        if self._key:
            visitor.connection = self._key.wrap(connection, server_side=True)
            if not visitor.sent_away:
                self._key.shake_hands(visitor.connection, ADMISSION_S)
        return bool(first) and not visitor.sent_away

    def _channel(self, visitor: "_Visitor") -> TcpChannel | None:
        with self._lock:
            if len(self._open) < MAX_OPEN:
                channel = TcpChannel(SocketStream(visitor.connection), visitor.name, self._forget)
                self._open.add(channel)
                return channel
        _refuse(visitor.connection, _error(*_FULL))
        return None

    def _forget(self, channel: TcpChannel) -> None:
        with self._lock:
            self._open.discard(channel)


class _Visitor:
    """A connection that has proven nothing yet."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self.connection, self.name, self.sent_away = connection, name, False

    def send_away(self) -> None:
        """Wake its thread, which then ends it."""
        self.sent_away = True
        hang_up(self.connection)


_NO_KEY_HERE = "this agent has no key, and the host came with one", "start the agent with --key, or remove the key"
_FULL = f"this agent has {MAX_OPEN} hosts already", "close one of them, then run again", "busy"


def listen(desk: Desk, host: str, port: int, key_path: str | Path | None = None) -> Listener:
    """Listen, say where on standard error, and admit hosts in a thread of its own until the process ends."""
    listener = Listener(host, port, key_path)
    sys.stderr.write(f"listening on {listener.address}\n")
    sys.stderr.flush()
    threading.Thread(target=listener.serve, args=(desk,), name="tcp", daemon=True).start()
    return listener


def _listening(host: str, port: int, *, any_address: bool) -> socket.socket:
    if not 0 <= port <= 65535:
        raise UsageError(f"{port} is no port", next_step="choose one from 1024 to 65535, or 0 for any that is free")
    passive = socket.AI_PASSIVE  # no host means every address
    family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=passive)[0]
    if not any_address and not is_loopback(str(address[0])):
        raise UsageError(
            f"{host or 'every address'} can be reached from other machines, so a host must prove itself with a key",
            next_step="make one with `edgeproof agent key -o scanner.key`, copy it here and add --key scanner.key",
        )
    listening = socket.create_server(address[:2], family=family, backlog=MAX_OPEN)
    widen(listening)  # what it accepts inherits them
    return listening


def _closed_socket() -> socket.socket:
    closed = socket.socket()
    closed.close()
    return closed


def _error(what: str, next_step: str, reason: str = "") -> bytes:
    payload = pack_message(Message("tcp", {"what": what, "next_step": next_step, "reason": reason}))
    return encode_frame(Frame(FrameType.ERROR, UNKNOWN_SEQUENCE, payload))


def _refuse(connection: socket.socket, said: bytes) -> None:
    """Say it, and wait until it was read: closing on unread data would take it back (RFC 9293, 3.10.4)."""
    connection.settimeout(_DRAIN_S)
    connection.sendall(said)
    connection.shutdown(socket.SHUT_WR)
    end_s, left_bytes = time.monotonic() + _DRAIN_S, _DRAIN_BYTES
    while left_bytes > 0 and time.monotonic() < end_s and (data := connection.recv(1 << 16)):
        left_bytes -= len(data)
