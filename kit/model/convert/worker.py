"""The converter's process: reads one source model, then runs and exports it when asked, under limits.

Started as ``python -P -m kit.model.convert.worker`` by `kit.model.convert.process`, which asks in messages on stdin.
What libraries print, in Python or in C, goes to stderr and never among the replies; they read nothing.
"""

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from kit.errors import ConversionError, EdgeproofError, ModelError
from kit.model.convert.base import Options, Source
from kit.model.convert.pipe import Message, receive, send

MEMORY_LIMIT_BYTES = 24 << 30
"""Address space, not memory: PyTorch and TensorFlow reserve a multiple of what they use."""

FILE_LIMIT_BYTES = 4 << 30
"""Largest file that a converter may write: its own are temporary, and no larger than the largest model."""

_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>

T = TypeVar("T")


def main() -> None:
    """Answer messages until stdin ends."""
    requests, replies = _streams()
    _take_limits()
    source: Source | None = None
    while (request := receive(requests)) is not None:
        try:
            source, reply = _answer(source, request)
        except EdgeproofError as error:
            reply = _refusal(error)
        send(replies, reply)


def _streams() -> tuple[BinaryIO, BinaryIO]:
    """The two ends of the conversation, taken away from whatever a library reads or prints."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, replies


def _take_limits() -> None:
    """Die with the parent; leave no core, and no disk full; be the first to go where memory is short."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, FILE_LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return  # a system without it picks by size


def _answer(source: Source | None, request: Message) -> tuple[Source | None, Message]:
    """What is asked, done by the source library; its every failure becomes an error with its own words."""
    if request.values["ask"] == "read":
        source = _attempt("it cannot be read", ModelError, lambda: _read(request))
        about = {"record": msgspec.to_builtins(source.record), "notes": list(source.notes)}
        return source, Message({"done": about | {"tolerances": dict(source.tolerances)}})
    if source is None:
        raise ConversionError("nothing was read before it was asked for", next_step=_CHECK)
    if request.values["ask"] == "predict":
        arrays = _attempt(
            "the source model fails on these rows", ConversionError, lambda: source.predict(request.arrays)
        )
        return source, Message({"done": {}}, arrays)
    data = _attempt("it cannot be converted", ConversionError, source.export)
    return source, Message({"done": {}}, data=data)


def _read(request: Message) -> Source:
    from kit.model.convert.registry import converter_named

    options = msgspec.convert(request.values["options"], Options)
    return converter_named(request.values["converter"]).read(Path(request.values["path"]), options)


def _attempt(what: str, kind: type[EdgeproofError], action: Callable[[], T]) -> T:
    try:
        return action()
    except EdgeproofError:
        raise
    except MemoryError:
        raise kind(f"{what}: it needs more memory than there is", next_step=_SMALLER) from None
    except BaseException as error:  # SystemExit too: code of a model must not end this process as if all were well
        raise kind(f"{what}: {reason(error)}", next_step=_CHECK) from None


_SMALLER = "give a model that fits an edge device"
_CHECK = "check that the file is complete, and that the libraries here are those it was made with"


def reason(error: BaseException) -> str:
    """An exception of a library as one printable line of at most 300 characters."""
    text = "".join(character if character.isprintable() else " " for character in str(error))
    return shortened(f"{type(error).__name__}: {text}".rstrip(": "))


def shortened(text: str, most: int = 300) -> str:
    """At most so many characters of a library's message, on one line: whole sentences if one fits, else whole words."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    sentences = text[:most].rpartition(". ")[0]
    return f"{sentences}." if sentences else f"{text[: most - 2].rpartition(' ')[0] or text[: most - 2]} …"


def _refusal(error: EdgeproofError) -> Message:
    kind = type(error).__name__
    return Message({"error": {"kind": kind, "what": error.what, "where": error.where, "next_step": error.next_step}})


if __name__ == "__main__":
    main()
