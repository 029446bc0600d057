"""For every link, a way to open it to a shell command that sits at the other end, through the registry."""

import contextlib
import os
import pty
import signal
import socket
import subprocess
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit.agent.channel import Channel
from kit.agent.tcp import TcpChannel
from kit.device import Link, open_link
from kit.device.aarch64 import enter
from kit.device.keys import make_key
from kit.device.process import ProcessLink
from kit.errors import LinkError
from kit.wire.port import FilePort
from kit.wire.secure import Key
from kit.wire.sockets import SocketStream
from kit.wire.stream import ReliableStream
from tests import device_kit as kits
from tests.emulators.adb_server import AdbServer
from tests.emulators.sshd import SSHD, Sshd

Connect = Callable[[str], Link]
"""Opens the link to this shell command."""


@contextlib.contextmanager
def through_a_subprocess(folder: Path) -> Iterator[Connect]:
    yield lambda peer: open_link(kits.device_spec(command=("sh", "-c", peer)))


@contextlib.contextmanager
def through_another_root(folder: Path) -> Iterator[Connect]:
    """As aarch64 enters the root folder that it runs in; here the same one, without an emulated processor."""
    yield lambda peer: ProcessLink([*enter(Path("/")), "sh", "-c", peer], name="local")


@contextlib.contextmanager
def through_ssh(folder: Path) -> Iterator[Connect]:
    if SSHD is None:
        pytest.skip("OpenSSH's sshd is not installed")
    with Sshd(folder / "sshd") as server:
        yield lambda peer: open_link(kits.device_spec(link=server.url(), command=("sh", "-c", peer)))


@contextlib.contextmanager
def through_adb(folder: Path) -> Iterator[Connect]:
    with AdbServer({"BOARD": "device", "OTHER": "offline"}) as server:
        yield lambda peer: open_link(kits.device_spec(link=server.url("BOARD"), command=("sh", "-c", peer)))


@contextlib.contextmanager
def through_tcp(folder: Path, key: Key | None = None, path: str = "") -> Iterator[Connect]:
    """The agent's connections, without its listener, which waits for the host to speak first."""
    with contextlib.ExitStack() as listening:

        def admit(listener: socket.socket, behind: Behind) -> None:
            with contextlib.suppress(OSError), listener:
                connection = listener.accept()[0]
                listener.close()
                if key is not None:
                    connection = key.wrap(connection, server_side=True)
                    key.shake_hands(connection, 25)
                behind.take(TcpChannel(SocketStream(connection), "host", lambda _: None))

        def connect(peer: str) -> Link:
            listener, behind = socket.create_server(("127.0.0.1", 0)), Behind(peer)
            thread = threading.Thread(target=admit, args=(listener, behind), daemon=True)
            thread.start()
            listening.callback(thread.join, 10)
            listening.callback(behind.end)
            listening.callback(listener.close)
            port = listener.getsockname()[1]
            return open_link(kits.device_spec(link=f"tcp://127.0.0.1:{port}", key=path))

        yield connect


@contextlib.contextmanager
def through_tcp_with_a_key(folder: Path) -> Iterator[Connect]:
    path = str(folder / "scanner.key")
    make_key(path)
    with through_tcp(folder, Key(path), path) as connect:
        yield connect


@contextlib.contextmanager
def through_a_serial_line(folder: Path) -> Iterator[Connect]:
    """A pseudo-terminal, which loses nothing; the device's end is the one that the agent uses."""
    with contextlib.ExitStack() as lines:

        def serve(line: ReliableStream, behind: Behind, terminal: int) -> None:
            while line.accept():
                behind.take(LineChannel(line))
            os.close(terminal)

        def connect(peer: str) -> Link:
            controller, terminal = pty.openpty()
            tty.setraw(terminal)
            line = ReliableStream.listen(FilePort(controller, "pty"), nominal_bytes_per_s=None)
            behind = Behind(peer)
            thread = threading.Thread(target=serve, args=(line, behind, terminal), daemon=True)
            thread.start()
            lines.callback(thread.join, 10)
            lines.callback(behind.end)
            lines.callback(line.close)
            return open_link(kits.device_spec(link=os.ttyname(terminal), baud=4_000_000))

        yield connect


PEERS = {
    "subprocess": through_a_subprocess,
    "aarch64": through_another_root,
    "tcp": through_tcp,
    "tcp with a key": through_tcp_with_a_key,
    "serial": through_a_serial_line,
    "ssh": through_ssh,
    "adb": through_adb,
}
"""By the kind of the link, and after a space what is special about it."""


class Behind:
    """A shell command for every host that is admitted, as an agent would be; ended when the host goes."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._started: list[subprocess.Popen[bytes]] = []

    def take(self, channel: Channel) -> None:
        """Copy both ways until one side ends."""
        with subprocess.Popen(
            ["sh", "-c", self._peer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        ) as process:
            self._started.append(process)
            reader = threading.Thread(target=self._copy_in, args=(channel, process), daemon=True)
            reader.start()
            with contextlib.suppress(BrokenPipeError):
                while data := process.stdout.read(1 << 16):
                    channel.write(data)
            channel.close()
            reader.join()

    def end(self) -> None:
        """End what still runs, such as a command that does not read, which hides from us that the host has gone."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def _copy_in(self, channel: Channel, process: "subprocess.Popen[bytes]") -> None:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            while data := channel.read():
                process.stdin.write(data)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        self.end()


class LineChannel:
    """A session of a serial line as a channel."""

    name = "line"

    def __init__(self, line: ReliableStream) -> None:
        self._line = line

    def read(self) -> bytes:
        try:
            return self._line.read(None)
        except LinkError:
            return b""

    def write(self, data: bytes) -> None:
        try:
            self._line.write(data, None)
        except LinkError as error:
            raise BrokenPipeError(error.what) from None

    def close(self) -> None:
        """End the session; the peer's end is the end of the line's server, too."""
        self._line.close()
