"""slices.found: whether the optimization hurts some conjunction of columns that nobody named, and which.

FAIL names each conjunction that one half of the rows found and the other confirmed. PASS says that no conjunction of
the family searched loses more than allowed, by upper ends that hold for all of them at once.
"""

from dataclasses import dataclass, replace

import numpy as np

from kit.judge.base import Case, Measured, absent, certifying, explained, finding, unpredicted
from kit.judge.sentences import how, slice_name
from kit.records import Finding, LossRecord, Obtained, PredictionRecord, Verdict
from kit.slicing.ceiling import Ceiling, ceiling, critical_values, rows_that_decide
from kit.slicing.columns import searched_columns
from kit.slicing.confirm import Candidate, Found, search
from kit.slicing.differences import Differences
from kit.spec.measures import MEASURES
from kit.spec.subjects import JOINED, named_part
from kit.words import count, interval, percent, quantity, rounded_up

METHOD = (
    "exact search of conjunctions; two random halves of whole clusters, what one finds tested on the other, both ways "
    "(Holm 1979); paired score bound at effective counts, Student t"
)
CEILING_METHOD = "paired score bound at effective counts, Student t, for all conjunctions at once (Bonferroni)"
STANDS_OUT = 0.1
"""Of suspicions that are told, at most this share is expected to be nothing."""

MOST_ROWS = 1e8
"""A slice that would need more rows is not said to need them."""


@dataclass(frozen=True, slots=True)
class _Looked:
    """A search with what it rests on. columns: how many were searched. unit: of what rows lose."""

    case: Case
    unit: str
    differences: Differences
    obtained: Obtained
    digests: tuple[str, ...]
    columns: int
    found: Found
    ceiling: Ceiling


def judge_found(case: Case) -> tuple[Finding, ...]:
    """A FAIL for each confirmed conjunction, or else one finding on all of them."""
    given = _differences(case)
    if isinstance(given, Finding):
        return (given,)
    data, asked = case.evidence.dataset, case.requirement
    columns = searched_columns(data, case.profile.bins, case.evidence.found_columns)
    if not columns:
        need = "name columns of the data, or let clusters of the embedding be found"
        return (absent(case, _unit(case), "there is no column to search.", need),)
    differences, obtained, digests = given
    found = search(
        columns,
        differences,
        limit=asked.limit,
        minimum_rows=asked.minimum_rows,
        minimum_clusters=asked.minimum_clusters,
        confidence=case.confidence,
        seed=case.profile.measure.seed,
    )
    over_all = ceiling(found.family, differences, asked.minimum_clusters, case.confidence)
    looked = _Looked(case, _unit(case), differences, obtained, digests, len(columns), found, over_all)
    if found.confirmed:
        return tuple(certifying(case, _confirmed(looked, each)) for each in found.confirmed)
    if not len(over_all):
        least = f"{count(asked.minimum_rows, 'row')} in {count(asked.minimum_clusters, data.cluster_column or 'row')}"
        reason = f"NOT TESTED: no conjunction of the {count(len(columns), 'column')} has {least}."
        return (absent(case, _unit(case), reason, "more rows, from more clusters"),)
    return (certifying(case, _all(looked)),)


def _differences(case: Case) -> tuple[Differences, Obtained, tuple[str, ...]] | Finding:
    """What the optimization cost each row, or the finding that it is not known."""
    data, reference, variant = case.evidence.dataset, case.evidence.reference_predictions, case.variant
    cluster = None if data.cluster_column is None else data.cluster
    after = variant.predictions
    if not case.requirement.measure and _decides(reference) and after is not None and _decides(after):
        values = (reference.decisions == data.labels) * 1.0 - (after.decisions == data.labels)
        differences = Differences(values, data.weights, cluster, case.profile.icc_floor)
        return differences, after.obtained, case.digests(after, reference)
    if after is not None and after.obtained != "absent" and (pair := _losses(case)) is not None:
        rule = MEASURES.get(pair[1].measure)
        if rule is not None and not rule.is_mean:
            reason = f"{pair[1].measure} is no mean over rows, so where it fell cannot be searched for."
            return absent(case, _unit(case), reason, "search by a measure that is a mean over rows")
        return _of_losses(case, *pair, None if data.weights is None else data.weights)
    return absent(case, _unit(case), *unpredicted(case))


