"""What `edgeproof battery` says: a screen for people, an object for machines."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kit.battery import LEFT, PEAK, TIERS, Statement
from kit.cli.output import emulated_lines, say, tell
from kit.judge.sentences import how
from kit.spec.types import BatterySpec, Range
from kit.spec.units import UNITS
from kit.words import number, quantity

if TYPE_CHECKING:
    from kit.pipeline.battery import Answer, Budget

_LABEL = 20
_SMALL = 5e-4
"""Parts below this are left out for people: they would read 0 %."""

_RATES = ((1.0, "per second"), (1 / 60, "per minute"), (1 / 3600, "per hour"), (1 / 86400, "per day"))


def tell_answer(found: "Answer") -> None:
    """One screen: what went in, the lives, the share, the budget, where the charge goes, what was assumed."""
    forecast = found.forecast
    for line in emulated_lines(found.emulated):
        say(line)
    _row("battery", _battery_text(found.battery) + (f" ({found.device})" if found.device else ""))
    _row("model", _model_text(found))
    _row("method", f"{TIERS[forecast.tier]}; [least, greatest] over all that is known")
    if forecast.overloaded:
        _row("too often", f"an inference takes longer than its period ({_figure(found.asked_hz, '1/s')} asked): "
             f"the model runs always, {_figure(found.rate_hz, '1/s')}")  # fmt: skip
    say("")
    _row("life without it", ranged(forecast.life_without_model_s, "s"))
    _row("life with it", ranged(forecast.life_s, "s") + how(_obtained(found)))
    _row("the model costs", ranged(forecast.share, "share") + " of the life")
    _row("the charge goes to", _parts_text(found))
    if forecast.by_peak[1]:
        sure = "" if forecast.by_peak[0] else "at worst, "
        left = ranged(forecast.parts[LEFT], "share")
        _row("stops early", f"{sure}a peak takes the voltage below the cutoff, with {left} of the charge left")
    for budget in found.budgets:
        _row(f"budget {budget.text}", _budget_text(budget, found))
    _tell_statements(forecast.statements)
    for judged in found.judged:
        say("")
        limit = f"{judged.requirement.metric} {judged.requirement.direction.replace('_', ' ')}"
        asked = judged.requirement.limit_text
        value = _life_as(judged.value, asked) if judged.unit == "s" else ranged(judged.value, judged.unit)
        tell(f"{judged.verdict}: {limit} {asked}: {value}")
        tell(judged.reason, "    ")


def answer_object(found: "Answer") -> dict[str, Any]:
    """The same as JSON; a life or rate without an end is null."""
    forecast = found.forecast
    return {
        "schema": "edgeproof/battery/1",
        "device": found.device,
        "emulated": list(found.emulated),
        "tier": forecast.tier,
        "method": TIERS[forecast.tier],
        "obtained": _obtained(found),
        "energy": asdict(found.energy) | {"per_inference_j": _ends(found.energy.per_inference_j)},
        "rate_hz": found.rate_hz,
        "asked_hz": found.asked_hz,
        "life_without_model_s": _ends(forecast.life_without_model_s),
        "life_s": _ends(forecast.life_s),
        "share": _ends(forecast.share),
        "parts": {name: _ends(part) for name, part in forecast.parts.items()},
        "dominant": forecast.dominant,
        "by_peak": dict(zip(("likely", "at_worst"), forecast.by_peak, strict=True)),
        "overloaded": forecast.overloaded,
        "budgets": [_budget_object(each, found) for each in found.budgets],
        "inputs": [
            {"name": each.name, "value": _ends(each.value), "unit": each.unit, "source": each.source}
            for each in forecast.statements
        ],
        "verdict": found.verdict,
        "requirements": [
            {
                "id": each.requirement.id,
                "metric": each.requirement.metric,
                "limit": each.requirement.limit,
                "direction": each.requirement.direction,
                "value": _ends(each.value),
                "verdict": each.verdict,
                "reason": each.reason,
            }
            for each in found.judged
        ],
    }


def _budget_object(budget: "Budget", found: "Answer") -> dict[str, Any]:
    duty = _duty(budget.rate_hz, found)
    return asdict(budget) | {"rate_hz": _ends(budget.rate_hz), "duty_share": None if duty is None else _ends(duty)}


def ranged(value: Range, unit: str) -> str:
    """ "1.5 days [1.2 days, 1.6 days]"; one figure where it is exact."""
    likely, low, high = (_figure(each, unit) for each in (value.likely, value.low, value.high))
    return likely if low == high == likely else f"{likely} [{low}, {high}]"


def _figure(value: float, unit: str) -> str:
    if math.isinf(value):
        return "without end"
    if unit == "1/s":
        factor, name = next((row for row in _RATES if value >= row[0]), _RATES[-1 if value else 0])
        return f"{number(value / factor, 3)} {name}"
    return f"{value:g} °C".replace("-", "−") if unit == "°C" else quantity(value, unit)


def _ends(value: Range) -> dict[str, float | None]:
    return {name: None if math.isinf(end) else end for name, end in asdict(value).items()}


def _row(label: str, text: str) -> None:
    if len(label) >= _LABEL:
        say(label)
        label = ""
    tell(text, f"{label:<{_LABEL}}")


def _obtained(found: "Answer") -> Any:
    """A life that rests on what nobody stated is an estimate, whatever measured the energy."""
    return "estimated" if found.forecast.assumed else found.energy.obtained


def _battery_text(battery: BatterySpec) -> str:
    name = f"{battery.discharge.name}, " if battery.discharge else ""
    energy = f"{number(battery.capacity_j / 3600, 3)} Wh"
    if battery.voltage_v:
        energy = f"{number(battery.capacity_j / battery.voltage_v / 3.6, 3)} mAh at {battery.voltage_v:g} V, {energy}"
    kind = f" {battery.chemistry}" if battery.chemistry else ""
    return f"{name}{energy}{kind}, beside {quantity(battery.other_load_w, 'W')} without the model"


def _model_text(found: "Answer") -> str:
    energy = found.energy
    time = f", {quantity(energy.inference_s, 's')} long" if energy.inference_s else ""
    text = f"{ranged(energy.per_inference_j, 'J')} an inference above idle{time}, {_figure(found.rate_hz, '1/s')}"
    return f"{text}; {energy.obtained}, {energy.source}"


def _parts_text(found: "Answer") -> str:
    parts = sorted(found.forecast.parts.items(), key=lambda part: -part[1].likely)
    shown = [f"{name} {quantity(part.likely, 'share')}" for name, part in parts if part.likely >= _SMALL]
    dominant = "the peak" if found.forecast.dominant == PEAK else found.forecast.dominant
    return f"{', '.join(shown)}: {dominant} dominates"


def _budget_text(budget: "Budget", found: "Answer") -> str:
    rate, asked_hz, alone = budget.rate_hz, found.rate_hz, found.forecast.life_without_model_s
    if math.isinf(rate.low):
        return "met at every rate"
    short = ""
    if budget.life_s is not None and alone.low < budget.life_s:
        short = f"; without the model the life is {_life_as(alone, budget.text)}"
    if rate.high <= 0:
        return f"met at no rate{short}"
    met = "surely" if asked_hz <= rate.low else "likely" if asked_hz <= rate.likely else "likely not"
    met = "surely not" if asked_hz > rate.high else met
    duty, asked = _duty(rate, found), _duty(Range(asked_hz, asked_hz, asked_hz), found)
    upto = f"met up to {ranged(rate, '1/s')}" + (f", which is {ranged(duty, 'share')} of the time" if duty else "")
    if rate.likely <= 0:
        busy = f", {quantity(duty.high, 'share')} of the time" if duty else ""
        upto = f"likely met at no rate, at best up to {_figure(rate.high, '1/s')}{busy}"
    at = f" ({quantity(asked.likely, 'share')} of the time)" if asked else ""
    return f"{upto}; {_figure(asked_hz, '1/s')}{at}: {met}{short}"


def _duty(rate_hz: Range, found: "Answer") -> Range | None:
    """The share of time in which the model runs at a rate, at most all; None where an inference's time is not known."""
    time_s = found.energy.inference_s
    if not time_s or math.isinf(rate_hz.high):
        return None
    return Range(*(min(1.0, each * time_s) for each in (rate_hz.low, rate_hz.likely, rate_hz.high)))


def _life_as(life_s: Range, text: str) -> str:
    """A life in the unit in which `text` states one."""
    unit = text.split()[-1].lstrip("0123456789.+") if text.split() else ""
    scale = UNITS["life"].scales.get(unit)
    if scale is None:
        return ranged(life_s, "s")
    ends = (life_s.likely, life_s.low, life_s.high)
    likely, low, high = ("without end" if math.isinf(each) else f"{number(each / scale, 3)} {unit}" for each in ends)
    return likely if low == high == likely else f"{likely} [{low}, {high}]"


def _tell_statements(statements: tuple[Statement, ...]) -> None:
    for source, label in (("stated", "stated"), ("profile", "from the profile"), ("assumed", "ASSUMED (estimate)")):
        texts = [f"{each.name.replace('_', ' ')} {_span(each)}" for each in statements if each.source == source]
        if texts:
            _row(label, ", ".join(texts))


def _span(each: Statement) -> str:
    low, high = _figure(each.value.low, each.unit), _figure(each.value.high, each.unit)
    return low if low == high else f"{low} to {high}"
