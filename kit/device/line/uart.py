"""Two pseudo-terminals with a UART between them: who may send how much when, and when it arrives."""

import contextlib
import os
import select
import termios
import time
import tty
from collections import deque

from kit.device.line.faults import Chance, Damage, LineFaults
from kit.spec.types import LineSpec

BITS_A_BYTE = 10  # 8N1: a start bit, eight data bits, a stop bit
BUFFER_BYTES = 4096  # Linux: UART_XMIT_SIZE, one page
_GO_ON_BYTES = BUFFER_BYTES // 2
_TICK_S = 0.001  # what is due is handed over together, this often: 92 bytes at 921600 baud


class Terminal:
    """One end of the line: `name` is what a program opens. We keep its side open too, so it may come and go."""

    def __init__(self, baud: int) -> None:
        self.fd, self._slave = os.openpty()
        self.name = os.ttyname(self._slave)
        os.set_blocking(self.fd, False)
        tty.setraw(self.fd)
        tty.setraw(self._slave)
        self._speed = getattr(termios, f"B{baud}", None)
        if self._speed is not None:
            settings = termios.tcgetattr(self._slave)
            settings[4] = settings[5] = self._speed
            termios.tcsetattr(self._slave, termios.TCSANOW, settings)

    def wrong_rate(self) -> bool:
        """Whether the program has set another baud rate than the line's, where that has a code."""
        return self._speed is not None and termios.tcgetattr(self._slave)[5] != self._speed

    def let_send(self, on: bool) -> None:
        """Let its program write, or make it wait."""
        termios.tcflow(self._slave, termios.TCOON if on else termios.TCOOFF)

    def take(self, limit: int) -> bytes:
        """What its program has written."""
        try:
            return os.read(self.fd, limit)
        except BlockingIOError:
            return b""

    def give(self, data: bytes) -> int:
        """Let its program read this; how much of it found room."""
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0


class Direction:
    """One way of the line. All times are of `time.monotonic`, in s."""

    def __init__(self, source: Terminal, sink: Terminal, line: LineSpec, faults: LineFaults, seed: str) -> None:
        self.source, self._sink, self._faults = source, sink, faults
        self._byte_s, self._latency_s = BITS_A_BYTE / line.baud, line.latency_s
        self._damage = Damage(line, faults, seed)
        self._stalls = Chance(faults.stall_rate, f"{seed} stall")
        self._disconnects = Chance(faults.disconnect_rate, f"{seed} disconnect")
        self._sent: deque[tuple[float, bytes]] = deque()  # when its first bit went out, and what is on its way
        self._free_s = self._handed_s = 0.0  # when the line has sent all; when something last arrived
        self._sending = True
        self._carried = self._overrun = self._dropped = 0
        self._latest_s = 0.0

    def room(self, now_s: float) -> int:
        """How many bytes the driver's buffer takes now."""
        return BUFFER_BYTES - max(0, int((self._free_s - now_s) / self._byte_s))

    def wants(self, now_s: float) -> bool:
        """Whether to look for what its program writes; having been full, the buffer must be half empty first."""
        return self._sending or self.room(now_s) >= BUFFER_BYTES - _GO_ON_BYTES

    def take(self, now_s: float) -> None:
        """Put what was written on the line, behind what is there; make the writer wait while the buffer is full."""
        room = self.room(now_s)
        if room > 0 and (data := self.source.take(room)):
            if self.source.wrong_rate() or self._sink.wrong_rate():
                data = self._damage.garbled(len(data))
            start_s = max(now_s, self._free_s)
            self._sent.append((start_s, data))
            self._free_s = start_s + len(data) * self._byte_s
            full = len(data) == room
        else:
            full = room <= 0
        if full is self._sending:
            self._sending = not full
            self.source.let_send(self._sending)

    def due_s(self) -> float | None:
        """When `take` or `deliver` is to be called next, but for what a program writes; None: not by itself."""
        times = [] if self._sending else [self._free_s - _GO_ON_BYTES * self._byte_s]
        if self._sent:
            first_s = self._sent[0][0] + self._byte_s + self._latency_s
            times.append(max(first_s, min(self._handed_s + _TICK_S, self._free_s + self._latency_s)))
        return min(times) if times else None

    def deliver(self, now_s: float, dead_until_s: float) -> float:
        """Hand over what has arrived by now; until when the whole line is dead, which may have begun just here."""
        while self._sent:
            start_s, data = self._sent[0]
            count = min(len(data), int((now_s - self._latency_s - start_s) / self._byte_s + 1e-6))
            count = int(min(count, self._stalls.left + 1, self._disconnects.left + 1))
            if count <= 0:
                break
            self._sent.popleft()
            if count < len(data):
                self._sent.appendleft((start_s + count * self._byte_s, data[count:]))
            self._latest_s = max(self._latest_s, now_s - (start_s + self._byte_s + self._latency_s))
            self._hand_over(data[:count], dead=now_s < dead_until_s)
            self._handed_s = now_s
            if list(self._disconnects.within(count)):
                dead_until_s = max(dead_until_s, now_s + self._faults.disconnect_s)
            if list(self._stalls.within(count)):
                self._pause(self._faults.stall_s)
        return dead_until_s

    def report(self) -> dict[str, float]:
        """What was carried, and what happened to it.

        Bytes of `overrun` found the reader's buffer full. `latest_s` is by how much the tardiest byte came after its
        time: a tick of 1 ms by itself, more where the machine was too busy to keep the line's time.
        """
        return {
            "carried_bytes": self._carried,
            **self._damage.counts(),
            "stalls": self._stalls.strikes,
            "disconnects": self._disconnects.strikes,
            "bytes_while_disconnected": self._dropped,
            "overrun_bytes": self._overrun,
            "latest_s": self._latest_s,
        }

    def _hand_over(self, data: bytes, *, dead: bool) -> None:
        self._carried += len(data)
        if dead:
            self._dropped += len(data)
        else:
            arrived = self._damage.apply(data)
            self._overrun += len(arrived) - self._sink.give(arrived)

    def _pause(self, pause_s: float) -> None:
        """Everything that is still to come comes later."""
        self._free_s += pause_s
        self._sent = deque((start_s + pause_s, data) for start_s, data in self._sent)


class Line:
    """Both directions between two terminals."""

    def __init__(self, line: LineSpec, faults: LineFaults, seed: int) -> None:
        self.host, self.device = Terminal(line.baud), Terminal(line.baud)
        self._ways = {
            "to_device": Direction(self.host, self.device, line, faults, f"{seed} to device"),
            "to_host": Direction(self.device, self.host, line, faults, f"{seed} to host"),
        }
        self._dead_until_s = 0.0

    def run(self, until: int) -> None:
        """Carry bytes until the descriptor `until` has something to read, or has ended."""
        while True:
            now_s = time.monotonic()
            listened = [way.source.fd for way in self._ways.values() if way.wants(now_s)]
            dues_s = [due_s for way in self._ways.values() if (due_s := way.due_s()) is not None]
            wait_s = max(0.0, min(dues_s) - now_s) if dues_s else None
            ready, _, _ = select.select([until, *listened], [], [], wait_s)
            if until in ready:
                return
            self._step(time.monotonic())

    def report(self) -> dict[str, dict[str, float]]:
        """See Direction.report."""
        return {name: way.report() for name, way in self._ways.items()}

    def _step(self, now_s: float) -> None:
        for way in self._ways.values():
            with contextlib.suppress(OSError):  # the terminal of a program that was just killed, for a moment
                if way.wants(now_s):
                    way.take(now_s)
                self._dead_until_s = way.deliver(now_s, self._dead_until_s)
