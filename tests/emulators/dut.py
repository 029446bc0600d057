"""A board that speaks the MLPerf Tiny device-under-test protocol, as a program on a serial port, quirks included.

``python -m tests.emulators.dut --port /dev/pts/3 --baud 115200``: what the public reference firmware does
(benchmark/api of mlcommons/tiny), character by character, with a small real classifier and a real clock. It writes
what happened to it (`--log`), one JSON object a line: boots, inferences with the digest of their input, bare signs,
overflows.
"""

import argparse
import contextlib
import hashlib
import json
import os
import select
import sys
import termios
import threading
import time
import tty
from collections import deque
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 27_648


class Net:
    """A small int8 classifier, fixed by its seed: template matching, softmax, 8-bit probabilities."""

    def __init__(self, inputs: int, classes: int, seed: int = 0) -> None:
        self.templates = np.random.default_rng(seed).integers(-100, 101, size=(classes, inputs)).astype(np.int32)

    def probabilities(self, data: bytes) -> NDArray[np.float64]:
        """[classes], in steps of 1/256, of as many input bytes as it takes, zeros where there are fewer."""
        x = np.frombuffer(data.ljust(self.templates.shape[1], b"\0")[: self.templates.shape[1]], np.int8)
        logits = self.templates @ x.astype(np.int32) / (4000.0 * self.templates.shape[1] ** 0.5)
        scores = np.exp(logits - logits.max())
        return np.clip(np.round(256 * scores / scores.sum()), 0, 255 if len(scores) > 1 else 256) / 256

    def rows(self, count: int, *, noise: float, seed: int = 1) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        """Inputs int8 [count, inputs] and labels [count]: templates in noise, so that some are told wrong."""
        random = np.random.default_rng(seed)
        labels = random.integers(0, len(self.templates), size=count)
        noisy = 0.05 * self.templates[labels] + random.normal(0, noise, size=(count, self.templates.shape[1]))
        return np.clip(np.round(noisy), -128, 127).astype(np.int8), labels


@dataclass
class Board:
    """What is on the board, and what is wrong with it."""

    inputs: int = 490
    classes: int = 12
    net_seed: int = 0
    onnx: str = ""
    name: str = "EMULATED"
    model: str = "kws01"
    dialect: str = "plain"
    energy: bool = False
    interface_board: bool = False
    buffer_bytes: int = 4096
    latency_us: int = 200
    tick_us: int = 1
    decimals: int = 3
    one_prints_as: str = ""
    trailing_comma: bool = False
    scores: bool = False
    certain: bool = False
    reboot_at: str = ""
    silently: bool = False
    hang_at: int = 0
    deaf_after: int = 0
    log: str = ""


class Uart:
    """The board's end of the line: blocking output, and a ring that keeps `depth` bytes of what comes meanwhile."""

    def __init__(self, path: str, baud: int, depth: int) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._fd)
        settings = termios.tcgetattr(self._fd)
        code = getattr(termios, f"B{baud}", None)
        if code is not None:
            settings[4] = settings[5] = code
            termios.tcsetattr(self._fd, termios.TCSANOW, settings)
        self._ring: deque[int] = deque()
        self._depth, self._byte_s, self.dropped, self._sending = depth, 10 / baud, 0, False
        self._ready = threading.Condition()
        threading.Thread(target=self._fill, daemon=True).start()

    def _fill(self) -> None:
        while True:
            with contextlib.suppress(OSError):
                data = os.read(self._fd, 4096)
                with self._ready:
                    room = max(0, self._depth - len(self._ring)) if self._sending else len(data)
                    self.dropped += len(data[room:])
                    self._ring.extend(data[:room])
                    self._ready.notify()

    def take(self) -> int:
        """The next byte, waited for."""
        with self._ready:
            while not self._ring:
                self._ready.wait()
            return self._ring.popleft()

    def put(self, data: bytes) -> None:
        """Blocks for as long as the line takes, as a polled UART does; meanwhile nobody empties the ring."""
        start_s, self._sending = time.monotonic(), True
        view = memoryview(data)
        while view:
            select.select([], [self._fd], [])
            view = view[os.write(self._fd, view) :]
        time.sleep(max(0.0, len(data) * self._byte_s - (time.monotonic() - start_s)))
        self._sending = False


