"""How fast meters' samples are decoded: ours beside the unmodified ppk2-api, each in an environment of its own."""

import subprocess
import time
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.table import Row

ROOT = Path(__file__).parents[1]
PEER_VENV = ROOT / ".cache/ppk2-api"
PACKAGE = "ppk2-api==0.9.2"
PEER = """
import sys, time
from ppk2_api import ppk2_api as package

class NoPort:
    def __init__(self, *_, **__): pass
    def close(self): pass

package.serial.Serial = NoPort  # only its decoder is timed
api = package.PPK2_API("none")
api.current_vdd = 3300
data = open(sys.argv[1], "rb").read()
started_s = time.thread_time()
count = sum(len(api.get_samples(data[at : at + 4096])[0]) for at in range(0, len(data), 4096))
print(count / (time.thread_time() - started_s))
"""


def peer_python() -> Path:
    """The peer's own environment, made when it is first needed: ppk2-api is GPL, and never a dependency of ours."""
    python = PEER_VENV / "bin/python"
    if not (PEER_VENV / "ready").exists():
        venv.create(PEER_VENV, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]
        subprocess.run(install, check=True)
        (PEER_VENV / "ready").touch()
    return python


def run(*, quick: bool) -> list[Row]:
    """Samples a second, decoded on one core, in MS/s."""
    from tests.emulators import ppk2

    count = 200_000 if quick else 1_000_000
    place = np.arange(count)
    words = ppk2.encode(ppk2.waveform_a("inference", count), 3.3) | (place & 63).astype(np.uint32) << 18
    data = words.astype("<u4").tobytes()
    path = ROOT / ".cache/ppk2-samples"
    peer = peer_python()
    path.write_bytes(data)
    try:
        found = subprocess.run([str(peer), "-c", PEER, str(path)], check=True, capture_output=True, text=True)
    finally:
        path.unlink()
    peer_rate = float(found.stdout) / 1e6
    return [
        _row("PPK2, from bytes to current", _best(lambda: _ppk2(data), count), 20.0, "ppk2-api", peer_rate, 20.0),
        _row("LPM01A, binary", _best(*_lpm01a(count, is_binary=True)), 2.0),
        _row("LPM01A, text", _best(*_lpm01a(count // 5, is_binary=False)), 0.1),
        _row("Joulescope, blocks of 10,000", _best(*_joulescope(2 * count, 10_000)), 2.0),
        _row("Joulescope, blocks of 1,000", _best(*_joulescope(2 * count, 1_000)), 1.0),
    ]


def _row(
    what: str, ours: float, goal: float, peer: str = "", rate: float | None = None, ratio: float | None = None
) -> Row:
    return Row(what, ours, peer, rate, "MS/s", ratio, goal if not peer else None, higher_is_better=True)


def _best(decode: Callable[[], object], count: int) -> float:
    """Of three, in CPU time: what else the machine does is not measured."""
    rates = []
    for _ in range(3):
        started_s = time.thread_time()
        decode()
        rates.append(count / (time.thread_time() - started_s) / 1e6)
    return max(rates)


def _ppk2(data: bytes) -> None:
    from kit.meter.ppk2_samples import Calibration, Decoder

    decoder = Decoder(Calibration(), 3.3)
    for at in range(0, len(data), 1 << 18):
        decoder.feed(data[at : at + (1 << 18)], last=at + (1 << 18) >= len(data))


def _lpm01a(count: int, *, is_binary: bool) -> tuple[Callable[[], object], int]:
    from kit.meter.lpm01a_samples import assemble, read_ascii, read_binary
    from tests.emulators import lpm01a

    current_a = lpm01a.waveform_a("inference", 1000, 1e5)
    if is_binary:
        part, read = lpm01a.encode_binary(current_a), read_binary
        data = b"".join(
            part + b"\xf0\xf3" + (10 * k).to_bytes(4, "big") + b"\x00\xff\xff" for k in range(count // 1000)
        )
    else:
        part, read = b"".join(line + b"\r\n" for line in lpm01a.encode_ascii(current_a)), read_ascii
        data = b"".join(part + b"Timestamp: 001s %03dms, buff 07%%\r\n" % (k % 1000) for k in range(count // 1000))
    return lambda: assemble(read(data), 1e5, is_binary=is_binary), count


def _joulescope(count: int, size: int) -> tuple[Callable[[], object], int]:
    from kit.meter.joulescope_blocks import Blocks

    values = np.random.default_rng(0).random(size, np.float32)

    def decode() -> None:
        blocks = Blocks(20_000.0, has_inputs=False)
        for at in range(0, count, size):
            block = {"sample_id": 2 * at, "sample_rate": 2_000_000, "decimate_factor": 2, "data": values}
            blocks.feed("i", block, at)
            blocks.feed("v", block, at)
        if blocks.lost:
            raise SystemExit("the benchmark's own blocks have holes")

    return decode, count
