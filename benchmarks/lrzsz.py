"""The peers of our serial link: XMODEM-1k, YMODEM and ZMODEM of Debian's lrzsz, over the same emulated line."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from kit.device.line import EmulatedLine
from kit.spec.types import LineSpec

PROTOCOLS = {
    "XMODEM-1k": (("sx", "-k", "-q", "object"), ("rx", "-c", "-q", "object")),
    "YMODEM": (("sb", "-k", "-b", "-q", "object"), ("rb", "-b", "-q")),
    "ZMODEM": (("sz", "-b", "-q", "object"), ("rz", "-b", "-q")),
}
"""What sends and what receives, for each protocol."""

_LOOK_S = 0.005


def missing() -> list[str]:
    """Programs that are not installed."""
    return sorted({pair[0] for both in PROTOCOLS.values() for pair in both if shutil.which(pair[0]) is None})


def transfer_s(protocol: str, line: LineSpec, data: bytes, limit_s: float) -> tuple[float | None, str]:
    """How long `data` took, and a note; None where it did not arrive, and the note says how far it came.

    From the start of the receiver, whose first byte makes the waiting sender begin, until the file is complete or
    the sender is content, whichever is first: what a protocol does afterwards is not held against it.
    """
    sender, receiver = PROTOCOLS[protocol]
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(EmulatedLine(line, seed=1)) as wires:
        source, target = Path(folder, "from"), Path(folder, "to")
        source.mkdir()
        target.mkdir()
        (source / "object").write_bytes(data)
        arriving = target / "object"
        with _on_port(sender, wires.host_port, source) as sending:
            time.sleep(0.3)
            start_s = time.monotonic()
            with _on_port(receiver, wires.device_port, target) as receiving:
                while sending.poll() is None and _size(arriving) < len(data):
                    if time.monotonic() - start_s > limit_s:
                        return None, f"stopped after {limit_s:.0f} s with {_size(arriving)} of {len(data)} bytes"
                    time.sleep(_LOOK_S)
                took_s = time.monotonic() - start_s
                with contextlib.suppress(subprocess.TimeoutExpired):
                    receiving.wait(10)
        got = arriving.read_bytes() if arriving.exists() else b""
        if got[: len(data)] != data:  # XMODEM fills its last block up
            return None, f"{len(got)} bytes arrived after {took_s:.0f} s, and they are not those that were sent"
        return took_s, ""


@contextlib.contextmanager
def _on_port(command: tuple[str, ...], port: str, folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The command with a serial port for its input and output; it is killed if it has not ended."""
    descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY)
    try:
        process = subprocess.Popen(
            command, stdin=descriptor, stdout=descriptor, stderr=subprocess.DEVNULL, cwd=folder, start_new_session=True
        )
    finally:
        os.close(descriptor)
    try:
        yield process
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.kill()
        process.wait()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
