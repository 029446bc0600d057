"""How long a device is waited for: silence ends it, and so does work that makes no progress, or none of an end."""

import time

from kit.errors import LinkError

IS_IT_ALIVE = "check that the device is on and not overloaded, or raise `timeout` in its device file; then run again"
"""What to do about a device that does not answer in time."""


class Patience:
    """How long an answer is waited for: `patience_s` anew whenever more is done than before, `whole_s` in all."""

    def __init__(self, patience_s: float, whole_s: float) -> None:
        self._patience_s, self._whole_s, self._most_done = patience_s, whole_s, -1
        self._end_s = time.monotonic() + whole_s
        self.due_s = time.monotonic() + patience_s

    def step(self, done: int) -> None:
        """The device says that so much is done. Raises LinkError if that is no news, and it is late."""
        if done > self._most_done:
            self._most_done, self.due_s = done, min(time.monotonic() + self._patience_s, self._end_s)
        if time.monotonic() > self.due_s:
            raise self.error()

    def error(self) -> LinkError:
        """What the device failed to do in time."""
        what = "no answer" if self._most_done < 0 else f"no progress beyond {self._most_done}"
        late = f"{what} within {self._patience_s:.3g} s"
        if time.monotonic() > self._end_s:
            late = f"not done after {self._whole_s:.3g} s"
        return LinkError(late, next_step=IS_IT_ALIVE)
