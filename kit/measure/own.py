"""A user's own measure in a process of its own: one that hangs, crashes, prints or ends the process does so there.

The function is the user's own code and may do what the user may; the limits are against accidents, not against malice.
"""

import importlib.util
import io
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np

import kit
from kit.errors import UsageError
from kit.records import Float64Array
from kit.task.base import Rows

LIMIT_S = 600.0
"""Longest that a measure may take over all rows."""

LIMIT_BYTES = 3 << 30
"""Address space beyond the rows: libraries, stacks and arenas take most of a gigabyte."""

LARGEST = 1e100
"""Losses that can be squared and summed over any rows without overflow."""

_ANSWER_BYTES = 1 << 16
"""What an answer has beyond its numbers, at most."""

LossFunction = Callable[[Any, Any, Rows], Any]
"""A user's measure: (truth, predictions, rows) to losses [rows], more is worse. See `own_losses`."""


def own_losses(name: str, folder: Path, rows: Rows, *, limit_s: float | None = None) -> Float64Array:
    """Losses float64 [rows] by the function that ``file.py:function`` names, from a file in `folder` (the profile's).

    It is called as ``function(truth, predictions, rows)``. truth: labels int64 [rows], targets float64 [rows, targets]
    where each row has one vector, else a list of float64 [items, width] a row. predictions: scores float32
    [rows, outputs], or such a list. rows: a `kit.task.Rows` with decisions, weights and classes.

    Raises:
        UsageError: it names no file beside the profile and no function of it; the function fails, ends its process,
            takes more than `limit_s` (LIMIT_S) or too much memory, or gives something else than a finite loss a row.
    """
    path = _file(name, folder)
    with TemporaryFile() as request, TemporaryFile() as answer:
        pickle.dump((name, str(path), rows), request, protocol=pickle.HIGHEST_PROTOCOL)
        request.seek(0)
        ended = _run(request, answer, LIMIT_S if limit_s is None else limit_s)
        answer.seek(0)
        content = answer.read(8 * len(rows) + _ANSWER_BYTES)
    return _read(name, content, ended, len(rows))


def _file(name: str, folder: Path) -> Path:
    text = name.rpartition(":")[0]
    path = (folder / text).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        step = "put the file beside the profile, or correct the measure's name"
        raise UsageError(f"there is no file {text!r} beside the profile", where=name, next_step=step)
    return path


def _run(request: IO[bytes], answer: IO[bytes], limit_s: float) -> str:
    """Run the child to its end, which takes all with it that it started; how it ended, for people."""
    search = os.pathsep.join([str(Path(kit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "kit.measure.own", str(int(limit_s) + 5)],
        stdin=request,
        stdout=answer,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": search},
        start_new_session=True,  # Ctrl-C is this process's, which then ends the other
    )
    try:
        code = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return f"it takes more than {limit_s:g} s"
    finally:
        _kill_group(process)
    if code < 0:
        known = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
        return f"its process was ended by {known}"
    return f"it ended its process (exit code {code})"


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it is gone, and so is all that it started
    finally:
        process.wait()


def _read(name: str, content: bytes, ended: str, rows: int) -> Float64Array:
    """The losses of an answer: a line of JSON, then an array."""
    try:
        line, _, rest = content.partition(b"\n")
        said = json.loads(line)
        what, step = str(said["what"]), str(said["next_step"])
        losses = None if what else np.load(io.BytesIO(rest), allow_pickle=False)
    except (ValueError, TypeError, KeyError, EOFError, OSError):
        raise UsageError(ended, where=name, next_step="correct the function: it returns a number a row") from None
    if losses is None:
        raise UsageError(what, where=name, next_step=step)
    return _checked(name, losses, rows)


def _checked(name: str, given: Any, rows: int) -> Float64Array:
    """What the function says of all rows, once it is a finite loss a row."""
    given = np.asarray(given)
    if given.dtype.kind not in "biuf":
        what = f"it gives values of type {given.dtype}, not real numbers"
        raise UsageError(what, where=name, next_step="return an array of one real number a row, more being worse")
    losses = np.array(given, dtype=np.float64)
    if losses.shape != (rows,):
        what = f"it gives {list(losses.shape)}, not a loss for each of {rows} rows"
        raise UsageError(what, where=name, next_step="return an array of one number a row, more being worse")
    bad = np.flatnonzero(~(np.abs(losses) <= LARGEST))
    if len(bad):
        row, beyond = int(bad[0]), f", beyond {LARGEST:g}" if np.isfinite(losses[bad[0]]) else ""
        step = "return losses in a larger unit" if beyond else "return finite numbers"
        raise UsageError(f"the loss of row {row} (from 0) is {losses[row]:g}{beyond}", where=name, next_step=step)
    return losses


def _main() -> None:
    """The child: read the request, take on limits, call the function, answer; what it prints goes nowhere."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with os.fdopen(os.dup(0), "rb") as request:
        size = os.fstat(request.fileno()).st_size
        name, path, rows = pickle.load(request)  # noqa: S301 - written by the process that started this one
    limit_bytes, limit_s = LIMIT_BYTES + 8 * size, int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(limit_s)  # should nobody be left to stop it
    reply, losses = {"what": "", "next_step": ""}, None
    try:
        losses = _checked(name, _function(name, Path(path))(_truth(rows), _predictions(rows), rows), len(rows))
    except UsageError as error:
        reply = {"what": error.what, "next_step": error.next_step}
    except MemoryError:
        what = f"it needs more than {limit_bytes >> 20} MiB"
        reply = {"what": what, "next_step": "let the function take the rows in parts"}
    except BaseException as error:
        words = " ".join(str(error).split())[:300]
        reply = {"what": f"it fails: {type(error).__name__}: {words}", "next_step": "correct the function"}
    out.write(json.dumps(reply).encode() + b"\n")
    if losses is not None:
        np.save(out, losses)
    out.close()


def _function(name: str, path: Path) -> LossFunction:
    """The function that `name` names in the file at `path`: this runs the user's code."""
    spec = importlib.util.spec_from_file_location(f"measure_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    function_name = name.rpartition(":")[2]
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UsageError(f"{path.name} has no function {function_name!r}", where=name, next_step="correct its name")
    return function  # type: ignore[no-any-return]


def _truth(rows: Rows) -> Any:
    if rows.targets is None:
        return rows.labels
    if rows.task in ("regression", "multilabel"):
        return rows.targets.values
    return np.split(rows.targets.values, rows.targets.offsets[1:-1])


def _predictions(rows: Rows) -> Any:
    return rows.scores if rows.items is None else np.split(rows.items.values, rows.items.offsets[1:-1])


if __name__ == "__main__":
    _main()
