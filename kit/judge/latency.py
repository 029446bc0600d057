"""latency.pNN: a distribution-free bound of the quantile of one inference's time, of a run that was stable."""

from dataclasses import replace

import numpy as np

from kit.judge.base import POWER, Case, Measured, absent, certifying, explained, finding, undecided
from kit.judge.sentences import how
from kit.judge.stability import Kind, Stability, assess
from kit.records import Finding, Float64Array, LatencyRecord, Verdict
from kit.stats.changes import MINIMUM_COUNT
from kit.stats.quantile import QuantileBounds, minimum_count, quantile_bounds
from kit.stats.special import normal_quantile
from kit.words import count, interval, percent, quantity, rounded_up

NEEDS: dict[Kind, str] = {
    "throttling": "let the device cool, lift its quota or hold its clock, and measure again (bench --stable waits)",
    "clock change": "hold the clock (governor performance), and measure again (bench --stable waits)",
    "interference": "end other programs on the device, or measure longer (bench --stable waits)",
    "trend": "measure longer, until it is even (bench --stable waits)",
    "temperature": "let the device come to its temperature, and measure again (bench --stable waits)",
    "memory pressure": "free memory on the device, and measure again (bench --stable waits)",
    "bursts": "measure longer, so that such stretches come as often as they do, or find what causes them",
    "late starts": "a longer period, a faster variant, or an idle device",
    "sessions": "measure in more sessions (bench --windows)",
}
"""What to do about a run that was not stable, by its likeliest cause."""

_NEEDED = f"at least {MINIMUM_COUNT} inferences after warm-up"


def judge_latency(case: Case) -> tuple[Finding, ...]:
    """The quantile named by the metric (p50 to p99.9), over the samples after warm-up, in s."""
    record = case.variant.latency
    if record is None or record.obtained in ("absent", "estimated", "computed"):
        return (absent(case, "s", "latency was not measured.", "measure latency on the device"),)
    if not case.device.timing_is_real:
        reason = "times under an emulated processor are no latency."
        return (absent(case, "s", reason, "measure on the real processor"),)
    samples_s = record.samples_ns[record.warmup_count :].astype(np.float64) * 1e-9
    if len(samples_s) == 0:
        return (absent(case, "s", "every latency sample is warm-up.", "measure more inferences"),)
    bounds, stability = quantile_bounds(samples_s, _probability(case), case.confidence), assess(record)
    if stability.state == "unstable":
        return (_of_unstable(case, bounds, record, stability),)
    return (_judged(case, record, bounds),)


def _probability(case: Case) -> float:
    return round(float(case.requirement.metric.removeprefix("latency.p")) / 100, 6)


def _found(case: Case, record: LatencyRecord, bounds: QuantileBounds) -> Finding:
    measured = Measured(
        bounds.estimate, bounds.lower, bounds.upper, "s",
        "order statistics, exact binomial, at the effective count of correlated samples",
        bounds.count, record.obtained,
        details={
            "warmup_count": float(record.warmup_count),
            "design_effect": bounds.design_effect,
            "effective_count": float(bounds.effective_count),
            "minimum_count": float(bounds.minimum_count),
        },
    )  # fmt: skip
    return finding(case, measured)


def _judged(case: Case, record: LatencyRecord, bounds: QuantileBounds) -> Finding:
    found = _found(case, record, bounds)
    if bounds.upper is None and found.verdict is not Verdict.FAIL:
        more = max(bounds.minimum_count * bounds.design_effect, MINIMUM_COUNT) - bounds.count
        wanted = f"about {count(rounded_up(more), 'more inference')}"
        reason = (
            f"{count(bounds.count, 'inference')} ({bounds.effective_count:,} independent ones in effect) cannot bound "
            f"{_name(case)} at {percent(case.confidence)}: at least {bounds.minimum_count:,} are needed."
        )
        return undecided(found, reason, wanted)
    if bounds.count < MINIMUM_COUNT:
        told = f"{count(bounds.count, 'inference')} cannot show that the device kept its speed."
        return undecided(found, f"{_reason(case, found)} {told}", _NEEDED)
    return certifying(case, explained(found, _reason(case, found), _need(case, bounds)))


