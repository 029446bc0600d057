"""One master at a time: the first host to say hello holds the lease until it ends, falls silent or says bye."""

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease: a name for people, a token that only that host knows, and since when (`time.monotonic`)."""

    host: str
    token: str
    since_s: float


class Lease:
    """Held by one session; `term_s` is how long it lasts after the last byte heard, None without end."""

    def __init__(self, term_s: float | None) -> None:
        self.term_s = term_s
        self._guard = threading.Lock()
        self._session: object = None
        self._holder: Holder | None = None

    def take(self, session: object, host: str, token: str) -> tuple[bool, object]:
        """Whether `session` holds it now, and the session that held it before, if any.

        A host that comes again, with the token of before, replaces what was left of it.
        """
        with self._guard:
            before, holder = self._session, self._holder
            if holder is not None and before is not session and (not token or holder.token != token):
                return False, before
            if before is not session or holder is None or holder.token != token:
                self._holder = Holder(host, token, time.monotonic())
            self._session = session
            return True, before

    def release(self, session: object) -> bool:
        """Free it if that session holds it; whether it did."""
        with self._guard:
            if self._session is not session:
                return False
            self._session = self._holder = None
            return True

    def held_by(self, session: object) -> bool:
        """Whether that session holds it."""
        return self._session is session

    def state(self, heard_s: float) -> dict[str, object] | None:
        """Who holds it, for how long so far, and when it ends at the latest if nothing more is heard; None if free."""
        holder, now_s = self._holder, time.monotonic()
        if holder is None:
            return None
        left_s = None if self.term_s is None else round(max(0.0, heard_s + self.term_s - now_s), 1)
        return {"host": holder.host, "held_s": round(now_s - holder.since_s, 1), "expires_s": left_s}
