"""A real agent in a process of its own that listens on TCP, for tests of whoever talks to it."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from kit.device.subprocess import agent_environment


@contextlib.contextmanager
def tcp_agent(
    folder: Path, *options: str, command: Sequence[str] = (sys.executable, "-m", "kit.agent"), host: str = "127.0.0.1"
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """The url of an agent that listens, and its process; ended afterwards."""
    words = [*command, "--tcp", f"{host}:0", "--cache", str(folder / "cache"), *options]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=agent_environment(), cwd=folder) as process:
        try:
            line = process.stderr.readline()
            assert line.startswith("listening on "), line
            drain = threading.Thread(target=process.stderr.read, daemon=True)
            drain.start()
            yield f"tcp://{line.removeprefix('listening on ').strip()}", process
        finally:
            process.kill()
            drain.join(10)
