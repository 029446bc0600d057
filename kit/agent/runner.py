"""Load and run models with onnxruntime: one row an inference, as the device will."""

import gc
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.agent.work import RefusalError
from kit.errors import DeviceError, ModelError
from kit.interface import check_input, choose_any_output, choose_output, shape_text

Tick = Callable[[int, int], None]
"""Called with (done, total) between two inferences, at most every PROGRESS_NS; it may raise, which ends the loop."""

PROGRESS_NS = 100_000_000
_SESSIONS_KEPT = 2
_TIMED_KEPT = 4
_NO_MEMORY = ("memoryerror", "bad_alloc", "bad allocation", "failed to allocate", "out of memory", "cannot allocate")
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    "tensor(float16)": "float16",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


@dataclass(slots=True)
class TimedSession:
    """A session that is timed, and what it took to have it; first_run_ns is None until it has run."""

    session: Any
    load_ns: int
    first_run_ns: int | None = None


class Runner:
    """Keeps the last few sessions, by digest and arithmetic; those that are timed are alone while they last."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._sessions: OrderedDict[tuple[str, bool], Any] = OrderedDict()
        self._timed: OrderedDict[str, TimedSession] = OrderedDict()

    def session(self, digest: str, path: Path, *, exact: bool) -> Any:
        """The session of a model, loaded now or kept from before."""
        self._timed.clear()
        key = (digest, exact)
        if key not in self._sessions:
            while len(self._sessions) >= _SESSIONS_KEPT:
                self._sessions.popitem(last=False)
            self._sessions[key] = load(path, self.threads, exact=exact)
        self._sessions.move_to_end(key)
        return self._sessions[key]

    def timed(self, digest: str, path: Path, *, fresh: bool) -> TimedSession:
        """A session to be timed: with `fresh` a new one, alone; else that of the last timing of this model, if kept.

        The last few are kept until another request needs a session, so that windows can follow each other in turn.
        """
        if fresh or self._sessions:
            self.forget()
        if digest not in self._timed:
            while len(self._timed) >= _TIMED_KEPT:
                self._timed.popitem(last=False)
            start_ns = time.perf_counter_ns()
            session = load(path, self.threads, exact=False)
            self._timed[digest] = TimedSession(session, time.perf_counter_ns() - start_ns)
        self._timed.move_to_end(digest)
        return self._timed[digest]

    def forget(self) -> None:
        """Release every session, so that one under measurement is alone."""
        self._sessions.clear()
        self._timed.clear()
        gc.collect()


def load(path: Path, threads: int, *, exact: bool, profile_prefix: str = "") -> Any:
    """A session on the CPU. `exact` asks x86 for integer sums that do not saturate (session.x64quantprecision).

    `profile_prefix`: where the runtime's profiler, which slows it, is to write; "" for no profiler.
    Raises DeviceError with the runtime's own words if it refuses the model.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if profile_prefix:
        options.enable_profiling, options.profile_file_prefix = True, profile_prefix
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises its own C++ exception types
        _check_memory(error)
        raise DeviceError(
            f"the runtime refuses the model: {one_line(error)}", next_step="check the model with onnx.checker"
        ) from None


def predict(session: Any, rows: NDArray[np.generic], output: str | None, tick: Tick) -> NDArray[np.float32]:
    """Scores float32 [rows, classes], one row an inference. Raises ModelError or DeviceError if rows do not fit."""
    feed_name = check_rows(session, rows)
    name, dtype = score_output(session, output)
    scores, last_ns = [], time.perf_counter_ns()
    for index in range(len(rows)):
        (score,) = run(session, [name], {feed_name: rows[index : index + 1]})
        if not isinstance(score, np.ndarray) or score.ndim != 2 or len(score) != 1 or score.dtype.kind not in "fiu":
            found = shape_text(score.shape) if isinstance(score, np.ndarray) else dtype
            raise ModelError(f"output {name!r} of one row is {found}; scores are numbers of shape [1, classes]")
        scores.append(score.astype(np.float32))
        if time.perf_counter_ns() - last_ns > PROGRESS_NS:
            tick(index + 1, len(rows))
            last_ns = time.perf_counter_ns()
    if len({score.shape for score in scores}) > 1:
        raise ModelError(f"output {name!r} has a different number of classes for different rows")
    return np.concatenate(scores) if scores else np.empty((0, 0), np.float32)


