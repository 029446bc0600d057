"""Latency: the distribution, its tail and its course, from raw samples; bounds come from the findings."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kit.records import Float64Array, LatencyRecord, VariantJudgement
from kit.report import sentences
from kit.report.figures import Scale, clean, scale_for
from kit.words import count

CURVE_POINTS = 280
TIME_BINS = 120
_NS = 1e-9
_QUANTILES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class QuantileMark:
    """A latency quantile: its value and, where it was judged, its bounds (s)."""

    name: str
    share: float
    value_s: float
    lower_s: float | None
    upper_s: float | None
    text: str


@dataclass(frozen=True, slots=True)
class LatencyView:
    """Chart data in s. `curve` is (latency, share of inferences not slower); `bins` is (index, min, median, max)."""

    headline: str
    note: str
    readings: tuple[tuple[str, str], ...]
    curve: tuple[tuple[float, float], ...]
    marks: tuple[QuantileMark, ...]
    limit_s: float | None
    limit_text: str
    bins: tuple[tuple[float, float, float, float], ...]
    samples: int
    warmup: int
    scale: Scale
    obtained: str


def build_latency(record: LatencyRecord | None, judged: VariantJudgement | None) -> LatencyView | None:
    """The latency of one variant; None where none was obtained."""
    if record is None or len(record.samples_ns) <= record.warmup_count:
        return None
    kept = np.sort(record.samples_ns[record.warmup_count :].astype(np.float64)) * _NS
    limit_s, limit_text = _limit(judged)
    scale = scale_for([float(np.quantile(kept, 0.99))], "s")
    marks = tuple(_mark(q, kept, judged, scale) for q in _QUANTILES)
    p50, p99 = marks[0], marks[-1]
    return LatencyView(
        headline=f"Half of all inferences finish within {p50.text}, 99 % within {p99.text}.",
        note=sentences.ONE_RUN if any(mark.upper_s is not None for mark in marks) else "",
        readings=_readings(record, kept, marks, scale),
        curve=_curve(kept),
        marks=marks,
        limit_s=limit_s,
        limit_text=limit_text,
        bins=_bins(record),
        samples=len(record.samples_ns),
        warmup=record.warmup_count,
        scale=scale,
        obtained=record.obtained,
    )


def _limit(judged: VariantJudgement | None) -> tuple[float | None, str]:
    findings = [f for f in judged.findings if f.metric.startswith("latency.")] if judged else []
    if not findings:
        return None, ""
    last = max(findings, key=lambda f: f.metric)
    text = sentences.limit_figure(last)
    return last.limit, f"{last.metric.partition('.')[2]} limit {text}"


def _mark(share: float, kept: Float64Array, judged: VariantJudgement | None, scale: Scale) -> QuantileMark:
    name = f"p{share * 100:.0f}"
    finding = next((f for f in judged.findings if f.metric == f"latency.{name}"), None) if judged else None
    value = float(np.quantile(kept, share, method="inverted_cdf"))
    if finding is None or finding.estimate is None:
        return QuantileMark(name, share, value, None, None, scale.text(value))
    interval = scale.interval(finding.lower, finding.upper)
    text = f"{scale.text(finding.estimate)} {interval}".strip()
    return QuantileMark(name, share, finding.estimate, finding.lower, finding.upper, text)


def _curve(kept: Float64Array) -> tuple[tuple[float, float], ...]:
    """At most `CURVE_POINTS` of the empirical distribution: half evenly spread, half evenly in log(1 - share)."""
    n = len(kept)
    body = np.linspace(0, n - 1, CURVE_POINTS // 2)
    tail = n - n ** np.linspace(1, 0, CURVE_POINTS // 2)
    ranks = np.unique(np.r_[body, tail].round().astype(np.int64).clip(0, n - 1))
    return tuple((float(kept[i]), float((i + 1) / n)) for i in ranks)


def _bins(record: LatencyRecord) -> tuple[tuple[float, float, float, float], ...]:
    samples = record.samples_ns.astype(np.float64) * _NS
    edges = np.unique(np.linspace(0, len(samples), TIME_BINS + 1).round().astype(np.int64))
    parts = [(int(a), samples[a:b]) for a, b in pairwise(edges)]
    return tuple((float(a), float(p.min()), float(np.median(p)), float(p.max())) for a, p in parts)


def _readings(
    record: LatencyRecord, kept: Float64Array, marks: tuple[QuantileMark, ...], scale: Scale
) -> tuple[tuple[str, str], ...]:
    warmup = count(record.warmup_count, "inference")
    return (
        *((mark.name, mark.text) for mark in marks),
        ("slowest", scale.text(float(kept[-1]))),
        ("load the model", scale_for([record.load_ns * _NS], "s").text(record.load_ns * _NS)),
        ("first inference", scale_for([record.first_run_ns * _NS], "s").text(record.first_run_ns * _NS)),
        ("samples", f"{len(kept):,} kept, {warmup} of warm-up ({clean(record.warmup_method)})"),
        ("scenario", f"{clean(record.scenario)}, {count(record.threads, 'thread')}, {clean(record.clock)}"),
        ("obtained", record.obtained),
    )
