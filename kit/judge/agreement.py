"""agreement.flips: the share of rows that the optimized model decides otherwise, whichever way."""

import numpy as np

from kit.judge.base import Case, Measured, absent, certifying, explained, finding, undecided, unpredicted
from kit.judge.frugal import judge_sample
from kit.judge.rows import BoolArray, Outcomes, Sample, in_clusters, measures_instead, more_rows, outcomes, too_small
from kit.judge.sentences import how, slice_name
from kit.judge.slices import by_slice
from kit.records import Finding, Verdict
from kit.task import UndefinedError
from kit.words import count, interval, percent, quantity

METHOD = "score bound (Wilson 1927), corrected for skewness and steps, at effective counts, Student t over clusters"


def judge_flips(case: Case) -> tuple[Finding, ...]:
    """Share of changed decisions, whole or by slice; both directions and other changes are in the details."""
    predictions = case.variant.predictions
    if case.variant.sample is not None:
        return judge_sample(case)
    if predictions is None or predictions.obtained == "absent":
        return (absent(case, "share", *unpredicted(case)),)
    try:
        rows = outcomes(case, predictions)
    except UndefinedError as error:
        return (absent(case, "share", f"{error.what}.", measures_instead(case)),)
    if case.requirement.by or case.requirement.slices:
        return by_slice(case, lambda subject, mask: _finding(case, rows, subject, mask))
    everything = np.ones(case.evidence.dataset.rows, dtype=np.bool_)
    found, _ = _finding(case, rows, "", everything)
    if small := too_small(case, everything):
        return (undecided(found, f"too few rows to judge: {small}.", "more rows, from more clusters"),)
    return (certifying(case, found),)


def _finding(case: Case, rows: Outcomes, subject: str, mask: BoolArray) -> tuple[Finding, Sample]:
    """The finding on the rows of `mask` before any correction for several slices, and its counts."""
    sample = rows.accuracy(rows.decision_changed, mask)
    lower, upper = sample.counts.bounds(case.confidence)
    predictions = case.variant.predictions
    assert predictions is not None
    measured = Measured(
        sample.counts.estimate, lower, upper, "share", METHOD, sample.rows, predictions.obtained, sample.clusters,
        case.digests(predictions, case.evidence.reference_predictions), _directions(rows, mask) | {
            name: value for name, value in sample.details.items() if name != "right"
        },
    )  # fmt: skip
    found = finding(case, measured, subject=subject)
    return explained(found, _sentence(case, found, sample), more_rows(case, sample, found.limit)), sample


def _directions(rows: Outcomes, mask: BoolArray) -> dict[str, float]:
    """Flips by direction, and those from one wrong answer to another; each a number of rows."""
    before, after, changed = rows.reference_right[mask], rows.optimized_right[mask], rows.decision_changed[mask]
    return {
        "decisions_changed": float(changed.sum()),
        "flips_to_wrong": float((changed & before & ~after).sum()),
        "flips_to_right": float((changed & ~before & after).sum()),
        "flips_between_wrong": float((changed & ~before & ~after).sum()),
    }


def _sentence(case: Case, found: Finding, sample: Sample) -> str:
    assert found.estimate is not None
    assert found.upper is not None
    who = f"{slice_name(found.subject)}: " if found.subject else ""
    flips = found.details
    of = (
        f"{count(flips['decisions_changed'], 'decision')} changed of {in_clusters(case, sample)}: "
        f"{flips['flips_to_wrong']:,.0f} to wrong, {flips['flips_to_right']:,.0f} to right, "
        f"{flips['flips_between_wrong']:,.0f} from wrong to wrong"
    )
    limit = f"limit {quantity(found.limit, 'share')}"
    if found.verdict is Verdict.PASS:
        end = f"(upper end, {percent(found.confidence)} confidence)"
        most = quantity(found.upper, "share")
        return f"{who}at most {most} of decisions change{how(found.obtained)} {end}; {limit}; {of}."
    ends = interval(found.lower, found.upper, "share")
    share = quantity(found.estimate, "share")
    return f"{who}{share} of decisions change{how(found.obtained)} {ends}; {limit}; {of}."
