"""A requirement on every slice that a profile declares.

All slices must hold, so each is tested at the requirement's own confidence for PASS: an intersection-union test
(R. L. Berger, Technometrics 24, 1982). A slice is called broken only when that stands after Holm's correction. Beside
its own interval each tested slice has one that holds together with all the others' (`kit.stats.simultaneous`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kit.errors import SpecError
from kit.judge.base import Case, absent, certifying, undecided
from kit.judge.rows import BoolArray, Sample, too_few
from kit.judge.sentences import slice_name
from kit.records import Finding, Verdict
from kit.slicing.declared import Slices, declared
from kit.stats.multiple import holm
from kit.stats.proportions import p_value_above, p_value_below
from kit.stats.simultaneous import Contributions, many_bounds, simultaneous_confidence
from kit.words import count, percent

Judge = Callable[[str, BoolArray], tuple[Finding, Sample]]


@dataclass(frozen=True, slots=True)
class Judged:
    """A slice as it stands by itself; `found` and `sample` are None where it has no rows."""

    subject: str
    found: Finding | None
    sample: Sample | None


def by_slice(case: Case, judge: Judge) -> tuple[Finding, ...]:
    """One finding a slice, in the profile's order; a slice with too few rows or clusters is NOT TESTED."""
    slices = slices_of(case)
    if isinstance(slices, Finding):
        return (slices,)
    judged = [
        Judged(subject, *judge(subject, mask)) if mask.any() else Judged(subject, None, None)
        for subject, mask in slices.masks()
    ]
    return concluded(case, judged)


def slices_of(case: Case) -> Slices | Finding:
    """The requirement's slices, or the finding that says why the data has no such."""
    try:
        return declared(case.requirement, case.evidence.dataset, case.profile.slices, case.profile.bins)
    except SpecError as error:
        step = error.next_step or "name columns of the dataset"
        return absent(case, unit_of(case), f"{error.what}.", step)


def unit_of(case: Case) -> str:
    """Unit of the figure on a slice: a drop is in points, anything else a share."""
    return "points" if case.requirement.metric == "accuracy.drop" else "share"


def concluded(
    case: Case, judged: Sequence[Judged], contributions: Callable[[list[int]], Contributions] | None = None
) -> tuple[Finding, ...]:
    """Findings once all slices are known: too small ones untested, Holm for FAIL, and bounds that hold all at once.

    `contributions`: of the slices with these numbers, for correlated bounds; without it Bonferroni's.
    """
    findings: list[Finding] = []
    tested: list[int] = []
    for index, each in enumerate(judged):
        small = too_few(case, *(0, 0) if each.sample is None else (each.sample.rows, each.sample.clusters))
        findings.append(_untested(case, each, small) if small or each.found is None else each.found)
        if not small and findings[-1].estimate is not None:
            tested.append(index)
    samples = [sample for index in tested if (sample := judged[index].sample) is not None]
    together = _together(case, samples, None if contributions is None else contributions(tested))
    adjusted = holm([_p_value(case, sample) for sample in samples])
    for index, more, p_value in zip(tested, together, adjusted, strict=True):
        method = f"{findings[index].method}; {more[0]}" if more[0] else findings[index].method
        found = replace(findings[index], method=method, details={**findings[index].details, **more[1]})
        findings[index] = certifying(case, _corrected(found, p_value))
    return tuple(findings)


def _together(
    case: Case, samples: list[Sample], contributions: Contributions | None
) -> list[tuple[str, dict[str, float]]]:
    """For each tested slice, how its bounds hold together with the others', and these bounds."""
    seed = case.profile.measure.seed
    level, method = simultaneous_confidence(case.confidence, len(samples), contributions, seed)
    words = f"all {len(samples):,} slices at once: {method}" if len(samples) > 1 else ""
    return [
        (words, {"simultaneous_lower": lower, "simultaneous_upper": upper, "simultaneous_slices": float(len(samples))})
        for lower, upper in many_bounds([sample.counts for sample in samples], level)
    ]


def _p_value(case: Case, sample: Sample) -> float:
    """Against "the slice keeps the limit"."""
    above = case.requirement.direction == "at_most"
    return (p_value_above if above else p_value_below)(sample.counts, case.requirement.limit)


def _untested(case: Case, judged: Judged, small: str) -> Finding:
    reason = f"NOT TESTED: {slice_name(judged.subject)} has {small}."
    need = "more rows, from more clusters, in this slice"
    there = 0.0 if judged.sample is None else judged.sample.details.get("rows_in_all", 0.0)
    if judged.sample is not None and judged.sample.rows < there >= case.requirement.minimum_rows:
        reason = f"NOT TESTED: of {count(there, 'row')} of {slice_name(judged.subject)} too few were run: {small}."
        need = "all of its rows: leave out --frugal"
    if judged.found is None:
        return absent(case, unit_of(case), reason, need, judged.subject)
    return undecided(judged.found, reason, need)


def _corrected(found: Finding, adjusted: float) -> Finding:
    """Hold a FAIL back unless Holm's adjusted p-value stands at the finding's confidence."""
    if found.verdict is not Verdict.FAIL or adjusted <= 1.0 - found.confidence:
        return found
    reason = (
        f"{found.reason} By itself it would be broken; among all slices it is not sure at {percent(found.confidence)} "
        "(Holm)."
    )
    return undecided(found, reason, "more rows in this slice")
