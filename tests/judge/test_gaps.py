"""Gaps are the judge's own estimates: one definition, counted twice, and never with another result."""

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.judge.base import Case
from kit.judge.gaps import LEAST_ROWS, RowGaps, gap_of
from kit.judge.registry import JUDGES
from kit.records import Evidence, Int64Array, SearchGap
from kit.spec.types import Requirement
from kit.stats.gap import excess, is_met
from tests import builders

DROP = Requirement("drop", "accuracy.drop", "at_most", 0.03, "3 points", 0.95)
SLICES = replace(DROP, id="slices", limit=0.1, by=("exercise", "side"), minimum_rows=30, minimum_clusters=2)
VALUE = Requirement("value", "accuracy.value", "at_least", 0.8, "80 %", 0.95)
VALUES = replace(VALUE, id="values", by=("subject",), minimum_rows=30, minimum_clusters=2)
FAIR = Requirement("fair", "fairness.gap_change", "at_most", 0.05, "5 points", 0.95, by=("side", "subject"))
ALL = (DROP, SLICES, VALUE, VALUES, FAIR)


def judged(evidence: Evidence, requirements: tuple[Requirement, ...]) -> list[SearchGap]:
    """What the judge functions estimate of the first variant, of what has rows enough."""
    profile = builders.profile(requirements)
    found = [
        finding
        for each in requirements
        for finding in JUDGES[each.metric](Case(each, evidence.variants[0], evidence, profile, builders.device()))
        if not finding.reason.startswith("NOT TESTED")
    ]
    return [gap for finding in found if (gap := gap_of(finding)) is not None]


def on_rows(evidence: Evidence, rows: Int64Array) -> Evidence:
    """The same evidence, of some rows alone."""
    data, predictions = evidence.dataset, evidence.variants[0].predictions
    assert predictions is not None
    columns = {name: replace(column, codes=column.codes[rows]) for name, column in data.columns.items()}
    part = replace(data, rows=len(rows), labels=data.labels[rows], cluster=data.cluster[rows], columns=columns)
    reference = replace(
        evidence.reference_predictions, decisions=evidence.reference_predictions.decisions[rows],
        scores=evidence.reference_predictions.scores[rows],
    )  # fmt: skip
    own = replace(predictions, decisions=predictions.decisions[rows], scores=predictions.scores[rows])
    variants = (replace(evidence.variants[0], predictions=own),)
    return replace(evidence, dataset=part, reference_predictions=reference, variants=variants)


def counted(evidence: Evidence, rows: Int64Array, share: float = 1.0) -> list[SearchGap]:
    predictions = evidence.variants[0].predictions
    assert predictions is not None
    gaps = RowGaps(ALL, evidence.dataset, evidence.reference_predictions.decisions, share)
    return list(gaps(predictions.decisions[rows], rows))


def same(one: list[SearchGap], other: list[SearchGap]) -> None:
    names = [(each.requirement, each.subject, each.unit) for each in one]
    assert names == [(each.requirement, each.subject, each.unit) for each in other]
    np.testing.assert_allclose([each.loss for each in one], [each.loss for each in other], rtol=0, atol=1e-12)
    np.testing.assert_allclose([each.allowed for each in one], [each.allowed for each in other], rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), to_wrong=st.floats(0, 0.4), to_right=st.floats(0, 0.1))
def test_they_are_what_the_judge_estimates(seed: int, to_wrong: float, to_right: float) -> None:
    plan = replace(builders.INT8_CHANNEL, to_wrong=to_wrong, to_right=to_right)
    evidence = builders.evidence(plans=(plan,), seed=seed)
    gaps = counted(evidence, np.arange(evidence.dataset.rows))
    assert len(gaps) == 1 + 7 + 2 + 1 + 4 + 2
    same(gaps, judged(evidence, ALL))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(60, 2008))
def test_so_they_are_on_some_of_the_rows(seed: int, count: int) -> None:
    evidence = builders.evidence(plans=(builders.INT8_TENSOR,), seed=seed)
    rows = np.sort(np.random.default_rng(seed).permutation(evidence.dataset.rows)[:count]).astype(np.int64)
    least = max(LEAST_ROWS, ceil(30 * count / evidence.dataset.rows))
    scaled = tuple(replace(each, minimum_rows=least, minimum_clusters=1) for each in ALL)
    same(counted(evidence, rows), judged(on_rows(evidence, rows), scaled))


