"""numerics.processor_flips: decisions that depend on whether the processor's int8 kernels saturate.

x86 without VNNI adds pairs of 8-bit products in 16 bits, which saturate; VNNI and ARM do not. Three facts decide: a
bound on those pair sums from the weights alone (a proof), the device's default against its exact arithmetic
(measured), and the saturating arithmetic computed on every row (computed).
"""

from dataclasses import dataclass, replace

import numpy as np

from kit.judge.base import (
    Case,
    Measured,
    absent,
    certifying,
    explained,
    finding,
    has_stopped_early,
    undecided,
    unpredicted,
)
from kit.judge.rows import BoolArray, measures_instead, more_rows, outcomes
from kit.records import Finding, Obtained, PredictionRecord, Verdict
from kit.task.decisions import are_equal, changed_rows
from kit.words import count, interval, quantity

OTHER = "x86 without VNNI"
PROVEN = "pair sums bounded from the weights (a proof for every input), and decisions compared row by row"
COUNTED = (
    "decisions compared row by row; score bound (Wilson 1927), corrected for skewness and steps, at effective counts, "
    "Student t over clusters"
)


@dataclass(frozen=True, slots=True)
class Flips:
    """Decisions under one arithmetic that differ from the exact one: where it holds, rows [n], and accuracies."""

    where: str
    differs: BoolArray
    accuracy: float
    exact_accuracy: float
    obtained: Obtained
    predictions: PredictionRecord

    @property
    def count(self) -> int:
        """Rows that differ."""
        return int(self.differs.sum())


def judge_processor_flips(case: Case) -> tuple[Finding, ...]:
    """The worse of the device's own kernels and the computed saturating ones, as a share of rows that differ."""
    saturation = case.variant.variant.saturation
    if saturation.quantized_nodes == 0 and not saturation.can_saturate:
        return (_float(case),)
    exact, own = case.variant.exact_predictions, case.variant.predictions
    if exact is None or own is None or "absent" in (exact.obtained, own.obtained):
        if has_stopped_early(case):
            return (absent(case, "share", *unpredicted(case)),)
        missing = "with exact arithmetic" if exact is None or exact.obtained == "absent" else "on the device"
        return (absent(case, "share", f"predictions {missing} were not obtained.", f"run the dataset {missing}"),)
    if changed_rows(case.evidence.dataset, exact, own) is None:
        return (_undecided_task(case, own, exact),)
    both = [_flips(case, "this device", own, exact)]
    if case.variant.saturating_predictions is not None:
        both.append(_flips(case, OTHER, case.variant.saturating_predictions, exact))
    return (certifying(case, _judged(case, max(both, key=lambda flips: flips.count), both)),)


def _float(case: Case) -> Finding:
    measured = Measured(0.0, 0.0, 0.0, "share", "no quantized operator: nothing saturates", 0, "computed")
    return explained(finding(case, measured), "the model has no int8 operator, so no processor saturates it.")


def _undecided_task(case: Case, own: PredictionRecord, exact: PredictionRecord) -> Finding:
    """A task that decides nothing passes by the proof alone, with answers that equal exact arithmetic's."""
    saturation, task = case.variant.variant.saturation, case.evidence.dataset.task
    if saturation.can_saturate or not are_equal(own, exact):
        reason = f"a model of the task {task} makes no decision that could depend on the processor."
        return absent(case, "share", reason, f"{measures_instead(case)}, or a variant that cannot saturate")
    measured = Measured(0.0, 0.0, 0.0, "share", PROVEN, case.evidence.dataset.rows, "computed")
    bound = f"largest pair sum {abs(saturation.worst_pair):,} of {saturation.limit:,}"
    reason = f"no input can saturate it on any processor ({bound}), and every answer is that of exact arithmetic."
    return explained(finding(case, measured), reason)


def _flips(case: Case, where: str, predictions: PredictionRecord, exact: PredictionRecord) -> Flips:
    rows = outcomes(replace(case, evidence=replace(case.evidence, reference_predictions=exact)), predictions)
    return Flips(
        where, rows.decision_changed, float(rows.optimized_right.mean()), float(rows.reference_right.mean()),
        predictions.obtained, predictions,
    )  # fmt: skip


