"""latency.pNN: a distribution-free bound of the quantile of one inference's time."""

import numpy as np

from kit.judge.base import POWER, Case, Measured, absent, certifying, explained, finding, undecided
from kit.judge.sentences import count, how, interval, percent, quantity, rounded_up
from kit.records import Finding, LatencyRecord, Verdict
from kit.stats.quantile import QuantileBounds, minimum_count, quantile_bounds
from kit.stats.special import normal_quantile


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
    return (_judged(case, record, quantile_bounds(samples_s, _probability(case), case.confidence)),)


def _probability(case: Case) -> float:
    return round(float(case.requirement.metric.removeprefix("latency.p")) / 100, 6)


def _judged(case: Case, record: LatencyRecord, bounds: QuantileBounds) -> Finding:
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
    found = finding(case, measured)
    if bounds.upper is None and found.verdict is not Verdict.FAIL:
        more = bounds.minimum_count * bounds.design_effect - bounds.count
        wanted = f"about {count(rounded_up(more), 'more inference')}"
        reason = (
            f"{count(bounds.count, 'inference')} ({bounds.effective_count:,} independent ones in effect) cannot bound "
            f"{_name(case)} at {percent(case.confidence)}: at least {bounds.minimum_count:,} are needed."
        )
        return undecided(found, reason, wanted)
    return certifying(case, explained(found, _reason(case, found), _need(case, bounds)))


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
