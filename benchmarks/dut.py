"""Loading an input into a board that speaks the MLPerf Tiny device protocol: ours beside the public runner's way.

The peer is our re-creation of what the public runner does (mlcommons/tiny, benchmark/runner, read in 2026): 31 bytes a
chunk, each reply waited for, the port read one byte at a time in a thread of its own. Both load the same board over
the same paced line in turn; neither reads back while it is timed (ours has read back once, to find its window).
"""

import queue
import threading
import time
from statistics import median
from typing import Any

import numpy as np
import serial

from benchmarks.table import Row
from kit.device.mlperf.dialogue import Dialogue
from kit.device.mlperf.loading import Loader
from kit.device.serial import open_port
from kit.spec.types import DeviceSpec, LineSpec
from tests.emulators.boards import EmulatedBoard

PEER = "public runner's way"
GOAL_RATIO = 1 / 1.3
CASES = ((490, 115_200, 0.001), (3072, 115_200, 0.001), (3072, 115_200, 0.016), (3072, 921_600, 0.001))
GOAL_MS = {CASES[0]: 490 / 4700 * 1e3}
"""The stated goal: 4700 B/s of 490-byte inputs."""


class PublicRunnersWay:
    """One command at a time; a line is whatever ends in a line feed, a reply whatever ends in `m-ready`."""

    def __init__(self, spec: DeviceSpec) -> None:
        self._port = serial.Serial(spec.link, spec.baud, timeout=0.1)
        self._lines: queue.Queue[str] = queue.Queue()
        self._running = True
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def load(self, data: bytes) -> None:
        """`db load`, then 31 bytes a chunk."""
        self._send(f"db load {len(data)}")
        for at in range(0, len(data), 31):
            lines = self._send(f"db {data[at : at + 31].hex()}")
        assert lines == ["m-load-done", "m-ready"], lines

    def close(self) -> None:
        """End the thread."""
        self._running = False
        self._reader.join()
        self._port.close()

    def _send(self, command: str) -> list[str]:
        self._port.write(command.encode())
        self._port.write(b"%")
        lines: list[str] = []
        while "m-ready" not in lines:
            lines.append(self._lines.get(timeout=5.0))
        return lines

    def _read(self) -> None:
        line = ""
        while self._running:
            character = self._port.read(1).decode()
            if character == "\n":
                self._lines.put(line)
                line = ""
            elif character not in ("", "\r", "\0"):
                line += character


class Ours:
    """The driver's loader, its window once found kept."""

    window = 0

    def __init__(self, spec: DeviceSpec) -> None:
        self._dialogue = Dialogue(open_port(spec), spec.baud, spec.timeout_s, "board")
        self._dialogue.open()
        self._loader = Loader(self._dialogue, Ours.window)

    def load(self, data: bytes) -> None:
        """One input, every reply checked."""
        if not self._loader.window:
            self._loader.probe(data)
            Ours.window = self._loader.window
        assert self._loader.load(data)

    def close(self) -> None:
        """Give the port back."""
        self._dialogue.close()


def run(*, quick: bool) -> list[Row]:
    """A row a case: the median time of one load, in ms."""
    return [_row(case, quick=quick) for case in (CASES[:1] if quick else CASES)]


def _row(case: tuple[int, int, float], *, quick: bool) -> Row:
    size, baud, latency_s = case
    data = np.random.default_rng(0).integers(0, 256, size=size, dtype=np.uint8).tobytes()
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    Ours.window = 0
    with EmulatedBoard(LineSpec(baud, latency_s)) as board:
        for _ in range(1 if quick else 3):
            for name, way in (("ours", Ours), ("peer", PublicRunnersWay)):
                times[name] += _times_ms(way, board.spec, data, 8 if quick else 10)
    ours, peer = (median(values) for values in times.values())
    what = f"load {size} B at {baud}, {latency_s * 1e3:g} ms"
    return Row(what, ours, PEER, peer, "ms", GOAL_RATIO, GOAL_MS.get(case))


def _times_ms(way: Any, spec: DeviceSpec, data: bytes, count: int) -> list[float]:
    """Times of so many loads after one that warms up."""
    opened, times = way(spec), []
    try:
        for _ in range(count + 1):
            started_s = time.perf_counter()
            opened.load(data)
            times.append((time.perf_counter() - started_s) * 1e3)
    finally:
        opened.close()
    return times[1:]
