"""Measure models on a device in turn, and keep every sample: each step is journaled, so that a kill loses none."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from kit.device import open_device
from kit.device.base import Device
from kit.errors import (
    DeviceError,
    EdgeproofError,
    LinkError,
    MeasurementError,
    MissingExtraError,
    SpecError,
)
from kit.judge.audit import judge_audit
from kit.judge.stability import assess
from kit.measure import (
    audit,
    measure_cold_start,
    measure_energy,
    measure_latency,
    measure_memory,
    measure_operators,
)
from kit.meter import open_meter
from kit.model.rows import Array
from kit.model.weights import weight_bytes
from kit.pipeline.bench_plan import (
    COLD_SESSIONS,
    PROFILED_INFERENCES,
    BenchInputs,
    BenchModel,
    expected_seconds,
    step_words,
)
from kit.pipeline.interleave import turns
from kit.pipeline.same_device import require_same_device
from kit.pipeline.stable import ATTEMPTS, Held, wait_until_calm, wanted
from kit.pipeline.watched import watched_on
from kit.pipeline.watcher import waiting_for
from kit.records import (
    AuditRecord,
    Conditions,
    DeviceRecord,
    EnergyRecord,
)
from kit.store import Run

if TYPE_CHECKING:
    from kit.pipeline.work import Watcher

OTHERS = ("audit", "memory", "energy", "cold", "operators")
"""What is measured of each model besides its windows, in this order; the step is ``kind/number``."""


@dataclass(slots=True)
class _Work:
    """What the steps share. `ends_s` is when the budget is spent, on the host's monotonic clock."""

    inputs: BenchInputs
    run: Run
    watcher: "Watcher"
    device: Device
    expected_s: dict[str, float]
    ends_s: float

    def has_time_for(self, step: str) -> bool:
        """Whether the budget allows a step."""
        return self.spare_s(step) >= 0

    def spare_s(self, step: str) -> float:
        """What the budget leaves besides a step, s; inf without one."""
        return self.ends_s - time.monotonic() - self.expected_s[step]


def run_bench(inputs: BenchInputs, run: Run, watcher: "Watcher", *, budget_s: float | None = None) -> None:
    """Do every step that the run has not done yet, and that `budget_s` from now has time for.

    Raises:
        DeviceError, LinkError: the device or its link failed; what was done is in the run.
        MeasurementError: samples that cannot be used.
    """
    ends_s = float("inf") if budget_s is None else time.monotonic() + budget_s
    expected_s = expected_seconds(inputs)
    if not missing(inputs, run):
        return
    watcher.start(waiting_for(inputs.device))
    with closing(open_device(inputs.device)) as device:
        work = _Work(inputs, run, watcher, device, expected_s, ends_s)
        _identify(work)
        digests = [_deployed(work, each) for each in inputs.models]
        run.optional_step("conditions/start", Conditions, device.conditions)
        for window, turn in enumerate(turns(len(inputs.models), inputs.order.windows, inputs.order.seed), 1):
            for index in turn:
                _step(work, f"latency/{index + 1}/{window}", partial(_window, work, index + 1, window, digests[index]))
        for kind in OTHERS:
            for number, digest in enumerate(digests, 1):
                step = f"{kind}/{number}"
                if step in expected_s:
                    _step(work, step, partial(_other, work, kind, number, digest))


def missing(inputs: BenchInputs, run: Run) -> tuple[str, ...]:
    """The steps that are still to be done."""
    return tuple(step for step in expected_seconds(inputs) if step not in run.steps)


def _step(work: _Work, step: str, do: Callable[[], None]) -> None:
    words = step_words(work.inputs, step)
    if step in work.run.steps:
        work.watcher.finish(words, reused=True)
    elif work.has_time_for(step):
        work.watcher.start(words)
        do()
        if step in work.run.steps:
            work.watcher.finish(words)


def _identify(work: _Work) -> None:
    now = work.device.identify()
    known = work.run.optional_step("device/identity", DeviceRecord, lambda: now)
    require_same_device(known, now, work.inputs.device.name)
    work.watcher.finish(step_words(work.inputs, "device/identity"))


def _deployed(work: _Work, model: BenchModel) -> str:
    work.watcher.start(f"deploying {model.label}")
    digest, wanted = work.device.deploy(model.loaded.data, work.watcher.update), model.loaded.record.digest
    if digest != wanted:
        raise DeviceError(f"the device has verified another model, {digest[:80]}", where=work.inputs.device.name)
    return digest


