"""Slices of one requirement as a table and a forest plot: the worst first, its own interval and the one for all."""

from collections.abc import Sequence
from dataclasses import dataclass

from kit.records import Finding
from kit.report import sentences
from kit.report.figures import Scale, clean, percent, scale_for
from kit.report.sections.requirements import SIGNS

SHOWN = 40
"""Slices that are shown at once; the others are folded away."""

CHANGES = ("accuracy.drop", "quality.loss", "slices.found")
"""Metrics of what was lost: shown as a change, of which less than zero is worse."""

_PP = Scale(1e-2, "pp", 1, signed=True)


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One slice: figures as text, and what is drawn of it (in SI; of a change, negative is worse).

    low, high: its own interval; all_low, all_high, `together`: the one that holds at once with all other slices'.
    """

    status: str
    sign: str
    name: str
    reference: str
    optimized: str
    change: str
    interval: str
    at: float | None
    low: float | None
    high: float | None
    allowed: float
    rows: str
    clusters: str
    sentence: str
    reason: str
    drop: str
    whole: bool
    together: str = ""
    all_low: float | None = None
    all_high: float | None = None
    to_wrong: str = ""
    to_right: str = ""
    in_points: bool = False


@dataclass(frozen=True, slots=True)
class SliceTable:
    """All slices of one requirement, worst first: those `shown`, the `rest`, and the axis that they share (low, high).

    `figure` heads the figure's column and `legend` explains the drawing; `has_*`: whether a column has anything in it.
    """

    title: str
    figure: str
    legend: str
    shown: tuple[SliceRow, ...]
    rest: tuple[SliceRow, ...]
    axis: tuple[float, float]
    cluster_name: str
    has_reference: bool
    has_flips: bool
    has_together: bool

    @property
    def rows(self) -> tuple[SliceRow, ...]:
        """Every slice."""
        return self.shown + self.rest


def build_table(findings: Sequence[Finding], cluster_name: str, title: str) -> SliceTable:
    """The table of one requirement's findings on one variant; the whole dataset, where it is among them, first.

    `title`: what is required, in a few words.
    """
    first = findings[0]
    scale = _scale(findings)
    ordered = sorted(findings, key=lambda f: (not sentences.is_whole(f), sentences.worst_first(f)))
    rows = tuple(_row(finding, scale) for finding in ordered)
    change = first.metric in CHANGES
    return SliceTable(
        title=clean(title),
        figure=f"{'change' if change else 'measured'}, {'points' if scale.suffix == 'pp' else scale.suffix}".strip(
            ", "
        ),
        legend=_legend(change, first.direction == "at_least"),
        shown=rows[:SHOWN],
        rest=rows[SHOWN:],
        axis=_axis(rows, change),
        cluster_name=clean(cluster_name, 16),
        has_reference=any(row.reference for row in rows),
        has_flips=any(row.to_wrong for row in rows),
        has_together=any(row.together for row in rows),
    )


def _legend(change: bool, at_least: bool) -> str:
    worse = "left" if change or at_least else "right"
    zero = "; the solid line is no change" if change else ""
    return f"{worse} is worse, dashed is allowed{zero}; the thin bar holds for all slices at once"


def _scale(findings: Sequence[Finding]) -> Scale:
    if findings[0].unit == "points":
        return _PP
    values = [value for f in findings for value in (f.estimate, f.limit)]
    return Scale(1e-2, "%", 1) if findings[0].unit == "share" else scale_for(values, findings[0].unit)


def _row(finding: Finding, scale: Scale) -> SliceRow:
    """A finding as a row; a loss changes its sign, and its interval its ends."""
    word, details, turn = sentences.status(finding), finding.details, finding.metric in CHANGES
    own = _ends(finding.lower, finding.upper, turn)
    both = _ends(details.get("simultaneous_lower"), details.get("simultaneous_upper"), turn)
    at = None if finding.estimate is None else -finding.estimate if turn else finding.estimate
    before = details.get("reference_accuracy", details.get("reference_value"))
    after = details.get("optimized_accuracy", details.get("optimized_value"))
    shares = finding.unit in ("points", "share")
    return SliceRow(
        status=word,
        sign=SIGNS[word],
        name="all rows" if sentences.is_whole(finding) else sentences.subject_text(finding),
        reference=_figure(before, shares),
        optimized=_figure(after, shares),
        change="" if at is None else scale.number(at),
        interval=scale.interval(*own),
        at=at,
        low=own[0],
        high=own[1],
        allowed=-finding.limit if turn else finding.limit,
        rows=f"{finding.rows:,}",
        clusters="" if finding.clusters is None else f"{finding.clusters:,}",
        sentence=sentences.sentence(finding),
        reason=sentences.capitalized(sentences.reason(finding)),
        drop=sentences.drop_text(finding) if turn else sentences.measured_text(finding),
        whole=sentences.is_whole(finding),
        together=scale.interval(*both),
        all_low=both[0],
        all_high=both[1],
        to_wrong=_count(details.get("flips_to_wrong")),
        to_right=_count(details.get("flips_to_right")),
        in_points=turn and finding.unit == "points",
    )


def _ends(low: float | None, high: float | None, turn: bool) -> tuple[float | None, float | None]:
    return (None if high is None else -high, None if low is None else -low) if turn else (low, high)


def _figure(value: float | None, share: bool) -> str:
    if value is None:
        return ""
    return percent(value).removesuffix(" %") if share else scale_for([value], "1").text(value)


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _axis(rows: Sequence[SliceRow], change: bool) -> tuple[float, float]:
    """Wide enough for every limit and for most intervals; what is far out is cut with an arrow."""
    ends = [v for r in rows for v in (r.at, r.low, r.high, r.all_low, r.all_high) if v is not None]
    if change:
        allowed = max(abs(row.allowed) for row in rows) or 0.01
        low = min([-1.5 * allowed, *(max(v, -6 * allowed) for v in ends)])
        high = max([0.5 * allowed, *(min(v, 3 * allowed) for v in ends)])
    else:
        ends += [row.allowed for row in rows]
        low, high = min(ends), max(ends)
    pad = 0.04 * (high - low) or 0.01
    return low - pad, high + pad
