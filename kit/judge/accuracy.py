"""accuracy.drop and accuracy.value, on the whole dataset or on each slice that the requirement declares."""

import numpy as np

from kit.judge.base import Case, Measured, absent, certifying, explained, finding, undecided, unpredicted
from kit.judge.frugal import judge_sample
from kit.judge.rows import Outcomes, Sample, in_clusters, measures_instead, more_rows, outcomes, too_few
from kit.judge.scenarios import told
from kit.judge.sentences import how, slice_name
from kit.judge.slices import Judged, concluded, slices_of
from kit.records import Finding, Float64Array, PredictionRecord, Verdict
from kit.slicing.declared import Slices
from kit.stats.simultaneous import Contributions, many_bounds
from kit.task import UndefinedError
from kit.words import count, fixed, interval, percent, quantity

_HOW = "corrected for skewness and steps, at effective counts, Student t over clusters"
DROP_METHOD = f"paired score bound (Tango 1998), {_HOW}"
VALUE_METHOD = f"score bound (Wilson 1927), {_HOW}"


def judge_drop(case: Case) -> tuple[Finding, ...]:
    """Share right of the reference less share right of the variant on the device, on the same rows, in points."""
    return _judged(case, "points")


def judge_value(case: Case) -> tuple[Finding, ...]:
    """Share right of the variant on the device."""
    return _judged(case, "share")


def _judged(case: Case, unit: str) -> tuple[Finding, ...]:
    predictions = case.variant.predictions
    if case.variant.sample is not None:
        return judge_sample(case)
    if predictions is None or predictions.obtained == "absent":
        return (absent(case, unit, *unpredicted(case)),)
    try:
        rows = outcomes(case, predictions)
    except UndefinedError as error:
        return (absent(case, unit, f"{error.what}.", measures_instead(case)),)
    if case.requirement.by or case.requirement.slices:
        return _by_slice(case, predictions, rows)
    sample = rows.drop() if _is_drop(case) else rows.accuracy(rows.optimized_right)
    found = _finding(case, predictions, "", sample, *sample.counts.bounds(case.confidence))
    if small := too_few(case, sample.rows, sample.clusters):
        return (undecided(found, f"too few rows to judge: {small}.", "more rows, from more clusters"),)
    return (certifying(case, found),)


def _is_drop(case: Case) -> bool:
    return case.requirement.metric == "accuracy.drop"


def _by_slice(case: Case, predictions: PredictionRecord, rows: Outcomes) -> tuple[Finding, ...]:
    slices = slices_of(case)
    if isinstance(slices, Finding):
        return (slices,)
    named = [subject for partition in slices.partitions for subject in partition.subjects]
    samples = _samples(case, slices, rows)
    present = [sample for sample in samples if sample is not None]
    bounds = iter(many_bounds([sample.counts for sample in present], case.confidence))
    judged = [
        Judged(subject, None if sample is None else _finding(case, predictions, subject, sample, *next(bounds)), sample)
        for subject, sample in zip(named, samples, strict=True)
    ]
    found = concluded(case, judged, lambda tested: _contributions(case, slices, rows, tested))
    return tuple(told(case, rows, each) for each in found)


def _samples(case: Case, slices: Slices, rows: Outcomes) -> list[Sample | None]:
    """A sample for each slice, None where it has no rows."""
    if _is_drop(case):
        count_in = rows.drops_by(slices.cell).drops
    else:
        count_in = rows.shares_by(rows.optimized_right, slices.cell).successes
    return [sample for each in slices.partitions for sample in count_in(each.codes, len(each.subjects))]


def _contributions(case: Case, slices: Slices, rows: Outcomes, tested: list[int]) -> Contributions:
    """What rows add to the slices with the numbers `tested`."""
    drop = _is_drop(case)
    tally = rows.drops_by(slices.cell) if drop else rows.shares_by(rows.optimized_right, slices.cell)
    value: Float64Array = tally.flags[0] - tally.flags[1] if drop else tally.flags[0]
    number = np.full(len(slices) + 1, -1, dtype=np.int64)
    number[tested] = np.arange(len(tested))
    codes, first = [], 0
    for partition in slices.partitions:
        code = partition.codes[tally.cell]
        codes.append(number[np.where(code >= 0, first + code, -1)])
        first += len(partition.subjects)
    return Contributions(tuple(codes), len(tested), tally.count, value, tally.weight, tally.cluster)


def _finding(
    case: Case, predictions: PredictionRecord, subject: str, sample: Sample, lower: float, upper: float
) -> Finding:
    """The finding on some rows before any correction for several slices."""
    unit, method = ("points", DROP_METHOD) if _is_drop(case) else ("share", VALUE_METHOD)
    measured = Measured(
        sample.counts.estimate, lower, upper, unit, method, sample.rows, predictions.obtained, sample.clusters,
        case.digests(predictions, case.evidence.reference_predictions), sample.details,
    )  # fmt: skip
    found = finding(case, measured, subject=subject)
    sentence = _drop_sentence if _is_drop(case) else _value_sentence
    need = more_rows(case, sample, found.limit) if found.verdict is Verdict.INCONCLUSIVE else ""
    return explained(found, sentence(case, found, sample), need)


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
