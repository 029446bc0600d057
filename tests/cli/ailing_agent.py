"""An agent with one ailment, for `command` in a device file: ``python ailing_agent.py AILMENT --stdio``."""

import sys
import time

from kit.agent import __main__, runner, server, state
from kit.agent.server import Agent
from kit.agent.work import Work
from kit.wire import Message

AILMENT = sys.argv.pop(1)
PREDICT, ECHO, CLOCK = runner.predict, Agent._echo, Agent._clock
COUNTS = {"echo": 0, "busy": 0}


def altered_echo(self: Agent, work: Work) -> Message:
    """One byte of every long echo comes back as another."""
    reply = ECHO(self, work)
    data = bytearray(reply.blob())
    if len(data) > 200:
        data[100] ^= 1
    return Message("echo", {}, [bytes(data)])


def wrong_sums(*arguments: object) -> object:
    """Every score is one too many: what a miscompiled kernel may do."""
    return PREDICT(*arguments) + 1  # type: ignore[arg-type]


def slower(self: Agent, work: Work) -> Message:
    """Each window does 3 % less than the one before, whatever else this machine does: throttling."""
    COUNTS["busy"] += 1
    start_ns, duration_s = time.perf_counter_ns(), work.request.number("duration_s", 0)
    time.sleep(duration_s)
    inferences = int(100_000 * duration_s * 0.97 ** COUNTS["busy"])
    fields = {"start_ns": start_ns, "end_ns": start_ns + int(1e9 * duration_s), "inferences": inferences, "cpu_ns": 0}
    return Message("busy", fields)


def jumping(self: Agent, work: Work) -> Message:
    """The clock is set back by an hour once the work has begun."""
    reply = CLOCK(self, work)
    shift = 3_600_000_000_000 if COUNTS["busy"] or COUNTS["echo"] else 0
    return Message("clock", {k: v - shift if k != "cpu_ns" else v for k, v in reply.fields.items()})  # type: ignore


def counted(self: Agent, work: Work) -> Message:
    """An echo, counted."""
    COUNTS["echo"] += 1
    return ECHO(self, work)


if AILMENT == "altered-echo":
    Agent._echo = altered_echo  # type: ignore[method-assign]
elif AILMENT == "wrong-sums":
    server.runner.predict = wrong_sums  # type: ignore[assignment]
elif AILMENT == "slower":
    Agent._busy = slower  # type: ignore[method-assign]
elif AILMENT == "jumping-clock":
    Agent._clock, Agent._echo = jumping, counted  # type: ignore[method-assign]
elif AILMENT == "other-release":
    state.agent_digest = lambda: "sha256:" + "0" * 64
elif AILMENT == "no-memory":
    state.allowance.memory_bytes = state.allowance.available_bytes = lambda: None
elif AILMENT == "dies":
    Agent._busy = lambda self, work: sys.exit(7)  # type: ignore[method-assign, assignment, return-value]
elif AILMENT != "none":
    sys.exit(f"no such ailment: {AILMENT}")
__main__.main()
