"""How long a device is waited for: silence ends it, and so does work that makes no progress, or none of an end."""

import time

from kit.device.link import LinkHealth
from kit.errors import LinkError

IS_IT_ALIVE = "check that the device is on and not overloaded, or raise `timeout` in its device file; then run again"
"""What to do about a device that does not answer in time."""

_UNKNOWN_RATE_BYTES_PER_S = 2e6
_DRAIN_S = 1.0  # for what came in time and is read late, as after the host itself was stopped
_USABLE_SHARE = 0.5  # of a line's nominal rate: the rest is for resends, framing and the other direction


class LateError(LinkError):
    """The device did not answer in time; the link itself may be sound."""


def least_rate_bytes_per_s(health: LinkHealth) -> float:
    """What a link moves at least: half of the line's nominal rate, or 1 MB/s where none is known."""
    return (health.nominal_bytes_per_s or _UNKNOWN_RATE_BYTES_PER_S) * _USABLE_SHARE


class Patience:
    """How long an answer is waited for: `patience_s` anew whenever more is done than before, `whole_s` in all."""

    def __init__(self, patience_s: float, whole_s: float) -> None:
        self._patience_s, self._whole_s, self._most_done = patience_s, whole_s, -1
        self._start_s = time.monotonic()
        self._end_s = self._start_s + whole_s
        self._noticed_s = float("inf")
        self.due_s = self._start_s + patience_s

    def step(self, done: int) -> None:
        """The device says that so much is done. Raises LateError if that is no news, and it is late."""
        if done > self._most_done:
            self._most_done, self.due_s = done, min(time.monotonic() + self._patience_s, self._end_s)
        self.check()

    def check(self) -> None:
        """Raises LateError if it is late."""
        if time.monotonic() > self.due_s:
            raise self.error()

    def drain(self) -> None:
        """Bytes came that end nothing. Raises LateError once it has been late for a second: nothing more is awaited."""
        now_s = time.monotonic()
        if now_s > self.due_s:
            self._noticed_s = min(self._noticed_s, now_s)
            if now_s > self._noticed_s + _DRAIN_S:
                raise self.error()

    def renew(self) -> None:
        """Wait as long as at first, from now on: the host itself took the time until now."""
        now_s = time.monotonic()
        self._end_s, self.due_s = now_s + self._whole_s, now_s + self._patience_s

    def allow(self, seconds: float) -> None:
        """Wait so much longer: a part of the answer itself has come, and that is what it may take for."""
        self.due_s += seconds
        self._end_s += seconds

    def error(self) -> LateError:
        """What the device failed to do in time."""
        what = "no answer" if self._most_done < 0 else f"no progress beyond {self._most_done}"
        late = f"{what} within {self._patience_s:.3g} s"
        if time.monotonic() > self._end_s:
            late = f"not done after {self._whole_s:.3g} s"
        return LateError(late, next_step=IS_IT_ALIVE)
