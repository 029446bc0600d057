"""Whether a bench's figures can be trusted: what makes them invalid, and what is to be known before they are quoted."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kit.judge.energy import inference_s
from kit.judge.energy_stability import energy_stability
from kit.judge.stability import Cause
from kit.meter.base import FLOWS_BACK
from kit.pipeline.bench_figures import NOT_YET, ORDINARY, BenchReport, LatencyFigures, ModelFigures, Window
from kit.words import count, quantity

SPREAD = 0.10
"""Windows whose medians are this far apart (a share) are said to be."""

COARSE_CLOCK = 0.02
"""A clock's step is said where it is more than this share of a median."""

FAR_PACE = 1.5
"""Energy windows whose inferences take this many times what they took when they were timed, or as many times less."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Why figures are invalid, and warnings: one sentence each, that names its model where there are several."""

    invalid: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def is_valid(self) -> bool:
        """Whether nothing makes the figures invalid."""
        return not self.invalid


def trust_of(report: BenchReport) -> Trust:
    """What follows from the records about how far the figures hold."""
    invalid, warnings = list(_broken_off(report)), list(_of_conditions(report))
    for each in report.models:
        name = f"{each.label}: " if len(report.models) > 1 else ""
        invalid += [name + text for text in _invalid(report, each)]
        warnings += [name + text for text in _warnings(report, each)]
    return Trust(tuple(invalid), tuple(warnings))


def _broken_off(report: BenchReport) -> Iterator[str]:
    for each in report.models:
        if each.latency is None:
            yield f"{each.label}: no window was measured"


def _invalid(report: BenchReport, model: ModelFigures) -> Iterator[str]:
    if model.audited is not None and model.audited.state == "failed":
        yield f"the audit failed: {'; '.join(model.audited.reasons)}"
    if report.order.stable and model.latency is not None:
        for which, why in _unstable(model.latency):
            yield f"{which} still unstable: {why}"


def _warnings(report: BenchReport, model: ModelFigures) -> Iterator[str]:
    if model.audited is not None and model.audited.state == "undecided":
        yield f"the audit is undecided: {'; '.join(model.audited.reasons)}{_longer_audit(model)}"
    if model.latency is not None:
        yield from _of_latency(report, model.latency)
    if model.energy is not None:
        yield from _of_energy(model)
        yield from _of_pace(model)
    yield from (f"{kind} was not obtained: {why}" for kind, why in model.absent.items() if why not in ORDINARY)


def _of_latency(report: BenchReport, found: LatencyFigures) -> Iterator[str]:
    record = found.record
    if not report.order.stable:
        for which, why in _unstable(found):
            yield f"{which} unstable: {why}; try --stable"
    if found.whole.state == "unknown":
        yield "too few samples to tell whether it was stable: a longer --window-time or a larger --min-count"
    if found.rejected:
        yield f"{count(len(found.rejected), 'window')} unstable and taken again; what was measured is kept in the run"
    is_late = any(cause.kind == "late starts" for each in found.windows for cause in each.stability.causes)
    if found.late_count and not is_late:
        yield f"{count(found.late_count, 'start')} came late: the model or the device cannot keep up with the period"
    if found.spread is not None and found.spread > SPREAD and found.whole.state != "unstable":
        low, high = quantity(min(found.medians_s), "s"), quantity(max(found.medians_s), "s")
        yield f"its windows' medians differ by {100 * found.spread:.0f} % ({low} to {high})"
    median_ns = found.percentiles[0].estimate * 1e9
    if record.clock_resolution_ns > COARSE_CLOCK * median_ns:
        yield f"the device's clock has steps of {quantity(record.clock_resolution_ns * 1e-9, 's')}: {record.clock}"
    if record.obtained != "measured" and not report.device.emulated:
        yield f"latency is {record.obtained}"


