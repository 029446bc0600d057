"""Requirements of a profile: a metric, its limit, and the slices that it holds for (``[[require]]``)."""

import math
import re
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from kit.spec import units
from kit.spec.counts import minimum_count
from kit.spec.lines import KeyPath
from kit.spec.measures import FAIRNESS_MEASURES, HARMS, MEASURES, SEARCHED, has_end
from kit.spec.shapes import ColumnNames, Confidence, Name, Text, quantity
from kit.spec.text import nearest
from kit.spec.toml import Document
from kit.spec.types import MeasurePlan, Metric, Requirement

MINIMUM_ROWS, MINIMUM_CLUSTERS = 30, 5  # of a slice, where a requirement does not say
MOST_CROSSED = 3
"""Columns that are crossed, at most: four say little of few rows, and are many."""

MOST_LOSS = 1e50
"""The most that `largest` may be: the square of its square is still a number."""

Direction = Literal["at_most", "at_least"]
Need = Literal["required", "optional", "forbidden"]


@dataclass(frozen=True, slots=True)
class MetricRule:
    """How a limit on a metric is written: its unit, its direction, and which keys must or may be given."""

    subject: str
    kind: units.Kind
    direction: Direction = "at_most"
    by: Need = "forbidden"
    measure: Need = "forbidden"


METRICS: dict[str, MetricRule] = {
    **{f"latency.{quantile}": MetricRule("a latency", "time") for quantile in ("p50", "p90", "p95", "p99", "p99.9")},
    "memory.peak": MetricRule("a memory peak", "size"),
    "model.size": MetricRule("a model's size", "size"),
    "battery.share": MetricRule("a share of battery life", "share"),
    "battery.life": MetricRule("a battery life", "life", "at_least"),
    "accuracy.value": MetricRule("an accuracy", "share", "at_least", by="optional"),
    "accuracy.drop": MetricRule("an accuracy drop", "points", by="optional"),
    "quality.value": MetricRule("a measure", "share", "at_least", by="optional", measure="required"),
    "quality.loss": MetricRule("a loss", "points", by="optional", measure="required"),
    "agreement.flips": MetricRule("a share of decisions", "share", by="optional"),
    "slices.found": MetricRule("an accuracy drop", "points", measure="optional"),
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
MeasureName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1000,
        description="a measure, or a Python function of your own as file.py:function",
        examples=[*MEASURES, "measures.py:loss"],
    ),
]
HarmName = Annotated[
    Literal["allocation", "quality-of-service", "representation"],
    Meta(description="the kind of harm that is feared, which selects the measures that show it"),
]
assert set(HARMS) == {"allocation", "quality-of-service", "representation"}


class RequireTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One requirement: a metric and its limit."""

    id: Name
    metric: MetricName
    at_most: Annotated[str | int | float | None, Meta(description='the limit, such as "20 ms"')] = None
    at_least: Annotated[str | int | float | None, Meta(description='the limit, such as "70 %"')] = None
    by: ColumnNames = ()
    cross: Annotated[int, Meta(ge=1, le=MOST_CROSSED, description="columns of `by` crossed, up to 3; default 1")] = 1
    slices: Annotated[tuple[Name, ...], Meta(max_length=1000, description="slices of the profile, by name")] = ()
    minimum_rows: Annotated[int, Meta(ge=1, description="least rows of a slice; default 30")] | None = None
    minimum_clusters: Annotated[int, Meta(ge=2, description="least clusters of a slice; default 5")] | None = None
    measure: MeasureName | None = None
    positive: Annotated[str, Meta(max_length=200, description="the class that counts as positive; the last one")] = ""
    harm: HarmName | None = None
    largest: Annotated[
        float | None, Meta(description="the most that a row can lose, of a measure that has no end", examples=[10.0])
    ] = None
    confidence: Confidence | None = None
    why: Text = ""


def requirement(
    document: Document, index: int, table: RequireTable, slices: tuple[str, ...], confidence: float
) -> Requirement:
    """The requirement of a table, in SI units. `slices`: the profile's; `confidence`: where the table does not say.

    Raises SpecError with the key's line.
    """
    key, rule = ("require", index), METRICS[table.metric]
    _check_slices(document, key, table, rule, slices)
    _check_measure(document, key, table, rule)
    _check_largest(document, key, table)
    direction, kind = limited(table, rule)
    limit = _limit_text(document, key, table, direction, kind)
    return Requirement(
        id=table.id,
        metric=table.metric,
        direction=direction,
        limit=quantity(document, (*key, direction), limit, kind, rule.subject),
        limit_text=str(limit),
        confidence=table.confidence if table.confidence is not None else confidence,
        by=table.by,
        minimum_rows=table.minimum_rows or MINIMUM_ROWS,
        minimum_clusters=table.minimum_clusters or MINIMUM_CLUSTERS,
        why=table.why,
        line=document.line(key),
        measure=table.measure or "",
        slices=table.slices,
        cross=table.cross,
        positive=table.positive,
        harm=table.harm or "",
        largest=table.largest,
    )


def limited(table: RequireTable, rule: MetricRule) -> tuple[Direction, units.Kind]:
    """In which direction, and in which kind of quantity, the metric is limited: a measure's own, where it has one.

    A function of the user's gives losses, of which less is better, in a unit of its own.
    """
    if table.measure is None or (table.measure in FAIRNESS_MEASURES and table.measure not in MEASURES):
        return rule.direction, rule.kind
    known = MEASURES.get(table.measure)
    shares = known is not None and known.kind == "share"
    kind = rule.kind if shares or table.metric == "fairness.ratio" else "number"
    if table.metric != "quality.value":
        return rule.direction, kind
    return ("at_least" if known is not None and known.better == "higher" else "at_most"), kind


def check_count(document: Document, index: int, asked: Requirement, planned: MeasurePlan) -> None:
    """A plan that may end before its own percentile can have a bound would measure for nothing."""
    if asked.metric == "memory.peak":
        name, percentile, key, noun, more = "the median peak", 50.0, "memory_sessions", "sessions", ""
    elif asked.metric.startswith("latency.p"):
        name, key, noun = asked.metric.removeprefix("latency."), "latency_inferences", "inferences"
        percentile, more = float(name[1:]), ": more, as inferences are seldom independent"
    else:
        return
    least, have = minimum_count(percentile / 100, asked.confidence), getattr(planned, key)
    if have < least:
        at = f"{name} at {100 * asked.confidence:g} %"
        what = f"{at} needs at least {least:,} {noun}, and {have:,} are planned"
        raise document.error(("require", index, "metric"), what, f"set {key} to {least} or more in [measure]{more}")


def _limit_text(
    document: Document, key: KeyPath, table: RequireTable, direction: Direction, kind: units.Kind
) -> str | int | float:
    """The limit as written; exactly one, in the metric's direction."""
    limits = {"at_most": table.at_most, "at_least": table.at_least}
    wrong = "at_least" if direction == "at_most" else "at_most"
    limit, example = limits[direction], units.UNITS[kind].example
    if limits[wrong] is not None:
        of = f" of {table.measure}" if table.measure and table.metric == "quality.value" else ""
        what = f"{table.metric}{of} is limited with {direction}, not {wrong}"
        raise document.error((*key, wrong), what, f"write {direction} and remove {wrong}")
    if limit is None:
        raise document.error((*key, direction), "the limit is missing", example)
    return limit


def _check_slices(
    document: Document, key: KeyPath, table: RequireTable, rule: MetricRule, known: tuple[str, ...]
) -> None:
    for name, values in (("by", table.by), ("slices", table.slices)):
        for position, value in enumerate(values):
            if value in values[:position]:
                raise document.error((*key, name, position), f'"{value}" is listed twice', "list it once")
    _check_by(document, key, table, rule)
    for position, name in enumerate(table.slices):
        if name not in known:
            step = nearest(name, known) or f'add a [[slice]] with name = "{name}" and where = "age >= 65"'
            raise document.error((*key, "slices", position), f'the profile has no slice "{name}"', step)
    if table.cross > max(1, len(table.by)):
        what = f"{table.cross} columns are crossed, and `by` has {len(table.by)}"
        raise document.error((*key, "cross"), what, "list more columns in `by`, or cross fewer")


