"""An agent that listens on TCP (``tcp://host:port``): in the clear on loopback only; with a key, over TLS."""

import queue
import socket
import ssl
import threading
import time
from urllib.parse import urlsplit

from kit.device.sockets import SocketLink
from kit.errors import LinkError, SpecError
from kit.spec.types import DeviceSpec
from kit.wire.secure import Key
from kit.wire.sockets import DEFAULT_PORT, SocketStream, is_loopback, join_address, tune, widen

_ALERT = b"\x15\x03"  # RFC 8446, 5.1: how a TLS server answers what is no TLS
_Address = tuple[int, tuple[str, int]]


class TcpLink(SocketLink):
    """A Link to a listening agent; `timeout_s` bounds finding, connecting and proving together.

    Raises SpecError for a URL that is none, or that would send in the clear to another machine; LinkError if the agent
    is not there, or holds another key.
    """

    def __init__(self, spec: DeviceSpec) -> None:
        self._where, self._file = f"device {spec.name}", spec.path or f"device {spec.name}"
        deadline_s = time.monotonic() + spec.timeout_s
        host, self._port = _split(spec.link, self._file)
        self._at = join_address(host, self._port)
        self._give_key = 'add key = "scanner.key", the agent\'s own, to [link] of the device file'
        if not spec.path:
            self._give_key = f"give the agent's own: tcp://{self._at}?key=FILE"
        key = Key(spec.key) if spec.key else None
        addresses = self._resolved(host, deadline_s)
        if key is None:
            self._check_private(addresses)
        connection = self._connected(addresses, deadline_s)
        if key is not None:
            connection = self._proven(connection, key, deadline_s)
        super().__init__(SocketStream(connection))

    def read(self, deadline_s: float) -> bytes:
        """See Link."""
        data = super().read(deadline_s)
        if self._received_bytes == len(data) and data.startswith(_ALERT):
            raise self._failed("demands a key", self._give_key)
        return data

    def _resolved(self, host: str, deadline_s: float) -> list[_Address]:
        """Numeric addresses of a host; a resolver has no deadline of its own, so it is asked in a thread."""
        answers: queue.SimpleQueue[list[_Address] | OSError | UnicodeError] = queue.SimpleQueue()

        def resolve() -> None:
            try:
                found = socket.getaddrinfo(host, self._port, type=socket.SOCK_STREAM)
                answers.put([(family, (str(address[0]), self._port)) for family, _, _, _, address in found])
            except (OSError, UnicodeError) as error:
                answers.put(error)

        threading.Thread(target=resolve, daemon=True).start()
        try:
            answer = answers.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            raise self._error(f"no name server told in time where {host} is", "write its address instead") from None
        if isinstance(answer, list) and answer:
            return answer
        raise self._error(f"no host is known by the name {host}", "correct the url, or write the address instead")

    def _check_private(self, addresses: list[_Address]) -> None:
        """Without a key nothing leaves this machine: refused before a byte is sent."""
        if all(is_loopback(address) for _, (address, _) in addresses):
            return
        raise SpecError(
            f"{self._at} is another machine, and without a key all would be sent in the clear",
            where=self._file,
            next_step="make one with `edgeproof agent key -o scanner.key`, and give it to the agent and to this device",
        )

    def _connected(self, addresses: list[_Address], deadline_s: float) -> socket.socket:
        """A connection to the first address that takes one."""
        failure: OSError = TimeoutError()
        for index, (family, address) in enumerate(addresses):
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                widen(connection)
                connection.settimeout(_share(deadline_s, len(addresses) - index))
                connection.connect(address)
                tune(connection)
                return connection
            except OSError as error:
                failure = error
                connection.close()
        raise self._unreached(failure)

    def _proven(self, connection: socket.socket, key: Key, deadline_s: float) -> socket.socket:
        """The connection over TLS, once both sides have shown that they hold the key."""
        secured = key.wrap(connection, server_side=False)
        try:
            key.shake_hands(secured, _share(deadline_s, 1))
            return secured
        except OSError as error:
            secured.close()
            raise self._unproven(error) from None

    def _unreached(self, error: OSError) -> LinkError:
        if isinstance(error, ConnectionRefusedError):
            start = f"start it there: python agent.pyz --tcp {self._at}"
            return self._error(f"no agent listens at {self._at}", start)
        if isinstance(error, TimeoutError):
            return self._error(f"{self._at} does not answer in time", "check that the device is on and in the network")
        return self._error(f"cannot reach {self._at}: {error.strerror or error}", "check the network and the url")

    def _unproven(self, error: OSError) -> LinkError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._failed("holds another key", "give both sides the same key file")
        if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "UNSUPPORTED_PROTOCOL"):
            return self._failed("has no key", "start it with --key, or take the key out of the device file")
        if isinstance(error, TimeoutError):
            return self._failed("does not prove itself in time", "is it an agent that was started with --key?")
        return self._failed("did not accept the key", "start it with --key and the same key file")

    def _broken(self, error: OSError) -> LinkError:
        return self._failed(f"is gone ({error.strerror or error})", "check the network and the device, then run again")

    def _ended(self) -> LinkError:
        return self._failed("ended the connection", _IS_IT_BUSY)

    def _stuck(self) -> LinkError:
        return self._failed("does not take what is sent to it", "check the network and the device, then run again")

    def _failed(self, what: str, next_step: str) -> LinkError:
        return self._error(f"the agent at {self._at} {what}", next_step)

    def _error(self, what: str, next_step: str) -> LinkError:
        return LinkError(what, where=self._where, next_step=next_step)


_IS_IT_BUSY = "look at what it says there; is it busy with another host, or was it ended?"


def _split(url: str, where: str) -> tuple[str, int]:
    """Host and port of ``tcp://host:port``. Raises SpecError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        host, port = None, 0
        parts = urlsplit("")
    if not host or not 1 <= port <= 65535 or parts.username or parts.path or parts.query or parts.fragment:
        raise SpecError(f"{url!r} is no address", where=where, next_step=f"write tcp://HOST:{DEFAULT_PORT}")
    return host, port


def _share(deadline_s: float, parts: int) -> float:
    """One part of the time that is left, in s; a time-out of 0 would mean not to wait at all."""
    return max(0.001, (deadline_s - time.monotonic()) / parts)
