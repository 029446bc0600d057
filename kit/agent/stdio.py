"""Serve an agent on standard input and output, safely: nothing that a library prints can reach the stream."""

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

from kit.agent.server import Agent, refusal
from kit.errors import LinkError
from kit.wire import (
    UNKNOWN_SEQUENCE,
    Decoder,
    Frame,
    FrameError,
    FrameType,
    Message,
    encode_frame,
    pack_message,
    unpack_message,
)

_READ_BYTES = 1 << 18
_GRACE_S = 2.0
_PR_SET_PDEATHSIG = 1  # <sys/prctl.h>


def take_streams() -> tuple[int, int]:
    """Private copies of fd 0 and 1; fd 0 becomes empty and fd 1 becomes standard error for everyone else."""
    incoming, outgoing = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return incoming, outgoing


def serve(incoming: int, outgoing: int) -> None:
    """Answer requests until the stream ends, the host says bye, or the host is gone in the middle of a request."""
    agent, decoder = Agent(), Decoder()
    _wake_when_the_host_dies()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is below cleans up
    threading.Thread(target=_end_with_host, args=(incoming, agent.close), daemon=True).start()
    try:
        while not agent.ended and (data := os.read(incoming, _READ_BYTES)):
            decoder.feed(data)
            _answer_all(agent, decoder, lambda frame: _write(outgoing, encode_frame(frame)))
    except BrokenPipeError:
        pass  # the host is gone; there is nobody to tell
    finally:
        agent.close()


def _answer_all(agent: Agent, decoder: Decoder, send: Callable[[Frame], None]) -> None:
    while not agent.ended:
        try:
            frame = decoder.next_frame()
        except FrameError as error:
            sequence = UNKNOWN_SEQUENCE if error.sequence is None else error.sequence
            send(Frame(FrameType.ERROR, sequence, pack_message(refusal("frame", error))))
            continue
        if frame is None:
            return
        if frame.type is FrameType.REQUEST:
            send(_answer(agent, frame, send))


def _answer(agent: Agent, frame: Frame, send: Callable[[Frame], None]) -> Frame:
    """The final frame for a request; whatever goes wrong in it, the agent goes on."""

    def tell(progress: Message) -> None:
        send(Frame(FrameType.PROGRESS, frame.sequence, pack_message(progress)))

    kind = "request"
    try:
        request = unpack_message(frame.payload)
        kind = request.kind
        return Frame(FrameType.REPLY, frame.sequence, _bounded(agent.answer(request, tell), frame.sequence))
    except BrokenPipeError:
        raise
    except Exception as error:  # a refusal, the runtime's, or out of memory: the host is told
        return Frame(FrameType.ERROR, frame.sequence, pack_message(refusal(kind, error)))


def _bounded(reply: Message, sequence: int) -> bytes:
    payload = pack_message(reply)
    try:
        encode_frame(Frame(FrameType.REPLY, sequence, payload))
    except FrameError as error:
        raise LinkError(f"the answer is too large: {error.what}", next_step="send fewer rows at a time") from None
    return payload


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _wake_when_the_host_dies() -> None:
    """Have Linux send SIGCONT then, so that an agent that is stopped at that moment goes on, and ends (prctl(2))."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)


def _end_with_host(incoming: int, clean_up: Callable[[], None]) -> None:
    """Once the host has closed its end, end this process too, in the middle of a long request if need be."""
    watch = select.poll()
    watch.register(incoming, 0)  # no events asked for: only the hang-up, which is always told
    while not watch.poll():
        continue
    time.sleep(_GRACE_S)
    clean_up()
    os._exit(1)
