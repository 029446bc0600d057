"""An emulated board behind an emulated line, each a process, for tests and benchmarks."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from kit.device.line import EmulatedLine, LineFaults
from kit.spec.types import BoardSpec, DeviceSpec, LineSpec

ROOT = Path(__file__).parents[2]


class EmulatedBoard:
    """`spec` opens it; the options are those of `tests.emulators.dut.Board`."""

    def __init__(
        self,
        line: LineSpec,
        *,
        board: BoardSpec | None = None,
        faults: LineFaults | None = None,
        seed: int = 0,
        timeout_s: float = 10.0,
        **options: Any,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._log = Path(self._folder.name) / "log"
        self.line = EmulatedLine(line, faults, seed=seed)
        flags = [
            f"--{n.replace('_', '-')}" + ("" if v is True else f"={v}") for n, v in options.items() if v is not False
        ]
        command = [sys.executable, "-m", "tests.emulators.dut", f"--port={self.line.device_port}"]
        command += [f"--baud={line.baud}", f"--log={self._log}", *flags]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        self.spec = DeviceSpec(
            name="board",
            description="",
            digest="",
            path="",
            link=self.line.host_port,
            baud=line.baud,
            timeout_s=timeout_s,
            emulated=("device", "link"),
            board=board or BoardSpec("mlperf-tiny"),
        )

    def events(self, what: str) -> list[dict[str, Any]]:
        """What the board noted of that kind."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [event for event in map(json.loads, lines) if event["what"] == what]

    def freeze(self) -> None:
        """Stop the board's process where it is: power is there, and no answer."""
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        """End both processes."""
        self._process.kill()
        self._process.communicate()
        self.line.close()
        self._folder.cleanup()

    def __enter__(self) -> "EmulatedBoard":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()
