"""Signals that ask to end: heeded as Ctrl-C is, so that what was done is kept and told."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def ending_as_interrupts() -> Iterator[None]:
    """While inside, the first SIGTERM or SIGHUP raises KeyboardInterrupt, whose text names it.

    One that comes later interrupts nothing: what is left to do is to close what is open. One that we were started
    to ignore, as by nohup, stays ignored; and so does what whoever called us has for it.
    """
    if threading.current_thread() is not threading.main_thread():  # only there can one be heeded
        yield
        return
    heeded = [each for each in _ENDING if signal.getsignal(each) is signal.SIG_DFL]

    def told(number: int, _: FrameType | None) -> None:
        for each in heeded:
            signal.signal(each, lambda *_: None)
        raise KeyboardInterrupt(f"interrupted by {signal.Signals(number).name}")

    for each in heeded:
        signal.signal(each, told)
    try:
        yield
    finally:
        for each in heeded:
            signal.signal(each, signal.SIG_DFL)
