"""A converter at work in a process of its own: a source model that hangs, crashes or prints does so there."""

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import kit
from kit import errors
from kit.errors import ConversionError, EdgeproofError, ModelError
from kit.model.convert.base import Arrays, Converter, Options, Source
from kit.model.convert.pipe import BrokenMessageError, Message, receive, send
from kit.model.feeds import batch_rows, feed_batches, joined_rows, row_count
from kit.model.session import Progress
from kit.records import ModelRecord

LIMIT_S = 900.0
"""Longest that reading, exporting, or predicting one batch may take."""

_TAIL_LINES = 5
_TAIL_CHARACTERS = 4000

QUIET_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",  # oneDNN's kernels round differently from run to run
    "CUDA_VISIBLE_DEVICES": "",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONWARNINGS": "ignore",
    "KERAS_BACKEND": "tensorflow",
}
"""Libraries in the converter's process: quiet, on the processor alone, the same each time."""

_FOLDERS = ("TMPDIR", "XDG_CACHE_HOME", "KERAS_HOME", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR")
"""Where libraries would leave something: inside a folder that is removed."""


class RemoteSource:
    """A source model in another process.

    Args:
        converter: the converter that reads it.
        path: the file or folder that it reads.

    Raises:
        EdgeproofError: what the converter raises, with `where` filled in.
        ModelError, ConversionError: the process died or took too long; with the last that it printed.
    """

    def __init__(self, process: "_Process", converter: Converter, path: Path, options: Options) -> None:
        self._process, self._where = process, str(path)
        request = {"ask": "read", "converter": type(converter).__name__, "path": str(path.absolute())}
        reply = self._ask(Message(request | {"options": msgspec.to_builtins(options)}), "read", ModelError)
        about = reply.values["done"]
        self.record = msgspec.convert(about["record"], ModelRecord)
        self.notes = tuple(about["notes"])
        self.tolerances: dict[str, float] = about["tolerances"]

    def predict(self, feeds: Arrays, progress: Progress | None = None) -> dict[str, NDArray[Any]]:
        """Outputs by name [rows, *shape] of inputs by name [rows, *shape], in batches that the model takes."""
        total, counts = row_count(feeds), list[int]()
        parts: list[Arrays] = []
        for batch in feed_batches(feeds, self.record.inputs):
            reply = self._ask(Message({"ask": "predict"}, batch), "run", ConversionError)
            parts.append(reply.arrays)
            counts.append(batch_rows(batch, self.record.inputs))
            if progress is not None:
                progress(sum(counts), total)
        missing = [each.name for each in self.record.outputs if any(each.name not in part for part in parts)]
        if missing:
            raise ConversionError(
                f"the model gives no output {missing[0]!r}", where=self._where, next_step="export it with that output"
            )
        return {
            each.name: np.asarray(joined_rows([part[each.name] for part in parts], counts, each))
            for each in self.record.outputs
        }

    def export(self) -> bytes:
        """The ONNX model's bytes."""
        return self._ask(Message({"ask": "export"}), "converted", ConversionError).data

    @property
    def source(self) -> Source:
        """The same as its converter made it."""
        return Source(self.record, self.predict, self.export, self.notes, self.tolerances)

    def _ask(self, message: Message, verb: str, kind: type[EdgeproofError]) -> Message:
        reply = self._process.ask(message)
        if reply is None:
            raise kind(f"the model was being {verb} when {self._process.end()}", where=self._where, next_step=_SMALLER)
        refusal = reply.values.get("error")
        if refusal is not None:
            raise _error(refusal, self._where)
        return reply


_SMALLER = "check the file; if it is sound, the library that reads it, named above, cannot cope with it here"


def _error(refusal: dict[str, str], where: str) -> EdgeproofError:
    """The error that the other process raised, of its own class."""
    found = getattr(errors, str(refusal.get("kind")), None)
    kind = found if isinstance(found, type) and issubclass(found, EdgeproofError) else ConversionError
    inner = str(refusal.get("where", ""))
    place = inner if where in inner else f"{where}: {inner}" if inner else where
    return kind(str(refusal.get("what")), where=place, next_step=str(refusal.get("next_step", "")))


@contextmanager
def opened(converter: Converter, path: Path, options: Options, *, limit_s: float = LIMIT_S) -> Iterator[RemoteSource]:
    """The source model at `path`, read by that converter in a process that ends with the block."""
    with (
        TemporaryDirectory(prefix="edgeproof-", ignore_cleanup_errors=True) as folder,
        _started(folder, limit_s) as process,
    ):
        yield RemoteSource(process, converter, path, options)


class _Process:
    """The process, asked one thing at a time; each within `limit_s`."""

    def __init__(self, process: subprocess.Popen[bytes], limit_s: float) -> None:
        self._process, self._limit_s, self._late = process, limit_s, False
        assert process.stderr is not None
        self._said: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._reader = threading.Thread(target=_keep_tail, args=(process.stderr, self._said), daemon=True)
        self._reader.start()

    def ask(self, message: Message) -> Message | None:
        """The reply; None if the process died, or was killed for taking too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(self._limit_s, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            send(self._process.stdin, message)  # type: ignore[arg-type]
            return receive(self._process.stdout)  # type: ignore[arg-type]
        except (OSError, BrokenMessageError):
            return None
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self._late = True
        _kill_group(self._process)

    def end(self) -> str:
        """How it ended, for people, with the last that it printed."""
        self.close()
        code = self._process.returncode
        if self._late:
            how = f"its {self._limit_s:g} s were over"
        elif code < 0:
            known = signal.Signals(-code).name if -code in list(signal.Signals) else f"signal {-code}"
            memory = " (out of memory?)" if -code == signal.SIGKILL else ""
            how = f"its process was ended by {known}{memory}"
        else:
            how = f"its process ended with code {code}"
        said = " | ".join(line for line in map(_printable, list(self._said)) if line)
        return f"{how}; it had printed: {said[-600:]}" if said else how

    def close(self, patience_s: float = 1.0) -> None:
        """End it, and whatever it started; one that is ending by itself gets `patience_s`."""
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _kill_group(self._process)
            self._process.wait()
        self._reader.join(5.0)
        _close(self._process.stdin)
        _close(self._process.stdout)
        if not self._reader.is_alive():
            _close(self._process.stderr)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it is gone, and so is all that it started


def _printable(line: bytes) -> str:
    text = line.decode(errors="replace").strip()
    return "".join(character if character.isprintable() else " " for character in text)


def _keep_tail(stream: IO[bytes], said: "deque[bytes]") -> None:
    """Read all that is printed, and keep the last of it."""
    while line := stream.readline(_TAIL_CHARACTERS):
        said.append(line)


@contextmanager
def _started(folder: str, limit_s: float) -> Iterator[_Process]:
    search = os.pathsep.join([str(Path(kit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "kit.model.convert.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **QUIET_ENVIRONMENT, "PYTHONPATH": search, **dict.fromkeys(_FOLDERS, folder)},
        start_new_session=True,  # Ctrl-C is this process's, which then ends the other and all that it started
    )
    conversation = _Process(process, limit_s)
    try:
        yield conversation
    finally:
        conversation.close(patience_s=0.0)


def _close(stream: IO[bytes] | None) -> None:
    try:
        if stream is not None:
            stream.close()
    except OSError:
        return  # what was not sent has nobody to go to
