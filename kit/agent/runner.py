"""Run and time models with onnxruntime: one row an inference, as the device will, with bound buffers when timed."""

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
from kit.interface import check_input, choose_output, shape_text

Tick = Callable[[int, int], None]
"""Called with (done, total) between two inferences, at most every PROGRESS_NS; it may raise, which ends the loop."""

PROGRESS_NS = 100_000_000
MAX_SAMPLES = 1 << 20
MAX_BUSY_S = 600.0
_SESSIONS_KEPT = 2
_NO_MEMORY = ("bad_alloc", "bad allocation", "failed to allocate", "out of memory", "cannot allocate")
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    "tensor(float16)": "float16",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True, slots=True)
class Timing:
    """samples_ns int64 [n], in order; times in ns of `time.perf_counter_ns`; cpu_ns is this process's over the loop."""

    samples_ns: NDArray[np.int64]
    load_ns: int
    first_run_ns: int
    cpu_ns: int


class Runner:
    """Keeps the last few sessions, by digest and arithmetic."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._sessions: OrderedDict[tuple[str, bool], Any] = OrderedDict()

    def session(self, digest: str, path: Path, *, exact: bool) -> Any:
        """The session of a model, loaded now or kept from before."""
        key = (digest, exact)
        if key not in self._sessions:
            while len(self._sessions) >= _SESSIONS_KEPT:
                self._sessions.popitem(last=False)
            self._sessions[key] = load(path, self.threads, exact=exact)
        self._sessions.move_to_end(key)
        return self._sessions[key]

    def forget(self) -> None:
        """Release every session, so that one under measurement is alone."""
        self._sessions.clear()
        gc.collect()


def load(path: Path, threads: int, *, exact: bool) -> Any:
    """A session on the CPU. `exact` asks x86 for integer sums that do not saturate (session.x64quantprecision).

    Raises DeviceError with the runtime's own words if it refuses the model.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return ort.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises its own C++ exception types
        _check_memory(error)
        raise DeviceError(
            f"the runtime refuses the model: {_one_line(error)}", next_step="check the model with onnx.checker"
        ) from None


def predict(session: Any, rows: NDArray[np.generic], output: str | None, tick: Tick) -> NDArray[np.float32]:
    """Scores float32 [rows, classes], one row an inference. Raises ModelError or DeviceError if rows do not fit."""
    feed_name = check_rows(session, rows)
    name, dtype = _score_output(session, output)
    scores, last_ns = [], time.perf_counter_ns()
    for index in range(len(rows)):
        (score,) = _run(session, [name], {feed_name: rows[index : index + 1]})
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


def time_rows(path: Path, threads: int, rows: NDArray[np.generic], *, count: int, min_s: float, tick: Tick) -> Timing:
    """Time single inferences of a fresh session, rows in turn, until `count` and `min_s` are both reached.

    Only the call of the runtime is timed; the next row is written into the bound input before it.
    """
    start_ns = time.perf_counter_ns()
    session = load(path, threads, exact=False)
    load_ns = time.perf_counter_ns() - start_ns
    bound = _Bound(session, rows)
    samples = np.empty(min(MAX_SAMPLES, max(count, 1)), np.int64)
    cpu_start_ns = time.process_time_ns()
    with _no_garbage_collection():
        samples = _timed_loop(bound, samples, count, int(min_s * 1e9), tick)
    return Timing(samples, load_ns, bound.first_run_ns, time.process_time_ns() - cpu_start_ns)


def _timed_loop(bound: "_Bound", samples: NDArray[np.int64], count: int, min_ns: int, tick: Tick) -> NDArray[np.int64]:
    clock, run, session, binding = time.perf_counter_ns, bound.run, bound.session, bound.binding
    start_ns = told_ns = clock()
    done = 0
    while True:
        bound.write(done)
        before_ns = clock()
        run(binding)
        after_ns = clock()
        samples[done] = after_ns - before_ns
        done += 1
        elapsed_ns = after_ns - start_ns
        if (done >= count and elapsed_ns >= min_ns) or done >= MAX_SAMPLES:
            del session
            return samples[:done]
        if done == len(samples):
            samples = np.resize(samples, min(2 * done, MAX_SAMPLES))
        if after_ns - told_ns > PROGRESS_NS:
            tick(done, _expected(done, count, elapsed_ns, min_ns))
            told_ns = after_ns


