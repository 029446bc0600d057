"""Android devices, and boards that run adbd: the agent behind the adb server (``adb:``, ``adb:SERIAL``).

It speaks the server's own protocol and needs no package, only a server (`adb start-server`); one on another machine
is named as ``adb://host:port/SERIAL``. The protocol is that of AOSP, packages/modules/adb, docs/dev/services.md:
``exec:`` runs a command behind a raw pty, binary safe, with its errors mixed into its output and no exit status.
"""

import contextlib
import re
import shlex
import time
from urllib.parse import urlsplit

from kit.device.adb_server import AdbDevice, Server, devices
from kit.device.process import last_line
from kit.device.remote import not_started, shell_words
from kit.device.sockets import SocketLink
from kit.errors import LinkError, SpecError
from kit.spec.types import DeviceSpec
from kit.wire.sockets import SocketStream

AGENT = ("python3", "/data/local/tmp/agent.pyz", "--stdio")
"""The agent's command on the device, unless the device file has its own."""

_ERRORS_ONLY = "</dev/null 2>&1 >/dev/null"
_TAIL_BYTES = 4096
_MAX_COMMAND_BYTES = 4000  # an old adbd takes services of at most 4096 bytes (MAX_PAYLOAD_V1)
_PATIENCE_S = 2.0
_SERIAL = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9._:%\[\]-]{0,199}")


class AdbLink(SocketLink):
    """A Link to the agent's command on one device. Raises LinkError, in one line, if it cannot be started."""

    def __init__(self, spec: DeviceSpec) -> None:
        self._where = f"device {spec.name}"
        deadline_s = time.monotonic() + spec.timeout_s
        self._server, serial = _address(spec)
        self._command = shell_words([*spec.wrapper, *(spec.command or AGENT)])
        if len(self._command) > _MAX_COMMAND_BYTES:
            what = f"a command of {len(self._command)} bytes; an adb device takes {_MAX_COMMAND_BYTES}"
            raise SpecError(what, where=spec.path or self._where, next_step="put it into a script on the device")
        try:
            self.serial = _usable(devices(self._server, deadline_s), serial).serial
            stream = self._server.open(self.serial, f"exec:{self._command} 2>/dev/null", deadline_s)
        except LinkError as error:
            error.where = error.where or self._where
            raise
        super().__init__(SocketStream(stream))

    def _broken(self, error: OSError) -> LinkError:
        del error  # adbd and the agent know more
        return self._ended()

    def _stuck(self) -> LinkError:
        return LinkError("agent does not take what is sent to it", next_step="see what else the device does")

    def _ended(self) -> LinkError:
        """Why the stream ended: the device was unplugged, the agent never started, or it ended."""
        deadline_s = time.monotonic() + _PATIENCE_S
        try:
            _usable(devices(self._server, deadline_s), self.serial)
            said = "" if self._received_bytes else self._last_words(deadline_s)
        except LinkError as error:
            return error
        if explained := not_started(said, lambda path: f"adb -s {self.serial} push agent.pyz {shlex.quote(path)}"):
            return LinkError(f"the agent did not start: {explained[0]}", next_step=explained[1])
        by_hand = f"see why it ends: adb -s {self.serial} shell {self._command}"
        words = last_line(said)
        return LinkError("agent ended", next_step=f"its last words were: {words}" if words else by_hand)

    def _last_words(self, deadline_s: float) -> str:
        """What the command writes to its errors when it is run again without input; exec: keeps them nowhere."""
        again = SocketStream(self._server.open(self.serial, f"exec:{self._command} {_ERRORS_ONLY}", deadline_s))
        said = b""
        with contextlib.suppress(OSError):
            while len(said) < _TAIL_BYTES and (data := again.receive(deadline_s)):
                said += data
        again.close()
        return said[-_TAIL_BYTES:].decode(errors="replace")


def _address(spec: DeviceSpec) -> tuple[Server, str]:
    """The server and the serial number that the URL names; "" for the only device. Raises SpecError."""
    try:
        parts = urlsplit(spec.link)
        serial, server = spec.link.removeprefix("adb:"), Server()
        if spec.link.startswith("adb://"):
            serial, server = parts.path.strip("/"), Server(parts.hostname or Server.host, parts.port or Server.port)
        if not serial or _SERIAL.fullmatch(serial):
            return server, serial
    except ValueError:
        pass
    raise SpecError(
        f"{spec.link!r} names no adb device",
        where=spec.path or f"device {spec.name}",
        next_step="write adb: for the only one, adb:SERIAL, or adb://host:port/SERIAL (adb devices lists them)",
    )


def _usable(found: list[AdbDevice], serial: str) -> AdbDevice:
    """The device of that serial number, or the only one there is, if it is in use as such. Raises LinkError."""
    named = [device for device in found if device.serial == serial or not serial]
    if not named:
        others = f"; there is {', '.join(device.serial for device in found[:8])}" if found else ""
        which = f"no device {serial}" if serial else "no device"
        step = f"plug it in, switch USB debugging on, and look at `adb devices`{others}"
        raise LinkError(f"the adb server has {which}", next_step=step)
    if len(named) > 1:
        names = ", ".join(device.serial for device in named[:8])
        raise LinkError(f"the adb server has {len(named)} devices", next_step=f"name one as adb:SERIAL: {names}")
    (device,) = named
    if device.state == "device":
        return device
    what, next_step = next(
        (words for state, words in _STATES.items() if device.state.startswith(state)),
        (f"is in state {device.state!r}", "boot it into its system: adb reboot"),
    )
    raise LinkError(f"{device.serial} {what}", next_step=next_step)


_STATES = {
    "unauthorized": ("has not accepted this computer", "unlock its screen and allow USB debugging, then run again"),
    "authorizing": ("is still being asked to accept this computer", "allow USB debugging on its screen"),
    "offline": ("is offline", "wait until it has booted, or: adb reconnect offline"),
    "connecting": ("is still connecting", "wait a moment, then run again"),
    "no permissions": (
        "may not be opened by this user",
        "install udev rules (Debian: android-sdk-platform-tools-common), join group plugdev, then: adb kill-server",
    ),
}
