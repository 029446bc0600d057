"""A host on standard input and output, safely: nothing that a library prints can reach the stream."""

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import stat
import sys

from kit.agent.channel import STALL_S

_READ_BYTES = 1 << 18
_PIPE_BYTES = 1 << 20  # what an unprivileged process may ask for: /proc/sys/fs/pipe-max-size
_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


class StdioChannel:
    """The two ends of a pipe or of a terminal that is a link."""

    name = "standard input"

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._in, self._out = incoming, outgoing
        self._buffer = memoryview(bytearray(_READ_BYTES))  # kept: fresh memory costs more than a copy out of it
        self._wake_reader, self._wake = os.pipe()
        self._watch = select.poll()
        for descriptor in (incoming, self._wake_reader):
            self._watch.register(descriptor, select.POLLIN)
            _widen(descriptor)
        _widen(outgoing)
        if stat.S_IFMT(os.fstat(outgoing).st_mode) in (stat.S_IFIFO, stat.S_IFSOCK):
            os.set_blocking(outgoing, False)  # a terminal's mode would be that of every other user of it

    def read(self) -> bytes:
        """See Channel."""
        with contextlib.suppress(OSError):
            if all(descriptor != self._wake_reader for descriptor, _ in self._watch.poll()):
                return bytes(self._buffer[: os.readv(self._in, [self._buffer])])
        return b""

    def write(self, data: bytes | memoryview) -> None:
        """See Channel."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._out, view) :]
            except BlockingIOError:
                self._await_room()
            except OSError:
                raise BrokenPipeError("the host is gone") from None

    def close(self) -> None:
        """See Channel."""
        with contextlib.suppress(OSError):
            os.write(self._wake, b"x")

    def _await_room(self) -> None:
        poll = select.poll()
        poll.register(self._out, select.POLLOUT)
        poll.register(self._wake_reader, select.POLLIN)
        ready = poll.poll(STALL_S * 1e3)
        if not ready or any(descriptor == self._wake_reader for descriptor, _ in ready):
            raise BrokenPipeError("the host takes nothing")


def take_streams() -> tuple[int, int]:
    """Private copies of fd 0 and 1; fd 0 becomes empty and fd 1 becomes standard error for everyone else."""
    incoming, outgoing = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return incoming, outgoing


def wake_when_the_host_dies() -> None:
    """Have Linux send SIGCONT then, so that an agent that is stopped at that moment goes on, and ends (prctl(2))."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)


def _widen(descriptor: int) -> None:
    """A larger pipe lets both sides work at once; refused where it is no pipe, or the user has too many."""
    with contextlib.suppress(OSError, AttributeError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