def _judged(case: Case, flips: Flips, both: list[Flips]) -> Finding:
    found = finding(case, _measured(case, flips, both))
    saturation = case.variant.variant.saturation
    if flips.count and case.requirement.limit == 0:
        return _broken(case, found, flips)
    if saturation.can_saturate and len(both) == 1 and found.verdict is not Verdict.FAIL:
        reason = f"{_at_risk(case)} may saturate on {OTHER}, and those decisions were not computed."
        return undecided(found, reason, "compute the saturating arithmetic, or run on such a processor")
    if found.verdict is Verdict.PASS and not saturation.can_saturate and not flips.count:
        reason = (
            f"no input can saturate it on any processor (largest pair sum {abs(saturation.worst_pair):,} of "
            f"{saturation.limit:,}), and none of {count(found.rows, 'decision')} differs from exact arithmetic."
        )
        return explained(found, reason)
    return _counted(case, found, flips)


def _measured(case: Case, flips: Flips, both: list[Flips]) -> Measured:
    """Bounds of the share of flips; proven zero where nothing can saturate and nothing differs."""
    saturation = case.variant.variant.saturation
    exact = case.variant.exact_predictions
    proven = not saturation.can_saturate and not flips.count
    sample = outcomes(case, flips.predictions).accuracy(flips.differs)
    lower, upper = (0.0, 0.0) if proven else sample.counts.bounds(case.confidence)
    details = {f"flips_{_key(each.where)}": float(each.count) for each in both}
    details |= {f"accuracy_{_key(each.where)}": each.accuracy for each in both}
    details |= {"accuracy_exact": flips.exact_accuracy, "worst_pair": float(saturation.worst_pair)}
    return Measured(
        float(flips.differs.mean()), lower, upper, "share", PROVEN if proven else COUNTED, sample.rows,
        "computed" if proven else flips.obtained, sample.clusters, case.digests(flips.predictions, exact), details,
    )  # fmt: skip


def _key(where: str) -> str:
    return "saturating" if where == OTHER else "device"


def _broken(case: Case, found: Finding, flips: Flips) -> Finding:
    """None is allowed and one is on record: that is a fact, and needs no bound."""
    return explained(replace(found, verdict=Verdict.FAIL), f"{_story(case, flips)}; none is allowed.")


def _counted(case: Case, found: Finding, flips: Flips) -> Finding:
    ends = interval(found.lower, found.upper, "share")
    sentence = f"{_story(case, flips)} {ends}; allowed {quantity(found.limit, 'share')}."
    sample = outcomes(case, flips.predictions).accuracy(flips.differs)
    if case.requirement.limit == 0:
        sentence += f" {_at_risk(case)} may still saturate on other inputs."
        return explained(found, sentence, "a variant that cannot saturate: reduced range, or other weights")
    return explained(found, sentence, more_rows(case, sample, case.requirement.limit))


def _story(case: Case, flips: Flips) -> str:
    """ "on x86 without VNNI 1,342 of 2,008 decisions change; accuracy 17.5 % instead of 83.9 %", and who is hit."""
    rows = len(flips.differs)
    if not flips.count:
        return f"none of {count(rows, 'decision')} changes on {flips.where}"
    why = ", whose 16-bit pair sums saturate," if flips.where == OTHER else ""
    change = f"on {flips.where}{why} {flips.count:,} of {count(rows, 'decision')} change"
    accuracy = f"accuracy {quantity(flips.accuracy, 'share')} instead of {quantity(flips.exact_accuracy, 'share')}"
    hit = f"; most often {_most_hit(case, flips)}" if len(flips.predictions.decisions) else ""
    return f"{change}; {accuracy}{hit}"


def _most_hit(case: Case, flips: Flips, names: int = 2) -> str:
    """The classes with the largest share of changed rows, as "row (280 of 301)"."""
    data = case.evidence.dataset
    total = np.bincount(data.labels, minlength=len(data.classes))
    hit = np.bincount(data.labels[flips.differs], minlength=len(data.classes))
    order = np.argsort(-hit / np.maximum(total, 1), kind="stable")
    hits = (f"{data.classes[index]} ({hit[index]:,} of {total[index]:,})" for index in order[:names] if hit[index])
    return " and ".join(hits)


def _at_risk(case: Case) -> str:
    nodes = case.variant.variant.saturation.nodes_at_risk
    return f"{count(len(nodes), 'operator')} ({', '.join(nodes[:3])}{', …' if len(nodes) > 3 else ''})"