def _unit(case: Case) -> str:
    """Points of what is a share; otherwise the measure's own numbers, be it asked for or the only one there is."""
    pair = None if _decides(case.evidence.reference_predictions) else _losses(case)
    measure = case.requirement.measure or ("" if pair is None else pair[1].measure)
    rule = MEASURES.get(measure)
    own = rule is None and bool(measure)
    return "1" if own or (rule is not None and rule.kind == "number") else "points"


def _decides(record: PredictionRecord) -> bool:
    return record.obtained != "absent" and len(record.decisions) > 0


def _losses(case: Case) -> tuple[LossRecord, LossRecord] | None:
    """Losses of reference and variant under the measure that is asked for, or the only one that both have."""
    before, after = case.evidence.reference_losses, case.variant.losses
    both = [name for name in before if name in after]
    name = case.requirement.measure or (both[0] if len(both) == 1 else "")
    return (before[name], after[name]) if name in both else None


def _of_losses(
    case: Case, before: LossRecord, after: LossRecord, weights: np.ndarray | None
) -> tuple[Differences, Obtained, tuple[str, ...]]:
    values, data = after.losses - before.losses, case.evidence.dataset
    if after.sizes is not None:
        values = values / np.maximum(after.sizes, 1e-9)
        weights = np.maximum(after.sizes, 1e-9) * (1.0 if weights is None else weights)
    bounded = after.low is not None and after.high is not None and after.sizes is None
    reach = 2.0 * (after.high - after.low) if bounded and after.high is not None and after.low is not None else None
    cluster = None if data.cluster_column is None else data.cluster
    digests = (after.model_digest, before.model_digest, after.data_digest)
    return Differences(values, weights, cluster, case.profile.icc_floor, reach), after.obtained, digests


def _confirmed(looked: _Looked, of: Candidate) -> Finding:
    """Holm's correction decides; the interval is that of all candidates at once, and ends at the limit at the least."""
    case = looked.case
    lower, upper = of.counts.bounds(of.bound_confidence)
    details = {"candidates": float(len(looked.found.candidates)), "p_value": of.p_value, **_size(looked)}
    measured = Measured(
        of.counts.estimate, max(lower, case.requirement.limit), upper, looked.unit, METHOD, of.rows, looked.obtained,
        of.clusters, looked.digests, details,
    )  # fmt: skip
    stated = replace(finding(case, measured, subject=of.subject), verdict=Verdict.FAIL)
    lost = (
        f"lost {quantity(of.counts.estimate, looked.unit)}{how(looked.obtained)} {interval(lower, upper, looked.unit)}"
    )
    reason = (
        f"{slice_name(of.subject)} {lost} on {_rows(case, of)} that did not find it; allowed "
        f"{quantity(case.requirement.limit, looked.unit)}; searched {_searched(looked)}."
    )
    return explained(stated, reason)


def _all(looked: _Looked) -> Finding:
    """All conjunctions at once: PASS where the highest of their upper ends is within the limit."""
    case, over_all, limit = looked.case, looked.ceiling, looked.case.requirement.limit
    at = over_all.highest
    samples = over_all.samples
    details = {**_size(looked), "within": float(over_all.within(limit).sum()), "upper_confidence": over_all.confidence}
    measured = Measured(
        float(samples.mean[at]), None, float(over_all.uppers[at]), looked.unit, CEILING_METHOD,
        int(samples.rows[at]), looked.obtained, int(samples.clusters[at]), looked.digests, details,
    )  # fmt: skip
    of = finding(case, measured)
    return explained(of, _all_sentence(looked, of), "" if of.verdict is Verdict.PASS else _need(looked))


