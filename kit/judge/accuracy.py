"""accuracy.drop and accuracy.value, on the whole dataset or on each slice of the requirement's columns."""

import numpy as np

from kit.judge.base import Case, Measured, absent, certifying, explained, finding, undecided
from kit.judge.rows import BoolArray, Sample, in_clusters, more_rows, outcomes, too_small
from kit.judge.sentences import count, fixed, how, interval, percent, quantity, slice_name
from kit.judge.slices import by_slice
from kit.records import Finding, PredictionRecord, Verdict

DROP_METHOD = "paired score bound (Tango 1998) at effective counts, Student t over clusters"
VALUE_METHOD = "score bound (Wilson 1927) at effective counts, Student t over clusters"


def judge_drop(case: Case) -> tuple[Finding, ...]:
    """Share right of the reference less share right of the variant on the device, on the same rows, in points."""
    predictions = case.variant.predictions
    if predictions is None or predictions.obtained == "absent":
        return (absent(case, "points", "the device's predictions were not obtained.", "run the dataset on the device"),)
    return _judged(case, predictions)


def judge_value(case: Case) -> tuple[Finding, ...]:
    """Share right of the variant on the device."""
    predictions = case.variant.predictions
    if predictions is None or predictions.obtained == "absent":
        return (absent(case, "share", "the device's predictions were not obtained.", "run the dataset on the device"),)
    return _judged(case, predictions)


def _judged(case: Case, predictions: PredictionRecord) -> tuple[Finding, ...]:
    if case.requirement.by:
        return by_slice(case, lambda subject, mask: _finding(case, predictions, subject, mask))
    everything = np.ones(case.evidence.dataset.rows, dtype=np.bool_)
    small = too_small(case, everything)
    found, _ = _finding(case, predictions, "", everything)
    if small:
        return (undecided(found, f"too few rows to judge: {small}.", "more rows, from more clusters"),)
    return (certifying(case, found),)


def _finding(case: Case, predictions: PredictionRecord, subject: str, mask: BoolArray) -> tuple[Finding, Sample]:
    """The finding on the rows of `mask` before any correction for several slices, and its counts."""
    rows = outcomes(case, predictions)
    drop = case.requirement.metric == "accuracy.drop"
    sample = rows.drop(mask) if drop else rows.accuracy(rows.optimized_right, mask)
    lower, upper = sample.counts.bounds(case.confidence)
    measured = Measured(
        sample.counts.estimate, lower, upper, "points" if drop else "share", DROP_METHOD if drop else VALUE_METHOD,
        sample.rows, predictions.obtained, sample.clusters,
        case.digests(predictions, case.evidence.reference_predictions), sample.details,
    )  # fmt: skip
    found = finding(case, measured, subject=subject)
    sentence = _drop_sentence if drop else _value_sentence
    return explained(found, sentence(case, found, sample), more_rows(case, sample, found.limit)), sample


def _drop_sentence(case: Case, found: Finding, sample: Sample) -> str:
    assert found.estimate is not None
    assert found.upper is not None
    who = slice_name(found.subject) or "accuracy"
    flips = (
        f"{count(sample.details['flips_to_wrong'], 'decision')} turned wrong and "
        f"{sample.details['flips_to_right']:,.0f} turned right {_among(case, sample)}"
    )
    allowed = f"allowed {quantity(found.limit, 'points')}"
    if found.verdict is Verdict.PASS:
        end = f"(upper end, {percent(found.confidence)} confidence)"
        bound = f"drops by at most {quantity(found.upper, 'points')}" if found.upper > 0 else "does not drop"
        return f"{who} {bound}{how(found.obtained)} {end}; {allowed}; {flips}."
    ends = interval(found.lower, found.upper, "points")
    moved = f"lost {quantity(found.estimate, 'points')}" if found.estimate > 0 else _gained(found.estimate)
    return f"{who} {moved}{how(found.obtained)} {ends}; {allowed}; {flips}."


def _gained(drop: float) -> str:
    return f"gained {quantity(-drop, 'points')}, as a drop {fixed(100 * drop)}" if drop < 0 else "did not change"


def _among(case: Case, sample: Sample) -> str:
    return f"of {in_clusters(case, sample)}"


def _value_sentence(case: Case, found: Finding, sample: Sample) -> str:
    assert found.estimate is not None
    who = slice_name(found.subject) or "the device"
    share, ends = quantity(found.estimate, "share"), interval(found.lower, found.upper, "share")
    limit = f"limit {quantity(found.limit, 'share')}"
    return f"{who} has {share} right{how(found.obtained)} {ends} {_among(case, sample)}; {limit}."