def _unstable(found: LatencyFigures) -> Iterator[tuple[str, str]]:
    """Which windows are unstable and why, those of one kind together; all of them where each by itself is stable."""
    alike: dict[tuple[str, ...], list[Window]] = {}
    for each in found.windows:
        if each.stability.state == "unstable":
            alike.setdefault(tuple(cause.kind for cause in each.stability.causes), []).append(each)
    for windows in alike.values():
        first, *others = windows
        which = (
            f"windows {', '.join(str(each.number) for each in windows)} are" if others else f"window {first.number} is"
        )
        yield which, ("in the first, " if others else "") + _causes(first.stability.causes)
    if found.whole.state == "unstable" and (len(found.windows) > 1 or not alike):
        yield f"its windows together are{' also' if alike else ''}", _causes(found.whole.causes)


def _longer_audit(model: ModelFigures) -> str:
    """What may decide it, where outputs were compared and only the times are not sure."""
    has_rows = model.audited is not None and model.audited.rows_compared > 0
    return "; a longer --audit-time may decide it" if has_rows else ""


def _of_energy(model: ModelFigures) -> Iterator[str]:
    record = model.energy
    assert record is not None
    if record.obtained == "estimated":
        yield f"energy is an estimate and certifies nothing: {record.meter.description}"
    if float(sum(record.window_energy_j)) < 0:
        yield FLOWS_BACK
    if (stability := energy_stability(record)).state == "unstable":
        yield f"its energy windows are unstable: {stability.why}"
    gaps = 0 if record.gaps_ns is None else len(record.gaps_ns)
    if record.lost_samples or gaps:
        where = f", with {count(gaps, 'gap')}" if gaps else ""
        yield f"the meter lost {count(record.lost_samples, 'sample')}{where}"
    if record.ended:
        yield f"the meter ended early: {record.ended}"
    if record.obtained == "measured" and record.meter.accuracy is None:
        yield "the meter's accuracy is not stated, so energy may be off by more than its interval"


def _of_pace(model: ModelFigures) -> Iterator[str]:
    """Energy is of the pace that inferences had under the meter: short windows and other work make another of it.

    Against the median, which other work in the latency run hardly moves; a batch and streams have no such pace.
    """
    found, energy = model.latency, model.energy
    if found is None or energy is None or found.record.workload.batch > 1 or found.record.workload.streams > 1:
        return
    median_s, pace_s = found.percentiles[0].estimate, inference_s(energy)
    if pace_s is None or median_s <= 0 or 1 / FAR_PACE <= pace_s / median_s <= FAR_PACE:
        return
    took = f"an inference took {quantity(pace_s, 's')} under the meter and {quantity(median_s, 's')} (p50) when timed"
    if pace_s > median_s:
        yield f"{took}: its energy holds pauses or other work; try a longer --energy-window-time, or a calmer device"
    else:
        yield f"{took}: its energy is of inferences back to back, which the latency run's were not"


def _of_conditions(report: BenchReport) -> Iterator[str]:
    busy = report.start.load_1min
    if busy is not None and busy > 0.5 * report.device.logical_cpus:
        yield f"other work was running when it began: load {busy:.1f} on {count(report.device.logical_cpus, 'CPU')}"
    if not report.spec.timing_is_real:
        yield "its processor is emulated: these times are no latency of any hardware"
    missing = [f"{count(report.missing_windows, 'window')} of latency"] if report.missing_windows else []
    for each in report.models:
        missing += [f"{kind} of {each.label}" for kind, why in each.absent.items() if why == NOT_YET]
    if missing:
        yield f"not measured yet: {', '.join(missing)}; --resume measures the rest"
    late = [each for each in report.held if each.departures]
    if late:
        left = "; ".join(dict.fromkeys(text for each in late for text in each.departures))
        waited = quantity(max(each.waited_s for each in late), "s")
        yield f"before {count(len(late), 'window')}, {waited} of waiting did not calm the device: {left}"


def _causes(causes: Iterable[Cause]) -> str:
    return "; ".join(each.sentence for each in causes) or "its cause is not known"
