"""An adb server with its devices, written from the protocol's documents, for tests.

Sources: AOSP, packages/modules/adb, docs/dev/overview.md and services.md. Requests are 4 hex digits and a text; the
answers are OKAY, or FAIL and a text. It knows host:version, host:devices, host:devices-l, host:transport:SERIAL,
host:transport-any and, on a device, exec:COMMAND, which really runs COMMAND: by /bin/sh, in a session and raw pty of
its own, errors mixed into the output, as adbd does. At the end of the command the stream is shut down, then closed;
when the client goes, the pty is hung up (SIGHUP).

What it does not do: USB, authentication, adbd's packets, transport ids, shell:, sync:, forwarding, tracking; serial
numbers are matched exactly; the "device" is this machine, with its programs and files.

`mode` makes it hostile: ``garbage`` (no length where one belongs), ``fail`` (a text of the greatest length, a byte at
a time, for ever), ``silent`` (never answers), ``stranger`` (another server), ``cut`` (gone in mid-stream, after
`cut_bytes` from the device), ``hangup`` (closes at once).
"""

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import threading
import time
import tty
from collections.abc import Mapping

NOT_ONLINE = {
    "unauthorized": "device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\n"
    "Try 'adb kill-server' if that seems wrong.\nOtherwise check for a confirmation dialog on your device.",
    "authorizing": "device still authorizing",
    "connecting": "device still connecting",
    "offline": "device offline",
}
"""What the server says of a device that is not online, by its state."""