def outputs(
    session: Any, rows: NDArray[np.generic], output: str | None, tick: Tick
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Every value of one output, of any shape: float32 [sum of counts], and counts int64 [rows], row after row.

    Raises ModelError for an output that is no tensor of numbers, or DeviceError if rows do not fit.
    """
    feed_name = check_rows(session, rows)
    described = session.get_outputs()
    names, ranks = [each.name for each in described], [len(each.shape or ()) for each in described]
    index = choose_any_output(names, [_DTYPES.get(each.type, each.type) for each in described], ranks, output)
    found, last_ns = [], time.perf_counter_ns()
    for row in range(len(rows)):
        (value,) = run(session, [names[index]], {feed_name: rows[row : row + 1]})
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
            raise ModelError(f"output {names[index]!r} is {described[index].type}, and no tensor of numbers")
        found.append(value.astype(np.float32).reshape(-1))
        if time.perf_counter_ns() - last_ns > PROGRESS_NS:
            tick(row + 1, len(rows))
            last_ns = time.perf_counter_ns()
    counts = np.array([len(each) for each in found], np.int64)
    return np.concatenate(found) if found else np.empty(0, np.float32), counts


def check_rows(session: Any, rows: NDArray[np.generic]) -> str:
    """Name of the model's input, once rows [n, *shape] are known to fit it. Raises ModelError or DeviceError."""
    inputs = session.get_inputs()
    if rows.ndim < 1:
        raise DeviceError("inputs must have a first dimension of rows", next_step="send [rows, ...]")
    check_input([each.name for each in inputs], inputs[0].shape if inputs else [], rows.shape[1:])
    wanted = _DTYPES.get(inputs[0].type, inputs[0].type)
    if rows.dtype.name != wanted:
        raise DeviceError(
            f"input {inputs[0].name!r} takes {wanted}, the rows are {rows.dtype.name}",
            next_step=f"store the dataset's inputs as {wanted}",
        )
    return str(inputs[0].name)


def score_output(session: Any, wanted: str | None) -> tuple[str, str]:
    """Name and dtype of the score output. Raises ModelError if it is not clear which that is."""
    outputs = session.get_outputs()
    names, dtypes = [o.name for o in outputs], [_DTYPES.get(o.type, o.type) for o in outputs]
    index = choose_output(names, dtypes, [len(o.shape) if o.shape is not None else 0 for o in outputs], wanted)
    return names[index], dtypes[index]


def run(session: Any, names: list[str] | None, feed: dict[str, NDArray[np.generic]]) -> list[Any]:
    """One run. Raises DeviceError with the runtime's own words, RefusalError where memory is out."""
    try:
        return list(session.run(names, feed))
    except Exception as error:  # the runtime raises its own C++ exception types
        _check_memory(error)
        raise DeviceError(f"the runtime failed to run the model: {one_line(error)}") from None


def _check_memory(error: Exception) -> None:
    """Raises RefusalError if the runtime says, in any of its ways, that there is no memory."""
    if isinstance(error, MemoryError) or says_no_memory(str(error)):
        size = re.search(r"of size (\d+)", str(error))
        raise out_of_memory(f"the runtime asked for {size[1]} bytes" if size else one_line(error)) from None


def says_no_memory(words: str) -> bool:
    """Whether these are words for a lack of memory, of the runtime or of Python."""
    return any(each in words.lower() for each in _NO_MEMORY)


def out_of_memory(words: str) -> RefusalError:
    """The refusal of a request that needs more memory than there is."""
    step = "choose a smaller variant, send fewer rows at a time, or give the device more memory"
    return RefusalError(f"out of memory: {words or 'none is left'}", next_step=step, reason="memory")


def one_line(error: Exception) -> str:
    """The runtime's words, in one line that may be shown."""
    return " ".join(str(error).split())[:300]
