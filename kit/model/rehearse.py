"""Run an untrusted model in a process of its own, row by row as a device does, under limits of memory and time.

A well-formed graph can still ask for terabytes, loop for ever (on one row only) or crash a native library: then the
child process dies, not ours.
"""

import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

import kit
from kit.errors import ModelError
from kit.model.session import Array, HostSession, Progress
from kit.records import Float32Array, Int64Array

LIMIT_S = 60.0
"""Longest that loading, and then any one row, may take on the host; an edge device would need far longer."""

PACE_S = 0.5
"""Longest that a row may take on average, on top of LIMIT_S once."""

LIMIT_BYTES = 3 << 30
"""Address space beyond model and rows: libraries, stacks and arenas take most of a gigabyte."""

REPEATED_ROWS = 32
"""So many rows are run twice: a model that decides by chance differs on the first of them."""

_USE_ANOTHER = "use a model that fits an edge device, or export it without what the message names"
_RANDOM = "export it for inference: without dropout, random operators and state"


def rehearse(data: bytes, row: Array, output: str | None, *, every: bool = False, limit_s: float = LIMIT_S) -> None:
    """Load the model in `data` and run `row` [1, *shape] through it, in a limited child process.

    every: all values of an output of any shape are taken, not scores [1, classes] alone.

    Raises:
        ModelError: it does not load or run, takes too long or too much memory, or kills the process.
    """
    (outputs_limited if every else predict_limited)(data, row, output, limit_s=limit_s)


def predict_limited(
    data: bytes, rows: Array, output: str | None, *, limit_s: float = LIMIT_S, progress: Progress | None = None
) -> Float32Array:
    """Scores float32 [rows, classes] of a model, each row inferred by itself, in a limited child process.

    Args:
        data: a serialized ONNX model.
        rows: inputs [rows, *shape].
        output: name of the output that holds the scores; None takes the single float output of rank 2.
        limit_s: longest for loading and for one row; all may take that and PACE_S a row.
        progress: called after every row.

    Raises:
        ModelError: it does not load or run, takes too long or too much memory, kills the process, or is not
            deterministic: REPEATED_ROWS rows run a second time must give the same bits.
    """
    (scores,) = _limited(data, rows, {"output": output}, limit_s, progress)
    return np.asarray(scores, np.float32)


def outputs_limited(
    data: bytes, rows: Array, output: str | None, *, limit_s: float = LIMIT_S, progress: Progress | None = None
) -> tuple[Float32Array, Int64Array]:
    """As `predict_limited`, but every value of one output of any shape: float32 [sum of counts], int64 [rows]."""
    values, counts = _limited(data, rows, {"output": output, "every": True}, limit_s, progress)
    return np.asarray(values, np.float32), np.asarray(counts, np.int64)


def _limited(
    data: bytes, rows: Array, asked: dict[str, object], limit_s: float, progress: Progress | None
) -> list[Any]:
    """The arrays that the child answers with. Raises ModelError."""
    whole_s = limit_s + PACE_S * len(rows)
    with _request(data, rows, asked, whole_s) as request, _child(request) as process:
        watch = _Watch(process, limit_s, whole_s)
        reply, arrays = _answer(process, watch, len(rows), progress)
    if watch.late:
        raise ModelError(watch.late, where=f"row {watch.done}" if len(rows) > 1 else "", next_step=_USE_ANOTHER)
    _judge(process.returncode, reply)
    return arrays


class _Watch:
    """Kills a process that makes no step within `limit_s`, or does not end within `whole_s`; `late` says which."""

    def __init__(self, process: subprocess.Popen[bytes], limit_s: float, whole_s: float) -> None:
        self.late, self.done = "", 0
        self._process, self._limit_s, self._whole_s = process, limit_s, whole_s
        self._start_s = self._step_s = time.monotonic()
        self._ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def step(self, done: int) -> None:
        """So many rows are done."""
        self.done, self._step_s = done, time.monotonic()

    def end(self) -> None:
        """Watch no more."""
        self._ended.set()

    def _run(self) -> None:
        while True:
            due_s = min(self._step_s + self._limit_s, self._start_s + self._whole_s)
            if self._ended.wait(max(0.01, due_s - time.monotonic())):
                return
            now_s = time.monotonic()
            if now_s - self._start_s > self._whole_s:
                self.late = f"its rows take more than {PACE_S:g} s each"
            elif now_s - self._step_s > self._limit_s:
                self.late = f"one row takes more than {self._limit_s:g} s"
            if self.late:
                self._process.kill()
                return


