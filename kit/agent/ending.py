"""Asked to end by SIGTERM: close what is open, and end even where closing hangs or the signal is missed.

The interpreter runs a handler only once its main thread wakes, and a signal that comes just before that thread blocks,
or that another thread takes, does not wake it (the Python library's notes on "Execution of Python signal handlers").
So a thread hears of it through the wakeup descriptor, wakes the main thread, and has the last word.
"""

import os
import signal
import threading
import time
from typing import NoReturn

TERMINATED = 128 + signal.SIGTERM
"""The status of a process that was asked to end, as a shell tells it."""
_PATIENCE_S, _REMINDER_S = 5.0, 0.1


def end_when_asked() -> None:
    """From now on SIGTERM raises SystemExit in the main thread, which calls this; the process is gone in 5 s."""
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
