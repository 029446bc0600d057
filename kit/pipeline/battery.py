"""From a battery, a model's energy and how often it runs to hours, shares and, with a profile, verdicts."""

import math
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kit.battery import Forecast, Model, forecast, most_often
from kit.errors import UsageError
from kit.judge.base import compare, worst
from kit.judge.energy import INTERVAL_WINDOWS, MINIMUM_WINDOWS, above_idle_bounds, inference_s
from kit.records import EnergyRecord, Obtained, Verdict
from kit.spec import load_device, load_profile
from kit.spec.battery import battery_of
from kit.spec.ranges import parse_range
from kit.spec.text import shown
from kit.spec.types import BatterySpec, DeviceSpec, Profile, Range, Requirement
from kit.spec.units import parse
from kit.store import Run

CONFIDENCE = 0.95
"""Of each end of a measured energy's range, unless a requirement asks for more."""

METRICS = ("battery.share", "battery.life")


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, as text: `battery` has a device file's keys. `run`: a run's folder that has an energy record."""

    battery: Mapping[str, str]
    device: str | None = None
    energy: str | None = None
    inference_time: str | None = None
    run: Path | None = None
    variant: str | None = None
    rate: str | None = None
    profile: str | None = None
    budget: str | None = None


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of one inference above idle (J), how it was obtained and by what; windows: None where it was typed.

    confidence: of each end of the range, where windows were measured.
    """

    per_inference_j: Range
    obtained: Obtained
    source: str
    inference_s: float | None
    windows: int | None = None
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What the model may cost (a share of life) or must leave (a life in s), and the rates (1/s) at which it does."""

    text: str
    share: float | None
    life_s: float | None
    rate_hz: Range


@dataclass(frozen=True, slots=True)
class Judged:
    """A profile's requirement on the battery: its verdict and why."""

    requirement: Requirement
    verdict: Verdict
    value: Range
    unit: str
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """All that `edgeproof battery` tells. rate_hz: how often the model runs, at most as often as asked (asked_hz)."""

    battery: BatterySpec
    device: str
    emulated: tuple[str, ...]
    energy: Energy
    rate_hz: float
    asked_hz: float
    forecast: Forecast
    budgets: tuple[Budget, ...]
    judged: tuple[Judged, ...]

    @property
    def verdict(self) -> Verdict | None:
        """The worst of the profile's requirements; None where no profile has one on the battery."""
        return worst(each.verdict for each in self.judged) if self.judged else None


def answer(question: Question) -> Answer:
    """Forecast, budgets and verdicts. Raises UsageError for what is missing, SpecError for what is wrong."""
    run = Run.load(question.run) if question.run else None
    device, profile = _device(question, run), _profile(question, run)
    battery = _battery(question, device)
    asked = tuple(each for each in profile.requirements if each.metric in METRICS) if profile else ()
    energy = _energy(question, run, max((CONFIDENCE, *(each.confidence for each in asked))))
    model = Model(energy.per_inference_j, _rate(question, profile), energy.inference_s)
    found = forecast(battery, model)
    named = question.profile is not None
    return Answer(
        battery=battery,
        device=device.name if device else "",
        emulated=device.emulated if device else (),
        energy=energy,
        rate_hz=model.runs_hz,
        asked_hz=model.rate_hz,
        forecast=found,
        budgets=tuple(_budgets(question, asked, battery, model)),
        judged=tuple(_judged(each, found, energy, device) for each in asked) if named else (),
    )


def _device(question: Question, run: Run | None) -> DeviceSpec | None:
    if question.device is not None:
        return load_device(question.device)
    return run.get("plan/device", DeviceSpec) if run is not None else None


def _profile(question: Question, run: Run | None) -> Profile | None:
    """The profile that was named; else the run's own, for its rate and budget alone."""
    if question.profile is not None:
        return load_profile(question.profile)
    return run.get_optional("plan/profile", Profile) if run is not None and "plan/profile" in run.steps else None


def _battery(question: Question, device: DeviceSpec | None) -> BatterySpec:
    beside = device.battery if device else None
    if beside is not None and not question.battery:
        return beside
    if beside is None and not question.battery:
        next_step = (
            'name a device with a [battery], or add --capacity "300 mAh" --voltage "3.85 V" --other-load "30 mW"'
        )
        raise UsageError("there is no battery to look at", where=device.path if device else "", next_step=next_step)
    return battery_of(question.battery, beside)


def _rate(question: Question, profile: Profile | None) -> float:
    if question.rate is not None:
        return parse(question.rate, "rate", "the rate")
    if profile is not None and profile.duty is not None:
        return profile.duty.inferences_per_s
    raise UsageError("how often the model runs is not known", next_step='add --rate "1 per second", or a --profile')


