"""What a reliable stream needs of a port, and a port over a file descriptor: a serial line, a terminal, a socket."""

import os
import select
import threading
from typing import Protocol

from kit.errors import LinkError

_READ_BYTES = 64 << 10


class Port(Protocol):
    """Raw bytes in and out, as they come. One thread reads; another may write, or close, at the same time."""

    def read(self, timeout_s: float) -> bytes:
        """What has arrived, as soon as there is any; b"" after `timeout_s`. Raises LinkError or OSError if it is gone.

        `close` from another thread ends a read under way.
        """
        ...

    def write(self, data: bytes) -> int:
        """How many bytes were taken, 0 while it is full; does not wait. Raises LinkError or OSError if it is gone."""
        ...

    def close(self) -> None:
        """Never raises; may be called twice."""
        ...


class FilePort:
    """A port over a file descriptor, which it owns and makes non-blocking. `name` is for messages.

    A terminal must be set to raw mode and to its speed before.
    """

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self._name = name
        self._wake_read, self._wake_write = os.pipe()
        self._open = True
        self._reading = threading.Lock()
        os.set_blocking(descriptor, False)
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)

    def read(self, timeout_s: float) -> bytes:
        """As Port.read says."""
        with self._reading:
            self._must_be_open()
            self._poll.poll(max(0.0, 1000 * timeout_s))
            self._must_be_open()
            try:
                data = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                return b""
            except OSError as error:
                raise self._gone(error.strerror or str(error)) from None
        if not data:
            raise self._gone("end of file")
        return data

    def write(self, data: bytes) -> int:
        """As Port.write says."""
        self._must_be_open()
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._gone(error.strerror or str(error)) from None

    def close(self) -> None:
        """As Port.close says."""
        if not self._open:
            return
        self._open = False
        os.write(self._wake_write, b"\0")
        with self._reading:
            for descriptor in (self._descriptor, self._wake_read, self._wake_write):
                os.close(descriptor)

    def _must_be_open(self) -> None:
        if not self._open:
            raise LinkError("the port was closed", where=self._name, next_step="open the device again")

    def _gone(self, why: str) -> LinkError:
        return LinkError(f"the port is gone ({why})", where=self._name, next_step="plug the device in again")
