"""Energy an inference, the power trace that it was integrated from, and what that means for the battery."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kit.battery import Model, likely_life_s
from kit.records import EnergyRecord, Finding, Float64Array, VariantJudgement
from kit.report import sentences
from kit.report.figures import Scale, clean, quantity, scale_for
from kit.spec.types import BatterySpec, DeviceSpec, Profile, Range
from kit.words import count

TRACE_BINS = 240
MOST_SPANS = 60
"""A trace that crosses midway more often is too noisy for its crossings to mean windows."""
PEAK_FACTOR = 1.5
"""A sample above this many times the declared power is a peak of late bookkeeping, not noise."""
LATE_PEAKS = "Peaks above the declared active power are CPU time that the kernel booked late; the sum is right."
_DAY_S = 86_400.0
_HOUR_S = 3_600.0


@dataclass(frozen=True, slots=True)
class BatteryView:
    """Days of battery life against inferences an hour; points are (inferences an hour, least days, days, most days)."""

    sentence: str
    curve: tuple[tuple[float, float, float, float], ...]
    duty_per_hour: float | None
    duty_days: float | None
    floor_days: float | None


@dataclass(frozen=True, slots=True)
class EnergyView:
    """`trace` is (s, min W, median W, max W) a bin; `busy` is spans (s) in which inference ran back to back."""

    headline: str
    readings: tuple[tuple[str, str], ...]
    trace: tuple[tuple[float, float, float, float], ...]
    busy: tuple[tuple[float, float], ...]
    busy_note: str
    note: str
    peaks_note: str
    idle_w: float
    scale: Scale
    obtained: str
    battery: BatteryView | None


def build_energy(
    record: EnergyRecord | None, judged: VariantJudgement | None, profile: Profile, device: DeviceSpec
) -> EnergyView | None:
    """Energy of one variant; None where none was obtained."""
    if record is None or not len(record.window_energy_j) or not np.all(record.window_inferences > 0):
        return None
    net = above_idle_j(record)
    if not np.all(np.isfinite(net)):
        return None
    scale = scale_for([float(np.median(net))], "J")
    middle, spread = float(np.median(net)), scale.interval(float(net.min()), float(net.max()))
    busy, note = _busy(record)
    finding = next((f for f in judged.findings if f.metric == "battery.share"), None) if judged else None
    return EnergyView(
        headline=f"An inference takes {scale.text(middle)} above idle ({record.obtained}).",
        readings=(
            ("energy an inference, above idle", f"{scale.text(middle)}, windows span {spread}"),
            ("idle power, model loaded", quantity(record.idle_power_w, "W")),
            ("windows", f"{len(net)} of {quantity(float(np.median(record.window_s)), 's')}"),
            ("inferences", f"{int(record.window_inferences.sum()):,}"),
            ("meter", f"{clean(record.meter.name)}: {clean(record.meter.description, 200)}"),
            *((clean(k), f"{v:g}") for k, v in sorted(record.meter.parameters.items())),
            ("obtained", record.obtained),
        ),
        trace=_trace(record),
        busy=busy,
        busy_note=note,
        note=sentences.ONE_RUN if finding is not None and finding.upper is not None else "",
        peaks_note=LATE_PEAKS if _has_late_peaks(record) else "",
        idle_w=record.idle_power_w,
        scale=scale_for([float(_finite(record)[1].max(initial=record.idle_power_w))], "W"),
        obtained=record.obtained,
        battery=_battery(net, _inference_s(record), finding, profile, device.battery),
    )


def _has_late_peaks(record: EnergyRecord) -> bool:
    """Whether power that was not measured exceeds by far what the meter declares for one busy core."""
    declared = [record.meter.parameters.get(name) for name in ("idle_power_w", "active_power_w")]
    powers = [power for power in declared if power is not None]
    if record.meter.obtained == "measured" or len(powers) < 2:
        return False
    return bool((_finite(record)[1] > PEAK_FACTOR * sum(powers)).any())


def above_idle_j(record: EnergyRecord) -> Float64Array:
    """Energy an inference above idle: (gross - idle power x time) / inferences; float64 [windows], J."""
    return (record.window_energy_j - record.idle_power_w * record.window_s) / record.window_inferences


def _finite(record: EnergyRecord) -> tuple[Float64Array, Float64Array]:
    """Times (s from the first) and powers (W) of the samples that have a power: a meter's first may have none."""
    known = np.isfinite(record.trace_power_w)
    t_ns, power = record.trace_t_ns[known], record.trace_power_w[known]
    return (t_ns - t_ns[:1]).astype(np.float64) * 1e-9, power


