"""What a bench found, worked out from its stored records alone: printing a run again gives the same figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeVar

import numpy as np

from kit.errors import MeasurementError
from kit.judge.audit import AuditJudgement, judge_audit
from kit.judge.energy import EnergyFigures, energy_figures
from kit.judge.stability import Stability, assess
from kit.pipeline.bench_check import CHECKS, check_window
from kit.pipeline.bench_folder import resume_words, resumed_order
from kit.pipeline.bench_plan import BenchOrder
from kit.pipeline.interleave import Ratio, paired_ratio
from kit.pipeline.stable import Held
from kit.records import (
    AuditRecord,
    ColdStartRecord,
    Conditions,
    DeviceRecord,
    EnergyRecord,
    Float64Array,
    LatencyRecord,
    MemoryRecord,
    ModelRecord,
    OperatorProfile,
)
from kit.spec.types import DeviceSpec
from kit.stats.means import batch_mean_bounds
from kit.stats.multiple import candidate_confidence
from kit.stats.quantile import QuantileBounds, percentiles
from kit.store import Run

T = TypeVar("T")

CONFIDENCE = 0.95
"""Of each end of an interval by itself; of a ratio's interval, as a whole and over all comparisons."""


NOT_YET, NOT_ASKED = "not measured yet", "not asked for"
NO_METHOD, NO_METER = "the device has no method", "the device has no meter"
ORDINARY = (NOT_YET, NOT_ASKED, NO_METHOD, NO_METER)
"""Why something is absent, where nothing went wrong."""

RATE_WINDOWS = 3
"""Windows from which on a rate has an upper bound."""


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a model: its number from 1, its record, and whether it can be trusted."""

    number: int
    record: LatencyRecord
    stability: Stability

    @property
    def steady_s(self) -> Float64Array:
        """Its samples after warm-up, s, float64 [n]."""
        return self.record.samples_ns[self.record.warmup_count :].astype(np.float64) * 1e-9


@dataclass(frozen=True, slots=True)
class RateBounds:
    """Bounds of a rate, 1/s; lower is None where windows differ so much that it would not be above 0.

    windows_missing: about how many more windows that differ as these do would give it.
    """

    lower: float | None
    upper: float
    windows_missing: int


@dataclass(frozen=True, slots=True)
class LatencyFigures:
    """Latency of a model over its windows; times in s.

    rate: inferences a second, and its bounds where there are three windows; rejected: windows that were taken again.
    whole: stability of all windows' steady samples, one after the other.
    """

    windows: tuple[Window, ...]
    rejected: tuple[Window, ...]
    percentiles: tuple[QuantileBounds, ...]
    rate_per_s: float
    rate_bounds: RateBounds | None
    load_s: Float64Array
    first_run_s: Float64Array
    warmup_counts: tuple[int, ...]
    slowest_s: float
    late_count: int
    medians_s: tuple[float, ...]
    whole: Stability

    @property
    def spread(self) -> float | None:
        """The largest of the windows' medians over the smallest, less 1; None of one window, or of a median of 0."""
        if len(self.medians_s) < 2 or min(self.medians_s) <= 0:
            return None
        return max(self.medians_s) / min(self.medians_s) - 1

    def windows_missing(self, bounds: QuantileBounds) -> int:
        """About how many more windows like these it takes for both ends of a percentile; 0 where it has them.

        Samples then hang together as they do now. But where the windows together are unstable, a tail that is all of
        the slowest stretch will be of many: its samples then hang together as those of any percentile do at most.
        """
        if bounds.lower is not None and bounds.upper is not None:
            return 0
        alike = self.percentiles if self.whole.state == "unstable" else (bounds,)
        needed = bounds.minimum_count * max(each.design_effect for each in alike)
        return max(1, math.ceil(needed * len(self.windows) / self.count) - len(self.windows))

    @property
    def samples_s(self) -> Float64Array:
        """All windows' samples after warm-up, s, float64 [n]."""
        return np.concatenate([each.steady_s for each in self.windows])

    @property
    def count(self) -> int:
        """Samples after warm-up, of all windows."""
        return sum(len(each.steady_s) for each in self.windows)

    @property
    def record(self) -> LatencyRecord:
        """The last window's record: clock, scenario and origin are those of all."""
        return self.windows[-1].record


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """All that was found of a model; `absent` says why a kind is missing, by its name."""

    label: str
    model: ModelRecord
    latency: LatencyFigures | None
    ratio: Ratio | None
    memory: MemoryRecord | None
    energy: EnergyRecord | None
    energy_figures: EnergyFigures | None
    cold: ColdStartRecord | None
    operators: OperatorProfile | None
    audit: AuditRecord | None
    audited: AuditJudgement | None
    absent: dict[str, str]


