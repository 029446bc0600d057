"""Measures whose losses have no end: no verdict without the largest loss, and none where a row is beyond it."""

from dataclasses import replace

import numpy as np
import pytest

from kit.judge.endless import NEED
from kit.judge.registry import JUDGES
from kit.records import Finding, Float64Array, LossRecord, RaggedRecord, Verdict
from kit.spec.requirement import MOST_LOSS
from tests.builders import digest_of
from tests.proofs.certifications.cases import column, rows_of
from tests.proofs.certifications.pools import Pool, said

OWN = "mine.py:loss"
ROWS = 200


def errors(of: Float64Array, before: Float64Array | None = None) -> Pool:
    """A regression of target 0, so that answers are errors; a group is every other row."""
    rows = len(of)
    truth = RaggedRecord(np.zeros((rows, 1)), np.arange(rows + 1))
    data = replace(
        rows_of(np.zeros(rows, np.int64), None, {"side": column(np.arange(rows) % 2, 2)}),
        task="regression",
        targets=truth,
    )
    before = np.full(rows, 0.1) if before is None else before
    first, second = (said(data, each[:, None], np.empty(0, np.int64), None) for each in (before, of))
    return Pool(data, first, second)


def own(of: Float64Array) -> Pool:
    """Losses by a function of the user's, all 0 before."""
    digest = digest_of("own")
    both = tuple(LossRecord(OWN, digest, digest, each, None, None, None, "measured") for each in (0.0 * of, of))
    return replace(errors(np.zeros(len(of))), losses=both)


def judged(pool: Pool, metric: str, limit: float, measure: str, **asked: object) -> Finding:
    (found,) = JUDGES[metric](pool.case(metric, limit, measure=measure, **asked))  # type: ignore[index, arg-type]
    return found


@pytest.mark.parametrize("metric", ["quality.loss", "quality.value"])
@pytest.mark.parametrize("measure", ["mae", "rmse", OWN])
def test_losses_of_nothing_prove_nothing_without_an_end(metric: str, measure: str) -> None:
    pool = own(np.zeros(ROWS)) if measure == OWN else errors(np.zeros(ROWS), np.zeros(ROWS))
    found = judged(pool, metric, 0.5, measure)
    assert (found.verdict, found.need) == (Verdict.INCONCLUSIVE, NEED)
    assert "largest seen (0) is assumed" in found.reason
    assert "no row loses more than the largest seen is assumed" in found.method


@pytest.mark.parametrize("metric", ["quality.loss", "quality.value"])
@pytest.mark.parametrize(("measure", "largest", "decides"), [("mae", 1.0, 0.03), ("rmse", 1.0, 0.4), (OWN, 1.0, 0.03)])
def test_with_an_end_it_is_as_wide_as_one_row_beyond_what_was_seen_makes_it(
    metric: str, measure: str, largest: float, decides: float
) -> None:
    pool = own(np.zeros(ROWS)) if measure == OWN else errors(np.zeros(ROWS), np.zeros(ROWS))
    found = judged(pool, metric, decides, measure, largest=largest)
    assert found.upper is not None
    hidden = 1 - 0.05 ** (1 / ROWS)  # a share of rows at the end that shows none at all in 5 % of samples
    assert found.upper >= (hidden**0.5 if measure == "rmse" else hidden) * 0.9
    assert found.verdict is Verdict.PASS
    assert judged(pool, metric, decides, measure, largest=20 * largest).verdict is Verdict.INCONCLUSIVE
    assert "no row loses more than 1 is stated" in found.method


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metric", ["quality.loss", "quality.value"])
@pytest.mark.parametrize("measure", ["mae", "rmse", "r2", OWN])
def test_the_largest_end_that_a_profile_may_state_is_reckoned_with(metric: str, measure: str) -> None:
    after = np.random.default_rng(3).exponential(size=ROWS)
    pool = own(after) if measure == OWN else errors(after)
    if measure == "r2":
        targets = RaggedRecord(np.arange(ROWS, dtype=np.float64)[:, None], np.arange(ROWS + 1))
        pool = replace(pool, data=replace(pool.data, targets=targets))
    direction = "at_least" if (metric, measure) == ("quality.value", "r2") else "at_most"
    found = judged(pool, metric, 0.5, measure, largest=MOST_LOSS, direction=direction)
    assert found.estimate is not None
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower <= found.estimate <= found.upper
    assert np.isfinite([found.estimate, found.lower, found.upper]).all()


def test_a_row_beyond_the_end_leaves_it_undecided_and_is_named() -> None:
    after = np.full(ROWS, 0.1)
    after[17] = -3.0
    for measure, limit in (("mae", 5.0), ("rmse", 5.0)):
        assert judged(errors(after), "quality.value", limit, measure, largest=3.0).verdict is Verdict.PASS
        found = judged(errors(after), "quality.value", limit, measure, largest=2.0)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert "Row 17 (from 0) has 3, and a row was said to lose from 0 to 2." in found.reason
    beneath = np.zeros(ROWS)
    beneath[5] = -1.0
    assert "Row 5 (from 0) has -1" in judged(own(beneath), "quality.loss", 0.5, OWN, largest=2.0).reason


