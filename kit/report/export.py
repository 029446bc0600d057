"""Slices as rows for other tools: CSV and JSON, a row for each slice of each requirement of each variant."""

import csv
import io
import json
import math
from dataclasses import asdict, dataclass, fields

from kit.records import Finding, Judgement
from kit.report import sentences

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class ExportRow:
    """One slice as judged, in SI units (shares and points 0 to 1); None is what was not obtained.

    estimate, low, high: the requirement's own figure, such as a drop, of which more is worse; simultaneous_low and
    simultaneous_high hold at once with those of all other slices. reference, optimized: the figure before and after,
    change their difference. `tested` is False where the slice is too small to be judged.
    """

    variant: str
    requirement: str
    metric: str
    slice: str
    verdict: str
    tested: bool
    rows: int
    clusters: int | None
    reference: float | None
    optimized: float | None
    change: float | None
    estimate: float | None
    low: float | None
    high: float | None
    simultaneous_low: float | None
    simultaneous_high: float | None
    limit: float
    direction: str
    unit: str
    confidence: float
    right_to_wrong: int | None
    wrong_to_right: int | None
    decisions_changed: int | None
    obtained: str
    method: str
    reason: str


def rows_table(judgement: Judgement, variant: str | None = None) -> list[ExportRow]:
    """Every finding on a slice, in the profile's order; of one variant or, where it is None, of all."""
    return [
        _row(judged.variant, finding)
        for judged in judgement.variants
        if variant in (None, judged.variant)
        for finding in judged.findings
        if not sentences.is_whole(finding)
    ]


def _row(variant: str, finding: Finding) -> ExportRow:
    of = finding.details
    before = _finite(of.get("reference_accuracy", of.get("reference_value")))
    after = _finite(of.get("optimized_accuracy", of.get("optimized_value")))
    return ExportRow(
        variant=variant,
        requirement=finding.requirement,
        metric=finding.metric,
        slice=finding.subject,
        verdict=sentences.status(finding),
        tested=not sentences.is_untested(finding) and finding.estimate is not None,
        rows=finding.rows,
        clusters=finding.clusters,
        reference=before,
        optimized=after,
        change=None if before is None or after is None else after - before,
        estimate=_finite(finding.estimate),
        low=_finite(finding.lower),
        high=_finite(finding.upper),
        simultaneous_low=_finite(of.get("simultaneous_lower")),
        simultaneous_high=_finite(of.get("simultaneous_upper")),
        limit=finding.limit,
        direction=finding.direction,
        unit=finding.unit,
        confidence=finding.confidence,
        right_to_wrong=_whole(of.get("flips_to_wrong")),
        wrong_to_right=_whole(of.get("flips_to_right")),
        decisions_changed=_whole(of.get("decisions_changed")),
        obtained=finding.obtained,
        method=finding.method,
        reason=finding.reason,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def to_csv(rows: list[ExportRow]) -> str:
    """The rows as CSV (RFC 4180) with a header. What is None is an empty cell.

    A text that a spreadsheet would take for a formula gets an apostrophe before it (OWASP, CSV injection): names of
    columns and values are the dataset's, and may be anyone's.
    """
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow([field.name for field in fields(ExportRow)])
    writer.writerows([_cell(value) for value in asdict(row).values()] for row in rows)
    return stream.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def to_json(rows: list[ExportRow]) -> str:
    """The rows as a JSON array of objects, ending with a newline."""
    return json.dumps([asdict(row) for row in rows], ensure_ascii=False, allow_nan=False, indent=1) + "\n"
