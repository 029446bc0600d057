"""A recorded trace as a file: CSV for spreadsheets, NPZ for programs, JSON for both; the meter "replay" reads them."""

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from kit.errors import StoreError, UsageError
from kit.records import Float64Array, Int64Array, TraceRecord

SUFFIXES = (".npz", ".csv", ".json")
SCHEMA = "edgeproof/trace/1"


def check_place(path: Path) -> None:
    """Try the place of a trace before anything is measured; what is there stays.

    Raises UsageError for a suffix that no format has, and StoreError where no file can be put.
    """
    if path.suffix.lower() not in SUFFIXES:
        what = f"a trace is {', '.join(SUFFIXES)}, not {path.suffix or 'without a suffix'!r}"
        raise UsageError(what, where=str(path), next_step="name it trace.npz, say")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.is_symlink()  # raises for a name that is too long
        partial = _partial(path)
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise _unwritable(path, error) from None


def write_trace(path: Path, trace: TraceRecord) -> None:
    """Write `trace` in the format of the path's suffix, all or nothing. Raises StoreError."""
    partial = _partial(path)
    try:
        with partial.open("wb") as stream:
            if path.suffix.lower() == ".npz":
                arrays: dict[str, Any] = {**columns(trace), "header": np.array(json.dumps(header(trace)))}
                np.savez_compressed(stream, **arrays)
            else:
                lines = _csv(trace) if path.suffix.lower() == ".csv" else [json.dumps(as_object(trace))]
                stream.writelines(f"{line}\n".encode() for line in lines)
        partial.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _partial(path: Path) -> Path:
    """Beside it, and of a short name, since its own may be as long as a name can be."""
    return path.with_name(f".{os.getpid()}.partial")


def _unwritable(path: Path, error: OSError) -> StoreError:
    what = f"the trace cannot be written: {error.strerror}"
    return StoreError(what, where=str(path), next_step="look at the path, the space and the permissions")


def columns(trace: TraceRecord) -> dict[str, Float64Array | Int64Array]:
    """t_s from 0, power_w, and those of current_a, voltage_v and trigger that the meter has; all [n]."""
    known = {"t_s": trace.t_ns / 1e9, "power_w": trace.power_w}
    more = {"current_a": trace.current_a, "voltage_v": trace.voltage_v, "trigger": trace.trigger}
    return known | {name: values for name, values in more.items() if values is not None}


def header(trace: TraceRecord) -> dict[str, Any]:
    """What is not in the columns: the meter and its accuracy, what it lost, and when the command ran; times in s."""
    meter, accuracy = trace.meter, trace.meter.accuracy
    return {
        "schema": SCHEMA,
        "meter": meter.name,
        "obtained": trace.obtained,
        "description": " ".join(meter.description.split()),
        "parameters": meter.parameters,
        "accuracy": None if accuracy is None else asdict(accuracy),
        "lost_samples": trace.lost_samples,
        "gaps_s": (trace.gaps_ns / 1e9).tolist(),
        "command_s": None if trace.command_ns is None else (trace.command_ns / 1e9).tolist(),
        "ended": " ".join(trace.ended.split()),
    }


def as_object(trace: TraceRecord) -> dict[str, Any]:
    """The trace as a JSON object; a sample without power is null."""
    values = {name: _numbers(column) for name, column in columns(trace).items()}
    return header(trace) | {"columns": values}


def _numbers(column: Float64Array | Int64Array) -> list[float | int | None]:
    return [value if np.isfinite(value) else None for value in column.tolist()]


def _csv(trace: TraceRecord) -> Iterator[str]:
    """Header lines `# key: value`, the columns' names, and a line a sample; what is not known is empty."""
    for key, value in header(trace).items():
        yield f"# {key}: {value if isinstance(value, str) else json.dumps(value)}"
    names, values = zip(*columns(trace).items(), strict=True)
    yield ",".join(names)
    for t_s, *rest in zip(*(column.tolist() for column in values), strict=True):
        yield ",".join([f"{t_s:.9f}", *("" if value != value else repr(value) for value in rest)])
