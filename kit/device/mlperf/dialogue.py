"""Commands out, lines in: one command's reply at a time, in step again after damage, and a reboot never missed."""

import time
from collections.abc import Iterable
from typing import Protocol

from kit.device.mlperf.grammar import DamagedError, RebootedError, is_banner, payload
from kit.device.mlperf.grammar import name as name_in
from kit.errors import LinkError

ANSWER_S = 2.0
"""A command that computes nothing is answered within this (the benchmark's rule for `name%`)."""

_LEAST_PATIENCE_S = 0.1  # shorter than any person notices, longer than a host's scheduler sleeps
_QUIET_S = 0.2
_MAX_LINE_BYTES = 1 << 16
_REPLY_BYTES = 4096
_PASSED_ON = "[dut]: "
_ECHO = "Received command: "


class Port(Protocol):
    """An open serial port: the bytes as they come, lost and altered ones included."""

    def read(self, timeout_s: float) -> bytes:
        """At least one byte, or b"" after `timeout_s`; LinkError if the port is gone."""
        ...

    def send(self, data: bytes, deadline_s: float) -> None:
        """Everything, before `deadline_s` of `time.monotonic`; LinkError otherwise."""
        ...

    def close(self) -> None:
        """Give the port back."""
        ...


class Dialogue:
    """One conversation with a board, directly or through an interface board.

    `damage` counts replies that were not what they must be; `reboots` counts unasked-for starts.
    """

    def __init__(self, port: Port, baud: int, timeout_s: float, where: str, *, interface_board: bool = False) -> None:
        self._port, self._timeout_s, self.where = port, timeout_s, where
        self.interface_board, self.is_streaming = interface_board, False
        self.char_s = 10 / baud
        self.damage = self.reboots = 0
        self.name = ""
        self._buffer = bytearray()
        self._trip_s, self._trip_deviation_s = ANSWER_S / 2, ANSWER_S / 8
        self._backoff = 1.0

    def open(self) -> None:
        """Say hello until the board has told its name twice alike; it may be starting still. Raises LinkError."""
        end_s, seen = time.monotonic() + self._timeout_s, ""
        while time.monotonic() < end_s:
            try:
                self._read_away()
                lines = self.ask("name", hello=True)
                found = name_in(lines)
            except DamagedError:
                continue
            if found == seen:
                self.name, self.damage, self.reboots = found, 0, 0
                return
            seen = found
        raise LinkError(
            f"nothing that speaks the protocol answered `name%` within {self._timeout_s:g} s",
            where=self.where,
            next_step="check port, baud rate (115200; 9600 in energy mode) and firmware, and reset the board",
        )

    def recover(self) -> None:
        """In step again, after damage: what is left over is read away, and the board tells its name. LinkError."""
        self.damage += 1
        end_s = time.monotonic() + self._timeout_s
        while time.monotonic() < end_s:
            self._read_away()
            try:
                if name_in(self.ask("name")) == self.name:
                    return
            except DamagedError:
                continue
        raise LinkError(
            f"the board stopped answering within {self._timeout_s:g} s",
            where=self.where,
            next_step="reset the board, check its power and cable, then run again",
        )

    def ask(self, command: str, *, silence_s: float = 0.0, reply_chars: int = 256, hello: bool = False) -> list[str]:
        """The lines that answer `command`, without the `m-ready` that ends them.

        The board may be silent for `silence_s` while it computes. Raises DamagedError if it does not end in time,
        RebootedError if the board has started anew (at the `hello`, it may have).
        """
        sent_s = self.send([command])
        due_s = sent_s + silence_s
        lines = self._passed_on(command, due_s) if self.interface_board else []
        lines = self._until_ready(lines, due_s + 2 * reply_chars * self.char_s, reply_chars, hello=hello)
        if not silence_s:
            characters = len(command) + sum(len(line) + 2 for line in lines) + len("m-ready\r\n")
            self._learn(time.monotonic() - sent_s - characters * self.char_s)
        return self._without_echo(lines, command, hello=hello)

    def send(self, commands: Iterable[str]) -> float:
        """Send commands, each ended by its sign, never a bare one; when the last of them will have left."""
        start = "dut " if self.interface_board else ""
        data = "".join(f"{start}{command}%" for command in commands if command).encode("ascii")
        now_s = time.monotonic()
        self._port.send(data, now_s + len(data) * self.char_s + self._timeout_s)
        return now_s + len(data) * self.char_s

    def line(self, due_s: float) -> str | None:
        """The next line without its end, at most patience after `due_s` or after the last byte; None if none came.

        Raises RebootedError for a line of the boot banner.
        """
        line = self._line(due_s)
        if line is not None and is_banner(line.removeprefix(_PASSED_ON)):
            self.reboots += 1
            raise RebootedError("the board has rebooted: everything that it was sent is gone")
        return line

    @property
    def patience_s(self) -> float:
        """How long a byte that is due may be late: V. Paxson and others, RFC 6298, doubled after each silence."""
        waited_s = self._trip_s + 4 * self._trip_deviation_s
        return min(max(waited_s, _LEAST_PATIENCE_S) * self._backoff, ANSWER_S)

    def close(self) -> None:
        """Give the port back."""
        self._port.close()

    def _line(self, due_s: float) -> str | None:
        while b"\n" not in self._buffer:
            end_s = max(due_s, time.monotonic()) + self.patience_s
            data = self._port.read(max(0.0, end_s - time.monotonic()))
            if not data:
                self._backoff = min(2 * self._backoff, 64.0)
                return None
            self._buffer += data
            if len(self._buffer) > _MAX_LINE_BYTES and b"\n" not in self._buffer:
                self._buffer.clear()
                raise DamagedError("a line without an end")
        end = self._buffer.index(b"\n")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r").decode("latin-1")

    def _until_ready(self, lines: list[str], due_s: float, reply_chars: int, *, hello: bool) -> list[str]:
        """Lines up to the one that ends the reply, in bounded time and length."""
        room = reply_chars + _REPLY_BYTES
        whole_s = due_s + ANSWER_S + 4 * room * self.char_s
        while True:
            line = self._line(due_s) if hello else self.line(due_s)
            if line is None or time.monotonic() > whole_s or room < 0:
                raise DamagedError("a reply did not end" if lines else "no reply", lines)
            text = line.removeprefix(_PASSED_ON) if self.interface_board else line
            if hello and (is_banner(text) or payload(text).startswith("lap-us-")):
                lines, room = [], room - len(line)
            elif text == "m-ready" or (self.is_streaming and text == "ready"):
                if lines or not hello:
                    return lines
            else:
                if payload(text).startswith(("infer-done", "results")):
                    due_s = time.monotonic()  # nothing is computed after these
                lines.append(text)
                room -= len(line) + 2

    def _passed_on(self, command: str, due_s: float) -> list[str]:
        """The interface board says what it passes on, which is checked: it is the only echo that there is."""
        for expected in (f"m-dut-passthrough({command})", "m-ready"):
            line = self.line(due_s)
            if line != expected:
                raise DamagedError(f"the interface board passed on {line!r}, not {expected!r}", [line or ""])
        return []

    def _without_echo(self, lines: list[str], command: str, *, hello: bool) -> list[str]:
        """The streaming dialect repeats the command, and what it repeats must be what was sent."""
        if hello:
            self.is_streaming = bool(lines) and lines[0].startswith(_ECHO)
        if not self.is_streaming:
            return lines
        if not lines or lines[0] != _ECHO + command:
            raise DamagedError(f"the board took {lines[0] if lines else 'nothing'!r} for {command!r}", lines)
        return lines[1:]

    def _learn(self, trip_s: float) -> None:
        """Smooth the round trip and its deviation (RFC 6298, section 2)."""
        trip_s = max(0.0, trip_s)
        self._trip_deviation_s += (abs(trip_s - self._trip_s) - self._trip_deviation_s) / 4
        self._trip_s += (trip_s - self._trip_s) / 8
        self._backoff = 1.0

    def _read_away(self) -> None:
        """Until the line is quiet, in bounded time: late replies belong to nothing."""
        end_s = time.monotonic() + self._timeout_s
        while self._port.read(min(self.patience_s / 2, _QUIET_S)):
            if time.monotonic() > end_s:
                raise LinkError("the board does not stop sending", where=self.where, next_step="reset the board")
        self._buffer.clear()
