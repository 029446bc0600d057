"""What links over a socket have in common; a kind adds how it connects, and how it explains each way to end."""

from kit.device.link import LinkHealth
from kit.errors import LinkError
from kit.wire.sockets import SocketStream


class SocketLink:
    """A Link over a connected socket, but for `_broken`, `_ended` and `_stuck`, which say why."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream, self._is_open = stream, True
        self._sent_bytes = self._received_bytes = 0

    def read(self, deadline_s: float) -> bytes:
        """See Link."""
        self._check_open()
        try:
            data = self._stream.receive(deadline_s)
        except OSError as error:
            raise self._broken(error) if self._is_open else _closed() from None
        if data == b"":
            raise self._ended() if self._is_open else _closed()
        self._received_bytes += len(data or b"")
        return data or b""

    def write(self, data: bytes | memoryview, deadline_s: float) -> None:
        """See Link."""
        self._check_open()
        try:
            is_taken = self._stream.send(memoryview(data).cast("B"), deadline_s)
        except OSError as error:
            raise self._broken(error) if self._is_open else _closed() from None
        if not is_taken:
            raise self._stuck()
        self._sent_bytes += len(data)

    def health(self) -> LinkHealth:
        """See Link."""
        return LinkHealth(self._sent_bytes, self._received_bytes)

    def limits(self) -> tuple[str, ...]:
        """See Link."""
        return ()

    def process_id(self) -> int | None:
        """See Link: what is at the other end was not started by us on this machine."""
        return None

    def close(self) -> None:
        """See Link."""
        self._is_open = False
        self._stream.close()

    def _check_open(self) -> None:
        if not self._is_open:
            raise _closed()

    def _broken(self, error: OSError) -> LinkError:
        """Why the socket failed."""
        raise NotImplementedError

    def _ended(self) -> LinkError:
        """Why the other end has closed the stream."""
        raise NotImplementedError

    def _stuck(self) -> LinkError:
        """Why nothing was taken in time."""
        raise NotImplementedError


def _closed() -> LinkError:
    return LinkError("the link is closed", next_step="open the device again")
