"""battery.life: how long the battery lasts with the model, over every corner of what is known of it."""

import math

from kit.battery import TIERS, Forecast, Model, forecast
from kit.judge.base import Case, Measured, absent, certifying, explained, finding, undecided
from kit.judge.energy import METHOD, MINIMUM_WINDOWS, drain_of, inference_s
from kit.judge.sentences import how
from kit.records import EnergyRecord, Finding, Obtained, Verdict
from kit.spec.types import BatterySpec, Duty, Range
from kit.stats.means import MeanBounds
from kit.words import interval, percent, quantity


def judge_battery_life(case: Case) -> tuple[Finding, ...]:
    """Life with the model, s: bounds of its energy over windows, carried to every corner of the battery's ranges.

    PASS only where the least life clears the limit. A life that rests on what nobody stated is an estimate, and decides
    nothing; what has no meter, duty or battery is absent.
    """
    drain = drain_of(case, "s")
    if isinstance(drain, Finding):
        return (drain,)
    return (_judged(case, drain.record, drain.energy, drain.battery, drain.duty),)


def _judged(case: Case, record: EnergyRecord, energy: MeanBounds, battery: BatterySpec, duty: Duty) -> Finding:
    model = Model(Range(energy.lower, energy.estimate, energy.upper), duty.inferences_per_s, inference_s(record))
    found = forecast(battery, model)
    obtained: Obtained = "estimated" if found.assumed else record.obtained
    measured = Measured(
        found.life_s.likely, found.life_s.low, None if math.isinf(found.life_s.high) else found.life_s.high,
        "s", f"{METHOD}; {TIERS[found.tier]}, every corner of its ranges",
        energy.count, obtained,
        details={
            "energy_per_inference_j": energy.estimate,
            "inferences_per_s": duty.inferences_per_s,
            "life_without_model_s": found.life_without_model_s.likely,
            "share": found.share.likely,
            "tier": float(found.tier),
        },
    )  # fmt: skip
    if not all(math.isfinite(each) for each in (found.life_s.likely, found.life_without_model_s.likely)):
        return absent(case, "s", "nothing drains this battery, so its life has no end.", "state other_load")
    return _decided(case, finding(case, measured), found, energy)


def _decided(case: Case, of: Finding, found: Forecast, energy: MeanBounds) -> Finding:
    """The finding with its sentence, held back where its inputs cannot carry a verdict."""
    reason = _reason(of, case.requirement.limit_text)
    if energy.estimate <= 0:
        reason = "the meter cannot tell inference from idle: energy above idle is not positive."
        return undecided(of, reason, "a finer meter, longer windows, or a new idle measurement")
    if found.assumed:
        names = ", ".join(found.assumed)
        reason = f"{reason} This rests on what the device file does not state ({names}), and certifies nothing."
        return undecided(of, reason, f"state in [battery]: {names}")
    if energy.count < MINIMUM_WINDOWS:
        reason = f"{reason} {energy.count} windows are too few to decide."
        return undecided(of, reason, f"at least {MINIMUM_WINDOWS} windows")
    if found.overloaded and of.verdict is Verdict.PASS:
        reason = f"{reason} An inference takes longer than its period, so this rate cannot be kept."
        return undecided(of, reason, "a lower rate in the profile's [duty], or a faster model")
    return certifying(case, explained(of, reason, "narrower ranges in [battery], or more energy windows"))


def _reason(of: Finding, limit_text: str) -> str:
    """Why; the limit as it was written."""
    limit = f"limit {limit_text}"
    if of.verdict is Verdict.PASS and of.lower is not None:
        end = f"(lower end, {percent(of.confidence)} confidence in its energy)"
        return f"the battery lasts at least {quantity(of.lower, 's')} with the model{how(of.obtained)} {end}; {limit}."
    ends = interval(of.lower, of.upper, "s")
    return f"the battery lasts {quantity(of.estimate or 0.0, 's')} with the model{how(of.obtained)} {ends}; {limit}."
