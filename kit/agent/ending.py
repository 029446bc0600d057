"""Asked to end by SIGTERM: close what is open, and end even where closing hangs or the signal is missed.

While the agent is being loaded nothing is open: SIGTERM and SIGINT end it there and then, and say nothing.

The interpreter runs a handler only once its main thread wakes, and a signal that comes just before that thread blocks,
or that another thread takes, does not wake it (the Python library's notes on "Execution of Python signal handlers").
So a thread hears of it through the wakeup descriptor, wakes the main thread, and has the last word.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

TERMINATED = 128 + signal.SIGTERM
"""The status of a process that was asked to end, as a shell tells it."""
_PATIENCE_S, _REMINDER_S = 5.0, 0.1
_ASKING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def kept_for_the_agent() -> Iterator[None]:
    """While inside, SIGINT and SIGTERM wait; what replaces this process by the agent leaves them to `end_at_once`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_at_once() -> None:
    """Until `end_when_asked`, SIGINT and SIGTERM end this process, which has nothing open; also those that wait.

    One that it was started to ignore, as by a shell's &, stays ignored.
    """
    for each in _ASKING:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, lambda number, _: os._exit(128 + number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ASKING)


def end_when_asked() -> None:
    """From now on SIGTERM raises SystemExit in the main thread, which calls this; the process is gone in 5 s.

    SIGINT raises KeyboardInterrupt again.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.signal(signal.SIGTERM, _end)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(heard, threading.get_ident()), name="ending", daemon=True).start()


def _end(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # closing is not to be interrupted
    raise SystemExit(TERMINATED)


def _watch(heard: int, main_thread: int) -> None:
    while os.read(heard, 1)[0] != signal.SIGTERM:
        pass  # other signals wake it too
    end_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end_s:
        time.sleep(_REMINDER_S)
        signal.pthread_kill(main_thread, signal.SIGTERM)
    os._exit(TERMINATED)
