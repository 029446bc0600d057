"""Memory that a model adds to a process, in a fresh process a session; see kit.agent.footprint for what it does."""

import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.agent import footprint
from kit.agent.worker import run_worker

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
    arguments = [os.fspath(path), str(threads)]
    # with its first line all is told but the arena, whose session may have been one too many
    out = run_worker("kit.agent.footprint", arguments, stream.getvalue(), tick, _ENVIRONMENT, is_enough=_has_line)
    lines = out.splitlines()
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


def _has_line(out: bytes) -> bool:
    return b"\n" in out


def available() -> bool:
    """Whether this kernel tells a process's high-water mark."""
    return footprint.high_water_bytes() is not None