@dataclass(frozen=True, slots=True)
class BenchReport:
    """A bench's run: what was asked, on what, and what was found."""

    run: Run
    order: BenchOrder
    spec: DeviceSpec
    device: DeviceRecord
    start: Conditions
    end: Conditions
    held: tuple[Held, ...]
    models: tuple[ModelFigures, ...]
    missing_windows: int


def read_report(run: Run) -> BenchReport:
    """The figures of a run's records.

    Raises StoreError for a folder that is damaged, and MeasurementError where no window was measured.
    """
    order = resumed_order(run)
    if "device/identity" not in run.steps or not any(step.startswith("latency/") for step in run.steps):
        next_step = f"go on with it: {resume_words(run)}"
        raise MeasurementError("no window was measured", where=str(run.path), next_step=next_step)
    windows = [_windows(run, number, order) for number in range(1, len(run.record.recipes) + 1)]
    models = tuple(_model(run, order, number, label, windows) for number, label in enumerate(run.record.recipes, 1))
    last = max((each.record.after for of in windows for each in of), key=lambda each: each.utc)
    return BenchReport(
        run=run,
        order=order,
        spec=run.get("plan/device", DeviceSpec),
        device=run.get("device/identity", DeviceRecord),
        start=run.get("conditions/start", Conditions),
        end=last,
        held=tuple(run.get(step, Held) for step in run.steps if step.startswith("held/")),
        models=models,
        missing_windows=order.windows * len(windows) - sum(map(len, windows)),
    )


def _windows(run: Run, number: int, order: BenchOrder) -> tuple[Window, ...]:
    wanted = range(1, order.windows + 1)
    there = [window for window in wanted if f"latency/{number}/{window}" in run.steps]
    return tuple(_window(run, f"latency/{number}/{window}", window) for window in there)


def _window(run: Run, step: str, number: int) -> Window:
    record = run.get(step, LatencyRecord)
    check_window(record, f"{run.path.name}, {step}")
    return Window(number, record, assess(record))


def _model(run: Run, order: BenchOrder, number: int, label: str, windows: Sequence[tuple[Window, ...]]) -> ModelFigures:
    rejected = [step for step in run.steps if step.startswith(f"rejected/{number}/")]
    memory, energy = _told(run, "memory", number, MemoryRecord), _told(run, "energy", number, EnergyRecord)
    cold, operators = _told(run, "cold", number, ColdStartRecord), _told(run, "operators", number, OperatorProfile)
    audit, own = _told(run, "audit", number, AuditRecord), windows[number - 1]
    kinds = {"memory": memory, "energy": energy, "cold": cold, "operators": operators, "audit": audit}
    again = tuple(_window(run, step, int(step.split("/")[2])) for step in rejected)
    return ModelFigures(
        label=label,
        model=run.get(f"model/{number}", ModelRecord),
        latency=_latency(own, again) if own else None,
        ratio=_ratio(windows[0], own, len(windows)) if number > 1 else None,
        memory=memory,
        energy=energy,
        energy_figures=None if energy is None else _energy(energy),
        cold=cold,
        operators=operators,
        audit=audit,
        audited=None if audit is None else judge_audit(audit),
        absent={kind: _why_absent(run, order, kind, number) for kind, record in kinds.items() if record is None},
    )


def _told(run: Run, kind: str, number: int, record: type[T]) -> T | None:
    step = f"{kind}/{number}"
    found = run.get_optional(step, record) if step in run.steps else None
    if found is not None:
        CHECKS[record](found, f"{run.path.name}, {step}")
    return found


def _why_absent(run: Run, order: BenchOrder, kind: str, number: int) -> str:
    """Why a model has no record of this kind."""
    step = f"{kind}/{number}"
    if f"absent/{step}" in run.steps:
        return run.get(f"absent/{step}", str)
    if step in run.steps:
        return NO_METHOD
    if kind == "energy" and order.energy is None and run.get("plan/device", DeviceSpec).meter is None:
        return NO_METER
    return NOT_YET if getattr(order, kind) is not False else NOT_ASKED


