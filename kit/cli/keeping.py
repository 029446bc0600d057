"""However a run's work ends, the error says what is kept of it and how to go on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kit.errors import EdgeproofError, InterruptError, StoreError


@contextmanager
def keeping(kept: Callable[[], str], place: Path, next_step: str = "") -> Iterator[None]:
    """Adds `kept()` to any error and interrupt; one of the system is about `place`, unless it names another.

    `next_step`: what to do about an interrupt.
    """
    try:
        yield
    except EdgeproofError as error:
        error.kept = error.kept or kept()
        raise
    except OSError as error:
        raise StoreError(
            f"cannot read or write: {error.strerror}",
            where=str(error.filename or place),
            next_step="look at the space, the permissions and the path, then resume",
            kept=kept(),
        ) from error
    except KeyboardInterrupt as interrupt:
        raise InterruptError(str(interrupt) or "interrupted", next_step=next_step, kept=kept()) from interrupt