def _trace(record: EnergyRecord) -> tuple[tuple[float, float, float, float], ...]:
    t, power = _finite(record)
    if len(t) < 2:
        return ()
    edges = np.unique(np.linspace(0, len(t), min(TRACE_BINS, len(t)) + 1).round().astype(np.int64))
    parts = [(float(t[a]), power[a:b]) for a, b in pairwise(edges)]
    return tuple((at, float(p.min()), float(np.median(p)), float(p.max())) for at, p in parts)


def _busy(record: EnergyRecord) -> tuple[tuple[tuple[float, float], ...], str]:
    """Spans of inference: the windows themselves where they fill the trace, else where power is above midway."""
    t, power = _finite(record)
    if len(t) < 2:
        return (), ""
    total = float(record.window_s.sum())
    if abs(total - float(t[-1])) <= 0.05 * total:
        ends = np.cumsum(record.window_s)
        spans = tuple((float(b - w), float(b)) for b, w in zip(ends, record.window_s, strict=True))
        return spans[::2], f"{count(len(spans), 'window')} back to back, every other one shaded"
    midway = (record.idle_power_w + float(np.quantile(power, 0.9))) / 2
    above = np.r_[False, power > midway, False]
    starts, stops = np.flatnonzero(~above[:-1] & above[1:]), np.flatnonzero(above[:-1] & ~above[1:])
    spans = tuple((float(t[a]), float(t[min(int(b), len(t) - 1)])) for a, b in zip(starts, stops, strict=True))
    if len(spans) > MOST_SPANS:
        return (), ""
    return spans, "shaded where power is above midway between idle and busy"


def _inference_s(record: EnergyRecord) -> float:
    return float(record.window_s.sum() / record.window_inferences.sum())


def _life_days(battery: BatterySpec, per_hour: float, energy_j: float, inference_s: float) -> float:
    """Days until the battery ends, at the likely value of all that is known of it; see kit.battery."""
    model = Model(Range(energy_j, energy_j, energy_j), per_hour / _HOUR_S, inference_s)
    return likely_life_s(battery, model) / _DAY_S


def _battery(
    net: Float64Array, each_s: float, finding: Finding | None, profile: Profile, battery: BatterySpec | None
) -> BatteryView | None:
    if battery is None or battery.other_load_w <= 0 or profile.duty is None:
        return None
    duty = profile.duty.inferences_per_s * _HOUR_S
    low, middle, high = float(net.min()), float(np.median(net)), float(net.max())
    rates = np.geomspace(max(duty, 1e-3) / 1000, max(duty, 1e-3) * 1000, 61)
    curve = tuple((float(r), *(_life_days(battery, float(r), e, each_s) for e in (high, middle, low))) for r in rates)
    alone, with_model = _life_days(battery, 0, 0, each_s), _life_days(battery, duty, middle, each_s)
    days = f"{_days(alone)} without the model, {_days(with_model)} with it at {duty:,.0f} inferences an hour."
    floor = None
    if finding is not None and finding.direction == "at_most" and 0 <= finding.limit < 1:
        floor = alone * (1 - finding.limit)
    return BatteryView(
        sentence=f"{sentences.sentence(finding)} {days}" if finding else days,
        curve=curve,  # type: ignore[arg-type]
        duty_per_hour=duty,
        duty_days=with_model,
        floor_days=floor,
    )


def _days(days: float) -> str:
    return f"{days:,.1f} days" if days >= 1 else f"{days * 24:,.1f} hours"
