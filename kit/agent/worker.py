"""A fresh process of this agent's Python for one measurement: what it is given, what it says, how it may fail."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import kit
from kit.agent.runner import out_of_memory, says_no_memory
from kit.errors import DeviceError

TIMEOUT_S = 300
_TICK_S = 0.1


def run_worker(
    module: str,
    arguments: list[str],
    data: bytes,
    tick: Callable[[], None],
    environment: Mapping[str, str],
    *,
    is_enough: Callable[[bytes], bool] | None = None,
) -> bytes:
    """What ``python -m module`` says on standard output, given `data` on its input; `environment` is added to ours.

    `tick` is called while it works, and may raise, which ends it. Raises DeviceError with its last words if it fails,
    unless what it said until then `is_enough`, or if it ends well without having said a line.
    """
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment_of(environment),
    ) as worker:  # fmt: skip
        try:
            out, err = _talk(worker, data, tick)
        except BaseException:
            worker.kill()
            raise
    if not out or (worker.returncode and not (is_enough and is_enough(out))):
        raise _failure(module, worker.returncode, err)
    return out


def _talk(worker: "subprocess.Popen[bytes]", data: bytes, tick: Callable[[], None]) -> tuple[bytes, bytes]:
    """What it says, on both streams, once it has ended."""
    deadline_s, unsent = time.monotonic() + TIMEOUT_S, data or None
    while time.monotonic() < deadline_s:
        tick()
        try:
            return worker.communicate(unsent, timeout=_TICK_S)
        except subprocess.TimeoutExpired:
            unsent = None  # it goes on with the rest of it
    raise DeviceError(f"the worker {worker.args!r} did not end within {TIMEOUT_S} s")


def _failure(module: str, status: int, err: bytes) -> DeviceError:
    name = module.rpartition(".")[2]
    words = (err.decode(errors="replace").strip().splitlines()[-1:] or [f"status {status}"])[0]
    if status == -signal.SIGKILL or says_no_memory(words):
        return out_of_memory(f"the system ended the {name} worker" if status == -signal.SIGKILL else words[:300])
    return DeviceError(f"the {name} worker failed: {words[:300]}", next_step="is there enough memory?")


def environment_of(added: Mapping[str, str]) -> dict[str, str]:
    """Ours, and where the agent's sources are: a folder, or the zip file that it runs from."""
    root = str(Path(kit.__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | dict(added) | {"PYTHONPATH": os.pathsep.join(paths)}
