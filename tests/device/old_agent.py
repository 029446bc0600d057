"""An agent as it was before workloads, cold starts, profiles and patterns: ``python old_agent.py --stdio``."""

from collections.abc import Callable

from kit.agent import __main__
from kit.agent.server import Agent
from kit.agent.work import Work
from kit.wire import Message

UNKNOWN = ("cold", "profile", "pattern")
NEW_FIELDS = ("scenario", "late_count", "scores_name", "scenarios")
HELLO, TIME, ANSWER = Agent._hello, Agent._time, Agent.answer


def without_news(handler: Callable[[Agent, Work], Message], parts: int) -> Callable[[Agent, Work], Message]:
    """The reply without the fields and parts that it did not have."""

    def answer(self: Agent, work: Work) -> Message:
        reply = handler(self, work)
        fields = {name: value for name, value in reply.fields.items() if name not in NEW_FIELDS}
        return Message(reply.kind, fields, list(reply.parts)[:parts])

    return answer


def answer(self: Agent, work: Work) -> Message:
    """Requests of later releases are unknown; so are the fields of a workload."""
    for kind in UNKNOWN:
        self._handlers.pop(kind, None)
    for name in ("scenario", "fresh"):
        work.request.fields.pop(name, None)  # type: ignore[attr-defined]
    return ANSWER(self, work)


Agent._hello, Agent._time = without_news(HELLO, 0), without_news(TIME, 1)  # type: ignore[method-assign]
Agent.answer = answer  # type: ignore[method-assign]
__main__.main()
