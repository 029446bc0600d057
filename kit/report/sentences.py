"""Findings in words: labels, one plain sentence each, and what to do next. Everything comes from the finding."""

from typing import Final

from kit.records import Finding, Verdict
from kit.report.figures import Scale, clean, listed, points, scale_for
from kit.spec.subjects import in_words
from kit.words import count
from kit.words import percent as confidence_text

LABELS: Final = {
    "latency.p50": "latency p50",
    "latency.p90": "latency p90",
    "latency.p95": "latency p95",
    "latency.p99": "latency p99",
    "latency.p99.9": "latency p99.9",
    "memory.peak": "peak memory",
    "model.size": "model size",
    "battery.share": "battery share",
    "battery.life": "battery life",
    "accuracy.value": "accuracy",
    "accuracy.drop": "accuracy lost",
    "quality.value": "quality",
    "quality.loss": "quality lost",
    "agreement.flips": "decisions changed",
    "slices.found": "worst slice found",
    "fairness.gap": "gap of groups",
    "fairness.ratio": "ratio of groups",
    "fairness.gap_change": "fairness gap",
    "data.missing": "missing values",
    "data.wrong": "wrong values",
    "data.duplicates": "duplicated rows",
    "data.leaked": "leaked rows",
    "data.shifted": "shifted data",
    "data.lagged": "lagging data",
    "privacy.membership": "membership leak",
    "explanation.agreement": "explanations",
    "numerics.processor_flips": "processor flips",
}
OBTAINED_NOTES: Final = {
    "estimated": "estimated from a declared model, so it informs and cannot pass",
    "emulated": "emulated, so it certifies no hardware",
    "absent": "not obtained",
}
NOT_TESTED: Final = "NOT TESTED"
ONE_RUN: Final = "The interval is for this run under these conditions; another run may differ by more than it."
_ONE: Final = {"days": "day", "years": "year"}
"""Units that are words, of one."""
_WHOLE: Final = {"", "all", "all rows", "whole", "overall", "the whole", "everything"}
_RANK: Final = {Verdict.FAIL: 0, Verdict.INCONCLUSIVE: 1, Verdict.PASS: 2}


def is_whole(finding: Finding) -> bool:
    """Whether the finding is about all rows, not one slice."""
    return finding.subject.strip().lower() in _WHOLE


def subject_text(finding: Finding) -> str:
    """The slice in words (``side: left``), or nothing for the whole."""
    return "" if is_whole(finding) else clean(in_words(finding.subject), 160)


def status(finding: Finding) -> str:
    """The verdict's word; a slice too small to judge, or without a figure, was not tested."""
    return NOT_TESTED if is_untested(finding) else finding.verdict.value


def is_untested(finding: Finding) -> bool:
    """Whether the finding is about a slice that the judge refused for its size."""
    refused = finding.estimate is None or finding.reason.startswith(NOT_TESTED)
    return finding.verdict is Verdict.INCONCLUSIVE and not is_whole(finding) and refused


def finding_scale(finding: Finding) -> Scale:
    """One scale for the estimate, interval and limit; the limit is left out where it is more than ten times away."""
    seen = [abs(v) for v in (finding.estimate, finding.lower, finding.upper) if v is not None]
    near = not seen or max(seen) * 10 >= abs(finding.limit)
    return scale_for((*seen, *([finding.limit] if near else [])), finding.unit)


def margin(finding: Finding, value: float) -> float:
    """(value - limit) / |limit|, flipped so that positive is better and 0 is the limit.

    A limit of zero is divided by the finding's declared tolerance, else by one point or one unit.
    """
    fallback = 0.01 if finding.unit in {"share", "points"} else 1.0
    size = abs(finding.limit) or abs(finding.details.get("tolerance", fallback))
    sign = 1.0 if finding.direction == "at_least" else -1.0
    return sign * (value - finding.limit) / size


def worst_first(finding: Finding) -> tuple[int, int, float]:
    """Sort key: failing, undecided, passing; within each the smallest margin; what was not tested comes after."""
    untested = finding.estimate is None or is_untested(finding)
    closeness = 0.0 if finding.estimate is None else margin(finding, finding.estimate)
    return (_RANK[finding.verdict], int(untested), closeness)


def limit_text(finding: Finding) -> str:
    """``≤ 16.0 ms``."""
    return ("≤ " if finding.direction == "at_most" else "≥ ") + limit_figure(finding)


