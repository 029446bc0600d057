"""Which variant a run certifies: the cheapest that passes, by the cost that the profile names."""

import math
from collections.abc import Mapping

import numpy as np

from kit.judge.energy import energy_per_inference_j
from kit.judge.sentences import how
from kit.records import Obtained, VariantEvidence, VariantJudgement, Verdict
from kit.spec.types import Profile
from kit.words import count, quantity

_NAMES = {"size": "size", "latency": "median latency", "energy": "energy an inference above idle"}
_UNITS = {"size": "B", "latency": "s", "energy": "J"}


def cost_of(variant: VariantEvidence, profile: Profile) -> tuple[float, str]:
    """Cost and unit: file size in B, median latency after warm-up in s, or mean energy above idle in J.

    A cost that was not obtained is infinite: it never makes a variant the cheapest. So is energy that the meter cannot
    tell from idle.
    """
    unit = _UNITS[profile.cheapest_by]
    if profile.cheapest_by == "size":
        return float(variant.variant.model.size_bytes), unit
    if profile.cheapest_by == "latency":
        samples = None if variant.latency is None else variant.latency.samples_ns[variant.latency.warmup_count :]
        return (math.inf if samples is None or not len(samples) else float(np.median(samples)) * 1e-9), unit
    if variant.energy is None or not len(variant.energy.window_energy_j):
        return math.inf, unit
    energy_j = float(energy_per_inference_j(variant.energy).mean())
    return (energy_j if energy_j > 0 else math.inf), unit


def cost_obtained(variant: VariantEvidence, profile: Profile) -> Obtained:
    """How the cost of `cost_of` was obtained."""
    if profile.cheapest_by == "size":
        return "computed"
    record = variant.latency if profile.cheapest_by == "latency" else variant.energy
    return "absent" if record is None else record.obtained


def choose(
    judged: tuple[VariantJudgement, ...], profile: Profile, obtained: Mapping[str, Obtained]
) -> tuple[VariantJudgement, str]:
    """The variant chosen and why, as one sentence: cheapest that passes, else least undecided, else least broken.

    Ties go to the cheaper one, then to the first name. `obtained` says of each variant's name how its cost was.
    """
    costs = {one.variant: _cost(one, obtained[one.variant]) for one in judged}
    order = sorted(judged, key=lambda one: (one.cost, one.variant))
    for verdict in (Verdict.PASS, Verdict.INCONCLUSIVE):
        if of := [one for one in order if one.verdict is verdict]:
            nearest = min(of, key=lambda one: _having(one, Verdict.INCONCLUSIVE))
            return nearest, _why(nearest, len(of), order, profile, costs)
    least = min(order, key=lambda one: (_having(one, Verdict.FAIL), _having(one, Verdict.INCONCLUSIVE)))
    broken = count(_having(least, Verdict.FAIL), "requirement")
    if len(order) == 1:
        return least, f"{least.variant} is the only variant, and it breaks {broken}."
    return least, f"no variant passes and none is undecided; {least.variant} breaks least: {broken}."


def _having(one: VariantJudgement, verdict: Verdict) -> int:
    """Requirements with a finding of this verdict."""
    return len({finding.requirement for finding in one.findings if finding.verdict is verdict})


def _why(
    chosen: VariantJudgement, alike: int, order: list[VariantJudgement], profile: Profile, costs: Mapping[str, str]
) -> str:
    passes, name = chosen.verdict is Verdict.PASS, chosen.variant
    if len(order) == 1:
        return f"{name} is the only variant, and it {'passes' if passes else 'is undecided'}."
    by, cost = _NAMES[profile.cheapest_by], costs[name]
    of = f"of {count(len(order), 'variant')}"
    if alike == 1:
        only = f"{name} is the only one {of} that"
        sentence = f"{only} passes" if passes else f"no variant passes; {only} is undecided"
        sentence += f", at {by} {cost}"
    else:
        state = f"{alike} {of} pass" if passes else f"no variant passes, and {alike} {of} are undecided"
        left = count(_having(chosen, Verdict.INCONCLUSIVE), "requirement")
        which = "is the cheapest of them" if passes else f"leaves the fewest undecided, {left}, cheapest"
        sentence = f"{state}; {name} {which} by {by} ({cost})"
    cheaper = [one for one in order[: order.index(chosen)] if one.verdict is not chosen.verdict]
    if cheaper:
        sentence += f"; {_list(cheaper, costs)} {'costs' if len(cheaper) == 1 else 'cost'} no more but {_fate(cheaper)}"
    return sentence + "."


def _cost(one: VariantJudgement, obtained: Obtained) -> str:
    return quantity(one.cost, one.cost_unit) + how(obtained) if math.isfinite(one.cost) else "not measured"


def _list(variants: list[VariantJudgement], costs: Mapping[str, str]) -> str:
    return " and ".join(f"{one.variant} ({costs[one.variant]})" for one in variants)


def _fate(variants: list[VariantJudgement]) -> str:
    verdicts = {one.verdict for one in variants}
    if verdicts == {Verdict.FAIL}:
        return "fails" if len(variants) == 1 else "fail"
    if verdicts == {Verdict.INCONCLUSIVE}:
        return "is undecided" if len(variants) == 1 else "are undecided"
    return "fail or are undecided"