@contextmanager
def _request(data: bytes, rows: Array, asked: dict[str, object], whole_s: float) -> Iterator[IO[bytes]]:
    """A file that the child reads; no pipe, so that nobody waits for the other."""
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps({**asked, "whole_s": whole_s}).encode() + b"\n")
        np.save(file, np.frombuffer(data, np.uint8))
        np.save(file, rows)
        file.seek(0)
        yield file


@contextmanager
def _child(request: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The child process, which does not outlive the block, interrupted or not."""
    search = os.pathsep.join([str(Path(kit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "kit.model.rehearse"],
        stdin=request,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": search},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@dataclass
class _Reply:
    """What the child says went wrong; all empty if nothing did."""

    what: str = ""
    where: str = ""
    next_step: str = ""


def _answer(
    process: subprocess.Popen[bytes], watch: _Watch, rows: int, progress: Progress | None
) -> tuple[_Reply | None, list[Array]]:
    """What the child says, in lines: a number after each row, then its reply, then its arrays; None if it died."""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith(b"{"):
                reply = _Reply(**json.loads(line))
                rest = process.stdout.read()
                process.wait()
                return reply, [] if reply.what else _arrays(rest)
            watch.step(min(int(line), rows))
            if progress is not None:
                progress(watch.done, rows)
        process.wait()
    except (ValueError, TypeError, EOFError):
        process.kill()  # it died within a line, or says what it must not
        process.wait()
    finally:
        watch.end()
    return None, []


def _arrays(content: bytes) -> list[Array]:
    """Arrays written one after the other."""
    stream, found = io.BytesIO(content), list[Array]()
    while stream.tell() < len(content):
        found.append(np.load(stream, allow_pickle=False))
    return found


def _judge(returncode: int, reply: _Reply | None) -> None:
    """Raise what the child says went wrong, or what its death says."""
    if reply is not None and returncode == 0:
        if reply.what:
            raise ModelError(reply.what, where=reply.where, next_step=reply.next_step or _USE_ANOTHER)
        return
    cause = signal.Signals(-returncode).name if returncode < 0 else f"exit code {returncode}"
    raise ModelError(f"the runtime crashed while it loaded the model or ran one row ({cause})", next_step=_USE_ANOTHER)


def _main() -> None:
    """The child: read the request, take on limits, run, answer; what libraries print goes elsewhere."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with os.fdopen(os.dup(0), "rb") as request:
        asked = json.loads(request.readline())
        data, rows = np.load(request).tobytes(), np.load(request)
    limit_bytes, limit_s = LIMIT_BYTES + 8 * len(data) + 4 * rows.nbytes, int(asked["whole_s"]) + 5
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))  # should nobody be left to stop it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    reply, arrays = _Reply(), list[Array]()
    try:
        arrays = _answered(data, rows, asked, out)
    except ModelError as error:
        reply = _Reply(error.what, error.where, error.next_step)
    except MemoryError:
        reply = _Reply(f"it needs more than {limit_bytes >> 20} MiB to load or to run one row")
    out.write(json.dumps(asdict(reply)).encode() + b"\n")
    for array in arrays:
        content = io.BytesIO()  # a pipe has no position, which NumPy asks of a file
        np.save(content, array)
        out.write(content.getbuffer())
    out.close()


def _answered(data: bytes, rows: Array, asked: dict[str, Any], out: BinaryIO) -> list[Array]:
    """Answers to every row, and to the first few once more, by a session that has run others in between."""

    def tell(done: int, _: int) -> None:
        out.write(b"%d\n" % done)
        out.flush()

    session, few = HostSession(data), rows[:REPEATED_ROWS]
    if asked.get("every"):
        values, counts = session.every_output(rows, asked["output"], tell)
        again, their = session.every_output(few, asked["output"])
        _refuse_chance(np.split(values, np.cumsum(counts)[:-1]), np.split(again, np.cumsum(their)[:-1]))
        return [values, counts]
    scores = session.predict(rows, asked["output"], tell, one_by_one=True)
    _refuse_chance(list(scores), list(session.predict(few, asked["output"], one_by_one=True)))
    return [scores]


def _refuse_chance(first: list[Float32Array], again: list[Float32Array]) -> None:
    """Raise ModelError unless the rows that were run twice gave the same bits."""
    for row, (one, other) in enumerate(zip(first, again, strict=False)):
        if one.tobytes() != other.tobytes():
            raise ModelError(
                "the model gives other scores when the same row is run again, so no figure of it would mean anything",
                where=f"row {row}",
                next_step=_RANDOM,
            )


if __name__ == "__main__":
    _main()
