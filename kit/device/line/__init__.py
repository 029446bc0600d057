"""An emulated serial line: two pseudo-terminals and, between them, a UART's rate, delay, buffer and faults.

Modelled: 8N1, so 10 bits a byte, in each direction by itself (full duplex); a delay each way, of an adapter say; a
driver's buffer of 4 KiB that makes a writer wait, of which it is told to go on at half; flipped data bits, lost,
doubled and invented bytes, stalls, disconnects; garbage where a program sets another baud rate than the line's.

Not modelled: framing and parity errors (a flipped start or stop bit), break, modem lines (RTS, DTR) and any flow
control; `tcdrain` and TIOCOUTQ, which pseudo-terminals do not have (a drain returns at once); a receiver's hardware
FIFO. Bytes for a port that nobody has open wait in its buffer, and are lost beyond it; a program that opens a port
should flush it, as it should a real one. A writer that hands over much at once may be let go before the line is
told: by as much as a pseudo-terminal holds, about 18 KiB on Linux.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import IO, cast

from kit.device.line.faults import LineFaults
from kit.device.subprocess import agent_environment
from kit.errors import LinkError
from kit.spec.types import LineSpec

_PATIENCE_S = 5.0


class EmulatedLine:
    """A line in a process of its own, that ends with ours: `host_port` and `device_port` name its two ends.

    `faults` are what goes wrong beyond the line's own rates; all of it repeats under `seed`.
    After `close`, `report` tells what it carried and did, each way. Raises LinkError if it does not start.
    """

    def __init__(self, line: LineSpec, faults: LineFaults | None = None, *, seed: int = 0) -> None:
        command = [sys.executable, "-m", "kit.device.line", *_options(line, faults or LineFaults(), seed)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
            env=agent_environment(), start_new_session=True,
        )  # fmt: skip
        self.report: Mapping[str, object] = {}
        try:
            self._ports: dict[str, str] = json.loads(cast(IO[bytes], self._process.stdout).readline())
        except ValueError:
            raise LinkError(f"the emulated line did not start: {self._end()[1]}", where="[emulate]") from None

    @property
    def host_port(self) -> str:
        """Where the host opens it."""
        return self._ports["host"]

    @property
    def device_port(self) -> str:
        """Where the device does."""
        return self._ports["device"]

    def process_id(self) -> int:
        """Its process."""
        return self._process.pid

    def close(self) -> None:
        """End it, and take its report; never raises, may be called twice."""
        if self._process.stdin and not self._process.stdin.closed:
            with contextlib.suppress(ValueError):
                self.report = json.loads(self._end()[0])

    def _end(self) -> tuple[bytes, str]:
        """Its last output, and the last line of its errors."""
        try:
            said, errors = self._process.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            said, errors = self._process.communicate()
        return said, (errors.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]


def _options(line: LineSpec, faults: LineFaults, seed: int) -> list[str]:
    """The command line's, from the same names."""
    values: dict[str, object] = {"baud": line.baud, "latency": f"{line.latency_s}s", "seed": seed}
    values |= {"bit-error-rate": line.bit_error_rate, "byte-loss-rate": line.byte_loss_rate}
    for name, value in asdict(faults).items():
        kind, unit = name.rsplit("_", 1)
        values |= {f"{kind}-rate": value} if unit == "rate" else {f"{kind}-time": f"{value}s"}
    return [f"--{name}={value}" for name, value in values.items()]


__all__ = ["EmulatedLine", "LineFaults"]