def test_a_slice_too_small_to_tell_is_left_out_and_so_is_its_fairness() -> None:
    evidence = builders.evidence(plans=(builders.INT8_TENSOR,))
    rows = np.flatnonzero(evidence.dataset.columns["side"].codes == 0)
    few = np.concatenate([rows, np.flatnonzero(evidence.dataset.columns["side"].codes == 1)[: LEAST_ROWS - 1]])
    subjects = {(gap.requirement, gap.subject) for gap in counted(evidence, np.sort(few).astype(np.int64))}
    assert ("slices", "side=left") in subjects
    assert ("slices", "side=right") not in subjects
    assert ("fair", "side") not in subjects
    assert ("drop", "") in subjects


def test_the_least_number_of_rows_goes_down_with_the_share_that_they_are() -> None:
    evidence = builders.evidence(plans=(builders.INT8_TENSOR,))
    asked = (replace(SLICES, minimum_rows=400),)
    gaps = [
        RowGaps(asked, evidence.dataset, evidence.reference_predictions.decisions, share)(
            evidence.reference_predictions.decisions, np.arange(evidence.dataset.rows)
        )
        for share in (1.0, 0.5)
    ]
    assert [gap.subject for gap in gaps[0]] == ["side=left", "side=right"]
    assert len(gaps[1]) == 9


@pytest.mark.parametrize(("rows", "clusters"), [(400, 5), (30, 40)])
def test_what_the_judge_could_not_test_is_told_with_what_is_missing(rows: int, clusters: int) -> None:
    evidence = builders.evidence(plans=(builders.INT8_TENSOR,))
    asked = replace(SLICES, minimum_rows=rows, minimum_clusters=clusters)
    case = Case(asked, evidence.variants[0], evidence, builders.profile((asked,)), builders.device())
    reasons = {
        found.subject: found.reason for found in JUDGES[asked.metric](case) if found.reason.startswith("NOT TESTED")
    }
    reference = evidence.reference_predictions.decisions
    told = {each.subject: each for each in RowGaps((asked,), evidence.dataset, reference).untested()}
    assert told.keys() == reasons.keys()
    assert told
    for subject, each in told.items():
        assert f"{each.found:,} {each.unit}" in reasons[subject]
        assert f"minimum {each.minimum:,}" in reasons[subject]
    assert RowGaps((replace(asked, minimum_rows=1, minimum_clusters=1),), evidence.dataset, reference).untested() == ()


def test_what_lies_at_the_limit_is_within_it() -> None:
    """Shares of rows are no binary fractions: 0.8 - 0.75 is more than 0.05 in floating point."""
    data = builders.dataset(rows=100, clusters=20)
    reference, decisions = data.labels.copy(), data.labels.copy()
    reference[:20] = (reference[:20] + 1) % 7
    decisions[:25] = (decisions[:25] + 1) % 7
    asked = (replace(DROP, limit=0.05), replace(VALUE, limit=0.75))
    drop, value = RowGaps(asked, data, reference)(decisions, np.arange(100))
    assert (drop.loss, value.loss) == (0.05, 0.25)
    assert is_met(drop)
    assert is_met(value)
    assert excess(drop) == excess(value) == 0.0


@pytest.mark.parametrize(
    ("loss", "allowed", "unit", "expected"),
    [
        (0.06, 0.03, "points", 1.0),
        (0.0, 0.03, "points", -1.0),
        (0.02, 0.0, "points", 2.0),
        (0.01, 0.0, "share", 1.0),
        (150_000.0, 100_000.0, "B", 0.5),
    ],
)
def test_an_excess_is_told_in_what_is_allowed(loss: float, allowed: float, unit: str, expected: float) -> None:
    gap = SearchGap("r", "", loss, allowed, unit)
    assert excess(gap) == pytest.approx(expected)
    assert is_met(gap) is (expected <= 0)


def test_a_file_s_size_is_a_gap_too_and_what_was_not_obtained_is_none() -> None:
    evidence = builders.evidence(plans=(replace(builders.INT8_CHANNEL, absent=frozenset({"latency"})),))
    size = Requirement("size", "model.size", "at_most", 50_000.0, "50 kB", 0.95)
    latency = Requirement("latency", "latency.p99", "at_most", 0.01, "10 ms", 0.95)
    assert judged(evidence, (size, latency)) == [SearchGap("size", "", 71_000.0, 50_000.0, "B")]
