"""A Nordic PPK2, from its commands and formulas, with a known current through it and faults on request."""

import argparse
import struct
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.emulators.pty_meter import PtyMeter, parser

RATE_HZ = 100_000
_MOST = 1000  # samples in one piece
_TOP_A = [50e-6, 500e-6, 5e-3, 60e-3]  # above these it changes to the next range
_STEP_V = 1.8 / 163_840

R = [1003.3506, 101.5865, 10.3027, 0.9636, 0.0564]
GS = [0.0, 112.7890, 18.0115, 2.4217, 0.0729]
GI = [1.0, 0.9695, 0.9609, 0.9519, 0.9582]
O = [112.9420, 75.4627, 64.6020, 50.0, 87.2177]  # noqa: E741
S = [0.000000048, 0.000000596, 0.000005281, 0.000062577, 0.002940743]
I = [-0.000000104, -0.000001443, 0.000036439, -0.000374119, -0.009388455]  # noqa: E741
UG = [1.0, 1.0, 1.01, 1.0, 0.99]
"""Calibration of the size that units really have, user gains included."""


def waveform_a(kind: str, count: int) -> NDArray[np.float64]:
    """The true current in A at the first `count` samples, at 100 kS/s."""
    t_s = np.arange(count) / RATE_HZ
    if kind == "steady":
        return np.full(count, 8.5e-3)
    if kind == "inference":  # sleep at 20 uA, and each 50 ms 20 ms of work at 30 mA with a ripple of 10 kHz
        busy = (t_s % 0.05) < 0.02
        return np.where(busy, 30e-3 + 3e-3 * np.sin(2 * np.pi * 1e4 * t_s), 20e-6)
    if kind == "ranges":  # all five ranges, 4 ms each
        levels = np.array([20e-6, 300e-6, 3e-3, 40e-3, 400e-3, 40e-3, 3e-3, 300e-6])
        return levels[(np.arange(count) // 400) % len(levels)]
    raise ValueError(kind)


def encode(current_a: NDArray[np.float64], voltage_v: float) -> NDArray[np.uint32]:
    """ADC and range of each sample: the range that the current needs, and the code that comes nearest."""
    which = np.searchsorted(_TOP_A, current_a)
    r, gs, gi, o, s, i, ug = (np.array(each)[which] for each in (R, GS, GI, O, S, I, UG))
    rest = current_a / ug - s * voltage_v - i
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(gs > 0, (-gi + np.sqrt(gi * gi + 4 * gs * rest)) / (2 * gs), rest / gi)
    adc = np.rint((x / (_STEP_V / r) + o) / 4)
    return np.clip(adc, 0, 0x3FFF).astype(np.uint32) | which.astype(np.uint32) << 14


def metadata(options: argparse.Namespace) -> bytes:
    """As the device prints it; `--quirks`: some values are -nan or missing, and the range is told as 5."""
    lines = [f"Calibrated: {0 if options.quirks else 1}"]
    lines += [f"R{k}: {v:.4f}" for k, v in enumerate(R)] + [f"GS{k}: {v:.4f}" for k, v in enumerate(GS)]
    lines += [f"GI{k}: {v:.4f}" for k, v in enumerate(GI)] + [f"O{k}: {v:.4f}" for k, v in enumerate(O)]
    lines += ["VDD: 3300", "HW: 41172", "mode: 2"]
    lines += [f"S{k}: {v:.9f}" for k, v in enumerate(S)] + [f"I{k}: {v:.9f}" for k, v in enumerate(I)]
    lines += [f"UG{k}: {v:.2f}" for k, v in enumerate(UG)] + ["IA: 56"]
    if options.quirks:
        lines = [line if not line.startswith(("O4", "S3")) else f"{line[:2]}: -nan" for line in lines]
        lines = [line for line in lines if not line.startswith("UG4")]
    return "\n".join([*lines, "END"]).encode()


@dataclass
class Stream:
    """Samples since `start_s`; `sent` of them are on their way."""

    start_s: float
    sent: int = 0


class Ppk2(PtyMeter):
    """`lost`: pairs at:count of samples that are taken and never sent; the counter counts them."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self._lost = [tuple(map(int, pair.split(":"))) for pair in options.lose.split(",") if pair]
        self._stream: Stream | None = None
        self._commands = bytearray()
        self._voltage_v = 3.3
        self.report |= {"commands": [], "samples": 0, "lost": 0, "voltage_v": None}
        self._prepare()

    def _prepare(self) -> None:
        """One second, or as much as repeats, is computed beforehand: the emulator must not be the bottleneck."""
        count = 320_000
        current_a = waveform_a(self.options.waveform, count)
        inputs = ((np.arange(count) / RATE_HZ % 0.05) < 0.02).astype(np.uint32) << self.options.trigger
        self._codes = encode(current_a, self._voltage_v) | inputs << 24
        if self.options.quirks:
            top = (self._codes >> 14 & 7) == 4
            self._codes = np.where(top, self._codes | 1 << 14, self._codes).astype(np.uint32)  # range 5

    def obey(self, data: bytes) -> None:
        self._commands += data
        while self._commands:
            length = {0x0D: 3, 0x11: 2, 0x0C: 2, 0x25: 6}.get(self._commands[0], 1)
            if len(self._commands) < length:
                return
            command = bytes(self._commands[:length])
            del self._commands[:length]
            self.report["commands"].append(command.hex())
            self._do(command)

    def _do(self, command: bytes) -> None:
        if command[0] == 0x19:
            self.say(metadata(self.options))
        elif command[0] == 0x0D:
            before, self._voltage_v = self._voltage_v, struct.unpack(">H", command[1:])[0] / 1000
            self.report["voltage_v"] = self._voltage_v
            if self._voltage_v != before:
                self._prepare()
        elif command[0] == 0x06:
            self.say(bytes(range(200, 200 + self.options.garbage)))
            self._stream = Stream(time.monotonic())
            self.report |= {"samples": 0, "lost": 0, "start_ns": int(self._stream.start_s * 1e9)}
        elif command[0] == 0x07 and self._stream:
            self.tick(time.monotonic())
            self._stream = None

    def tick(self, now_s: float) -> None:
        stream, options = self._stream, self.options
        if stream is None:
            return
        elapsed_s = now_s - stream.start_s
        if options.unplug_s and elapsed_s > options.unplug_s:
            self.unplug()
            return
        due = int(elapsed_s * RATE_HZ * (1 - options.drift_ppm * 1e-6))
        if options.silent_s and elapsed_s > options.silent_s:
            return
        while stream.sent < due:
            self._send(stream, min(_MOST, due - stream.sent))

    def _send(self, stream: Stream, count: int) -> None:
        place = np.arange(stream.sent, stream.sent + count)
        words = self._codes[place % len(self._codes)] | (place & 63).astype(np.uint32) << 18
        keep = np.ones(count, bool)
        for at, lost in self._lost:
            keep &= (place < at) | (place >= at + lost)
        data = words[keep].astype("<u4").tobytes()
        if stream.sent <= self.options.byte_loss < stream.sent + count:
            cut = 4 * (self.options.byte_loss - stream.sent) + 1
            data = data[:cut] + data[cut + 1 :]
        self.say(data)
        stream.sent += count
        self.report["samples"] += count
        self.report["lost"] += int(np.sum(~keep))


def main() -> None:
    """Until its input ends."""
    options = parser()
    options.add_argument("--waveform", default="steady")
    options.add_argument("--lose", default="")
    options.add_argument("--garbage", type=int, default=0)
    options.add_argument("--byte-loss", type=int, default=-1)
    options.add_argument("--trigger", type=int, default=0)
    options.add_argument("--drift-ppm", type=float, default=0.0)
    options.add_argument("--unplug-s", type=float, default=0.0)
    options.add_argument("--silent-s", type=float, default=0.0)
    options.add_argument("--quirks", action="store_true")
    Ppk2(options.parse_args()).run()


if __name__ == "__main__":
    main()
