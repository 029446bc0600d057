"""The driver for our own agent, over any link: what a Device does, as requests of docs/wire.md."""

import contextlib
import os
import platform
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

import kit
from kit.device import clock, transfer
from kit.device.base import BusyWindow, ColdStartSamples, LatencySamples, MemorySamples, Progress
from kit.device.conversation import Conversation, RefusedError
from kit.device.files import DeviceFiles
from kit.device.link import Link, LinkHealth
from kit.device.sending import chosen_rows, least_s, rows_a_message, shifted
from kit.device.texts import conditions, device_record
from kit.device.timings import Answers
from kit.digest import digest_bytes
from kit.errors import DeviceError, LinkError
from kit.records import (
    SINGLE_STREAM,
    Conditions,
    DeviceRecord,
    Float32Array,
    Int64Array,
    OperatorTime,
    Telemetry,
    Workload,
)
from kit.spec.types import DeviceSpec
from kit.wire import PROTOCOLS, Message, Part

LEASE_S = 0.5, 86400.0
"""The shortest and the longest lease that a device may grant."""


class AgentDevice:
    """A Device (see kit.device.base) whose agent answers at the other end of the link that `connect` opens.

    `telemetry_s` is how often the device tells its state while it works; 0 for never.
    """

    def __init__(self, connect: Callable[[], Link], spec: DeviceSpec, *, telemetry_s: float = 1.0) -> None:
        self._connect, self._spec = connect, spec
        self._token, self._telemetry_s = secrets.token_hex(16), telemetry_s
        self._talk = Conversation(connect(), spec)
        try:
            self._record, self._process_id = self._hello()
        except BaseException:
            self._talk.close()
            raise

    @property
    def record(self) -> DeviceRecord:
        """Who the device is; a processor that is found to be emulated is named so, declared or not."""
        return self._record

    def identify(self) -> DeviceRecord:
        """See `record`."""
        return self._record

    def conditions(self) -> Conditions:
        """Its state now."""
        return conditions(self._talk.request("conditions"))

    def telemetry(self) -> list[Telemetry]:
        """The device's state while it worked, in order, since this was last asked; the last 4096 samples are kept."""
        samples, kept = [], self._talk.telemetry
        while kept:
            samples.append(kept.popleft())
        return samples

    def health(self) -> LinkHealth:
        """What its link has seen."""
        return self._talk.link.health()

    def echo(self, data: bytes) -> bytes:
        """The same bytes, there and back: a test of the link."""
        return self._talk.request("echo", {}, [data]).blob()

    def deploy(self, model: bytes, progress: Progress | None = None) -> str:
        """Send what the device lacks of `model`; it verifies the digest, which is returned.

        When the link breaks it is opened again, and the transfer goes on to the byte, for as long as it makes progress.
        """
        if not model:
            raise DeviceError("an empty model cannot be deployed", where=self._talk.where)
        digest, persistence = digest_bytes(model), self._persistence(len(model))

        def told(done: int, total: int) -> None:
            persistence.note(done)
            if progress is not None:
                progress(done, total)

        while True:
            try:
                transfer.put(self._talk, model, digest, told)
                return digest
            except LinkError as error:
                self._open_again(persistence, error)

    def forget(self, digest: str) -> bool:
        """Remove a model from the device, unless another agent there uses it; whether nothing of it is left.

        Raises DeviceError where the agent is of an earlier release, which does not know how.
        """
        return self._talk.request("forget", {"digest": digest}).flag("forgotten")

    def predict(
        self,
        digest: str,
        inputs: NDArray[np.generic],
        *,
        output: str | None,
        exact: bool,
        progress: Progress | None = None,
    ) -> Float32Array:
        """Scores float32 [rows, classes], each row inferred by itself, whatever the size of a message."""
        rows, scores = len(inputs), []
        step = self._rows_a_message(inputs)
        for start in range(0, rows, step):
            batch = inputs[start : start + step]
            fields = {"digest": digest, "output": output, "exact": exact} | self._telemetry_field()
            told = shifted(progress, start, rows)
            reply = self._talk.request("predict", fields, [batch], progress=told, steps=len(batch))
            scores.append(self._scores(reply, len(batch)))
            told(len(batch), rows)
        if len({each.shape[1] for each in scores}) != 1:
            raise self._talk.wrong(f"no scores, or a changing number of classes, for {rows} rows")
        return np.concatenate(scores)

    def outputs(
        self,
        digest: str,
        inputs: NDArray[np.generic],
        *,
        output: str | None,
        exact: bool,
        progress: Progress | None = None,
    ) -> tuple[Float32Array, Int64Array]:
        """Every value of one output, row after row; the first row alone, which tells how many fit into a reply."""
        rows, start, step = len(inputs), 0, 1
        values, counts = [], []
        while start < rows:
            batch = inputs[start : start + step]
            fields = {"digest": digest, "output": output, "exact": exact} | self._telemetry_field()
            reply = self._if_known("outputs", fields, batch, steps=len(batch), progress=shifted(progress, start, rows))
            if reply is None:
                raise self._too_old("gives scores of classes only", "score this model on the host")
            found = Answers(self._talk.wrong).outputs(reply, len(batch))
            values.append(found[0])
            counts.append(found[1])
            start += len(batch)
            shifted(progress, 0, rows)(start, rows)
            a_row = 4 * max(1, int(found[1].max()))
            step = max(1, min(self._rows_a_message(inputs), self._rows_a_message(np.empty((1, a_row), np.uint8))))
        if not counts:
            raise self._talk.wrong("there are no rows to send")
        return np.concatenate(values), np.concatenate(counts)

    def time_inferences(
        self,
        digest: str,
        inputs: NDArray[np.generic],
        *,
        count: int,
        min_s: float,
        workload: Workload = SINGLE_STREAM,
        fresh: bool = True,
        progress: Progress | None = None,
    ) -> LatencySamples:
        """Time at least `count` samples and `min_s`; at most 1024 rows, evenly spread, are cycled through.

        An agent of an earlier release times a single stream, in a fresh session; DeviceError for anything else.
        """
        if workload.scenario not in self._scenarios:
            raise self._too_old(f"cannot run a workload as {workload.scenario}", "measure it as a single stream")
        fields = {"digest": digest, "count": count, "min_s": min_s} | self._telemetry_field(min_s)
        if workload != SINGLE_STREAM:
            fields |= asdict(workload)
        sent, answers = self._chosen_rows(inputs), Answers(self._talk.wrong)
        reply = self._talk.request(
            "time", fields | {"fresh": fresh}, [np.ascontiguousarray(inputs[sent])],
            progress=progress, steps=count * workload.batch + int(min_s) + round(least_s(workload, count)),
            timeout_s=self._spec.timeout_s + 2 * workload.period_ns / 1e9,
        )  # fmt: skip
        timed = answers.latency(reply, workload, count, min_s, sent)
        return answers.first_timing(timed) if fresh else timed

    def measure_cold_start(self, digest: str, inputs: NDArray[np.generic], *, sessions: int) -> ColdStartSamples | None:
        """Fresh processes of the device's Python; None where the agent has no method, or is of an earlier release."""
        fields = {"digest": digest, "sessions": sessions} | self._telemetry_field()
        row, answers = np.ascontiguousarray(inputs[:1]), Answers(self._talk.wrong)
        reply = self._if_known("cold", fields, row, steps=sessions)
        return None if reply is None or reply.absent("method") else answers.cold_start(reply, sessions)

    def profile_operators(
        self, digest: str, inputs: NDArray[np.generic], *, inferences: int
    ) -> tuple[OperatorTime, ...] | None:
        """By the runtime's profiler; None where the agent is of an earlier release."""
        fields = {"digest": digest, "inferences": inferences} | self._telemetry_field()
        answers = Answers(self._talk.wrong)
        reply = self._if_known("profile", fields, self._few_rows(inputs), steps=inferences)
        return None if reply is None else answers.operators(reply, inferences)

    def measure_memory(self, digest: str, inputs: NDArray[np.generic], *, sessions: int) -> MemorySamples | None:
        """Peak and steady memory of fresh sessions; None where the agent has no method."""
        fields = {"digest": digest, "sessions": sessions} | self._telemetry_field()
        reply = self._talk.request("memory", fields, [np.ascontiguousarray(inputs[:1])], steps=sessions)
        return None if reply.absent("method") else Answers(self._talk.wrong).memory(reply, sessions)

    def run_busy(self, digest: str, inputs: NDArray[np.generic], *, duration_s: float) -> BusyWindow:
        """Run back to back; 0 s only loads the model."""
        fields = {"digest": digest, "duration_s": duration_s} | self._telemetry_field()
        timeout_s, answers = self._spec.timeout_s + duration_s, Answers(self._talk.wrong)
        reply = self._talk.request("busy", fields, [self._few_rows(inputs)], timeout_s=timeout_s)
        return answers.busy(reply, duration_s)

    def run_pattern(
        self, digest: str, inputs: NDArray[np.generic], *, pattern_s: Sequence[tuple[float, float]]
    ) -> tuple[BusyWindow, ...] | None:
        """Each stretch starts when the rest before it ends, on the device's clock; None: an earlier release."""
        fields = {"digest": digest, "pattern_s": [list(pair) for pair in pattern_s]} | self._telemetry_field()
        timeout_s, answers = self._spec.timeout_s + sum(map(sum, pattern_s)), Answers(self._talk.wrong)
        reply = self._if_known("pattern", fields, self._few_rows(inputs), timeout_s=timeout_s)
        return None if reply is None else answers.pattern(reply, pattern_s)

    def files(self) -> DeviceFiles | None:
        """Its files that tell power; None where the agent is of an earlier release."""

        def ask(kind: str, fields: Mapping[str, object], parts: list[Part]) -> Message:
            return self._talk.request(kind, fields, parts)  # of the link that is open then

        files = DeviceFiles(ask, self.clock_offset_ns, self._talk.where)
        return files if files.is_there() else None

    def clock_offset_ns(self) -> tuple[int, int]:
        """Device clock less host's time.monotonic_ns, and its error bound, ns (see kit.device.clock)."""
        return clock.offset_ns(self._talk)

    def cpu_time_ns(self) -> int:
        """CPU time of the agent's process."""
        return self._talk.request("clock").integer("cpu_ns")

    def process_id(self) -> int | None:
        """The process that the agent says it is, if it is the one that the link started or of its group."""
        started = self._talk.link.process_id()
        with contextlib.suppress(OSError):
            if started is not None and os.getpgid(self._process_id) == started:
                return self._process_id
        return None

    def close(self) -> None:
        """Say bye where the agent still listens, then close the link, which ends the agent that was started for it."""
        self._talk.close()

    def _hello(self) -> tuple[DeviceRecord, int]:
        fields = {
            "protocols": list(PROTOCOLS),
            "threads": self._spec.threads,
            "release": kit.__version__,
            "host": f"{platform.node()[:100]} (process {os.getpid()})",
            "token": self._token,
            "link_bytes_per_s": self._talk.nominal_bytes_per_s,
        }
        reply = self._talk.request("hello", fields)
        if (protocol := reply.integer("protocol")) not in PROTOCOLS:
            raise self._talk.wrong(
                f"it answers in protocol {protocol}; this host speaks {', '.join(map(str, PROTOCOLS))}"
            )
        self._scenarios = SINGLE_STREAM.scenario, *(() if reply.absent("scenarios") else reply.texts("scenarios"))
        if not reply.absent("lease_s"):
            self._talk.beat_every(reply.number("lease_s", *LEASE_S))
        record = replace(device_record(reply, self._spec), limits=self._talk.link.limits())
        return record, reply.integer("process_id", 1)

    def _persistence(self, size_bytes: int) -> transfer.Persistence:
        return transfer.Persistence(self._spec.timeout_s, size_bytes, self._talk.least_bytes_per_s)

    def _open_again(self, persistence: transfer.Persistence, error: LinkError) -> None:
        """Another link to the same device. Raises LinkError at the end of patience, DeviceError for another device."""
        while True:
            self._talk.close(is_broken=True)
            persistence.pause(error)
            try:
                talk = Conversation(self._connect(), self._spec)
            except LinkError:
                continue
            talk.telemetry.extend(self._talk.telemetry)
            self._talk = talk
            with contextlib.suppress(LinkError):
                record, self._process_id = self._hello()
                if _lasting(record) != _lasting(self._record):
                    what = f"another device answers now: {record.cpu_model}, {record.system}"
                    raise DeviceError(what, where=talk.where, next_step="connect the first one again, then run again")
                return

    def _telemetry_field(self, least_s: float = 0.0) -> dict[str, object]:
        """How often to tell its state: about four times in work of `least_s`, so that a change in it can be told."""
        return {"telemetry_s": min(self._telemetry_s, least_s / 4) if least_s else self._telemetry_s}

    def _if_known(
        self, kind: str, fields: Mapping[str, object], rows: NDArray[np.generic], *,
        steps: int = 0, timeout_s: float | None = None, progress: Progress | None = None,
    ) -> Message | None:  # fmt: skip
        """The reply to a request that agents of earlier releases do not know; None from one of those."""
        try:
            return self._talk.request(kind, fields, [rows], steps=steps, timeout_s=timeout_s, progress=progress)
        except RefusedError as error:
            if error.reason == "kind":
                return None
            raise

    def _too_old(self, what: str, next_step: str) -> DeviceError:
        what = f"its agent is of an earlier release, which {what}"
        return DeviceError(what, where=self._talk.where, next_step=f"put this release on the device, or {next_step}")

    def _scores(self, reply: Message, rows: int) -> Float32Array:
        scores = reply.tensor()
        if scores.dtype != np.float32 or scores.ndim != 2 or len(scores) != rows or not scores.shape[1]:
            raise self._talk.wrong(f"scores are {scores.dtype} {scores.shape}, not float32 [{rows}, classes]")
        return scores.astype(np.float32)

    def _rows_a_message(self, inputs: NDArray[np.generic]) -> int:
        return rows_a_message(inputs, self._talk.nominal_bytes_per_s, self._talk.where)

    def _few_rows(self, inputs: NDArray[np.generic]) -> NDArray[np.generic]:
        """As many rows as one message may carry, evenly spread over all."""
        return np.ascontiguousarray(inputs[self._chosen_rows(inputs)])

    def _chosen_rows(self, inputs: NDArray[np.generic]) -> NDArray[np.intp]:
        return chosen_rows(inputs, self._rows_a_message(inputs))


def _lasting(record: DeviceRecord) -> DeviceRecord:
    """What of a device does not change from one moment to the next."""
    return replace(record, free_storage_bytes=None, limits=())
