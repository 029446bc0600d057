"""The run folder of a bench: its plan, who it belongs to, and the command that goes on with it."""

import secrets
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from kit import __version__
from kit.digest import digest_bytes
from kit.errors import StoreError, UsageError
from kit.pipeline.bench_plan import MOST_MODELS, MOST_WINDOWS, BenchInputs, BenchOrder
from kit.records import RunRecord
from kit.spec.link import is_link, link_name
from kit.store import Run

PLAN = "plan/bench"
"""The step that a bench's run folder has, and no other."""


def new_run(inputs: BenchInputs, command: Sequence[str], root: Path) -> Run:
    """A planned run below `root`: every input's digest, what was asked, and the models themselves."""
    now = datetime.now(UTC)
    record = RunRecord(
        run_id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        created_utc=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        tool_version=__version__,
        command=tuple(command),
        seed=inputs.order.seed,
        source_digest=_digest_of(inputs),
        profile_name="",
        profile_digest="",
        dataset_name=inputs.rows.source,
        dataset_digest=inputs.rows.digest,
        device_name=inputs.device.name,
        device_digest=inputs.device.digest,
        recipes=tuple(each.label for each in inputs.models),
    )
    run = Run.plan(root, record)
    run.put(PLAN, inputs.order)
    run.put("plan/device", inputs.device)
    for number, each in enumerate(inputs.models, 1):
        run.put_object(each.loaded.data)
        run.put(f"model/{number}", each.loaded.record)
    return run


def resumed_order(run: Run) -> BenchOrder:
    """What a bench's run was asked. Raises UsageError for a run of another command, StoreError for no plan."""
    if PLAN not in run.steps:
        words = " ".join(run.record.command[:2]) or "another command"
        raise UsageError(f"this is a run of {words}, not of edgeproof bench", where=str(run.path),
                         next_step="name a run folder of a bench, or leave --resume out")  # fmt: skip
    order, models = run.get(PLAN, BenchOrder), len(run.record.recipes)
    if not (1 <= order.windows <= MOST_WINDOWS and 1 <= models <= MOST_MODELS and models == len(order.models)):
        what = f"a plan of {order.windows} windows of {models} models, of which it names {len(order.models)}"
        raise StoreError(what, where=str(run.path), next_step="do not trust this folder; start a new run")
    return order


def require_same(inputs: BenchInputs, record: RunRecord) -> None:
    """Check that models, rows and device file are what the run was planned with. Raises UsageError."""
    for name, found, planned in (
        ("a model", _digest_of(inputs), record.source_digest),
        ("the dataset", inputs.rows.digest, record.dataset_digest),
        ("the device file", inputs.device.digest, record.device_digest),
        ("the version of edgeproof", __version__, record.tool_version),
    ):
        if found != planned:
            raise UsageError(f"{name} has changed since this run began", next_step="restore it, or start a new run")


def _digest_of(inputs: BenchInputs) -> str:
    """The model's digest; of several, that of all of theirs in order."""
    digests = [each.loaded.record.digest for each in inputs.models]
    return digests[0] if len(digests) == 1 else digest_bytes("\n".join(digests).encode())


def command_words(order: BenchOrder) -> tuple[str, ...]:
    """The command as someone else would type it: files by name, not by where they lie here."""
    device = link_name(order.device) if is_link(order.device) else Path(order.device).name
    words = ["edgeproof", "bench", *(Path(each).name for each in order.models), "--device", device]
    if order.data is not None:
        words += ["--data", Path(order.data).name]
    return (*words, *_option_words(order))


def _option_words(order: BenchOrder) -> list[str]:
    workload, words = order.workload, list[str]()
    if workload.scenario != "single stream":
        words += ["--scenario", workload.scenario]
    if workload.period_ns:
        words += ["--period", f"{workload.period_ns / 1e6:g}ms"]
    for name in ("burst", "batch", "streams"):
        if getattr(workload, name) != 1:
            words += [f"--{name}", str(getattr(workload, name))]
    words += ["--windows", str(order.windows), "--window-time", f"{order.window_s:g}s"]
    words += ["--min-count", str(order.min_count), "--seed", str(order.seed)]
    words += [] if order.memory else ["--no-memory"]
    words += [] if order.energy is None else ["--energy" if order.energy else "--no-energy"]
    words += [] if order.audit else ["--no-audit"]
    words += ["--patience", f"{order.patience_s:g}s"] if order.stable else []
    words += [] if order.audit_s is None else ["--audit-time", f"{order.audit_s:g}s"]
    usual = BenchOrder(models=(), device="")
    for option, given, default, unit in (
        ("--memory-sessions", order.memory_sessions, usual.memory_sessions, ""),
        ("--energy-windows", order.energy_windows, usual.energy_windows, ""),
        ("--energy-window-time", order.energy_window_s, usual.energy_window_s, "s"),
    ):
        words += [] if given == default else [option, f"{given:g}{unit}"]
    return words + [f"--{name}" for name in ("cold", "operators", "stable") if getattr(order, name)]


def resume_words(run: Run) -> str:
    """The command that goes on with a run, as it is typed here."""
    runs = [] if run.path.parent == Path("runs") else ["--runs", str(run.path.parent)]
    return shlex.join(["edgeproof", "bench", "--resume", run.path.name, *runs])