def test_a_row_of_the_reference_counts_only_in_what_rests_on_it() -> None:
    before = np.full(ROWS, 0.1)
    before[3] = 9.0
    pool = errors(np.full(ROWS, 0.1), before)
    assert judged(pool, "quality.value", 1.0, "mae", largest=2.0).verdict is Verdict.PASS
    assert "Row 3 " in judged(pool, "quality.loss", 1.0, "mae", largest=2.0).reason


def test_a_mean_far_above_its_limit_fails_with_or_without_an_end() -> None:
    pool = errors(np.linspace(2.0, 3.0, ROWS))
    assert judged(pool, "quality.value", 0.5, "mae").verdict is Verdict.FAIL
    assert judged(pool, "quality.value", 0.5, "mae", largest=4.0).verdict is Verdict.FAIL
    assert judged(pool, "quality.loss", 0.5, "mae").verdict is Verdict.INCONCLUSIVE
    assert judged(pool, "quality.loss", 0.5, "mae", largest=4.0).verdict is Verdict.FAIL


@pytest.mark.parametrize("metric", ["fairness.gap", "fairness.gap_change"])
def test_a_gap_of_such_a_measure_is_held_back_alike(metric: str) -> None:
    pool = errors(np.full(ROWS, 0.1))
    assert judged(pool, metric, 0.5, "mae", by=("side",)).need == NEED
    assert judged(pool, metric, 0.5, "mae", by=("side",), largest=1.0).verdict is Verdict.PASS
    assert judged(pool, metric, 0.5, "mae", by=("side",), largest=50.0).verdict is Verdict.INCONCLUSIVE
    assert judged(own(np.zeros(ROWS)), metric, 0.5, OWN, by=("side",)).need == NEED


def test_by_slice_each_is_held_back() -> None:
    case = errors(np.full(ROWS, 0.1)).case("quality.loss", 0.5, measure="mae", by=("side",))
    found = JUDGES["quality.loss"](case)
    assert len(found) == 2
    assert {each.need for each in found} == {NEED}


@pytest.mark.parametrize("measure", ["mae", OWN])
def test_rare_large_losses_that_were_missed_pass_no_more_than_stated(measure: str) -> None:
    rng, wrong, runs, share = np.random.default_rng(3), 0, 200, 0.01
    for _ in range(runs):
        loss = (rng.random(100) < share).astype(np.float64)
        pool = own(loss) if measure == OWN else errors(loss, np.zeros(100))
        wrong += judged(pool, "quality.loss", share, measure, largest=1.0).verdict is Verdict.PASS
    assert wrong <= 15  # of 5 %: 10, and 15 or fewer in 95 % of such tests


def test_a_root_mean_square_is_bounded_by_the_roots_of_its_mean_s_bounds() -> None:
    """rmse of errors e has the bounds of mae of e**2, rooted: a tangent's lower end would lie above."""
    of = np.abs(np.random.default_rng(3).normal(0, 1, ROWS)) ** 2
    whole = judged(errors(of**0.5), "quality.value", 0.9, "rmse", largest=4.0)
    square = judged(errors(of), "quality.value", 0.81, "mae", largest=16.0)
    ends = [(each.lower, each.estimate, each.upper) for each in (whole, square)]
    np.testing.assert_allclose(np.square(ends[0]), ends[1], rtol=1e-6)  # type: ignore[arg-type]
    assert whole.verdict is square.verdict


def test_several_targets_have_the_mean_of_their_roots() -> None:
    """The square of that is no mean, so its bounds are by its influences."""
    of = np.abs(np.random.default_rng(4).normal(0, 1, ROWS))
    one = errors(of)
    twice = RaggedRecord(np.zeros(2 * ROWS), 2 * np.arange(ROWS + 1))
    data = replace(one.data, targets=twice)
    first, second = (
        said(data, each.scores.repeat(2, axis=1), np.empty(0, np.int64), None)
        for each in (one.reference, one.optimized)
    )
    alone = judged(one, "quality.value", 2.0, "rmse", largest=4.0)
    found = judged(Pool(data, first, second), "quality.value", 2.0, "rmse", largest=4.0)
    assert found.estimate == pytest.approx(alone.estimate)
    assert found.lower is not None
    assert alone.lower is not None
    assert found.lower > alone.lower


def test_a_slice_where_the_measure_is_not_defined_says_so() -> None:
    pool = errors(np.random.default_rng(3).normal(size=ROWS))
    rows = np.arange(ROWS)
    targets = RaggedRecord(np.where(rows % 2, rows, 4.0)[:, None], np.arange(ROWS + 1))
    pool = replace(pool, data=replace(pool.data, targets=targets))
    case = pool.case("quality.loss", 0.5, measure="r2", largest=1e3, by=("side",))
    flat, other = JUDGES["quality.loss"](case)
    assert "r2 is not defined on side: 0: the target is the same in every row" in flat.reason
    assert (flat.verdict, flat.need) == (Verdict.INCONCLUSIVE, "rows on which it is defined")
    assert other.estimate is not None
    assert other.details["simultaneous_slices"] == 1.0