class AdbServer:
    """Listens on loopback until it is closed; `devices` (serial number: state) may be changed meanwhile."""

    def __init__(self, devices: Mapping[str, str], *, mode: str = "", cut_bytes: int = 0) -> None:
        self.devices, self.mode, self.cut_bytes = dict(devices), mode, cut_bytes
        self.commands: list[subprocess.Popen[bytes]] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._stop = threading.Event()
        self._threads[0].start()

    def url(self, serial: str = "") -> str:
        return f"adb://127.0.0.1:{self.port}/{serial}"

    def __enter__(self) -> "AdbServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server, every stream and every command."""
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(0.1)
            if self.mode:
                self._be_hostile(client)
            serial = None
            while (service := self._request(client)) is not None:
                if serial is not None:
                    return self._on_device(client, service)
                serial = self._on_host(client, service)
                if serial is None:
                    return None
        return None

    def _request(self, client: socket.socket) -> str | None:
        """The next request; None at the end, or where its length is none: the server then closes without a word."""
        try:
            size_bytes = int(self._exactly(client, 4), 16)
            return self._exactly(client, size_bytes).decode() if size_bytes else None
        except ValueError:
            return None

    def _exactly(self, client: socket.socket, size_bytes: int) -> bytes:
        data = b""
        while len(data) < size_bytes:
            try:
                piece = client.recv(size_bytes - len(data))
            except TimeoutError:
                if self._stop.is_set():
                    raise
                continue
            if not piece:
                raise ConnectionError
            data += piece
        return data

    def _on_host(self, client: socket.socket, service: str) -> str | None:
        """Answer one host service; the serial number of the device that the connection was switched to, if it was."""
        online = [serial for serial, state in self.devices.items() if state == "device"]
        if service == "host:version":
            client.sendall(b"OKAY" + text("0029"))
        elif service in ("host:devices", "host:devices-l"):
            client.sendall(b"OKAY" + text(self._list(service.endswith("-l"))))
        elif service == "host:transport-any":
            if len(online) == 1:
                client.sendall(b"OKAY")
                return online[0]
            fail(client, "more than one device/emulator" if online else "no devices/emulators found")
        elif service.startswith("host:transport:"):
            serial = service.removeprefix("host:transport:")
            if serial in online:
                client.sendall(b"OKAY")
                return serial
            state = self.devices.get(serial)
            fail(client, NOT_ONLINE.get(state, "device offline") if state else f"device '{serial}' not found")
        else:
            fail(client, f"unknown host service '{service.partition(':')[2]}'")
        return None

    def _list(self, long: bool) -> str:
        lines = []
        for number, (serial, state) in enumerate(self.devices.items(), 1):
            about = " product:board model:Test_Board device:board" if state == "device" else ""
            tail = f" usb:1-{number}{about} transport_id:{number}"
            lines.append(f"{serial:<22} {state}{tail}\n" if long else f"{serial}\t{state}\n")
        return "".join(lines)

    def _on_device(self, client: socket.socket, service: str) -> None:
        if not service.startswith("exec:"):
            fail(client, "closed")
            return
        client.sendall(b"OKAY")
        controller, terminal = pty.openpty()
        tty.setraw(terminal)
        command = ["setsid", "--ctty", "/bin/sh", "-c", service.removeprefix("exec:")]
        process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, cwd="/")
        os.close(terminal)
        self.commands.append(process)
        try:
            self._copy(client, controller)
        finally:
            os.close(controller)  # hangs up: the kernel sends SIGHUP
            end(process)

    def _copy(self, client: socket.socket, controller: int) -> None:
        """Both ways, until one side ends; what waits for a side that does not take it stays with the sender."""
        client.setblocking(False)
        os.set_blocking(controller, False)
        to_device, to_client = b"", b""
        left_bytes = self.cut_bytes if self.mode == "cut" else 1 << 62
        while not self._stop.is_set():
            at_client, at_device = ready(client, controller, bool(to_client), bool(to_device))
            with contextlib.suppress(BlockingIOError):
                if at_client & select.POLLIN:
                    to_device = client.recv(1 << 16)
                if at_client & (select.POLLIN | select.POLLHUP | select.POLLERR) and not to_device:
                    return
            with contextlib.suppress(BlockingIOError):
                to_device = to_device[os.write(controller, to_device) :] if to_device else b""
            try:
                if at_device & (select.POLLIN | select.POLLHUP) and not to_client:
                    to_client = os.read(controller, 1 << 16)[:left_bytes]
                    left_bytes -= len(to_client)
            except BlockingIOError:
                continue
            except OSError:  # EIO: the last process of the terminal has ended
                self._shut(client)
                return
            with contextlib.suppress(BlockingIOError):
                to_client = to_client[client.send(to_client) :] if to_client else b""
            if not (left_bytes or to_client):
                return

    def _shut(self, client: socket.socket) -> None:
        """End of the stream, then read what still comes for a second: closing with unread data would reset it."""
        client.shutdown(socket.SHUT_WR)
        deadline_s = time.monotonic() + 1
        while not self._stop.is_set() and (left_s := deadline_s - time.monotonic()) > 0:
            client.settimeout(min(left_s, 0.1))
            with contextlib.suppress(TimeoutError):
                if not client.recv(1 << 16):
                    return

    def _be_hostile(self, client: socket.socket) -> None:
        if self.mode == "garbage":
            self._request(client)
            client.sendall(b"OKAYzz??" + bytes(range(256)))
            self._shut(client)
        elif self.mode == "stranger":
            client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
            self._shut(client)
        elif self.mode == "fail":
            self._request(client)
            client.sendall(b"FAILffff")
            while not self._stop.wait(0.01):
                client.sendall(b"\x1b")
        elif self.mode == "silent":
            self._stop.wait(60)
        if self.mode != "cut":
            raise ConnectionError


def ready(client: socket.socket, controller: int, to_client: bool, to_device: bool) -> tuple[int, int]:
    """Events at both sides, waiting up to 0.1 s: no more is read from one while the other has not taken the last."""
    poll = select.poll()
    poll.register(client, (0 if to_device else select.POLLIN) | (select.POLLOUT if to_client else 0))
    if wanted := (0 if to_client else select.POLLIN) | (select.POLLOUT if to_device else 0):
        poll.register(controller, wanted)
    events = dict(poll.poll(100))
    return events.get(client.fileno(), 0), events.get(controller, 0)


def text(said: str) -> bytes:
    data = said.encode()
    return b"%04x" % len(data) + data


def fail(client: socket.socket, reason: str) -> None:
    client.sendall(b"FAIL" + text(reason))


def end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a command that was hung up; kill its session if it stays."""
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)
