"""A planted harm is found, confirmed and named; where nothing is planted nothing is. Prints its tables.

One conjunction of three columns with 1 % of the rows loses 15 points, so that the whole loses 0.15. `make proofs` runs
all; a quick size runs in every test run. docs/slices.md has the figures.
"""

import numpy as np
import pytest

from kit.slicing.ceiling import ceiling
from kit.slicing.family import family_of
from tests.proofs.planted_harm import HARM, LIMIT, is_false, is_named, share_interval, trials

FULL = pytest.param(False, marks=[pytest.mark.proof, pytest.mark.timeout(900)], id="full")
QUICK = pytest.param(True, id="quick")
ALPHA = 0.05


def told(what: str, successes: int, count: int) -> None:
    low, high = share_interval(successes, count)
    print(f"{what}: {successes} of {count} = {successes / count:.3f} [{low:.3f}, {high:.3f}]")


@pytest.mark.parametrize("quick", [QUICK, FULL])
@pytest.mark.parametrize("rows_a_cluster", [1, 10], ids=["rows", "clusters of 10"])
def test_a_planted_harm_is_found_confirmed_and_named(rows_a_cluster: int, quick: bool) -> None:
    count, rows = (5, 50_000) if quick else (100, 100_000)
    icc = 0.05 if rows_a_cluster > 1 else 0.0
    named, false, whole = 0, 0, []
    for made, differences, found in trials(count, rows, harm=HARM, rows_a_cluster=rows_a_cluster, icc=icc):
        named += is_named(found)
        false += is_false(made, found, LIMIT)
        whole.append(float(differences.values.mean()))
        assert abs(made.planted.mean() - 0.01) < 0.002
    told(f"planted, {rows:,} rows, {rows_a_cluster} a cluster: named", named, count)
    told(f"planted, {rows:,} rows, {rows_a_cluster} a cluster: something false confirmed", false, count)
    assert np.abs(whole).max() < 0.003
    assert abs(np.mean(whole)) < 0.002
    assert named >= 0.95 * count
    assert false <= 0.05 * count + 1


@pytest.mark.parametrize("quick", [QUICK, FULL])
@pytest.mark.parametrize(
    ("rows", "noise", "limit", "rows_a_cluster", "icc"),
    [
        (20_000, 0.005, 0.0, 1, 0.0),
        (20_000, 0.02, 0.0, 1, 0.0),
        (5_000, 0.01, 0.0, 1, 0.0),
        (20_000, 0.01, 0.0, 10, 0.05),
    ],
)
def test_nothing_is_found_where_nothing_is_hurt(
    rows: int, noise: float, limit: float, rows_a_cluster: int, icc: float, quick: bool
) -> None:
    """Flips both ways alike, and the limit at that truth, 0: any confirmed slice is a false discovery."""
    count = 10 if quick else 400
    how = {"noise": noise, "rows_a_cluster": rows_a_cluster, "icc": icc}
    false = sum(
        bool(found.confirmed) for *_, found in trials(count, rows, harm=0.0, limit=limit, minimum_rows=30, **how)
    )
    told(f"null, {rows:,} rows, {noise} each way, {rows_a_cluster} a cluster: false discovery", false, count)
    assert false <= ALPHA * count + 2 * (ALPHA * (1 - ALPHA) * count) ** 0.5


@pytest.mark.parametrize("quick", [QUICK, FULL])
def test_what_loses_exactly_the_limit_is_not_confirmed(quick: bool) -> None:
    """The planted slice loses the limit, no more: confirming it, or any other, is wrong."""
    count = 10 if quick else 300
    false = sum(bool(found.confirmed) for *_, found in trials(count, 20_000, harm=LIMIT, limit=LIMIT))
    told("at the limit, 20,000 rows: false discovery", false, count)
    assert false <= ALPHA * count + 2 * (ALPHA * (1 - ALPHA) * count) ** 0.5


@pytest.mark.parametrize("quick", [QUICK, FULL])
@pytest.mark.parametrize("rows_a_cluster", [1, 10], ids=["rows", "clusters of 10"])
def test_a_harm_at_the_limit_passes_at_most_alpha_of_the_time(rows_a_cluster: int, quick: bool) -> None:
    """Upper ends hold for all conjunctions at once, that of the planted one among them, which lies at the limit."""
    full = 300 if rows_a_cluster == 1 else 100  # clusters take ten times as long
    count, rows, minimum = (4, 5_000, 40) if quick else (full, 20_000, 150)
    icc = 0.05 if rows_a_cluster > 1 else 0.0
    missed = passed = 0
    for made, differences, found in trials(
        count, rows, harm=HARM, noise=0.01, minimum_rows=minimum, rows_a_cluster=rows_a_cluster, icc=icc
    ):
        over_all = ceiling(found.family, differences, 5, 0.95)
        hurt = family_of(made.columns, [np.where(made.planted, HARM, 0.0)], minimum)
        truth = (hurt.sums[1] / hurt.sums[0])[over_all.number]
        missed += bool((over_all.uppers < truth).any())
        passed += bool(over_all.within(float(truth.max())).all())
    told(f"ceilings, {rows_a_cluster} a cluster: some truth above its upper end", missed, count)
    told(f"ceilings, {rows_a_cluster} a cluster: PASS at the true worst harm", passed, count)
    assert missed <= ALPHA * count + 2 * (ALPHA * (1 - ALPHA) * count) ** 0.5
    assert passed <= missed


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_power_falls_with_rows() -> None:
    """The table of docs/slices.md."""
    shares = {}
    for rows in (10_000, 20_000, 30_000, 50_000, 100_000, 200_000):
        count = 100
        found = [found for *_, found in trials(count, rows, harm=HARM, minimum_rows=max(30, rows // 1000))]
        shares[rows] = sum(map(is_named, found)) / count
        any_found = sum(bool(each.confirmed) for each in found)
        print(f"power: {rows:,} rows, {rows // 100:,} planted: named {shares[rows]:.2f}, any {any_found / count:.2f}")
    assert shares[100_000] >= 0.95
    assert shares[10_000] <= shares[100_000]
