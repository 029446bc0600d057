"""Requirements judged on rows that were run until they were decided: accuracy.drop, accuracy.value, agreement.flips.

The verdict is a function of the sample record alone: the same rows in the same order give the same verdict, whenever
it is computed.
"""

import numpy as np

from kit.judge.base import Case, Measured, absent, certifying, explained, finding, undecided
from kit.judge.rows import BoolArray, Sample, too_few
from kit.judge.sampled import Sampled, sampled
from kit.judge.sentences import how, slice_name
from kit.judge.slices import by_slice
from kit.records import Finding, Verdict
from kit.stats.betting import trail_of
from kit.stats.sequential import Sequential
from kit.words import count, interval, percent, quantity, rounded_up

METHOD = "betting bound at every look (Waudby-Smith and Ramdas 2024)"
TWIN_METHOD = (
    "betting bounds at every look (Waudby-Smith and Ramdas 2024), of rows and of differences to the host's twin"
)
CLUSTERED = " at effective counts"

MOST_TIMES = 100
"""Beyond this many times the rows that came, `need` names no number."""

_NOTHING = Sequential(0.0, -1.0, trail_of([], exact=True), None, None, None, 1, 0.0)


def judge_sample(case: Case) -> tuple[Finding, ...]:
    """The requirement on the rows that came, whole or by slice; absent where the sample is none of this dataset."""
    record = case.variant.sample
    unit = "points" if case.requirement.metric == "accuracy.drop" else "share"
    nothing = (absent(case, unit, "no row was run on the device.", "run the dataset on the device"),)
    if record is None or record.obtained == "absent":
        return nothing
    view = sampled(case, record)
    if isinstance(view, str):
        return (absent(case, unit, f"{view}.", "run the rows again, from the start"),)
    if case.requirement.by or case.requirement.slices:
        return by_slice(case, lambda subject, mask: _finding(view, subject, mask))
    if not view.came.any():
        return nothing
    everything = np.ones(case.evidence.dataset.rows, dtype=np.bool_)
    found, sample = _finding(view, "", everything)
    if small := too_few(case, sample.rows, sample.clusters):
        return (undecided(found, f"too few rows to judge: {small}.", "more rows, from more clusters"),)
    return (certifying(case, found),)


def _finding(view: Sampled, subject: str, mask: BoolArray) -> tuple[Finding, Sample]:
    """The finding on the rows of `mask` before any correction for several slices, and its counts."""
    case, record = view.case, view.case.variant.sample
    assert record is not None
    unit = "points" if case.requirement.metric == "accuracy.drop" else "share"
    if not len(view.rows(mask)):
        reason = f"no row of {slice_name(subject)} was run."
        return absent(case, unit, reason, "run more rows", subject), Sample(_NOTHING, 0, 0, 1.0, {})
    sample = view.sample(mask)
    assert isinstance(sample.counts, Sequential)
    lower, upper = sample.counts.bounds(case.confidence)
    estimate = min(max(sample.counts.estimate, lower), upper)  # twin and audit may together say what the bounds exclude
    method = (METHOD if sample.counts.twin is None else TWIN_METHOD) + ("" if view.exact else CLUSTERED)
    measured = Measured(
        estimate, lower, upper, unit, f"{method}, {_stopped(sample, mask)}", sample.rows,
        record.obtained, sample.clusters, case.digests(record.twin, case.evidence.reference_predictions),
        sample.details,
    )  # fmt: skip
    found = finding(case, measured, subject=subject)
    return explained(found, _sentence(found, sample, mask), _need(case, sample, mask)), sample


def _stopped(sample: Sample, mask: BoolArray) -> str:
    total = int(mask.sum())
    if sample.rows < total:
        return f"stopped after {sample.rows:,} of {count(total, 'row')}"
    return f"all {count(total, 'row')} run, and half of the chance of error kept for the test at the end"


def _sentence(found: Finding, sample: Sample, mask: BoolArray) -> str:
    assert found.estimate is not None
    who = slice_name(found.subject)
    end = f"(upper end, {percent(found.confidence)} confidence)"
    subject = {
        "accuracy.drop": f"{who or 'accuracy'} drops by at most",
        "accuracy.value": f"{who or 'the device'} has at least",
        "agreement.flips": f"{who + ': ' if who else ''}decisions change on at most",
    }[found.metric]
    names = {"accuracy.drop": "lost", "accuracy.value": "has right", "agreement.flips": "changed"}
    edge = found.lower if found.metric == "accuracy.value" else found.upper
    assert edge is not None
    seen = f"after {sample.rows:,} of {count(int(mask.sum()), 'row')}"
    twin = sample.details.get("differing_from_twin")
    others = "" if twin is None else f", {count(twin, 'of them', 'of them')} decided otherwise than by its twin"
    limit = f"limit {quantity(found.limit, found.unit)}"
    if found.verdict is Verdict.PASS:
        end = end.replace("upper", "lower") if found.metric == "accuracy.value" else end
        told = f"{subject} {quantity(max(edge, 0.0), found.unit)}{how(found.obtained)} {end}"
    else:
        ends = interval(found.lower, found.upper, found.unit)
        figure = quantity(found.estimate, found.unit)
        told = f"{who or 'the device'} {names[found.metric]} {figure}{how(found.obtained)} {ends}"
    return f"{told} {seen}{others}; {limit}."


def _need(case: Case, sample: Sample, mask: BoolArray) -> str:
    """How many more rows decide, if they go on as they began."""
    assert isinstance(sample.counts, Sequential)
    more = sample.counts.more(case.requirement.limit, case.confidence, MOST_TIMES)
    left = int(mask.sum()) - sample.rows
    if more is None:
        return f"more than {MOST_TIMES} times these rows, if they go on as they began"
    rows = count(rounded_up(more * sample.design_effect), "more row")
    if more * sample.design_effect > left:
        ran = f"{left:,} of those held out were not run" if left else "all that are held out were run"
        return f"hold out about {rows}, if they go on as these ({ran}), or allow more"
    return f"about {rows}, if they go on as they began"
