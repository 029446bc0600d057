"""Bets are fair under their null, bounds invert them and are ever wrong at most alpha of the time, and orders last."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from kit.stats.betting import STAKES, WEIGHTS, bounds, is_below, log_capital, mean_bounds, trail_of
from kit.stats.orders import looks, next_look, random_order
from kit.stats.proportions import PairedCounts, Successes

ALPHA = 0.05
Array = NDArray[np.float64]

counts = st.integers(0, 40)


def capital(lost: float, won: float, rows: float, bound: float, most: float = 1.0) -> float:
    return math.exp(float(log_capital(np.array(lost), np.array(won), np.array(rows), bound, most)))


def paired(lost: float, won: float, rows: float) -> PairedCounts:
    return PairedCounts(lost, won, rows, max(1.0, rows - 1))


@settings(deadline=None)
@given(counts, counts, counts, st.floats(-0.4, 0.9), st.floats(0.0, 1.0))
def test_one_more_row_is_fair_where_the_mean_is_the_bound(b: int, c: int, rest: int, bound: float, u: float) -> None:
    """E[capital after] = capital before, for every trinomial whose mean is the bound and every past."""
    to_right = u * (1 - abs(bound)) / 2 + max(0.0, -bound)
    to_wrong = to_right + bound
    n, same = b + c + rest, 1 - to_right - to_wrong
    before = capital(b, c, n, bound)
    after = (
        to_wrong * capital(b + 1, c, n + 1, bound)
        + to_right * capital(b, c + 1, n + 1, bound)
        + max(same, 0.0) * capital(b, c, n + 1, bound)
    )
    assert after == pytest.approx(before, rel=1e-9, abs=1e-300)


@settings(deadline=None)
@given(counts, counts, st.floats(0.001, 0.999), st.booleans())
def test_bets_on_a_share_are_fair_both_ways(happened: int, rest: int, share: float, long: bool) -> None:
    """Short of bankrupt stakes: those are worth nothing before and after."""
    n = happened + rest

    def one(k: int, m: int) -> float:
        return capital(0, k, m, -share, most=0.0) if long else capital(k, 0, m, share)

    after = share * one(happened + 1, n + 1) + (1 - share) * one(happened, n + 1)
    assert after == pytest.approx(one(happened, n), rel=1e-9, abs=1e-300)


@settings(deadline=None)
@given(counts, counts, counts, st.floats(-0.9, 0.9), st.floats(0.0, 0.5))
def test_capital_rises_with_the_limit_it_bets_against(b: int, c: int, rest: int, bound: float, more: float) -> None:
    n = b + c + rest
    assert capital(b, c, n, min(1.0, bound + more)) >= capital(b, c, n, bound) * (1 - 1e-12)


def test_the_capital_is_the_product_of_its_bets() -> None:
    """By hand: every stake alone, row after row, then the mean."""
    losses = np.random.default_rng(0).choice([-1, 0, 1], 60, p=[0.1, 0.8, 0.1])
    by_hand = sum(
        w * math.prod(1 + stake * (0.03 - x) for x in losses) for w, stake in zip(WEIGHTS, STAKES, strict=True)
    )
    lost, won = int((losses == 1).sum()), int((losses == -1).sum())
    assert capital(lost, won, 60, 0.03) == pytest.approx(by_hand, rel=1e-12)
    assert WEIGHTS.sum() == pytest.approx(1.0)


def test_no_flip_at_all_decides_close_to_the_least_rows_that_any_test_needs() -> None:
    """Exact: 0.98^n <= alpha needs 149 rows; a mixture over stakes costs log(1 / 0.4) more at the most."""
    least = math.ceil(math.log(ALPHA) / math.log(0.98))
    count = next(n for n in range(1, 999) if is_below(trail_of([paired(0, 0, n)], exact=True), 0.02, ALPHA))
    assert least == 149
    assert least <= count <= 1 + least * (1 + math.log(1 / 0.4) / math.log(1 / ALPHA))


@settings(max_examples=40, deadline=None)
@given(counts, counts, st.integers(1, 400), st.floats(0.001, 0.2))
def test_a_bound_inverts_the_capital(b: int, c: int, same: int, alpha: float) -> None:
    """Just above the upper bound a look refutes, just below it does not; the lower is its mirror image."""
    n, needed = b + c + same, math.log(1 / alpha)
    lower, upper = bounds(trail_of([paired(b, c, n)], exact=True), alpha)
    assert -1 <= lower <= (b - c) / n <= upper <= 1
    assert (-upper, -lower) == pytest.approx(bounds(trail_of([paired(c, b, n)], exact=True), alpha))
    if upper < 1:
        assert math.log(capital(b, c, n, upper + 1e-9)) >= needed - 1e-6
        assert capital(b, c, n, upper - 1e-9) < 1 / alpha


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(counts, counts, st.integers(1, 60)), min_size=2, max_size=4), st.floats(0.01, 0.2))
def test_looks_that_contradict_each_other_leave_the_last(steps: list[tuple[int, int, int]], alpha: float) -> None:
    """No order of rows, however unlikely, gives an empty interval; and none wider than the last look's own."""
    path = [paired(b, c, n) for b, c, n in np.cumsum([(b, c, b + c + same) for b, c, same in steps], axis=0)]
    lower, upper = bounds(trail_of(path, exact=True), alpha)
    last_lower, last_upper = bounds(trail_of(path[-1:], exact=True), alpha)
    assert lower <= upper
    assert last_lower - 1e-9 <= lower
    assert upper <= last_upper + 1e-9


