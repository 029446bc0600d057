"""Answer requests, one at a time: each handler takes a request under way and returns its reply; a refusal is raised."""

import json
import time
from collections.abc import Callable

import numpy as np

from kit.agent import busy, coldstart, memory, profile, runner, series, state, transfer, workloads
from kit.agent.cache import ModelCache
from kit.agent.files import FileRequests
from kit.agent.telemetry import Telemetry
from kit.agent.work import RefusalError, Work
from kit.errors import EdgeproofError
from kit.wire import PROTOCOLS, SLOW_LINK_BYTES_PER_S, Message

QUICK = frozenset({"clock", "conditions", "echo"})
"""Requests that touch nothing which another may be using, and end at once."""


class Agent:
    """The requests of docs/wire.md on one device."""

    def __init__(self, cache: ModelCache) -> None:
        self.cache = cache
        self.lease_s: float | None = None
        self.is_link_slow = False
        self._runner = runner.Runner(threads=1)
        self._identity: dict[str, object] = {}
        self._files = FileRequests()
        self._handlers: dict[str, Callable[[Work], Message]] = {
            "hello": self._hello, "has": self._has, "put": self._put, "predict": self._predict, "time": self._time,
            "memory": self._memory, "busy": self._busy, "clock": self._clock, "conditions": self._conditions,
            "cold": self._cold, "profile": self._profile, "pattern": self._pattern, "echo": self._echo,
            "outputs": self._outputs,
            "forget": self._forget, "bye": self._bye, **self._files.handlers,
        }  # fmt: skip

    def answer(self, work: Work) -> Message:
        """The reply. Raises an EdgeproofError, which is to be sent as an error."""
        handler = self._handlers.get(work.request.kind)
        if handler is None:
            knows = ", ".join(sorted((*self._handlers, "describe")))
            raise RefusalError(
                f"unknown request {work.request.kind!r}", next_step=f"this agent knows {knows}", reason="kind"
            )
        return handler(work)

    def describe(self, taken: dict[str, object] | None) -> Message:
        """Who this is and whether it is taken, for a host without the lease; safe from any thread."""
        return Message("describe", {"protocols": list(PROTOCOLS), "busy": taken} | self._who())

    def end_sampling(self) -> None:
        """Stop reading files for a meter of a host that is gone; safe from any thread."""
        self._files.close()

    def close(self) -> None:
        """Let go of the models; they stay for the next agent."""
        self._files.close()
        self.cache.close()

    def _who(self) -> dict[str, object]:
        self._identity = self._identity or state.identity()
        limits = {"free_storage_bytes": self.cache.storable_bytes(), "cache_bytes": self.cache.limit_bytes}
        return self._identity | limits

    def _hello(self, work: Work) -> Message:
        protocol = _common_protocol(work.request)
        self._files.close()  # what another host asked for
        rate = work.request.fields.get("link_bytes_per_s")
        self.is_link_slow = rate is not None and (
            work.request.number("link_bytes_per_s", 1, 1e12) < SLOW_LINK_BYTES_PER_S
        )
        self._runner = runner.Runner(work.request.integer("threads", 1, 1024))
        fields = {"protocol": protocol, "lease_s": self.lease_s, "scenarios": list(workloads.SCENARIOS)}
        return Message("hello", fields | self._who())

    def _has(self, work: Work) -> Message:
        digest = work.request.text("digest")
        fields = {"complete": self.cache.has(digest), "received_bytes": self.cache.received_bytes(digest)}
        return Message("has", fields)

    def _put(self, work: Work) -> Message:
        return transfer.receive(self.cache, work)

    def _predict(self, work: Work) -> Message:
        request, digest = work.request, work.request.text("digest")
        session = self._runner.session(digest, self.cache.path(digest), exact=request.flag("exact"))
        output = None if request.absent("output") else request.text("output")
        return Message("predict", parts=[runner.predict(session, request.tensor(), output, Telemetry(work).tick)])

    def _outputs(self, work: Work) -> Message:
        request, digest = work.request, work.request.text("digest")
        session = self._runner.session(digest, self.cache.path(digest), exact=request.flag("exact"))
        output = None if request.absent("output") else request.text("output")
        return Message("outputs", parts=runner.outputs(session, request.tensor(), output, Telemetry(work).tick))

    def _time(self, work: Work) -> Message:
        request, digest = work.request, work.request.text("digest")
        path, workload = self.cache.path(digest), workloads.workload_of(work.request)
        count, min_s = request.integer("count", 1, series.MAX_SAMPLES), request.number("min_s", 0, busy.MAX_BUSY_S)
        goal, fresh = series.Goal(count, int(min_s * 1e9)), request.absent("fresh") or request.flag("fresh")
        timed = self._runner.timed(digest, path, fresh=fresh)
        timing = workloads.time_session(timed, request.tensor(), workload, goal, Telemetry(work).tick)
        info = time.get_clock_info("perf_counter")
        fields = {
            "scenario": workload.scenario,
            "clock": f"time.perf_counter_ns ({info.implementation})",
            "clock_resolution_ns": max(1, round(info.resolution * 1e9)),
            "load_ns": timed.load_ns,
            "first_run_ns": timed.first_run_ns,
            "cpu_ns": timing.cpu_ns,
            "late_count": timing.late_count,
            "scores_name": timing.scores_name,
        }
        return Message("time", fields, [timing.samples_ns, timing.starts_ns, timing.rows, timing.scores])

    def _cold(self, work: Work) -> Message:
        request, digest = work.request, work.request.text("digest")
        sessions, rows, path = request.integer("sessions", 1, 1000), request.tensor(), self.cache.path(digest)
        if self._who()["emulator"] or not coldstart.available():  # a fresh process would not be emulated
            return Message("cold", {"method": None})
        runner.check_rows(self._runner.session(digest, path, exact=False), rows[:1])
        self._runner.forget()
        telemetry, measured, evicted = Telemetry(work), [], 0
        for done in range(sessions):
            work.tell(done, sessions)
            evicted += coldstart.evict(path)
            tick = lambda done=done: telemetry.tick(done, sessions)  # noqa: E731
            measured.append(coldstart.measure_start(path, self._runner.threads, rows[:1], tick))
        method = f"{coldstart.METHOD}; the model's file was out of the system's cache before {evicted} of {sessions}"
        return Message("cold", {"method": method}, list(np.array(measured, np.int64).T.copy()))

    def _profile(self, work: Work) -> Message:
        request, digest = work.request, work.request.text("digest")
        inferences, path = request.integer("inferences", 1, profile.MAX_INFERENCES), self.cache.path(digest)
        self._runner.forget()
        threads, tick = self._runner.threads, Telemetry(work).tick
        nodes = profile.profile(path, threads, request.tensor(), inferences, tick)
        texts = [[node.name, node.op_type, node.output_shapes, node.provider] for node in nodes]
        total_ns = np.array([node.total_ns for node in nodes], np.int64)
        return Message("profile", {"method": profile.METHOD}, [json.dumps(texts).encode(), total_ns])

    def _memory(self, work: Work) -> Message:
        request, digest = work.request, work.request.text("digest")
        sessions, rows, path = request.integer("sessions", 1, 1000), request.tensor(), self.cache.path(digest)
        if self._who()["emulator"] or not memory.available():  # an emulator's memory is not the model's
            return Message("memory", {"method": None})
        runner.check_rows(self._runner.session(digest, path, exact=False), rows[:1])
        self._runner.forget()
        telemetry, measured = Telemetry(work), []
        for done in range(sessions):
            work.tell(done, sessions)
            tick = lambda done=done: telemetry.tick(done, sessions)  # noqa: E731
            measured.append(memory.measure_session(path, self._runner.threads, rows[:1], tick))
        return Message("memory", *memory.told(measured))

    def _busy(self, work: Work) -> Message:
        digest = work.request.text("digest")
        session = self._runner.session(digest, self.cache.path(digest), exact=False)
        duration_s = work.request.number("duration_s", 0, busy.MAX_BUSY_S)
        tick = Telemetry(work).tick
        start_ns, end_ns, inferences, cpu_ns = busy.keep_busy(session, work.request.tensor(), duration_s, tick)
        return Message("busy", {"start_ns": start_ns, "end_ns": end_ns, "inferences": inferences, "cpu_ns": cpu_ns})

    def _pattern(self, work: Work) -> Message:
        digest, pattern_s = work.request.text("digest"), busy.pattern_of(work.request)
        session = self._runner.session(digest, self.cache.path(digest), exact=False)
        stretches = busy.keep_pattern(session, work.request.tensor(), pattern_s, Telemetry(work).tick)
        return Message("pattern", {}, [np.array(stretches, np.int64)])

    def _clock(self, work: Work) -> Message:
        cpu_ns = time.process_time_ns()
        return Message("clock", {"received_ns": work.received_ns, "cpu_ns": cpu_ns, "clock_ns": time.perf_counter_ns()})

    def _conditions(self, _: Work) -> Message:
        return Message("conditions", state.conditions())

    def _echo(self, work: Work) -> Message:
        return Message("echo", {}, [work.request.blob()])

    def _forget(self, work: Work) -> Message:
        digest = work.request.text("digest")
        self._runner.forget()  # a session of it would keep its memory
        return Message("forget", {"forgotten": self.cache.forget(digest)})

    def _bye(self, _: Work) -> Message:
        return Message("bye")


