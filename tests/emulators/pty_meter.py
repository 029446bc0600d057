"""Meters as programs on a pseudo terminal: what their emulators share, and how a test runs one.

``python -m tests.emulators.ppk2 --option value``: prints the path of its port, then runs until its input ends, and
last prints one JSON object, what it did.
"""

import argparse
import contextlib
import json
import os
import pty
import random
import select
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_QUEUE_BYTES, _TICK_S = 1 << 20, 0.001


class PtyMeter:
    """A program's side of the port. A subclass obeys bytes and, at every tick, says what is due."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self._pending = options, bytearray()
        self._controller, device = pty.openpty()
        tty.setraw(device)
        self._device: int | None = device  # held open, so that a host may come and go
        os.set_blocking(self._controller, False)
        self._random = random.Random(options.seed)
        self.report: dict[str, Any] = {"overrun_bytes": 0}

    def obey(self, data: bytes) -> None:
        """Bytes from the host."""
        raise NotImplementedError

    def tick(self, now_s: float) -> None:
        """What is due now, to `say`."""

    def say(self, data: bytes) -> None:
        """Queue bytes for the host; what does not fit, as in a real meter's memory, is lost, whole units first."""
        if len(self._pending) + len(data) > _QUEUE_BYTES:
            self.report["overrun_bytes"] += len(data)
        else:
            self._pending += data

    def unplug(self) -> None:
        """Gone from the host, in the middle of whatever it was doing."""
        if self._device is not None:
            os.close(self._device)
            os.close(self._controller)
            self._device = None

    def run(self) -> None:
        """Say where the port is; then until standard input ends."""
        sys.stdout.write(os.ttyname(self._device) + "\n")
        sys.stdout.flush()
        while True:
            wait_for = [0] if self._device is None else [0, self._controller]
            ready = select.select(wait_for, [], [], _TICK_S)[0]
            if 0 in ready and not os.read(0, 4096):
                self._hear()  # what was said before the end is still obeyed
                break
            if self._device is None:
                continue
            if self._controller in ready:
                self._hear()
            self.tick(time.monotonic())
            self._flush()
        sys.stdout.write(json.dumps(self.report) + "\n")

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._device is not None:
                self.obey(os.read(self._controller, 4096))

    def _flush(self) -> None:
        while self._pending and self._device is not None:
            size = self._random.randint(1, 61) if self.options.split else len(self._pending)
            try:
                sent = os.write(self._controller, self._pending[:size])
            except BlockingIOError:
                return
            del self._pending[:sent]


def parser() -> argparse.ArgumentParser:
    """Options of every emulator."""
    found = argparse.ArgumentParser()
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--split", action="store_true", help="write pieces of 1 to 61 bytes")
    return found


class Running:
    """`path` of the port; `report` once it has ended."""

    def __init__(self, process: "subprocess.Popen[str]", path: str) -> None:
        self.process, self.path = process, path
        self.report: dict[str, Any] = {}

    def end(self) -> dict[str, Any]:
        """End it; what it did."""
        if not self.report:
            self.report = json.loads(self.process.communicate(timeout=20)[0])
        return self.report

    def cpu_s(self) -> float:
        """CPU time that it has used."""
        return time.clock_gettime((~self.process.pid << 3) | 2)


@contextlib.contextmanager
def running(name: str, **options: Any) -> Iterator[Running]:
    """The emulator `name`, run as a program of its own."""
    flags = [f"--{n.replace('_', '-')}" + ("" if v is True else f"={v}") for n, v in options.items() if v is not False]
    with subprocess.Popen(
        [sys.executable, "-m", f"tests.emulators.{name}", *flags],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        found = Running(process, process.stdout.readline().strip())
        try:
            yield found
            found.end()
        finally:
            process.kill()


def is_raw(path: str) -> bool:
    """Whether the host has set the terminal to raw mode."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
    try:
        return not termios.tcgetattr(descriptor)[3] & (termios.ICANON | termios.ECHO)
    finally:
        os.close(descriptor)