def test_more_looks_never_widen() -> None:
    rng = np.random.default_rng(3)
    loss = rng.choice([-1, 0, 1], 400, p=[0.02, 0.95, 0.03])
    path = [paired((loss[:n] > 0).sum(), (loss[:n] < 0).sum(), n) for n in looks(400, last=True)]
    ends = [bounds(trail_of(path[:k], exact=True), ALPHA) for k in range(1, len(path) + 1)]
    assert all(a[0] <= b[0] + 1e-9 and b[1] <= a[1] + 1e-9 for a, b in pairwise(ends))


@pytest.mark.parametrize(("happened", "rows"), [(0, 100), (3, 100), (50, 100), (100, 100), (1, 1)])
def test_a_share_s_bounds_contain_the_exact_ones(happened: int, rows: int) -> None:
    """Clopper and Pearson's, for a single look: a bound for every look is wider, and not by much."""
    lower, upper = bounds(trail_of([Successes(happened, rows, rows)], exact=True), ALPHA)
    exact_lower = stats.beta.ppf(ALPHA, happened, rows - happened + 1) if happened else 0.0
    exact_upper = stats.beta.ppf(1 - ALPHA, happened + 1, rows - happened) if happened < rows else 1.0
    assert 0 <= lower <= exact_lower + 1e-9
    assert exact_upper - 1e-9 <= upper <= 1
    if rows == 100:
        assert upper - exact_upper < 0.1
        assert exact_lower - lower < 0.1


def test_nothing_seen_is_nothing_known() -> None:
    assert bounds(trail_of([], exact=True), ALPHA) in {(-1.0, 1.0), (0.0, 1.0)}
    assert bounds(trail_of([paired(0, 0, 1)], exact=True), ALPHA) == (-1.0, 1.0)


def test_a_look_at_few_clusters_costs_more() -> None:
    """Twenty-fold rows in two clusters tell less than the same effective rows each by itself."""
    alone = bounds(trail_of([PairedCounts(1, 1, 300, 299)], exact=True), ALPHA)
    many = bounds(trail_of([PairedCounts(1, 1, 300, 56)], exact=False), ALPHA)
    few = bounds(trail_of([PairedCounts(1, 1, 300, 3)], exact=False), ALPHA)
    assert alone[1] < many[1] < few[1]


def wrong_share(lost: float, won: float, bound: float, runs: int, rows: int, seed: int, *, side: int = 1) -> float:
    """Share of runs, with mean exactly at `bound`, in which the capital reaches 1 / alpha at some row."""
    rng = np.random.default_rng(seed)
    draws = rng.choice(np.array([1, -1, 0]), (runs, rows), p=[lost, won, 1 - lost - won])
    b, c = (np.cumsum(draws == s, axis=1).astype(np.float64) for s in (side, -side))
    n = np.broadcast_to(np.arange(1.0, rows + 1), b.shape)
    most = 1.0 if side > 0 or won else 0.0
    return float((log_capital(b, c, n, side * bound, most) >= math.log(1 / ALPHA)).any(axis=1).mean())


REGIMES = [
    pytest.param(0.01, 0.0, id="only-losses-1%"),
    pytest.param(0.02, 0.01, id="margin-1-both-ways"),
    pytest.param(0.06, 0.04, id="margin-2-many-flips"),
    pytest.param(0.3, 0.1, id="margin-20"),
    pytest.param(0.03, 0.03, id="margin-0"),
    pytest.param(0.01, 0.04, id="margin-negative"),
]


