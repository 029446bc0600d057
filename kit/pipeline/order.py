"""What is asked for, read and checked before anything is measured or written."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit import __version__
from kit.errors import UsageError
from kit.model.convert import Converted, convert
from kit.model.predict import predict_on_host
from kit.model.recipes import RECIPES
from kit.records import ModelRecord, PredictionRecord, RunRecord
from kit.spec import load_dataset, load_device, load_profile
from kit.spec.types import Dataset, DeviceSpec, Profile
from kit.store import Run


@dataclass(frozen=True, slots=True)
class Order:
    """A request to certify: names, or absolute paths so that it can be resumed from anywhere."""

    model: str
    data: str
    profile: str
    device: str
    variants: tuple[str, ...] = ()
    trust_pickle: bool = False


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that an order names, read and checked."""

    profile: Profile
    device: DeviceSpec
    dataset: Dataset
    converted: Converted
    source: ModelRecord
    reference_predictions: PredictionRecord
    recipes: tuple[str, ...]


def read_inputs(order: Order) -> Inputs:
    """Read profile, device file, dataset and model, and convert the model; writes nothing.

    Raises:
        EdgeproofError: the first thing that is wrong, with its place.
    """
    profile = load_profile(order.profile)
    device = load_device(order.device)
    recipes = _recipes(order, profile)
    dataset = load_dataset(Path(order.data))
    _check_calibration(recipes, dataset)
    converted = convert(
        Path(order.model), inputs=dataset.test.inputs, trust_pickle=order.trust_pickle, output=dataset.output_name
    )
    source = converted.conversion.source if converted.conversion else converted.reference
    _check_slices(profile, dataset)
    return Inputs(profile, device, dataset, converted, source, predict_on_host(converted.data, dataset), recipes)


def _recipes(order: Order, profile: Profile) -> tuple[str, ...]:
    unknown = [name for name in order.variants if name not in profile.recipes]
    if unknown:
        raise UsageError(
            f"profile {profile.name} has no variant {unknown[0]!r}",
            next_step=f"choose among: {', '.join(profile.recipes)}",
        )
    return tuple(name for name in profile.recipes if not order.variants or name in order.variants)


def _check_calibration(recipes: tuple[str, ...], dataset: Dataset) -> None:
    needing = [name for name in recipes if RECIPES[name].precision == "int8"]
    if needing and dataset.calibration is None:
        raise UsageError(
            f"{needing[0]} needs typical inputs to find its ranges, and dataset {dataset.name} has no calibration part",
            where=dataset.path,
            next_step='add a [[part]] with role = "calibration", or certify the float model: --variant fp32',
        )


def _check_slices(profile: Profile, dataset: Dataset) -> None:
    for requirement in profile.requirements:
        missing = [column for column in requirement.by if column not in dataset.test.record.columns]
        if missing:
            raise UsageError(
                f"requirement {requirement.id!r} slices by {missing[0]!r}, which dataset {dataset.name} does not have",
                where=f"{profile.path}:{requirement.line}",
                next_step=f"its slice columns are: {', '.join(dataset.test.record.columns) or 'none'}",
            )


def new_run(order: Order, inputs: Inputs, root: Path) -> Run:
    """A planned run below `root`: its record holds every input's digest, and how to go on with it."""
    record = RunRecord(
        run_id=f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        created_utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tool_version=__version__,
        command=command_words(order),
        **_identity(inputs),
    )
    run = Run.plan(root, record)
    run.put("plan/order", order)
    return run


def command_words(order: Order) -> tuple[str, ...]:
    """The command as someone else would type it: files by name, not by where they lie here."""
    words = ["edgeproof", "certify", Path(order.model).name, "--data", Path(order.data).name]
    words += ["--profile", Path(order.profile).name, "--device", Path(order.device).name]
    words += [word for name in order.variants for word in ("--variant", name)]
    return tuple(words + ["--trust-pickle"] * order.trust_pickle)


def require_same_inputs(inputs: Inputs, record: RunRecord) -> None:
    """Check that what a resumed run was planned with is what is there now. Raises UsageError naming what changed."""
    for name, value in _identity(inputs).items():
        if getattr(record, name) != value:
            raise UsageError(
                f"{name.removesuffix('_digest').replace('_', ' ')} has changed since this run began",
                next_step="restore it, or start a new run",
            )


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
        "recipes": inputs.recipes,
    }
