"""Memory that a model adds to a process, in a fresh process a session; see kit.agent.footprint for what it does."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import kit
from kit.agent import footprint
from kit.agent.work import RefusalError
from kit.errors import DeviceError

_TIMEOUT_S = 300
_TICK_S = 0.1
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1", "ORT_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True, slots=True)
class Session:
    """One fresh session's figures in bytes, above `baseline_bytes`; None is what this system does not tell.

    peak_bytes is None too where the high-water mark cannot be reset and was higher before the model was loaded.
    """

    baseline_bytes: int | None
    peak_bytes: int | None
    steady_bytes: int | None
    load_peak_bytes: int | None = None
    first_run_peak_bytes: int | None = None
    steady_proportional_bytes: int | None = None
    arena_bytes: int | None = None


OPTIONAL = tuple(each.name for each in fields(Session))[3:]
"""Figures that a device may lack."""


def measure_session(
    path: Path, threads: int, row: NDArray[np.generic], tick: Callable[[], None] = lambda: None
) -> Session:
    """The figures of one fresh session in a fresh process.

    `tick` is called while it works, and may raise, which ends it. Raises DeviceError if the worker fails, with its
    last words.
    """
    stream = io.BytesIO()
    np.save(stream, row, allow_pickle=False)
    with subprocess.Popen(
        [sys.executable, "-m", "kit.agent.footprint", os.fspath(path), str(threads)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(),
    ) as worker:  # fmt: skip
        try:
            out, err = _talk(worker, stream.getvalue(), tick)
        except BaseException:
            worker.kill()
            raise
    lines = out.splitlines()
    if not lines:  # with its first line all is told but the arena, whose session may have been one too many
        raise _failure(worker.returncode, err)
    return Session(**{name: value for line in lines for name, value in json.loads(line).items()})


def told(sessions: Sequence[Session]) -> tuple[dict[str, object], list[NDArray[np.int64]]]:
    """The fields and parts of a reply (docs/wire.md): `method`, null where a session has no peak; int64 [sessions]."""
    whole = [_column(sessions, name) for name in ("baseline_bytes", "peak_bytes", "steady_bytes")]
    known = [each for each in whole if each is not None]
    if len(known) < len(whole):
        return {"method": None}, []
    more = {name: values for name in OPTIONAL if (values := _column(sessions, name)) is not None}
    baseline, *parts = known
    told_fields = {"method": _method(set(more)), "baseline_bytes": int(np.median(baseline)), "more": list(more)}
    return told_fields, [*parts, *more.values()]


def _column(sessions: Sequence[Session], name: str) -> NDArray[np.int64] | None:
    values = [getattr(each, name) for each in sessions]
    return None if None in values else np.array(values, np.int64)


def _method(known: set[str]) -> str:
    """What was read, and what could not be."""
    by_phase = {"load_peak_bytes", "first_run_peak_bytes"} <= known
    runs = f"loading from file, the first run, {footprint.RUNS} more runs"
    if by_phase:
        peak = f"the high-water mark is reset (/proc/self/clear_refs) before each of: {runs}; peak: VmHWM, the highest"
    else:
        peak = f"the high-water mark cannot be reset here, so that no phase has its own; after {runs}: peak: VmHWM"
    proportional = "Pss of /proc/self/smaps_rollup" if "steady_proportional_bytes" in known else "not told here"
    arena = "mem_arena_held of the runtime's profiler, in a session of its own, weights included"
    return "; ".join(
        (
            "a fresh process a session; baseline: VmRSS after a one-node model was loaded, run and released",
            f"{peak}; steady: VmRSS after the last",
            "all less the baseline and with the library pages that the model touches",
            f"proportional: {proportional}",
            f"arena: {arena if 'arena_bytes' in known else 'not told here'}",
            ", ".join(f"{name}={value}" for name, value in list(_ENVIRONMENT.items())[:2]),
        )
    )


def _talk(worker: "subprocess.Popen[bytes]", data: bytes, tick: Callable[[], None]) -> tuple[bytes, bytes]:
    """What it says, on both streams, once it has ended."""
    deadline_s, unsent = time.monotonic() + _TIMEOUT_S, data or None
    while time.monotonic() < deadline_s:
        tick()
        try:
            return worker.communicate(unsent, timeout=_TICK_S)
        except subprocess.TimeoutExpired:
            unsent = None  # it goes on with the rest of it
    raise DeviceError(f"the memory worker did not end within {_TIMEOUT_S} s")


def _failure(status: int, err: bytes) -> DeviceError:
    words = (err.decode(errors="replace").strip().splitlines()[-1:] or [f"status {status}"])[0][:300]
    if status == -signal.SIGKILL or "MemoryError" in words or "bad_alloc" in words:
        said = "the system ended the memory worker" if status == -signal.SIGKILL else words
        step = "choose a smaller variant, or give the device more memory"
        return RefusalError(f"out of memory: {said}", next_step=step, reason="memory")
    return DeviceError(f"the memory worker failed: {words}", next_step="is there enough memory?")


def _environment() -> dict[str, str]:
    """Ours, and where the agent's sources are: a folder, or the zip file that it runs from."""
    root = str(Path(kit.__file__).parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | _ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(paths)}


def available() -> bool:
    """Whether this kernel tells a process's high-water mark."""
    return footprint.high_water_bytes() is not None
