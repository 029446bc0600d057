"""An ST X-NUCLEO-LPM01A, from its manual (UM2269): commands, text and binary samples, metadata, faults on request."""

import argparse
import re
import time

import numpy as np
from numpy.typing import NDArray

from tests.emulators.pty_meter import PtyMeter, parser

STAMPED = 1000


def waveform_a(kind: str, count: int, rate_hz: float) -> NDArray[np.float64]:
    """The true current in A at the first `count` samples."""
    t_s = np.arange(count) / rate_hz
    if kind == "steady":
        return np.full(count, 640.9e-6)
    if kind == "inference":  # 3 uA asleep, and each 50 ms 20 ms at 6 mA with a ripple
        busy = (t_s % 0.05) < 0.02
        return np.where(busy, 6e-3 + 0.5e-3 * np.sin(2 * np.pi * 300 * t_s), 3e-6)
    if kind == "peaks":  # beyond what the dynamic mode can measure for 1 ms of each 100
        return np.where((t_s % 0.1) < 0.001, 30e-3, 1e-3)
    raise ValueError(kind)


def encode_binary(current_a: NDArray[np.float64]) -> bytes:
    """`nvvv`: the largest exponent whose 12 bits hold it; the scale's end where nothing does."""
    n = np.clip(np.floor(np.log(4095 / np.maximum(current_a, 1e-12)) / np.log(16)), 0, 14)
    v = np.minimum(np.rint(current_a * 16.0**n), 4095)
    return bytes((n.astype(np.uint16) << 12 | v.astype(np.uint16)).astype(">u2").tobytes())


def encode_ascii(current_a: NDArray[np.float64]) -> list[bytes]:
    """`DDDD-EE`, four significant digits."""
    e = np.floor(np.log10(np.maximum(current_a, 1e-12))).astype(int) - 3
    d = np.rint(current_a / 10.0**e).astype(int)
    e, d = np.where(d > 9999, e + 1, e), np.where(d > 9999, d // 10, d)
    return [
        b"%04d%s%02d" % (digits, b"-" if power < 0 else b"+", abs(power)) for digits, power in zip(d, e, strict=True)
    ]


class Lpm01a(PtyMeter):
    """`lose`: pairs at:count of samples never sent, though the timestamps go on; `end_at`, what it says there."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(options)
        self._lost = [tuple(map(int, pair.split(":"))) for pair in options.lose.split(",") if pair]
        self._wave_a = np.empty(0)
        self._line, self._start_s, self._sent = bytearray(), 0.0, -1
        self._rate_hz, self._is_binary, self._most_a = 5000.0, False, 10e-3
        self.report |= {"commands": [], "samples": 0, "lost": 0}

    def obey(self, data: bytes) -> None:
        for byte in data:
            if byte == 10:
                self._do(bytes(self._line).strip().decode("latin-1"))
                self._line.clear()
            else:
                self._line.append(byte)

    def _do(self, line: str) -> None:
        if not line:
            return
        self.report["commands"].append(line)
        word, _, rest = line.partition(" ")
        if self.options.refuse == word:
            self.say(f"PowerShield > err {line}\r\n".encode())
            return
        if word == "stop":
            if self._sent < 0:
                self.say(b"PowerShield > ack stop\r\n")
                return
            self.tick(time.monotonic())
            self._sent = -1
            self.say(b"\xf0\xf4\xff\xff" if self._is_binary else b"end\r\n")
            return
        if word == "freq":
            found = re.fullmatch(r"(\d+)(k?)", rest)
            assert found is not None
            self._rate_hz = int(found[1]) * (1000 if found[2] else 1)
            self._wave_a = waveform_a(self.options.waveform, int(10 * self._rate_hz), self._rate_hz)
        elif word == "format":
            self._is_binary = rest == "bin_hexa"
        elif word == "acqmode":
            self._most_a = 10e-3 if rest == "dyn" else 200e-3
        self.say(f"PowerShield > ack {line}\r\n".encode())
        if word == "start":
            self._start_s, self._sent = time.monotonic(), 0
            self.say(b"" if self._is_binary else b"summary beg\r\nmin 0001-09\r\nmax 0002-03\r\nsummary end\r\n")
            self.report |= {"samples": 0, "lost": 0, "start_ns": int(self._start_s * 1e9)}

    def tick(self, now_s: float) -> None:
        if self._sent < 0:
            return
        elapsed_s = now_s - self._start_s
        if self.options.unplug_s and elapsed_s > self.options.unplug_s:
            self.unplug()
            return
        due = int(elapsed_s * self._rate_hz)
        while 0 <= self._sent < due:
            self._send(min(due, (self._sent // STAMPED + 1) * STAMPED))

    def _send(self, stop: int) -> None:
        place = np.arange(self._sent, stop)
        current_a = np.minimum(self._wave_a[place % len(self._wave_a)], self._most_a)
        keep = np.ones(len(place), bool)
        for at, count in self._lost:
            keep &= (place < at) | (place >= at + count)
        data = self._coded(current_a[keep])
        if self._sent <= self.options.byte_loss < stop:
            cut = len(data) * (self.options.byte_loss - self._sent) // len(place)
            data = data[:cut] + data[cut + 1 :]
        self.say(data)
        self.report["samples"] += int(keep.sum())
        self.report["lost"] += int((~keep).sum())
        if self._sent <= self.options.end_at < stop:
            self.say(self._ending())
            self._sent = -1
            return
        self._sent = stop
        if stop % STAMPED == 0:
            self._stamp(int(stop / self._rate_hz * 1000))

    def _coded(self, current_a: NDArray[np.float64]) -> bytes:
        if self._is_binary:
            return encode_binary(current_a)
        return b"".join(line + b"\r\n" for line in encode_ascii(current_a))

    def _stamp(self, ms: int) -> None:
        if self._is_binary:
            self.say(b"\xf0\xf8\x00\x19\xff\xff")  # 25 degrees
            self.say(b"\xf0\xf3" + ms.to_bytes(4, "big") + b"\x07\xff\xff")
        else:
            self.say(f"{self.options.stamp}: {ms // 1000:03d}s {ms % 1000:03d}ms, buff 07%\r\n".encode())

    def _ending(self) -> bytes:
        if self._is_binary:
            return (
                b"\xf0"
                + bytes([self.options.end_as])
                + (b"buffer full" if self.options.end_as == 0xF1 else b"")
                + b"\xff\xff"
            )
        return b"error: acquisition buffer full\r\n"


def main() -> None:
    """Until its input ends."""
    options = parser()
    options.add_argument("--waveform", default="steady")
    options.add_argument("--lose", default="")
    options.add_argument("--byte-loss", type=int, default=-1)
    options.add_argument("--unplug-s", type=float, default=0.0)
    options.add_argument("--end-at", type=int, default=-1)
    options.add_argument("--end-as", type=int, default=0xF1)
    options.add_argument("--refuse", default="")
    options.add_argument("--stamp", default="Timestamp")
    Lpm01a(options.parse_args()).run()


if __name__ == "__main__":
    main()
