"""A requirement on every slice of some columns.

All slices must hold, so each is tested at the requirement's own confidence for PASS: an intersection-union test
(R. L. Berger, Technometrics 24, 1982). A slice is called broken only when that stands after Holm's correction.
"""

from collections.abc import Callable

from kit.judge.base import Case, absent, certifying, undecided
from kit.judge.rows import BoolArray, Sample, slices, too_small
from kit.judge.sentences import percent, slice_name
from kit.records import Finding, Verdict
from kit.stats.multiple import holm
from kit.stats.proportions import p_value_above, p_value_below

Judge = Callable[[str, BoolArray], tuple[Finding, Sample]]


def by_slice(case: Case, judge: Judge) -> tuple[Finding, ...]:
    """One finding a slice, in the columns' order; a slice with too few rows or clusters is NOT TESTED."""
    unit = "points" if case.requirement.metric == "accuracy.drop" else "share"
    missing = [column for column in case.requirement.by if column not in case.evidence.dataset.columns]
    if missing:
        reason = f"the dataset has no column {', '.join(missing)}."
        return (absent(case, unit, reason, "name a column of the dataset"),)
    findings: list[Finding] = []
    tested: list[tuple[int, float]] = []
    for subject, mask in slices(case.evidence.dataset, case.requirement.by):
        small = too_small(case, mask)
        if small:
            findings.append(_untested(case, judge, subject, mask, small, unit))
            continue
        found, sample = judge(subject, mask)
        tested.append((len(findings), _p_value(case, sample)))
        findings.append(found)
    for (index, _), adjusted in zip(tested, holm([p for _, p in tested]), strict=True):
        findings[index] = certifying(case, _corrected(findings[index], adjusted))
    return tuple(findings)


def _p_value(case: Case, sample: Sample) -> float:
    """Against "the slice keeps the limit"."""
    above = case.requirement.direction == "at_most"
    return (p_value_above if above else p_value_below)(sample.counts, case.requirement.limit)


def _untested(case: Case, judge: Judge, subject: str, mask: BoolArray, small: str, unit: str) -> Finding:
    reason, need = f"NOT TESTED: {slice_name(subject)} has {small}.", "more rows, from more clusters, in this slice"
    if not mask.any():
        return absent(case, unit, reason, need, subject)
    return undecided(judge(subject, mask)[0], reason, need)


def _corrected(found: Finding, adjusted: float) -> Finding:
    """Hold a FAIL back unless Holm's adjusted p-value stands at the finding's confidence."""
    if found.verdict is not Verdict.FAIL or adjusted <= 1.0 - found.confidence:
        return found
    reason = (
        f"{found.reason} By itself it would be broken; among all slices it is not sure at {percent(found.confidence)} "
        "(Holm)."
    )
    return undecided(found, reason, "more rows in this slice")