@pytest.mark.parametrize("side", [1, -1], ids=["pass", "fail"])
@pytest.mark.parametrize(("lost", "won"), REGIMES)
def test_at_the_margin_looking_at_every_row_errs_at_most_alpha_of_the_time(lost: float, won: float, side: int) -> None:
    runs = 600
    wrong = wrong_share(lost, won, lost - won, runs, 600, seed=1, side=side)
    assert wrong <= ALPHA + 2.6 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("side", [1, -1], ids=["pass", "fail"])
@pytest.mark.parametrize(("lost", "won"), REGIMES)
def test_ten_thousand_runs_at_the_margin_err_at_most_alpha_of_the_time(lost: float, won: float, side: int) -> None:
    """10,000 runs of 3,000 rows, a look after every row: the share of them that is ever wrong, printed."""
    shares = [wrong_share(lost, won, lost - won, 500, 3000, seed=100 + k, side=side) for k in range(20)]
    wrong = float(np.mean(shares))
    print(f"lost {lost} won {won} side {side}: ever wrong {wrong:.4f} of 10,000")
    assert 0 < wrong <= ALPHA + 2.6 * math.sqrt(ALPHA * (1 - ALPHA) / 10_000)


def test_bounds_of_a_mean_are_those_of_counts_where_every_unit_is_a_row() -> None:
    losses = np.random.default_rng(5).choice([-1.0, 0.0, 1.0], 300, p=[0.03, 0.93, 0.04])
    path = [paired((losses[:n] > 0).sum(), (losses[:n] < 0).sum(), n) for n in range(1, 301)]
    assert mean_bounds(losses, np.ones(300), ALPHA) == pytest.approx(
        bounds(trail_of(path, exact=True), ALPHA), abs=1e-9
    )


def test_whole_clusters_as_units_are_exact_however_their_rows_depend() -> None:
    """A cluster loses all its rows or none, sizes unequal and tied to the loss: the bound is wrong at most alpha."""
    rng, runs, margin = np.random.default_rng(6), 400, 0.05
    wrong = 0
    for _ in range(runs):
        sizes = rng.choice([1.0, 3.0, 10.0], 150) / 10.0
        chance = margin * np.array([1.0, 0.5, 1.2])[np.searchsorted([0.1, 0.3, 1.0], sizes)]
        truth = (np.array([0.1, 0.3, 1.0]) * margin * np.array([1.0, 0.5, 1.2])).sum() / 1.4
        values = (rng.random(150) < chance).astype(np.float64)
        wrong += mean_bounds(values, sizes, ALPHA)[1] < truth
    assert wrong / runs <= ALPHA + 2.6 * math.sqrt(ALPHA * (1 - ALPHA) / runs)


def test_an_order_is_a_permutation_that_no_library_changes() -> None:
    """Known values: a certificate of today is judged again in years, on the same order."""
    assert random_order(10, 0).tolist() == [2, 4, 6, 8, 5, 1, 7, 0, 9, 3]
    assert random_order(10, 1).tolist() == [7, 4, 8, 1, 2, 6, 5, 0, 9, 3]
    assert sorted(random_order(5000, 7)) == list(range(5000))
    assert len(random_order(0, 7)) == 0
    assert random_order(10, -1).tolist() == random_order(10, 2**64 - 1).tolist()


def test_an_order_is_as_good_as_random() -> None:
    """Over 4,000 seeds every row is first, and every row follows row 0, equally often (chi square, 11 and 10 df)."""
    orders = np.array([random_order(12, seed) for seed in range(4000)])
    first = np.bincount(orders[:, 0], minlength=12)
    after = np.array([row[row.tolist().index(0) + 1] for row in orders if row[-1] != 0])
    assert stats.chisquare(first).pvalue > 1e-4
    assert stats.chisquare(np.bincount(after, minlength=12)[1:]).pvalue > 1e-4
    assert abs(stats.spearmanr(orders[:-1].ravel(), orders[1:].ravel()).statistic) < 0.02


def test_looks_grow_and_end_at_the_last_row() -> None:
    assert looks(0, last=True) == []
    assert looks(5, last=True) == [5]
    assert looks(5, last=False) == []
    assert looks(30, last=False) == [16, 24]
    assert looks(30, last=True) == [16, 24, 30]
    assert looks(32, last=True) == [16, 24, 32]
    assert looks(5000, last=True)[-1] == 5000
    assert len(looks(10**6, last=True)) < 200
    assert next_look(1600) == 1700