def _of_unstable(case: Case, whole: QuantileBounds, record: LatencyRecord, stability: Stability) -> Finding:
    """The finding where the run changed on the way, from its fastest stretch's lower end to its slowest's upper end.

    FAIL stands if even the fastest breaks the limit. PASS stands if the slowest holds it, and would if it slowed by as
    much again as its median differs from the fastest's. Anything else is undecided, and so is a run whose stretches are
    unknown.
    """
    stretches, cause = _stretches(record, stability.boundaries), stability.causes[0]
    if len(stretches) < 2:
        found = _found(case, record, whole)
        reason = f"{_reason(case, found)} The run was not stable: {cause.sentence}."
        return undecided(found, reason, NEEDS[cause.kind])
    parts = [_part(case, stretch) for stretch in stretches]
    levels = [float(np.median(stretch)) for stretch in stretches]
    ratio = max(levels) / max(min(levels), 1e-12)
    lower, upper = min(part.lower or 0.0 for part in parts), _slowest_upper(parts, whole, ratio)
    found = _found(case, record, replace(whole, lower=lower, upper=upper))
    found = replace(found, details={**found.details, "stretches": float(len(parts)), "slowest_to_fastest": ratio})
    reason = f"{_reason(case, found)} The run was not stable: {cause.sentence}."
    if found.verdict is Verdict.FAIL:
        return certifying(case, explained(found, f"{reason} Even its fastest stretch is beyond the limit."))
    if found.verdict is Verdict.PASS and upper is not None and upper * ratio <= case.requirement.limit:
        kept = "Its slowest stretch holds the limit, and would if it slowed by as much again."
        return certifying(case, explained(found, f"{reason} {kept}"))
    return undecided(found, reason, NEEDS[cause.kind])


def _slowest_upper(parts: list[QuantileBounds], whole: QuantileBounds, ratio: float) -> float | None:
    """Upper bound of the slowest stretch: its own, or where some stretch is too short, `ratio` times the whole's.

    If stretches differ by a factor, the slowest's quantile is that times the fastest's, which is below the whole's.
    """
    uppers = [part.upper for part in parts if part.upper is not None]
    if len(uppers) == len(parts):
        return max(uppers)
    return None if whole.upper is None else max([whole.upper * ratio, *uppers])


def _stretches(record: LatencyRecord, boundaries: tuple[int, ...]) -> list[Float64Array]:
    """Samples in s between the places where the level changed, after warm-up."""
    inside = [index for index in boundaries if record.warmup_count < index < len(record.samples_ns)]
    samples_s = record.samples_ns.astype(np.float64) * 1e-9
    return np.split(samples_s, [record.warmup_count, *inside])[1:]


def _part(case: Case, stretch: Float64Array) -> QuantileBounds:
    """Bounds of one stretch; too few samples bound nothing."""
    found = quantile_bounds(stretch, _probability(case), case.confidence)
    return found if found.count >= MINIMUM_COUNT else replace(found, lower=None, upper=None)


def _name(case: Case) -> str:
    return case.requirement.metric.removeprefix("latency.")


def _reason(case: Case, found: Finding) -> str:
    limit = f"limit {quantity(found.limit, 's')}"
    share = f"{100 * _probability(case):g} % of inferences finish within"
    if found.verdict is Verdict.PASS and found.upper is not None:
        end = f"(upper end, {percent(found.confidence)} confidence)"
        return f"{share} {quantity(found.upper, 's')}{how(found.obtained)} {end}; {limit}."
    ends = interval(found.lower, found.upper, "s")
    return f"{share} {quantity(found.estimate or 0.0, 's')}{how(found.obtained)} {ends}; {limit}."


def _need(case: Case, bounds: QuantileBounds) -> str:
    """Inferences until the interval, narrowing with the root of the count, leaves the limit out 4 times in 5."""
    side = bounds.upper if bounds.estimate < case.requirement.limit else bounds.lower
    distance = abs(case.requirement.limit - bounds.estimate)
    if side is None or distance == 0:
        return "the quantile lies at the limit: more inferences alone may not decide"
    z = normal_quantile(case.confidence)
    scale = abs(side - bounds.estimate) / distance * (z + normal_quantile(POWER)) / z
    total = max(bounds.count * scale**2, minimum_count(_probability(case), case.confidence) * bounds.design_effect)
    more = max(total - bounds.count, 0.1 * bounds.count)
    return f"about {count(rounded_up(more), 'more inference')} ({percent(POWER)} chance of deciding)"