def _energy(question: Question, run: Run | None, confidence: float) -> Energy:
    if (question.energy is None) is (run is None):
        what = "the model's energy is not known" if run is None else "the model's energy is given twice"
        raise UsageError(what, next_step='give one of --energy-per-inference "1.2 mJ" and --run RUN')
    time_s = None if question.inference_time is None else parse(question.inference_time, "time", "the inference")
    if question.energy is not None:
        given = parse_range(question.energy, "energy", "the energy of an inference")
        return Energy(given, "estimated", "given on the command line", time_s)
    assert run is not None
    name, record = _energy_record(question, run)
    meter = "" if record.meter.name == record.obtained else f", {record.meter.name}"
    if len(record.window_energy_j) < INTERVAL_WINDOWS:
        what = f"{len(record.window_energy_j)} energy windows of {name} cannot bound a mean"
        raise UsageError(what, where=str(run.path), next_step=f"measure {MINIMUM_WINDOWS} windows or more")
    bounds = above_idle_bounds(record, confidence)
    return Energy(
        Range(bounds.lower, bounds.estimate, bounds.upper),
        record.obtained,
        f"{name} of run {run.record.run_id}{meter}",
        time_s or inference_s(record),
        bounds.count,
        confidence,
    )


def _energy_record(question: Question, run: Run) -> tuple[str, EnergyRecord]:
    """The energy of the variant or model that was named, or of the only one that has any, and what people call it."""
    steps = [step.removeprefix("energy/") for step in run.steps if step.startswith("energy/")]
    titles = _models(run) or {step: step for step in steps}
    records = {titles[step]: run.get_optional(f"energy/{step}", EnergyRecord) for step in steps if step in titles}
    known = {name: record for name, record in records.items() if record is not None and record.obtained != "absent"}
    if not known:
        next_step = "measure with a device that has a [meter]"
        raise UsageError("this run has no energy of any variant", where=str(run.path), next_step=next_step)
    if question.variant is None and len(known) == 1:
        return next(iter(known.items()))
    letters = dict(zip(string.ascii_uppercase, _models(run).values(), strict=False))
    named = question.variant or ""
    named = named if named in known else letters.get(named, _models(run).get(named, named))
    if named not in known:
        what = "several variants have energy" if question.variant is None else f"no energy of {question.variant!r}"
        raise UsageError(what, where=str(run.path), next_step=f"add --variant, one of: {', '.join(known)}")
    return named, known[named]


def _models(run: Run) -> dict[str, str]:
    """What each model of a bench's run is called, by the number of its steps; none where it is another command's."""
    from kit.pipeline.bench_folder import PLAN  # it brings what reads models

    labels = run.record.recipes if PLAN in run.steps else ()
    return {str(number): shown(label) for number, label in enumerate(labels, 1)}


def _budgets(question: Question, asked: tuple[Requirement, ...], battery: BatterySpec, model: Model) -> list[Budget]:
    """The budget that was given, else those of the profile, each with the rates that meet it."""
    limits: list[tuple[str, float | None, float | None]] = []
    if question.budget is not None:
        share, life_s = _limit(question.budget)
        limits.append((question.budget, share, life_s))
    else:
        for each in asked:
            is_share = each.metric == "battery.share"
            limits.append((each.limit_text, each.limit if is_share else None, None if is_share else each.limit))
    return [Budget(*limit, most_often(battery, model, share=limit[1], life_s=limit[2])) for limit in limits]


def _limit(text: str) -> tuple[float | None, float | None]:
    """A share of life ("15 %") or a life ("30 days"), s."""
    if text.strip()[-1:].isalpha():
        return None, parse(text, "life", "the budget")
    return parse(text, "share", "the budget"), None


def _judged(asked: Requirement, found: Forecast, energy: Energy, device: DeviceSpec | None) -> Judged:
    """PASS or FAIL where the whole range is on one side of the limit, and where its inputs can carry that."""
    value, unit = (found.share, "share") if asked.metric == "battery.share" else (found.life_s, "s")
    verdict, why = compare(asked.direction, asked.limit, value.low, value.high), "the range holds the limit"
    if verdict is not Verdict.INCONCLUSIVE:
        why = "the whole range is " + ("within the limit" if verdict is Verdict.PASS else "beyond the limit")
    held = _held_back(asked, found, energy, device)
    if found.overloaded and verdict is Verdict.PASS:
        held = held or "an inference takes longer than its period, so the rate asked cannot be kept"
    return Judged(asked, Verdict.INCONCLUSIVE if held else verdict, value, unit, held or why)


def _held_back(asked: Requirement, found: Forecast, energy: Energy, device: DeviceSpec | None) -> str:
    """Why no verdict can rest on this; empty where one can."""
    if energy.obtained == "estimated":
        return f"the energy is an estimate ({energy.source}), and an estimate certifies nothing"
    if energy.obtained == "emulated" and not (device and device.emulated):
        return "the energy is emulated and the device is real, so it certifies nothing"
    if not energy.per_inference_j.likely > 0:
        return "the meter cannot tell inference from idle: energy above idle is not positive"
    if energy.windows is not None and energy.windows < MINIMUM_WINDOWS:
        return f"{energy.windows} windows are too few to decide: at least {MINIMUM_WINDOWS}"
    if asked.metric == "battery.life" and found.assumed:
        return f"the life rests on what is not stated: {', '.join(found.assumed)}"
    if not math.isfinite(found.life_without_model_s.likely):
        return "nothing but the model drains this battery: state other_load"
    return ""