class Dut:
    """The firmware's state: its command, its buffer, and its clock since it booted."""

    def __init__(self, board: Board, uart: Uart) -> None:
        self._board, self._uart = board, uart
        self._size = 1028 if board.dialect == "streaming" else 80
        self._infer = (
            _onnx(board.onnx) if board.onnx else Net(board.inputs, board.classes, board.net_seed).probabilities
        )
        self._commands = self._infers = 0
        self._out = bytearray()
        self._boot()

    def run(self) -> None:
        """Characters into commands, for ever."""
        command = bytearray()
        while True:
            byte = self._uart.take()
            if byte == ord("%"):
                self._dispatch(command.decode("latin-1"))
                command.clear()
            elif len(command) > self._size:
                command[-1] = byte
            else:
                command.append(byte)

    def _boot(self, *, silently: bool = False) -> None:
        self._epoch_s = time.monotonic()
        self._buffer, self._expected, self._position = bytearray(MAX_BYTES), 0, 0
        self._results = np.zeros(self._board.classes)
        self._note("boot")
        if not silently:
            self._say(f"m-timestamp-mode-{'energy' if self._board.energy else 'performance'}")
            self._timestamp()
            self._say("m-init-done")
            self._ready()

    def _note(self, what: str, **more: object) -> None:
        if self._board.log:
            with Path(self._board.log).open("a") as log:
                log.write(json.dumps({"what": what, **more}) + "\n")

    def _say(self, line: str, end: str = "\r\n") -> None:
        if self._board.dialect == "streaming":
            line = line.removeprefix("m-") if line != "m-ready" else line
            line = f"Error: {line[3:-1]}" if line.startswith("e-[") else line
        prefix = "[dut]: " if self._board.interface_board and not self._own else ""
        self._out += f"{prefix}{line}{end}".encode("latin-1")

    _own = False

    def _ready(self) -> None:
        self._say("m-ready")
        self._flush()

    def _flush(self) -> None:
        self._uart.put(bytes(self._out))
        self._out.clear()

    def _dispatch(self, command: str) -> None:
        self._commands += 1
        if self._board.deaf_after and self._commands > self._board.deaf_after:
            return
        if self._board.interface_board:
            self._own = True
            if not command.startswith("dut "):
                self._say("tinyML Enhanced Interface Board" if command == "name" else f"e-[Unknown command: {command}]")
                self._ready()
                self._own = False
                return
            command = command.removeprefix("dut ")
            self._say(f"m-dut-passthrough({command})")
            self._ready()
            self._own = False
        if f"command:{self._commands}" in self._board.reboot_at.split(","):
            self._boot(silently=self._board.silently)
            return
        self._obey(command)

    def _obey(self, command: str) -> None:
        words = command.split(" ")
        words = [word for word in words if word]
        if not words:
            self._note("bare")  # strtok gives NULL, and the reference reads through it
            self._boot()
            return
        if self._board.dialect == "streaming":
            self._say(f"Received command: {command}")
        first, rest = words[0], words[1:]
        if first == "name":
            self._say(f"m-name-dut-[{self._board.name}]")
        elif first == "timestamp":
            self._timestamp()
        elif first == "profile":
            self._say("m-profile-[ULPMark for tinyML Firmware V0.0.1]")
            self._say(f"m-model-[{self._board.model}]")
        elif first == "help":
            self._say("ULPMark for tinyML Firmware V0.0.1")
            self._say("")
        elif first == "db":
            self._db(rest)
        elif first == "infer":
            self._run(rest)
        elif first == "results":
            self._say(self._shown())
        else:
            self._say(f"e-[Unknown command: {first}]")
        self._ready()

    def _timestamp(self) -> None:
        if not self._board.energy:
            microseconds = int((time.monotonic() - self._epoch_s) * 1e6)
            self._say(f"m-lap-us-{microseconds // self._board.tick_us * self._board.tick_us % 2**32}")

    def _db(self, words: list[str]) -> None:
        if not words:
            self._say("e-[Command 'db' requires a subcommand]")
        elif words[0] == "load":
            self._load(_integer(words[1]) if len(words) > 1 else 0)
        elif words[0] == "print":
            self._print()
        else:
            self._store(words[0])

    def _load(self, count: int) -> None:
        self._expected = count
        if count <= 0:
            self._say("e-[Command 'db load' must be >0 bytes]")
        elif count > MAX_BYTES:
            self._say(f"Supplied buffer size {count} exceeds maximum of {MAX_BYTES}", end="\n")
        else:
            self._position = 0
            self._say(f"m-[Expecting {count} bytes]")

    def _print(self) -> None:
        shown = self._buffer[: max(0, self._expected)]
        for at in range(0, len(shown), 8):
            self._say(f"m-buffer-{shown[at : at + 8].hex('-')}")
        if len(shown) % 8:
            self._say("")

    def _store(self, digits: str) -> None:
        if len(digits) % 2:
            self._say("e-[Insufficent number of hex digits]")
            return
        for at in range(0, len(digits), 2):
            pair = digits[at : at + 2]
            if any(digit not in "0123456789abcdefABCDEF" for digit in pair):
                self._say(f"e-[Invalid hex digit '{pair}']")
                return
            if self._position >= max(self._expected, 1):
                self._note("overflow", position=self._position, expected=self._expected)
            self._buffer[min(self._position, MAX_BYTES - 1)] = int(pair, 16)
            self._position += 1
            if self._position == self._expected:
                self._say("m-load-done")
                return

    def _run(self, words: list[str]) -> None:
        count, warmup = (_integer(word) for word in [*words, *("1", "10")[len(words) :]][:2])
        self._infers += 1
        if count <= 0 or warmup < 0:
            self._say("e-[Inference iterations must be >0]")
            return
        if self._infers == self._board.hang_at:
            time.sleep(3600)
        if f"infer:{self._infers}" in self._board.reboot_at.split(","):
            self._boot(silently=self._board.silently)
            if not self._board.silently:
                return
        data = bytes(self._buffer[: self._position])
        self._say(f"m-warmup-start-{warmup}")
        self._repeat(data, warmup)
        self._say("m-warmup-done")
        self._say(f"m-infer-start-{count}")
        self._timestamp()
        self._repeat(data, count)
        self._timestamp()
        self._say("m-infer-done")
        self._say(self._shown())
        self._note("infer", sha256=hashlib.sha256(data).hexdigest(), count=count)

    def _repeat(self, data: bytes, count: int) -> None:
        """Real inferences, each made as long as the board's."""
        due_s = time.monotonic()
        for _ in range(min(count, 64)):
            self._results = np.asarray(self._infer(data))
        due_s += count * self._board.latency_us / 1e6
        time.sleep(max(0.0, due_s - time.monotonic()))

    def _shown(self) -> str:
        values = self._results
        if self._board.certain:
            values = np.eye(len(values))[int(np.argmax(values))]
        numbers = [f"{value:.{self._board.decimals}f}" for value in values]
        if self._board.one_prints_as:
            numbers = [self._board.one_prints_as if float(each) == 1.0 else each for each in numbers]
        return f"m-results-[{','.join(numbers)}{',' if self._board.trailing_comma else ''}]"


def _integer(text: str) -> int:
    """C's atoi."""
    digits = ""
    for index, character in enumerate(text):
        if not ((character.isdecimal() and character.isascii()) or (index == 0 and character in "+-")):
            break
        digits += character
    return int(digits) if digits.strip("+-") else 0


def _onnx(path: str) -> Any:
    """A real ONNX model, float input from int8 bytes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0]
    shape = [1, *taken.shape[1:]]

    def infer(data: bytes) -> NDArray[np.float32]:
        count = int(np.prod(shape))
        x = np.frombuffer(data.ljust(count, b"\0")[:count], np.int8).astype(np.float32).reshape(shape)
        return session.run(None, {taken.name: x})[0][0]

    return infer


def main() -> None:
    """Until its input ends or it is told to."""
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.dut")
    parser.add_argument("--port", required=True)
    parser.add_argument("--baud", type=int, default=115200)
    for each in fields(Board):
        flag = f"--{each.name.replace('_', '-')}"
        if isinstance(each.default, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(each.default), default=each.default)
    given = vars(parser.parse_args())
    uart = Uart(given.pop("port"), given.pop("baud"), given["buffer_bytes"])
    threading.Thread(target=Dut(Board(**given), uart).run, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