def refusal(kind: str, error: Exception) -> Message:
    """An error as a message: what is wrong, what to do next, and a word to act on; one of ours speaks for itself."""
    if isinstance(error, MemoryError):
        error = runner.out_of_memory(str(error))
    what = str(error) if isinstance(error, EdgeproofError) else f"{type(error).__name__}: {error}"
    next_step = error.next_step if isinstance(error, EdgeproofError) else ""
    reason = error.reason if isinstance(error, RefusalError) else ""
    what = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(what.split())[:1000])  # it may quote the host
    fields = {"what": what, "next_step": next_step[:1000], "reason": reason}
    return Message(kind, fields)


def _common_protocol(hello: Message) -> int:
    """The highest version that both sides speak. Raises RefusalError naming what each does."""
    asked = hello.fields.get("protocols")
    versions = asked if isinstance(asked, list) else [hello.fields.get("protocol")]
    common = [each for each in PROTOCOLS if each in versions]
    if common:
        return max(common)
    theirs = ", ".join(str(each)[:8] for each in versions[:8] if isinstance(each, int)) or "none that can be read"
    release = hello.fields.get("release")
    by = f" (edgeproof {release[:40]})" if isinstance(release, str) else ""
    raise RefusalError(
        f"the host speaks protocol {theirs}{by}; this agent speaks {', '.join(map(str, PROTOCOLS))}",
        next_step="use the same edgeproof release on the host and on the device",
        reason="protocol",
    )
