"""What can be known to be wrong before a run begins, a file is sent or a port is opened."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from kit.errors import SpecError, UsageError
from kit.judge.sampled import SAMPLED
from kit.model.convert import Converted, converter_for, start_of
from kit.model.convert.onnx import OnnxConverter
from kit.model.saturation import saturation_record
from kit.quality.lag import nothing_to_look_at
from kit.records import Recipe
from kit.slicing.declared import declared, named_rows
from kit.spec.measures import FAIRNESS_MEASURES, MEASURES
from kit.spec.types import Dataset, DeviceSpec, Profile


def check_runs_models(device: DeviceSpec) -> None:
    """The device must run the models that it is given. Raises UsageError."""
    if device.board:
        raise UsageError(
            f"{device.name} runs the one model that is in its firmware, and takes no other",
            where=device.path or f"device {device.name}",
            next_step="test the model that it has: edgeproof score --device DEVICE --data DATA",
        )


def check_is_onnx(path: Path) -> None:
    """A device runs ONNX; `convert` and certify make that of something else. Raises UsageError, ModelError."""
    converter = converter_for(path)
    is_pickle = start_of(path).startswith(b"\x80") or converter.is_pickle(path, start_of(path))
    if is_pickle or not isinstance(converter, OnnxConverter):
        what = "a pickle" if is_pickle else f"one of {converter.reads}"
        raise UsageError(
            f"{what} is not an ONNX model, which is what a device runs",
            where=str(path),
            next_step=f"make one of it: edgeproof convert {path}",
        )


def check_calibration(recipes: Mapping[str, Recipe], dataset: Dataset) -> None:
    """Static int8 needs typical inputs. Raises UsageError."""
    needing = [name for name, recipe in recipes.items() if recipe.precision == "int8"]
    if needing and dataset.calibration is None:
        raise UsageError(
            f"{needing[0]} needs typical inputs to find its ranges, and dataset {dataset.name} has no calibration part",
            where=dataset.path,
            next_step='add a [[part]] with role = "calibration", or certify the float model: --variant fp32',
        )


def check_float(converted: Converted, recipes: Iterable[str]) -> None:
    """The reference must be the float model: what is already quantized can neither be the yardstick nor a parent."""
    quantized = saturation_record(converted.model.proto).quantized_nodes
    if quantized:
        raise UsageError(
            f"the model is already quantized ({quantized} int8 products), so nothing shows what quantizing it cost",
            where=converted.reference.name,
            next_step=f"give the float model that it was made from; the variants ({', '.join(recipes)}) are made here",
        )


def check_cost(profile: Profile, device: DeviceSpec) -> None:
    """The cost that picks the cheapest must be one that will be obtained. Raises UsageError."""
    if profile.cheapest_by == "energy" and device.meter is None:
        raise UsageError(
            f"profile {profile.name} picks the cheapest by energy, and device {device.name} has no meter",
            where=profile.path,
            next_step='set cheapest_by = "size" or "latency", or give the device a meter',
        )


def check_slices(profile: Profile, dataset: Dataset) -> None:
    """Slices that the profile declares must be in the dataset. Raises UsageError with the profile's line."""
    data = dataset.test.record
    for spec in profile.slices:
        _placed(f"slice {spec.name!r}", profile, spec.line, partial(named_rows, data, spec))
    for asked in profile.requirements:
        found = partial(declared, asked, data, profile.slices, profile.bins)
        _placed(f"requirement {asked.id!r}", profile, asked.line, found)


def check_measures(profile: Profile, dataset: Dataset) -> None:
    """A measure must be one of the dataset's task. Raises UsageError with the profile's line."""
    task = dataset.task
    for asked in profile.requirements:
        rule = MEASURES.get(asked.measure)
        of_groups = asked.metric.startswith("fairness.") and asked.measure in FAIRNESS_MEASURES
        step = f"name one of: {', '.join(name for name, each in MEASURES.items() if task in each.tasks)}"
        if rule is not None and task not in rule.tasks and not of_groups:
            what = f"{asked.measure} is a measure of {' or '.join(rule.tasks)}, and the task is {task}"
        elif asked.metric == "slices.found" and not asked.measure and task == "detection":
            what = f"slices.found looks for where a mean over rows fell, and the task {task} has no such measure"
            step = 'take it out, or ask quality.loss by columns; or name a function of your own: measure = "file.py:f"'
        else:
            continue
        raise UsageError(f"requirement {asked.id!r}: {what}", where=f"{profile.path}:{asked.line}", next_step=step)


def check_looks(profile: Profile, dataset: Dataset) -> None:
    """What a look at the data compares must be there. Raises UsageError with the profile's line."""
    usual = dataset.train or dataset.calibration
    for asked in profile.requirements:
        why = ""
        if asked.metric == "data.lagged":
            why = nothing_to_look_at(dataset.test, usual)
        elif asked.metric == "data.shifted" and usual is None:
            why = "there is no train or calibration part to compare with"
        if why:
            raise UsageError(
                f"requirement {asked.id!r}: {asked.metric} of dataset {dataset.name} can never be decided: {why}",
                where=f"{profile.path}:{asked.line}",
                next_step="take the requirement out" + ("" if usual else ", or add such a part to the dataset"),
            )


def _placed(what: str, profile: Profile, line: int, check: Callable[[], object]) -> None:
    """Run a check; its SpecError, which knows no place, becomes a UsageError about a line of the profile."""
    try:
        check()
    except SpecError as error:
        where = f"{profile.path}:{line}"
        raise UsageError(f"{what}: {error.what}", where=where, next_step=error.next_step) from None


def check_frugal(profile: Profile, dataset: Dataset) -> None:
    """Rows must be of one class each, and a requirement on them one that some can decide. Raises UsageError."""
    if dataset.task != "classification":
        raise UsageError(
            f"--frugal stops early where an answer names one class for a row, and the task is {dataset.task}",
            where=dataset.path,
            next_step="leave out --frugal: all rows are run",
        )
    if not any(each.metric in SAMPLED for each in profile.requirements):
        what = "--frugal stops at the rows that decide, and no requirement is one that some rows can decide"
        step = f"leave out --frugal, or require one of: {', '.join(SAMPLED)}"
        raise UsageError(what, where=profile.path, next_step=step)


def is_own(measure: str) -> bool:
    """Whether a measure is a function of the user's (``file.py:function``)."""
    return ":" in measure


def check_trusted(profile: Profile, *, trusted: bool) -> None:
    """A measure of one's own is code beside the profile, which may come from anyone. Raises UsageError."""
    for each in profile.requirements:
        if is_own(each.measure) and not trusted:
            raise UsageError(
                f"requirement {each.id!r} runs Python code from {each.measure.rpartition(':')[0]}",
                where=f"{profile.path}:{each.line}",
                next_step="read it, and give --trust-measures if you trust it",
            )