def _all_sentence(looked: _Looked, of: Finding) -> str:
    case, over_all = looked.case, looked.ceiling
    asked, surely = case.requirement, f"(all at once, {percent(case.confidence)} confidence)"
    allowed = f"allowed {quantity(asked.limit, looked.unit)}"
    worst = slice_name(_name(looked, over_all.highest))
    assert of.upper is not None
    if of.verdict is Verdict.PASS:
        most = f"drops by more than {quantity(max(0.0, of.upper), looked.unit)}"
        return f"none of {_searched(looked)} {most}{how(of.obtained)} {surely}; {allowed}; least sure of {worst}."
    beyond = int((~over_all.within(asked.limit)).sum())
    least = over_all.least_rows(asked.limit)
    large = "" if least is None else f"; all of at least {count(least, 'row')} are within {surely}"
    unconfirmed = _unconfirmed(looked)
    return (
        f"nothing was confirmed, but {beyond:,} of {_searched(looked)} may drop by more than "
        f"{quantity(asked.limit, looked.unit)}{how(of.obtained)}{large}; least sure of {worst}{unconfirmed}."
    )


def _unconfirmed(looked: _Looked) -> str:
    """The likeliest suspicion, named as no more than that; none where chance alone points to as much."""
    pointed = [each for each in looked.found.candidates if each.chance <= STANDS_OUT]
    if not pointed:
        return ""
    first = min(pointed, key=lambda each: each.chance)
    lost = f"{quantity(first.counts.estimate, looked.unit)} on {count(first.rows, 'other row')}"
    return f"; one half of the rows pointed to {slice_name(first.subject)}, which lost {lost}: not enough to confirm"


def _need(looked: _Looked) -> str:
    """How many rows a slice needs, that flips as all rows do; and what can be claimed of larger slices."""
    case, over_all = looked.case, looked.ceiling
    limit = case.requirement.limit
    least = over_all.least_rows(limit)
    claim = "" if least is None else f"; or leave smaller slices unlooked at, with minimum_rows = {rounded_up(least)}"
    whole = looked.differences.sample(np.ones(len(looked.differences.values), dtype=np.bool_))
    if not looked.differences.are_flips:
        return f"more rows in each slice{claim}"
    of = looked.differences.values
    critical = float(critical_values(np.array([1e4]), over_all.confidence)[0])
    rows = rows_that_decide(float((of > 0).mean()), float((of < 0).mean()), limit, critical)
    if rows is None or rows > MOST_ROWS or whole.rows <= 0:
        return f"a variant that changes less{claim}"
    each, smallest = rounded_up(rows * len(of) / whole.rows), int(over_all.samples.rows.min())
    if each <= smallest:
        return f"more rows of the slices that change most{claim}"
    times = f"about {each / smallest:.2g} times as much data"
    return f"{times}, so that the smallest slice has {count(each, 'row')} and not {smallest:,}{claim}"


def _searched(looked: _Looked) -> str:
    """ "7,028 conjunctions of up to 3 of 10 columns with at least 30 rows"."""
    case, family = looked.case, looked.found.family
    depth, asked = family.depth, case.requirement
    clusters = case.evidence.dataset.cluster_column
    where = f" in at least {count(asked.minimum_clusters, clusters)}" if clusters else ""
    of = f"conjunctions of up to {depth} of {looked.columns} columns" if depth > 1 else "values of columns"
    return f"{len(looked.ceiling):,} {of} with at least {count(asked.minimum_rows, 'row')}{where}"


def _rows(case: Case, of: Candidate) -> str:
    clusters = case.evidence.dataset.cluster_column
    return f"{count(of.rows, 'row')}{f' in {count(of.clusters, clusters)}' if clusters else ''}"


def _name(looked: _Looked, at: int) -> str:
    where = looked.found.family.where(int(looked.ceiling.number[at]))
    return JOINED.join(named_part(column, value) for column, value in where)


def _size(looked: _Looked) -> dict[str, float]:
    family = looked.found.family
    return {"conjunctions": float(len(looked.ceiling)), "columns": float(looked.columns), "depth": float(family.depth)}
