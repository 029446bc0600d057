"""Profiles: what must hold, which recipes may be tried, and how much is measured (``profiles/*.toml``)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from kit.errors import UsageError
from kit.spec import units
from kit.spec.counts import minimum_count
from kit.spec.find import find, named_files
from kit.spec.recipe import BASES, parse_recipe
from kit.spec.shapes import ColumnNames, Confidence, Name, Rate, Text, Time, quantity
from kit.spec.toml import Document, decode, read
from kit.spec.types import Duty, MeasurePlan, Metric, Profile, Requirement

MINIMUM_ROWS, MINIMUM_CLUSTERS = 30, 5  # of a slice, where a requirement does not say
DEFAULT_RECIPES = ("fp32", "int8-per-tensor", "int8-per-channel", "int8-per-channel-reduced")
"""What is tried where a profile does not say."""


@dataclass(frozen=True, slots=True)
class MetricRule:
    """How a limit on a metric is written: its unit, its direction, and whether `by` must or may be given."""

    subject: str
    kind: units.Kind
    direction: Literal["at_most", "at_least"] = "at_most"
    by: Literal["required", "optional", "forbidden"] = "forbidden"
    measure: Literal["required", "optional", "forbidden"] = "forbidden"


METRICS: dict[str, MetricRule] = {
    **{f"latency.{quantile}": MetricRule("a latency", "time") for quantile in ("p50", "p90", "p95", "p99", "p99.9")},
    "memory.peak": MetricRule("a memory peak", "size"),
    "model.size": MetricRule("a model's size", "size"),
    "battery.share": MetricRule("a share of battery life", "share"),
    "battery.life": MetricRule("a battery life", "life", "at_least"),
    "accuracy.value": MetricRule("an accuracy", "share", "at_least"),
    "accuracy.drop": MetricRule("an accuracy drop", "points", by="optional"),
    "quality.value": MetricRule("a measure", "share", "at_least", by="optional", measure="required"),
    "quality.loss": MetricRule("a loss", "points", by="optional", measure="required"),
    "agreement.flips": MetricRule("a share of decisions", "share", by="optional"),
    "slices.found": MetricRule("an accuracy drop", "points"),
    "fairness.gap": MetricRule("a gap", "points", by="required", measure="optional"),
    "fairness.ratio": MetricRule("a ratio", "share", "at_least", by="required", measure="optional"),
    "fairness.gap_change": MetricRule("a change of a gap", "points", by="required", measure="optional"),
    "numerics.processor_flips": MetricRule("a share of decisions", "share"),
    "data.missing": MetricRule("a share of rows", "share"),
    "data.wrong": MetricRule("a share of rows", "share"),
    "data.duplicates": MetricRule("a share of rows", "share"),
    "data.leaked": MetricRule("a share of rows", "share"),
    "data.shifted": MetricRule("a distance between distributions", "share"),
    "data.lagged": MetricRule("a share of rows", "share"),
    "privacy.membership": MetricRule("an attack's advantage", "points"),
    "explanation.agreement": MetricRule("a rank agreement", "share", "at_least"),
}
assert set(METRICS) == set(get_args(Metric))

MetricName = Annotated[
    Metric,
    Meta(
        description="what the requirement is about",
        examples=["latency.p99", "accuracy.drop"],
    ),
]
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


class RequireTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One requirement: a metric and its limit."""

    id: Name
    metric: MetricName
    at_most: Annotated[str | int | float | None, Meta(description='the limit, such as "20 ms"')] = None
    at_least: Annotated[str | int | float | None, Meta(description='the limit, such as "70 %"')] = None
    by: ColumnNames = ()
    minimum_rows: Annotated[int, Meta(ge=1, description="least rows of a slice; default 30")] | None = None
    minimum_clusters: Annotated[int, Meta(ge=2, description="least clusters of a slice; default 5")] | None = None
    confidence: Confidence | None = None
    why: Text = ""


class ProfileFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A conformance profile."""

    profile: ProfileTable
    require: Annotated[tuple[RequireTable, ...], Meta(min_length=1, max_length=1000, description="requirements")]
    duty: DutyTable | None = None
    variants: VariantsTable = VariantsTable()
    measure: MeasureTable = MeasureTable()


def load_profile(name_or_path: str | Path) -> Profile:
    """Read a profile by name (the user's folder, then the shipped ones) or by path. Raises SpecError."""
    document = read(find(name_or_path, "profiles"))
    file = decode(document, ProfileFile)
    _check_unique(document, file)
    return Profile(
        name=file.profile.name,
        description=file.profile.description,
        digest=document.digest,
        path=str(document.path),
        requirements=tuple(_requirement(document, file, index) for index in range(len(file.require))),
        recipes=tuple(file.variants.recipes) or DEFAULT_RECIPES,
        cheapest_by=file.variants.cheapest_by,
        duty=None if file.duty is None else Duty(quantity(document, ("duty", "rate"), file.duty.rate, "rate")),
        measure=_measure_plan(document, file.measure),
        icc_floor=file.profile.icc_floor,
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


def _requirement(document: Document, file: ProfileFile, index: int) -> Requirement:
    key, table = ("require", index), file.require[index]
    rule = METRICS[table.metric]
    _check_by(document, key, table, rule)
    if table.metric in ("battery.share", "battery.life") and file.duty is None:
        raise document.error(key, f"{table.metric} needs to know how often the model runs", _DUTY)
    confidence = table.confidence if table.confidence is not None else file.profile.confidence
    _check_count(document, key, table, confidence, file.measure.latency_inferences)
    limit = _limit_text(document, key, table, rule)
    return Requirement(
        id=table.id,
        metric=table.metric,
        direction=rule.direction,
        limit=quantity(document, (*key, rule.direction), limit, rule.kind, rule.subject),
        limit_text=str(limit),
        confidence=confidence,
        by=table.by,
        minimum_rows=table.minimum_rows or MINIMUM_ROWS,
        minimum_clusters=table.minimum_clusters or MINIMUM_CLUSTERS,
        why=table.why,
        line=document.line(key),
    )


def _check_count(
    document: Document, key: tuple[str, int], table: RequireTable, confidence: float, planned: int
) -> None:
    """A plan that may end before its own percentile can have a bound would measure for nothing."""
    if not table.metric.startswith("latency.p"):
        return
    name = table.metric.removeprefix("latency.")
    least = minimum_count(float(name[1:]) / 100, confidence)
    if planned < least:
        what = f"{name} at {100 * confidence:g} % needs at least {least:,} inferences, and {planned:,} are planned"
        step = f"set latency_inferences to {least} or more in [measure]: more, as inferences are seldom independent"
        raise document.error((*key, "metric"), what, step)


_DUTY = 'add the table [duty] with a rate, such as rate = "1 per second"'


def _limit_text(document: Document, key: tuple[str, int], table: RequireTable, rule: MetricRule) -> str | int | float:
    """The limit as written; exactly one, in the metric's direction."""
    limits = {"at_most": table.at_most, "at_least": table.at_least}
    wrong = "at_least" if rule.direction == "at_most" else "at_most"
    limit, example = limits[rule.direction], units.UNITS[rule.kind].example
    if limits[wrong] is not None:
        what = f"{table.metric} is limited with {rule.direction}, not {wrong}"
        raise document.error((*key, wrong), what, f"write {rule.direction} and remove {wrong}")
    if limit is None:
        raise document.error((*key, rule.direction), "the limit is missing", example)
    return limit


def _check_by(document: Document, key: tuple[str, int], table: RequireTable, rule: MetricRule) -> None:
    for position, column in enumerate(table.by):
        if column in table.by[:position]:
            raise document.error((*key, "by", position), f'"{column}" is listed twice', "list it once")
    if rule.by == "required" and not table.by:
        what = f"{table.metric} compares groups, and needs the column that has them"
        raise document.error((*key, "by"), what, 'add it, such as by = ["side"]')
    if rule.by == "forbidden" and table.by:
        can = [name for name, other in METRICS.items() if other.by != "forbidden"]
        what = f"{table.metric} is not judged by slice"
        raise document.error((*key, "by"), what, f"remove it (metrics that take it: {', '.join(can)})")
    for field in ("minimum_rows", "minimum_clusters"):
        if getattr(table, field) is not None and not table.by:
            raise document.error((*key, field), "holds for slices, and there is no `by`", "add `by` or remove this key")