def _latency(windows: tuple[Window, ...], rejected: tuple[Window, ...]) -> LatencyFigures:
    samples_s = np.concatenate([each.steady_s for each in windows])
    rates = np.array([_rate_per_s(each) for each in windows])
    return LatencyFigures(
        windows=windows,
        rejected=rejected,
        percentiles=percentiles(samples_s, CONFIDENCE),
        rate_per_s=float(rates.mean()),
        rate_bounds=_rate_bounds(rates) if len(rates) >= RATE_WINDOWS else None,
        load_s=np.array([each.record.load_ns for each in windows]) * 1e-9,
        first_run_s=np.array([each.record.first_run_ns for each in windows]) * 1e-9,
        warmup_counts=tuple(each.record.warmup_count for each in windows),
        slowest_s=float(samples_s.max()),
        late_count=sum(each.record.late_count for each in windows),
        medians_s=tuple(float(np.median(each.steady_s)) for each in windows),
        whole=assess(_joined([each.record for each in windows]), of_sessions=len(windows) > 1),
    )


def _joined(records: Sequence[LatencyRecord]) -> LatencyRecord:
    """Windows as one record, without their warm-ups; without moments where a clock was set back in between."""
    steady = [(each.samples_ns[each.warmup_count :], each.starts_ns) for each in records]
    starts = [begun[-len(left) :] for left, begun in steady if begun is not None and len(left)]
    in_order = len(starts) == len(records) and bool((np.diff([each[0] for each in starts]) > 0).all())
    return replace(
        records[0],
        samples_ns=np.concatenate([left for left, _ in steady]),
        warmup_count=0,
        after=records[-1].after,
        starts_ns=np.concatenate(starts) if in_order else None,
        window_counts=np.array([len(left) for left, _ in steady], np.int64),
        telemetry=tuple(each for record in records for each in record.telemetry) if in_order else (),
        late_count=sum(each.late_count for each in records),
    )


def _rate_per_s(window: Window) -> float:
    """Inferences a second, from the first start after warm-up to the last end; without starts, one after the other.

    Where a period sets the pace, from the first period's start after warm-up to the last one's.
    """
    record, skip = window.record, window.record.warmup_count
    if record.starts_ns is not None and record.workload.period_ns > 0:
        size = max(record.workload.burst, 1) if record.workload.scenario == "burst" else 1
        first, last = -(-skip // size) * size, (len(record.samples_ns) - 1) // size * size
        if last > first:
            return (last - first) / max(float(record.starts_ns[last] - record.starts_ns[first]), 1.0) * 1e9
    samples_ns = record.samples_ns[skip:]
    if record.starts_ns is None:
        span_ns = float(samples_ns.sum(dtype=np.float64))
    else:
        starts_ns = record.starts_ns[skip:]
        span_ns = float((starts_ns + samples_ns).max() - starts_ns.min())
    each = record.workload.batch if record.workload.scenario == "offline" else 1
    return len(samples_ns) * each / max(span_ns, 1.0) * 1e9


def _rate_bounds(rates: Float64Array) -> RateBounds:
    """Of the mean of windows' rates [n >= 3]; that no rate is below 0 is known without them, and is no bound."""
    bounds = batch_mean_bounds(rates, CONFIDENCE)
    if bounds.lower > 0:
        return RateBounds(bounds.lower, bounds.upper, 0)
    enough = next(n for n in count(len(rates) + 1) if batch_mean_bounds(np.resize(rates, n), CONFIDENCE).lower > 0)
    return RateBounds(None, bounds.upper, enough - len(rates))


def _energy(record: EnergyRecord) -> EnergyFigures:
    """The figures; a lower end of 0, which is known of what is drawn without measuring, is none."""
    found = energy_figures(record, CONFIDENCE)
    return replace(found, gross=replace(found.gross, lower=found.gross.lower or None))


def _ratio(first: Sequence[Window], other: Sequence[Window], models: int) -> Ratio | None:
    """Of medians in the rounds that both have; with several models, every interval holds at once (Bonferroni)."""
    one, two = ({each.number: float(np.median(each.steady_s)) for each in of} for of in (first, other))
    both = [number for number in one if number in two and one[number] > 0 and two[number] > 0]
    confidence = candidate_confidence(CONFIDENCE, models - 1)
    return paired_ratio([one[number] for number in both], [two[number] for number in both], confidence)