def _check_by(document: Document, key: KeyPath, table: RequireTable, rule: MetricRule) -> None:
    if rule.by == "required" and not table.by:
        what = f"{table.metric} compares groups, and needs the column that has them"
        raise document.error((*key, "by"), what, 'add it, such as by = ["side"]')
    if rule.by == "required" and table.slices:
        what = f"{table.metric} compares the groups of a column, and not slices"
        raise document.error((*key, "slices"), what, "remove it")
    if rule.by == "forbidden" and (table.by or table.slices):
        can = [name for name, other in METRICS.items() if other.by != "forbidden"]
        step = f"remove it (metrics that take it: {', '.join(can)})"
        raise document.error((*key, "by" if table.by else "slices"), f"{table.metric} is not judged by slice", step)
    for field in ("minimum_rows", "minimum_clusters"):
        searched = table.metric == "slices.found"  # its slices are not listed: they are looked for
        if getattr(table, field) is not None and not table.by and not table.slices and not searched:
            what = "holds for slices, and there is no `by`"
            raise document.error((*key, field), what, "add `by` or `slices`, or remove this key")


_OWN = re.compile(r"[^:]+\.py:[A-Za-z_][A-Za-z0-9_]*")


def _check_measure(document: Document, key: KeyPath, table: RequireTable, rule: MetricRule) -> None:
    fair = table.metric.startswith("fairness.")
    known = tuple(dict.fromkeys((*FAIRNESS_MEASURES, *MEASURES))) if fair else tuple(MEASURES)
    given = {"measure": table.measure, "positive": table.positive or None}
    for field, value in given.items():
        if rule.measure == "forbidden" and value is not None:
            can = ", ".join(name for name, other in METRICS.items() if other.measure != "forbidden")
            raise document.error((*key, field), f"{table.metric} takes no {field}", f"remove it (these take it: {can})")
    if table.harm is not None and not fair:
        raise document.error((*key, "harm"), "holds for groups, and this compares none", "remove it")
    if rule.measure == "required" and table.measure is None:
        what = f"{table.metric} needs to know which measure"
        raise document.error((*key, "measure"), what, f'add it, such as measure = "f1"; known: {", ".join(known)}')
    if table.measure is None:
        return
    if table.measure not in known and not _OWN.fullmatch(table.measure):
        raise document.error((*key, "measure"), f'there is no measure "{table.measure}"', nearest(table.measure, known))
    if table.metric == "slices.found" and table.measure in MEASURES and not MEASURES[table.measure].is_mean:
        what = f"{table.measure} is no mean over rows, so where it fell cannot be searched for"
        raise document.error((*key, "measure"), what, f"take one of: {SEARCHED}; or ask quality.loss by columns")
    if table.harm is not None and table.measure not in HARMS[table.harm]:
        sensible = ", ".join(HARMS[table.harm])
        what = f"{table.measure} does not show the harm {table.harm}"
        raise document.error((*key, "measure"), what, f"take one that does ({sensible}), or remove `harm`")


def _check_largest(document: Document, key: KeyPath, table: RequireTable) -> None:
    if table.largest is None:
        return
    at = (*key, "largest")
    if not table.metric.startswith(("quality.", "fairness.")):
        raise document.error(at, f"{table.metric} takes no largest loss", "remove it (quality.*, fairness.* take it)")
    if table.measure is None or has_end(table.measure):
        endless = ", ".join(name for name, rule in MEASURES.items() if not rule.has_end)
        what = f"what a row loses has an end of its own in {table.measure or 'accuracy'}"
        raise document.error(at, what, f"remove it (measures without an end: {endless}, file.py:function)")
    if not (math.isfinite(table.largest) and table.largest > 0.0):
        raise document.error(at, f"it is {table.largest:g}", "write a positive number, such as largest = 10.0")
    if table.largest > MOST_LOSS:
        step = "write what a row can really lose, or measure in a larger unit"
        raise document.error(at, f"{table.largest:g} is out of range: it is at most {MOST_LOSS:g}", step)
