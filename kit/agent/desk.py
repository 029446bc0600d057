"""The desk: every channel's host is received here, one holds the lease, and the main thread does what it asks.

A reader thread per channel (see session) decodes; requests are done one at a time by the thread that calls `run`, so
that a second master, a beat or a cancellation is heard while a request is under way.
"""

import os
import threading
import time
from queue import SimpleQueue

from kit.agent.channel import Channel
from kit.agent.lease import Lease
from kit.agent.server import Agent, refusal
from kit.agent.session import Session
from kit.agent.work import RefusalError, Work
from kit.wire import FrameType, Message

MAX_SESSIONS = 16
_STRANGER_S = 20.0  # a host that holds no lease and asks nothing for so long is sent away
_UNKNOWN_S = 10.0  # and one that has asked nothing yet
_GRACE_S = 2.0


class Desk:
    """Serves hosts until it is stopped; with `until_gone`, until the first one has gone (standard input).

    `lease_s` is how long the master may be silent; None where a channel's end is always told.
    """

    def __init__(self, agent: Agent, *, lease_s: float | None = None, until_gone: bool = False) -> None:
        self._agent, self._lease, self._until_gone = agent, Lease(lease_s), until_gone
        agent.lease_s = lease_s
        self._queue: SimpleQueue[tuple[Session, Work] | None] = SimpleQueue()
        self._guard, self._sessions = threading.Lock(), set[Session]()
        self._error: BaseException | None = None
        self._done = threading.Event()

    def take(self, channel: Channel) -> None:
        """Receive a new connection; returns at once. Where they are too many, the oldest stranger makes room."""
        session = Session(self, channel)
        with self._guard:
            is_done, crowded_out = self._done.is_set(), self._crowded_out()
            if not is_done:
                self._sessions -= set(crowded_out)
                self._sessions.add(session)
        if is_done:
            channel.close()
            return
        for stranger in crowded_out:
            stranger.stop("others came, and this one does not hold the lease")
        session.start()

    def run(self) -> None:
        """Do what the master asks, in this thread, until `stop`; raises what `stop` was given."""
        if self._lease.term_s is not None:
            threading.Thread(target=self._watch, args=(self._lease.term_s,), name="lease", daemon=True).start()
        try:
            while (item := self._queue.get()) is not None:
                session, work = item
                self.do(session, work)
                del item, session, work  # while nothing is under way, nothing of it is held
        finally:
            self._done.set()
            self._send_all_away()
        if self._error is not None:
            raise self._error

    def stop(self, error: BaseException | None = None) -> None:
        """Have `run` return, ending what is under way, and raise `error` if there is one."""
        self._error = self._error or error
        self._queue.put(None)
        self._send_all_away()

    def admits(self, session: Session, work: Work) -> bool:
        """Whether a request is to be done, and not answered yet; called by the session's reader.

        Only hello and describe are answered without the lease, and describe at once. Raises RefusalError.
        """
        if work.request.kind == "describe":
            work.send(FrameType.REPLY, self._agent.describe(self._lease_state()))
            return False
        if work.request.kind == "hello":
            self._grant(session, work.request)
        elif not self._lease.held_by(session):
            raise RefusalError("this host has not said hello", next_step="say hello first", reason="lease")
        return True

    def hand(self, session: Session, work: Work) -> None:
        """Queue a request for the main thread."""
        self._queue.put((session, work))

    def leave(self, session: Session) -> None:
        """A session has ended: its lease is free, and nothing is sampled for nobody."""
        self._lease.release(session)
        if self._lease.state(0.0) is None:
            self._agent.end_sampling()
        with self._guard:
            self._sessions.discard(session)
        if self._until_gone:
            self.stop()
            if not self._done.wait(_GRACE_S):  # a request that cannot be stopped
                self._agent.close()
                os._exit(1)

    def _crowded_out(self) -> list[Session]:
        """Who makes room for one more: those who never asked anything before others, the oldest first."""
        strangers = [each for each in self._sessions if not self._lease.held_by(each)]
        strangers.sort(key=lambda each: (each.is_known, each.since_s))
        return strangers[: max(0, len(self._sessions) + 1 - MAX_SESSIONS)]

    def _send_all_away(self) -> None:
        with self._guard:
            sessions = list(self._sessions)
        for session in sessions:
            session.stop("the agent ends")

    def _grant(self, session: Session, request: Message) -> None:
        host = request.text("host", limit=200) if not request.absent("host") else session.name
        token = request.text("token", limit=64) if not request.absent("token") else ""
        is_granted, before = self._lease.take(session, host, token)
        if not is_granted:
            raise _busy(self._lease_state() or {})
        if isinstance(before, Session) and before is not session:
            before.stop("its host came again")

    def _lease_state(self) -> dict[str, object] | None:
        with self._guard:
            heard_s = max((each.heard_s for each in self._sessions if self._lease.held_by(each)), default=0.0)
        return self._lease.state(heard_s)

    def do(self, session: Session, work: Work) -> None:
        """Answer one request; whatever goes wrong in it, the agent goes on.

        What it held is let go before the answer, since the host may go on as soon as it has that.
        """
        kind = work.request.kind
        final, answer = self._answered(session, work)
        session.finish(work)
        if kind == "bye" or (kind == "hello" and final is FrameType.ERROR):
            self._lease.release(session)
        try:
            try:
                work.send(final, answer)
            except BrokenPipeError:
                raise
            except Exception as error:  # an answer too large, or out of memory
                work.send(FrameType.ERROR, refusal(kind, error))
        except BrokenPipeError:
            session.stop("the host is gone")
        if kind == "bye":
            session.stop("the host said bye")

    def _answered(self, session: Session, work: Work) -> tuple[FrameType, Message]:
        """The final frame of a request: its reply, or why there is none."""
        kind = work.request.kind
        try:
            work.check()
            reply = self._agent.answer(work)
        except Exception as error:  # a refusal, the runtime's, out of memory, or the host is gone
            return FrameType.ERROR, refusal(kind, error)
        if kind == "hello":
            session.promote(deflates=self._agent.is_link_slow)
        return FrameType.REPLY, reply

    def _watch(self, term_s: float) -> None:
        """Send away a master that has been silent for its lease, and strangers that say nothing."""
        while not self._done.wait(term_s / 8):
            now_s = time.monotonic()
            with self._guard:
                sessions = list(self._sessions)
            for session in sessions:
                limit_s = max(term_s, _STRANGER_S) if session.is_known else _UNKNOWN_S
                if self._lease.held_by(session):
                    limit_s = term_s
                if now_s - session.heard_s > limit_s:
                    self._lease.release(session)
                    session.stop(f"the host was silent for {term_s:g} s")


def _busy(state: dict[str, object]) -> RefusalError:
    expires = state.get("expires_s")
    until = "when it ends" if expires is None else f"in {expires:g} s unless it is heard of again"
    return RefusalError(
        f"the device is busy with another host: {state.get('host')}, for {state.get('held_s', 0):.0f} s so far",
        next_step=f"wait until it is done, or end it there; its lease ends {until}",
        reason="busy",
    )