def limit_figure(finding: Finding) -> str:
    """``16 ms``, in the unit that suits the limit; unsigned unless negative."""
    scale = scale_for([finding.limit], finding.unit)
    text = scale.tick(finding.limit).removeprefix("+")
    return f"{text} {_ONE.get(scale.suffix, scale.suffix) if text == '1' else scale.suffix}".strip()


def interval_text(finding: Finding) -> str:
    """``[14.7, 15.1]``; nothing where the figure is exact."""
    if finding.lower == finding.upper == finding.estimate:
        return ""
    return finding_scale(finding).interval(finding.lower, finding.upper)


def measured_text(finding: Finding) -> str:
    """``14.9 ms [14.7, 15.1]``."""
    return f"{finding_scale(finding).text(finding.estimate)} {interval_text(finding)}".strip()


def sentence(finding: Finding) -> str:
    """One sentence that begins with the verdict's word."""
    return f"{status(finding)}: {reason(finding)}"


def reason(finding: Finding) -> str:
    """The sentence without the verdict's word: the judge's own, or figure against limit where it gave none."""
    return _ended(_lead(finding.reason) or _plain(finding))


def capitalized(text: str) -> str:
    """`text` with its first letter raised, the rest as it is."""
    return text[:1].upper() + text[1:]


def _lead(reason: str) -> str:
    """A judge's reason without a verdict word before it, which the report writes itself."""
    for word in (NOT_TESTED, *Verdict):
        reason = reason.removeprefix(f"{word}: ")
    return clean(reason, 400)


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else text + "."


def _plain(finding: Finding) -> str:
    label = LABELS.get(finding.metric, clean(finding.metric))
    who = f" of {subject_text(finding)}" if subject_text(finding) else ""
    if finding.estimate is None:
        return f"{label}{who} was not obtained"
    note = OBTAINED_NOTES.get(finding.obtained)
    return f"{label}{who} is {measured_text(finding)}; limit {limit_figure(finding)}" + (f"; {note}" if note else "")


def next_step(finding: Finding, others_passing: list[str]) -> str:
    """What to do about a broken or undecided finding, from what is known of it and of the other variants."""
    if finding.verdict is Verdict.PASS:
        return ""
    steps = [capitalized(_ended(clean(finding.need, 400)))] if finding.need else []
    if finding.obtained == "estimated" and not steps:
        steps.append("Measure energy with a power meter: an estimate cannot pass.")
    if finding.verdict is Verdict.FAIL and others_passing:
        names = listed([clean(name, 40) for name in others_passing[:3]])
        steps.append(f"Met by {names}.")
    if finding.metric == "numerics.processor_flips" and finding.verdict is Verdict.FAIL:
        steps.append("Use a recipe with reduced range.")
    if finding.metric.startswith("data.") and finding.verdict is Verdict.FAIL and not steps:
        return "Mend the data, or change the limit: it is the same for every variant."
    return " ".join(steps) or "No variant meets it: change the model, the recipes or the limit."


def drop_text(finding: Finding) -> str:
    """A drop as the judge words it: ``lost 1.7 points [−5.2, +9.4]``; a gain of points says what it is as a drop."""
    drop, ends = finding.estimate or 0.0, interval_text(finding)
    if finding.unit != "points":
        return f"{'gained' if drop < 0 else 'lost'} {finding_scale(finding).text(abs(drop))} {ends}".strip()
    size = points(abs(drop)).removeprefix("+").replace("pp", "points")
    gained = f"gained {size}, as a drop {points(drop).removesuffix(' pp')}"
    return f"{gained if drop < 0 else f'lost {size}'} {ends}".strip()


def is_exact(finding: Finding) -> bool:
    """Whether the figure has no uncertainty: counted from the file, or without an interval by its nature."""
    narrow = finding.estimate is not None and finding.lower == finding.upper == finding.estimate
    return finding.confidence >= 1 or (finding.obtained == "computed" and narrow)


def sureness(finding: Finding) -> str:
    """``95 %``; ``proof`` where the method is one and ``exact`` where nothing is uncertain."""
    if is_exact(finding):
        return "proof" if "proof" in finding.method else "exact"
    return confidence_text(finding.confidence)


def rows_text(finding: Finding) -> str:
    """``2,008 rows, 44 clusters``; rows that are their own clusters are independent; a computed figure needs none."""
    if finding.obtained == "computed" and finding.rows <= 1:
        return "from the file"
    if finding.clusters is None:
        return f"n = {finding.rows:,}"
    if finding.clusters == finding.rows:
        return count(finding.rows, "independent row")
    return f"{count(finding.rows, 'row')}, {count(finding.clusters, 'cluster')}"
