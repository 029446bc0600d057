"""An agent on this machine (``subprocess:``): as it is, or as a smaller device behind an emulated serial line."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from kit.device.limits import limits_of
from kit.device.line import EmulatedLine
from kit.device.link import Link, LinkHealth
from kit.device.process import AgentProcess, ProcessLink
from kit.device.serial import SerialLink
from kit.device.subprocess import agent_command, agent_environment
from kit.errors import LinkError, SpecError
from kit.spec.text import shown
from kit.spec.types import DeviceSpec, LineSpec

T = TypeVar("T")
_LOOK_S = 0.25  # how soon it is noticed that the agent has ended
_ATTEMPT_S = 3.0  # and so at its start


def open_local(spec: DeviceSpec) -> Link:
    """A link to an agent that is started here, within the limits of [emulate] and behind its line.

    Raises LinkError if it does not start or does not answer, DeviceError if a limit cannot be enforced, SpecError for
    a link that names another place.
    """
    if spec.link != "subprocess:":
        raise SpecError(
            f"{shown(spec.link)} names something behind subprocess:, which is always this machine",
            where=spec.path or f"device {spec.name}",
            next_step="write subprocess: alone; other kinds are tcp://, ssh://, adb: or a serial port",
        )
    if spec.emulate is not None and spec.emulate.line is not None:
        return LineLink(spec, spec.emulate.line)
    command = agent_command(spec, "--stdio", *_storage(spec))
    return ProcessLink(command, name=spec.name, environment=agent_environment(), limits=limits_of(spec.emulate))


class LineLink:
    """A Link (see there) to an agent of ours at the far end of an emulated serial line. All three end together."""

    def __init__(self, spec: DeviceSpec, line: LineSpec) -> None:
        self._line = EmulatedLine(line)
        self._words = (line_words(line),)
        self._agent: AgentProcess | None = None
        self._serial: SerialLink | None = None
        self._health = LinkHealth(0, 0)
        try:
            self._start(spec, line)
        except BaseException:
            self.close()
            raise

    def read(self, deadline_s: float) -> bytes:
        """See Link."""
        while True:
            if data := self._living(self._open_serial().read, min(deadline_s, time.monotonic() + _LOOK_S)):
                return data
            if not self._running():
                raise self._death()
            if time.monotonic() >= deadline_s:
                return b""

    def write(self, data: bytes | memoryview, deadline_s: float) -> None:
        """See Link."""
        self._living(self._open_serial().write, data, deadline_s)

    def health(self) -> LinkHealth:
        """See Link."""
        return self._health if self._serial is None else self._serial.health()

    def limits(self) -> tuple[str, ...]:
        """See Link; the line is this machine's work, not the kernel's."""
        return (*(self._agent.limits() if self._agent else ()), *self._words)

    def process_id(self) -> int | None:
        """See Link."""
        return self._agent.process_id if self._agent else None

    def close(self) -> None:
        """See Link."""
        serial, self._serial = self._serial, None
        if not self._running():
            self._line.close()  # there is nobody to take leave of
        if serial:
            serial.close()
            self._health = serial.health()
        if self._agent:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._agent.process_id, signal.SIGTERM)  # a line's end tells an agent nothing
            self._agent.close()
        self._line.close()

    def _start(self, spec: DeviceSpec, line: LineSpec) -> None:
        way = ("--serial", self._line.device_port, "--baud", str(line.baud))
        self._agent = AgentProcess(
            agent_command(spec, *way, *_storage(spec)),
            name=spec.name,
            environment=agent_environment(),
            limits=limits_of(spec.emulate),
        )
        at_our_end = replace(spec, link=self._line.host_port, baud=line.baud)
        give_up_s = time.monotonic() + spec.timeout_s
        while self._serial is None:
            attempt = replace(at_our_end, timeout_s=min(_ATTEMPT_S, spec.timeout_s))
            try:
                self._serial = self._living(SerialLink, attempt)
            except LinkError:
                if not self._running() or time.monotonic() >= give_up_s:
                    raise

    def _living(self, use: Callable[..., T], *arguments: object) -> T:
        """What `use` gives; where it fails as the agent has ended, that is the error."""
        try:
            return use(*arguments)
        except LinkError:
            if self._running():
                raise
            raise self._death() from None

    def _running(self) -> bool:
        return self._agent is not None and self._agent.running()

    def _death(self) -> LinkError:
        assert self._agent is not None
        return self._agent.death()

    def _open_serial(self) -> SerialLink:
        if self._serial is None:
            raise LinkError("the link is closed", next_step="open the device again")
        return self._serial


def line_words(line: LineSpec) -> str:
    """``an emulated serial line: 115200 baud, 1 ms each way``, and its errors if it has any."""
    words = f"an emulated serial line: {line.baud} baud, {line.latency_s * 1e3:g} ms each way"
    words += f", bit error rate {line.bit_error_rate:g}" if line.bit_error_rate else ""
    return words + (f", byte loss rate {line.byte_loss_rate:g}" if line.byte_loss_rate else "")


def _storage(spec: DeviceSpec) -> tuple[str, ...]:
    """The agent's options for a bounded storage."""
    size_bytes = spec.emulate.storage_bytes if spec.emulate else None
    return () if size_bytes is None else ("--cache-bytes", str(size_bytes))
