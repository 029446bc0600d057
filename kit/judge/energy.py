"""battery.share: the part of the battery's life that the model costs, from energy above idle and the duty cycle."""

import math
from dataclasses import dataclass

import numpy as np

from kit.battery import TIERS, Model, forecast
from kit.judge.base import POWER, Case, Measured, absent, certifying, explained, finding, undecided
from kit.judge.energy_bounds import (
    INTERVAL_WINDOWS,
    EnergyBounds,
    EnergyFigures,
    above_idle_bounds,
    assumed_gain_share,
    energy_figures,
    energy_per_inference_j,
    systematic_share,
)
from kit.judge.sentences import how
from kit.records import EnergyRecord, Finding, Verdict
from kit.spec.types import BatterySpec, Duty, Range
from kit.stats.means import MeanBounds
from kit.stats.special import normal_quantile
from kit.words import count, interval, percent, quantity, rounded_up

MINIMUM_WINDOWS = 8
"""Fewest windows that decide: with fewer, correlation between windows cannot be seen."""

METHOD = "t interval of window means above idle, correlation respected, widened by the meter's uncertainty"


def judge_battery(case: Case) -> tuple[Finding, ...]:
    """Share of life, bounded over all of energy's bounds and the battery's ranges; what lacks an input is absent.

    What nobody states of the battery only widens the range: it never makes a PASS or a FAIL.
    """
    drain = drain_of(case, "share")
    if isinstance(drain, Finding):
        return (drain,)
    if drain.battery.other_load_w <= 0:
        return (absent(case, "share", "the device file describes no battery and load.", "describe the battery"),)
    return (_judged(case, drain.record, drain.energy, drain.duty, drain.battery),)


@dataclass(frozen=True, slots=True)
class Drain:
    """What drains a battery, and the battery: all that its requirements are judged from."""

    record: EnergyRecord
    energy: MeanBounds
    duty: Duty
    battery: BatterySpec


def drain_of(case: Case, unit: str) -> Drain | Finding:
    """Energy above idle, how often the model runs, and the battery; or a finding in `unit` that says what lacks."""
    record, duty, battery = case.variant.energy, case.profile.duty, case.device.battery
    if record is None or record.obtained == "absent" or case.device.meter is None:
        return absent(case, unit, "energy was not measured: the device has no meter.", "attach a meter")
    if duty is None:
        return absent(case, unit, "the profile states no duty cycle.", "state inferences_per_s in the profile")
    if battery is None:
        return absent(case, unit, "the device file describes no battery.", "describe the battery")
    if len(record.window_energy_j) < INTERVAL_WINDOWS:
        reason = f"{count(len(record.window_energy_j), 'energy window')} cannot bound a mean."
        return absent(case, unit, reason, f"at least {MINIMUM_WINDOWS} windows")
    return Drain(record, above_idle_bounds(record, case.confidence), duty, battery)


def _judged(case: Case, record: EnergyRecord, energy: MeanBounds, duty: Duty, battery: BatterySpec) -> Finding:
    asked = Model(Range(energy.lower, energy.estimate, energy.upper), duty.inferences_per_s, inference_s(record))
    life = forecast(battery, asked)
    measured = Measured(
        life.share.likely, life.share.low, life.share.high,
        "share", f"{METHOD}; {TIERS[life.tier]}", energy.count, record.obtained,
        details={
            "energy_per_inference_j": energy.estimate,
            "energy_per_inference_lower_j": energy.lower,
            "energy_per_inference_upper_j": energy.upper,
            "idle_power_w": record.idle_power_w,
            "model_power_w": max(0.0, energy.estimate) * asked.runs_hz,
            "inferences_per_s": duty.inferences_per_s,
            "life_s": life.life_s.likely,
            "life_without_model_s": life.life_without_model_s.likely,
            "effective_windows": energy.effective_count,
            "systematic_share": systematic_share(record),
        }
        | _assumed(record),
    )  # fmt: skip
    found = finding(case, measured)
    if energy.estimate <= 0:
        reason = "the meter cannot tell inference from idle: energy above idle is not positive."
        return undecided(found, reason, "a finer meter, longer windows, or a new idle measurement")
    if energy.count < MINIMUM_WINDOWS:
        reason = f"{_reason(found)} {energy.count} windows are too few to decide."
        return undecided(found, reason, f"at least {MINIMUM_WINDOWS} windows")
    if life.overloaded and found.verdict is Verdict.PASS:
        reason = f"{_reason(found)} An inference takes longer than its period, so this rate cannot be kept."
        return undecided(found, reason, "a lower rate in the profile's [duty], or a faster model")
    return certifying(case, explained(found, _reason(found), _need(case, record, energy, found)))


def inference_s(record: EnergyRecord) -> float | None:
    """How long one inference takes, from windows of them back to back; None where there was none."""
    inferences = int(np.sum(record.window_inferences))
    return float(np.sum(record.window_s)) / inferences if inferences > 0 else None


def _assumed(record: EnergyRecord) -> dict[str, float]:
    share = assumed_gain_share(record)
    return {} if share is None else {"assumed_gain_share": share}


def _allowed(record: EnergyRecord) -> float:
    return assumed_gain_share(record) or 0.0


def _reason(found: Finding) -> str:
    energy = quantity(found.details["energy_per_inference_j"], "J")
    rest = f"{energy} an inference above idle; limit {quantity(found.limit, 'share')}"
    if assumed := found.details.get("assumed_gain_share"):
        rest += f"; the meter states no accuracy, and {quantity(assumed, 'share')} is allowed for"
    if found.verdict is Verdict.PASS and found.upper is not None:
        end = f"(upper end, {percent(found.confidence)} confidence)"
        most = quantity(found.upper, "share")
        return f"the model costs at most {most} of battery life{how(found.obtained)} {end}; {rest}."
    ends = interval(found.lower, found.upper, "share")
    share = quantity(found.estimate or 0.0, "share")
    return f"the model costs {share} of battery life{how(found.obtained)} {ends}; {rest}."


def _need(case: Case, record: EnergyRecord, energy: MeanBounds, found: Finding) -> str:
    """Windows until the interval, narrowing with the root of their count, leaves the limit out 4 times in 5.

    Where the meter's own error is most of the interval, more windows do not narrow it.
    """
    half_j = (energy.upper - energy.lower) / 2
    fixed_j = (normal_quantile(case.confidence) * systematic_share(record) + _allowed(record)) * abs(energy.estimate)
    if fixed_j > half_j / 2:
        return "a meter of stated, better accuracy: its error is most of the interval, and more windows leave it"
    distance = abs(found.limit - (found.estimate or 0.0))
    half = ((found.upper or 0.0) - (found.lower or 0.0)) / 2
    if distance == 0 or not math.isfinite(half):
        return "the share lies at the limit: more windows alone may not decide"
    z = normal_quantile(case.confidence)
    total = energy.count * (half / distance * (z + normal_quantile(POWER)) / z) ** 2
    more = rounded_up(max(total - energy.count, 1))
    return f"about {count(more, 'more energy window')} ({percent(POWER)} chance of deciding)"


__all__ = [
    "INTERVAL_WINDOWS",
    "METHOD",
    "MINIMUM_WINDOWS",
    "EnergyBounds",
    "EnergyFigures",
    "above_idle_bounds",
    "energy_figures",
    "energy_per_inference_j",
    "inference_s",
    "judge_battery",
]
