"""A run's plan: written before anything is measured, and held against the files again when the run is resumed."""

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit import __version__
from kit.digest import digest_file
from kit.errors import UsageError
from kit.pipeline.order import Inputs, Order
from kit.records import RunRecord
from kit.spec import load_device, load_profile
from kit.spec.link import is_link, link_name
from kit.store import Run


def new_run(order: Order, inputs: Inputs, root: Path) -> Run:
    """A planned run below `root`: its record holds every input's digest, and how to go on with it."""
    now = datetime.now(UTC)
    record = RunRecord(
        run_id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        created_utc=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        tool_version=__version__,
        command=command_words(order),
        **_identity(inputs),
    )
    run = Run.plan(root, record)
    run.put("plan/order", order)
    for asked in (inputs.profile, inputs.device, inputs.dataset):  # kept, so that others can read what was asked
        content = Path(asked.path).read_bytes() if asked.path else order.device.encode()  # a device known by its link
        if run.put_object(content) != asked.digest:
            raise UsageError(f"{asked.name} changed while it was read", where=asked.path, next_step="try again")
    return run


def command_words(order: Order) -> tuple[str, ...]:
    """The command as someone else would type it: files by name, not by where they lie here."""
    given = [Path(each).name for each in order.given]
    words = ["edgeproof", "check" if order.rows_only else "certify", Path(order.model).name, *given]
    words += ["--data", Path(order.data).name]
    device = link_name(order.device) if is_link(order.device) else Path(order.device).name
    words += ["--profile", Path(order.profile).name, "--device", device]
    words += [word for name in order.variants for word in ("--variant", name)]
    words += [word for each in order.added for word in ("--recipe-from", each.file)]
    words += ["--frugal"] * order.frugal
    words += ["--trust-measures"] * order.trust_measures
    return tuple(words + ["--trust-pickle"] * order.trust_pickle)


def resume_words(run: Run) -> str:
    """The command that goes on with a run, as it is typed here."""
    runs = "" if run.path.parent == Path("runs") else f" --runs {run.path.parent}"
    trust = "".join(f" {word}" for word in run.record.command if word.startswith("--trust-"))
    return f"edgeproof {run.record.command[1]} --resume {run.path.name}{runs}{trust}"


def require_same_inputs(order: Order, record: RunRecord) -> None:
    """Check that a run's files are what it was planned with, before any of them is opened as a model.

    Raises:
        UsageError: naming what has changed.
    """
    now = {
        "profile": (load_profile(order.profile).digest, record.profile_digest),
        "device": (load_device(order.device).digest, record.device_digest),
        "dataset": (_digest_of(order.data), record.dataset_digest),
        "source model": (_digest_of(order.model), record.source_digest),
    }
    for name, (found, planned) in now.items():
        if found != planned:
            raise UsageError(f"{name} has changed since this run began", next_step="restore it, or start a new run")


def _digest_of(path: str) -> str:
    try:
        return digest_file(Path(path))
    except OSError as error:
        raise UsageError(
            f"cannot be read: {error.strerror}", where=path, next_step="restore it, or start a new run"
        ) from error


def _identity(inputs: Inputs) -> dict[str, Any]:
    return {
        "seed": inputs.profile.measure.seed,
        "source_digest": inputs.source.digest,
        "profile_name": inputs.profile.name,
        "profile_digest": inputs.profile.digest,
        "dataset_name": inputs.dataset.name,
        "dataset_digest": inputs.dataset.digest,
        "device_name": inputs.device.name,
        "device_digest": inputs.device.digest,
        "recipes": tuple(inputs.recipes),
    }