def _expected(done: int, count: int, elapsed_ns: int, min_ns: int) -> int:
    """How many inferences it will be at the present rate."""
    return min(MAX_SAMPLES, max(count, done * min_ns // max(elapsed_ns, 1), done + 1))


def keep_busy(session: Any, rows: NDArray[np.generic], duration_s: float, tick: Tick) -> tuple[int, int, int, int]:
    """Run back to back for `duration_s`: clock at start and end in ns, inferences, CPU time in ns."""
    bound = _Bound(session, rows)
    duration_ns, done = int(min(duration_s, MAX_BUSY_S) * 1e9), 0
    with _no_garbage_collection():
        cpu_start_ns = time.process_time_ns()
        start_ns = now_ns = told_ns = time.perf_counter_ns()
        while now_ns - start_ns < duration_ns:
            bound.write(done)
            bound.run(bound.binding)
            done += 1
            now_ns = time.perf_counter_ns()
            if now_ns - told_ns > PROGRESS_NS:
                tick(min(now_ns - start_ns, duration_ns), duration_ns)
                told_ns = now_ns
        return start_ns, now_ns, done, time.process_time_ns() - cpu_start_ns


class _Bound:
    """A session with its input and outputs bound to buffers that stay; `first_run_ns` is its first inference."""

    def __init__(self, session: Any, rows: NDArray[np.generic]) -> None:
        import onnxruntime as ort

        name = check_rows(session, rows)
        if not len(rows):
            raise DeviceError("no rows to run", next_step="send at least one row of inputs")
        self.session, self.run, self.binding = session, session.run_with_iobinding, session.io_binding()
        self._rows = [np.ascontiguousarray(rows[i : i + 1]) for i in range(len(rows))]
        self._input = ort.OrtValue.ortvalue_from_numpy(self._rows[0].copy())
        start_ns = time.perf_counter_ns()
        outputs = _run(session, None, {name: self._rows[0]})
        self.first_run_ns = time.perf_counter_ns() - start_ns
        self.binding.bind_ortvalue_input(name, self._input)
        for described, value in zip(session.get_outputs(), outputs, strict=True):
            if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
                self.binding.bind_ortvalue_output(described.name, ort.OrtValue.ortvalue_from_numpy(value))
            else:  # sequences and maps have no buffer to bind
                self.binding.bind_output(described.name)

    def write(self, index: int) -> None:
        """Put row `index`, modulo their number, into the bound input."""
        self._input.update_inplace(self._rows[index % len(self._rows)])


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


def _score_output(session: Any, wanted: str | None) -> tuple[str, str]:
    outputs = session.get_outputs()
    names, dtypes = [o.name for o in outputs], [_DTYPES.get(o.type, o.type) for o in outputs]
    index = choose_output(names, dtypes, [len(o.shape) if o.shape is not None else 0 for o in outputs], wanted)
    return names[index], dtypes[index]


def _run(session: Any, names: list[str] | None, feed: dict[str, NDArray[np.generic]]) -> list[Any]:
    try:
        return list(session.run(names, feed))
    except Exception as error:  # the runtime raises its own C++ exception types
        _check_memory(error)
        raise DeviceError(f"the runtime failed to run the model: {_one_line(error)}") from None


def _check_memory(error: Exception) -> None:
    """Raises RefusalError if the runtime says, in any of its ways, that there is no memory."""
    if isinstance(error, MemoryError) or any(words in str(error).lower() for words in _NO_MEMORY):
        size = re.search(r"of size (\d+)", str(error))
        raise out_of_memory(f"the runtime asked for {size[1]} bytes" if size else _one_line(error)) from None


def out_of_memory(words: str) -> RefusalError:
    """The refusal of a request that needs more memory than there is."""
    step = "choose a smaller variant, send fewer rows at a time, or give the device more memory"
    return RefusalError(f"out of memory: {words or 'none is left'}", next_step=step, reason="memory")


class _no_garbage_collection:  # noqa: N801
    """Collect now, then not until the block ends: a collection in a timed loop is no latency of the model."""

    def __enter__(self) -> None:
        gc.collect()
        self._was_enabled = gc.isenabled()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._was_enabled:
            gc.enable()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