def _window(work: _Work, number: int, window: int, digest: str) -> None:
    """One window of one model. With --stable it is taken again while it is unstable; every attempt is kept.

    Where the wait for a calm device leaves no time for it, it is left to be resumed.
    """
    order, run, place = work.inputs.order, work.run, f"{number}/{window}"
    spec, rows = work.inputs.device, work.inputs.models[number - 1].rows
    words = step_words(work.inputs, f"latency/{place}")
    tried = sum(step.startswith(f"rejected/{place}/") for step in run.steps)
    while True:
        if order.stable:
            held = _hold(work, f"latency/{place}")
            if not work.has_time_for(f"latency/{place}"):
                return
            run.put(f"held/{place}/{tried + 1}", held)
            work.watcher.start(words + (f", attempt {tried + 1} of {ATTEMPTS}" if tried else ""))
        record = measure_latency(work.device, spec, digest, rows, order.plan, work.watcher.update, order.workload)
        tried += 1
        if not order.stable or tried >= ATTEMPTS or assess(record).state != "unstable":
            run.put(f"latency/{place}", record)
            return
        run.put(f"rejected/{place}/{tried}", record)


def _hold(work: _Work, step: str) -> Held:
    """Wait until the device is calm and as at the start, and no longer than leaves time for `step`; say what for."""
    run, patience_s = work.run, max(0.0, min(work.inputs.order.patience_s, work.spare_s(step)))

    def told(waited_s: float, found: tuple[str, ...]) -> None:
        work.watcher.start(f"waiting, {waited_s:.0f} of at most {patience_s:.0f} s: {'; '.join(found)}")

    cpus = run.get("device/identity", DeviceRecord).logical_cpus
    goal, threads = wanted(run.get("conditions/start", Conditions), cpus), work.inputs.device.threads
    return wait_until_calm(work.device.conditions, goal, threads, told, patience_s=patience_s)


def _other(work: _Work, kind: str, number: int, digest: str) -> None:
    """One measurement besides latency; where the device has no method, or its meter cannot be read, why is kept."""
    inputs, device, step = work.inputs, work.device, f"{kind}/{number}"
    spec, plan, model = inputs.device, inputs.order.plan, inputs.models[number - 1]
    rows = model.rows
    produce: dict[str, Callable[[], object]] = {
        "audit": lambda: _audited(work, step, digest, rows),
        "memory": lambda: measure_memory(
            device,
            spec,
            digest,
            rows,
            plan,
            model_bytes=len(model.loaded.data),
            weight_bytes=weight_bytes(model.loaded.proto),
        ),
        "energy": lambda: _energy(work, digest, rows),
        "cold": lambda: measure_cold_start(device, spec, digest, rows, sessions=COLD_SESSIONS),
        "operators": lambda: measure_operators(device, spec, digest, rows, inferences=PROFILED_INFERENCES),
    }
    try:
        record = produce[kind]()
    except LinkError:
        raise
    except (DeviceError, MeasurementError, MissingExtraError, SpecError) as error:
        if kind == "energy" and inputs.order.energy:
            raise
        work.run.put(f"absent/{step}", _reason(error))
        record = None
    work.run.put(step, record)


def _reason(error: EdgeproofError) -> str:
    return f"{error.what}; {error.next_step}" if error.next_step else error.what


def _audited(work: _Work, step: str, digest: str, rows: Array) -> AuditRecord:
    """An audit that goes on while more samples may decide it, as long as it may and the budget lasts."""
    inputs, order = work.inputs, work.inputs.order

    def is_decided(record: AuditRecord) -> bool:
        return not len(record.rows) or judge_audit(record).state != "undecided"

    most_s = min(order.longest_audit_s, work.spare_s(step) + work.expected_s[step])
    return audit(
        work.device, inputs.device, digest, rows, order.plan,
        output=inputs.rows.output, is_decided=is_decided, most_s=most_s,
    )  # fmt: skip


def _energy(work: _Work, digest: str, rows: Array) -> EnergyRecord:
    spec = work.inputs.device.meter
    assert spec is not None
    with closing(open_meter(spec, watched_on(work.device))) as meter:
        return measure_energy(work.device, meter, digest, rows, work.inputs.order.plan)
