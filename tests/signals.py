"""Signals of the tests' own process."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def heard(number: signal.Signals, handler: Callable[..., Any] | signal.Handlers = signal.SIG_DFL) -> Iterator[None]:
    """While inside, this process and what it starts ignore no `number`, as a test run in the background does SIGINT."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
