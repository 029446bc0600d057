"""Answer requests, one at a time: each handler takes a message and returns one; a refusal is an answer too."""

import time
from collections.abc import Callable

import numpy as np

from kit.agent import memory, runner, state
from kit.agent.cache import ModelCache
from kit.errors import DeviceError, EdgeproofError
from kit.wire import PROTOCOLS, Message

Tell = Callable[[Message], None]
"""Sends a progress message."""


class Agent:
    """The requests of docs/wire.md on one device; `close` removes what it stored."""

    def __init__(self) -> None:
        self.cache = ModelCache()
        self.ended = False
        self._runner = runner.Runner(threads=1)
        self._emulator: object = None
        self._handlers: dict[str, Callable[[Message, Tell], Message]] = {
            "hello": self._hello, "has": self._has, "put": self._put, "predict": self._predict, "time": self._time,
            "memory": self._memory, "busy": self._busy, "clock": self._clock, "conditions": self._conditions,
            "bye": self._bye,
        }  # fmt: skip

    def answer(self, request: Message, tell: Tell) -> Message:
        """The reply. Raises an EdgeproofError, which is to be sent as an error."""
        handler = self._handlers.get(request.kind)
        if handler is None:
            raise DeviceError(
                f"unknown request {request.kind!r}", next_step=f"this agent knows {', '.join(sorted(self._handlers))}"
            )
        return handler(request, tell)

    def close(self) -> None:
        """Remove every stored model."""
        self.cache.close()

    def _hello(self, request: Message, _: Tell) -> Message:
        if (asked := request.integer("protocol")) != PROTOCOLS[-1]:
            raise DeviceError(
                f"the host asks for protocol {asked}; this agent speaks {PROTOCOLS[-1]}",
                next_step="use the same edgeproof release on the host and on the device",
            )
        self._runner = runner.Runner(request.integer("threads", 1, 1024))
        fields = state.identity()
        self._emulator = fields["emulator"]
        return Message("hello", {"protocol": PROTOCOLS[-1]} | fields)

    def _has(self, request: Message, _: Tell) -> Message:
        digest = request.text("digest")
        return Message("has", {"complete": self.cache.has(digest), "received_bytes": self.cache.received_bytes(digest)})

    def _put(self, request: Message, _: Tell) -> Message:
        offset, size_bytes = request.integer("offset"), request.integer("size_bytes", 1)
        chunk = request.blob()
        complete = self.cache.put(request.text("digest"), offset, size_bytes, chunk)
        return Message("put", {"complete": complete, "received_bytes": offset + len(chunk)})

    def _predict(self, request: Message, tell: Tell) -> Message:
        digest = request.text("digest")
        session = self._runner.session(digest, self.cache.path(digest), exact=request.flag("exact"))
        output = None if request.absent("output") else request.text("output")
        return Message("predict", parts=[runner.predict(session, request.tensor(), output, _ticker("predict", tell))])

    def _time(self, request: Message, tell: Tell) -> Message:
        path = self.cache.path(request.text("digest"))
        self._runner.forget()
        timing = runner.time_rows(
            path,
            self._runner.threads,
            request.tensor(),
            count=request.integer("count", 1, runner.MAX_SAMPLES),
            min_s=request.number("min_s", 0, runner.MAX_BUSY_S),
            tick=_ticker("time", tell),
        )
        info = time.get_clock_info("perf_counter")
        fields = {
            "clock": f"time.perf_counter_ns ({info.implementation})",
            "clock_resolution_ns": max(1, round(info.resolution * 1e9)),
            "load_ns": timing.load_ns,
            "first_run_ns": timing.first_run_ns,
            "cpu_ns": timing.cpu_ns,
        }
        return Message("time", fields, [timing.samples_ns])

    def _memory(self, request: Message, tell: Tell) -> Message:
        digest, sessions, rows = request.text("digest"), request.integer("sessions", 1, 1000), request.tensor()
        path = self.cache.path(digest)
        if self._emulator or not memory.available():  # an emulator's memory is not the model's
            return Message("memory", {"method": None})
        runner.check_rows(self._runner.session(digest, path, exact=False), rows[:1])
        self._runner.forget()
        measured = []
        for done in range(sessions):
            tell(Message("memory", {"done": done, "total": sessions}))
            measured.append(memory.measure_session(path, self._runner.threads, rows[:1]))
        peak, steady, baseline = np.array(measured, np.int64).T
        fields = {"method": memory.METHOD, "baseline_bytes": int(np.median(baseline))}
        return Message("memory", fields, [np.ascontiguousarray(peak), np.ascontiguousarray(steady)])

    def _busy(self, request: Message, _: Tell) -> Message:
        digest = request.text("digest")
        session = self._runner.session(digest, self.cache.path(digest), exact=False)
        duration_s = request.number("duration_s", 0, runner.MAX_BUSY_S)
        start_ns, end_ns, inferences, cpu_ns = runner.keep_busy(session, request.tensor(), duration_s)
        return Message("busy", {"start_ns": start_ns, "end_ns": end_ns, "inferences": inferences, "cpu_ns": cpu_ns})

    def _clock(self, _: Message, __: Tell) -> Message:
        return Message("clock", {"clock_ns": time.perf_counter_ns(), "cpu_ns": time.process_time_ns()})

    def _conditions(self, _: Message, __: Tell) -> Message:
        return Message("conditions", state.conditions())

    def _bye(self, _: Message, __: Tell) -> Message:
        self.ended = True
        return Message("bye")


def refusal(kind: str, error: Exception) -> Message:
    """An error as a message: what is wrong and what to do next; one of ours speaks for itself."""
    what = str(error) if isinstance(error, EdgeproofError) else f"{type(error).__name__}: {error}"
    next_step = error.next_step if isinstance(error, EdgeproofError) else ""
    return Message(kind, {"what": " ".join(what.split())[:1000], "next_step": next_step[:1000]})


def _ticker(kind: str, tell: Tell) -> runner.Tick:
    return lambda done, total: tell(Message(kind, {"done": done, "total": total}))
