"""Profiles: what must hold, which recipes may be tried, and how much is measured (``profiles/*.toml``)."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kit.errors import UsageError
from kit.spec.find import find, named_files
from kit.spec.recipe import BASES, parse_recipe
from kit.spec.requirement import METRICS as METRICS
from kit.spec.requirement import RequireTable, check_count, requirement
from kit.spec.shapes import Confidence, Name, Rate, Text, Time, quantity
from kit.spec.slices import Bins, SliceTables, check_bins, slice_specs
from kit.spec.toml import Document, decode, read
from kit.spec.types import Duty, MeasurePlan, Profile, Requirement

DEFAULT_RECIPES = ("fp32", "int8-per-tensor", "int8-per-channel", "int8-per-channel-reduced")
"""What is tried where a profile does not say."""


Recipe = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        description="how a variant is made from the reference: a base, then what is changed about it, joined by +",
        examples=[*BASES, "int8-per-channel+percentile=99.9+equalize"],
    ),
]


class ProfileTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who the profile is, and what holds for all its requirements."""

    name: Name
    description: Text = ""
    confidence: Confidence = 0.95
    icc_floor: Annotated[
        float,
        Meta(ge=0, le=1, description="least correlation assumed between rows of one cluster, 0 to 1"),
    ] = 0.05


class DutyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the device runs the model."""

    rate: Rate


class VariantsTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which variants are made and which passing one is chosen."""

    recipes: Annotated[tuple[Recipe, ...], Meta(min_length=1, description="recipes to try")] = ()
    cheapest_by: Annotated[
        Literal["size", "latency", "energy"],
        Meta(description="what makes a variant the cheapest of those that pass"),
    ] = "size"


_PLAN = MeasurePlan()


class MeasureTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much is measured; what is left out has a sensible default."""

    latency_inferences: Annotated[int, Meta(ge=1, le=10_000_000, description="inferences timed, at least")] = (
        _PLAN.latency_inferences
    )
    latency_time: Time = f"{_PLAN.latency_min_s} s"
    memory_sessions: Annotated[int, Meta(ge=1, le=1000, description="fresh sessions, one memory figure each")] = (
        _PLAN.memory_sessions
    )
    energy_windows: Annotated[int, Meta(ge=1, le=10_000, description="busy windows watched by the meter")] = (
        _PLAN.energy_windows
    )
    energy_window: Time = f"{_PLAN.energy_window_s} s"
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="seed of everything random, recorded")] = _PLAN.seed


class ProfileFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A conformance profile."""

    profile: ProfileTable
    require: Annotated[tuple[RequireTable, ...], Meta(min_length=1, max_length=1000, description="requirements")]
    duty: DutyTable | None = None
    variants: VariantsTable = VariantsTable()
    measure: MeasureTable = MeasureTable()
    slice: SliceTables = ()
    bins: Bins = {}  # msgspec gives every file a dict of its own


def load_profile(name_or_path: str | Path) -> Profile:
    """Read a profile by name (the user's folder, then the shipped ones) or by path. Raises SpecError."""
    document = read(find(name_or_path, "profiles"))
    file = decode(document, ProfileFile)
    _check_unique(document, file)
    slices = slice_specs(document, file.slice)
    names = tuple(each.name for each in slices)
    return Profile(
        name=file.profile.name,
        description=file.profile.description,
        digest=document.digest,
        path=str(document.path),
        requirements=tuple(_requirement(document, file, index, names) for index in range(len(file.require))),
        recipes=tuple(file.variants.recipes) or DEFAULT_RECIPES,
        cheapest_by=file.variants.cheapest_by,
        duty=None if file.duty is None else Duty(quantity(document, ("duty", "rate"), file.duty.rate, "rate")),
        measure=_measure_plan(document, file.measure),
        icc_floor=file.profile.icc_floor,
        slices=slices,
        bins=check_bins(document, file.bins),
    )


def list_profiles() -> list[Profile]:
    """Every profile that a bare name can mean, by name. Raises SpecError if one of the files is wrong."""
    return [load_profile(path) for path in named_files("profiles").values()]


def _check_unique(document: Document, file: ProfileFile) -> None:
    seen: dict[str, int] = {}
    for index, table in enumerate(file.require):
        if table.id in seen:
            line = document.line(("require", seen[table.id]))
            what = f'"{table.id}" is already the id of the requirement on line {line}'
            raise document.error(("require", index, "id"), what, "give each requirement its own id")
        seen[table.id] = index
    for index, recipe in enumerate(file.variants.recipes):
        try:
            parse_recipe(recipe)
        except UsageError as error:
            raise document.error(("variants", "recipes", index), error.what, error.next_step) from None
        if recipe in file.variants.recipes[:index]:
            raise document.error(("variants", "recipes", index), f'"{recipe}" is listed twice', "list it once")


def _measure_plan(document: Document, table: MeasureTable) -> MeasurePlan:
    return MeasurePlan(
        latency_inferences=table.latency_inferences,
        latency_min_s=quantity(document, ("measure", "latency_time"), table.latency_time, "time"),
        memory_sessions=table.memory_sessions,
        energy_windows=table.energy_windows,
        energy_window_s=quantity(document, ("measure", "energy_window"), table.energy_window, "time"),
        seed=table.seed,
    )


def _requirement(document: Document, file: ProfileFile, index: int, slices: tuple[str, ...]) -> Requirement:
    table = file.require[index]
    asked = requirement(document, index, table, slices, file.profile.confidence)
    if table.metric in ("battery.share", "battery.life") and file.duty is None:
        what = f"{table.metric} needs to know how often the model runs"
        step = 'add the table [duty] with a rate, such as rate = "1 per second"'
        raise document.error(("require", index), what, step)
    check_count(document, index, asked, _measure_plan(document, file.measure))
    return asked
