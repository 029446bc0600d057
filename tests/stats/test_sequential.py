"""A figure that rows decide one after another: shares of alpha, twins good and bad, p-values, and what is missing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.stats.betting import bounds, trail_of
from kit.stats.orders import looks
from kit.stats.proportions import PairedCounts, Successes, p_value_above, p_value_below
from kit.stats.sequential import OF_THREE, ON_THE_WAY, Sequential

Losses = np.ndarray[tuple[int], np.dtype[np.int64]]


def paired(losses: Losses) -> PairedCounts:
    return PairedCounts(float((losses > 0).sum()), float((losses < 0).sum()), float(len(losses)), 1e6)


def sequential(losses: Losses, *, end: bool = False, twin: Losses | None = None) -> Sequential:
    """Of losses -1, 0, 1 as they came; `twin`: those of the twin on the same rows."""
    steps = looks(len(losses), last=end)
    audit = None if twin is None else trail_of([paired(losses[:n] - twin[:n]) for n in steps], exact=True)
    return Sequential(
        estimate=paired(losses).estimate, least=-1.0, trail=trail_of([paired(losses[:n]) for n in steps], exact=True),
        twin=None if twin is None else paired(twin), audit=audit, end=paired(losses) if end else None, sign=1,
        rows=float(len(losses)),
    )  # fmt: skip


def drawn(to_wrong: float, to_right: float, rows: int, seed: int) -> Losses:
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([1, -1, 0]), rows, p=[to_wrong, to_right, 1 - to_wrong - to_right])


def test_on_the_way_has_half_of_alpha_and_the_end_the_other_half() -> None:
    losses = drawn(0.02, 0.01, 500, 0)
    way, ended = sequential(losses), sequential(losses, end=True)
    assert way.bounds(0.95) == bounds(way.trail, ON_THE_WAY * (1 - 0.95))
    lower, upper = bounds(ended.trail, 0.025)
    low, high = paired(losses).bounds(0.975)
    assert ended.bounds(0.95) == pytest.approx((max(lower, low), min(upper, high)))


def test_a_twin_s_bound_and_the_bound_of_differences_add_up() -> None:
    everywhere, n = drawn(0.03, 0.03, 20_000, 1), 400
    device = everywhere[:n].copy()
    found = replace(sequential(device, twin=everywhere[:n]), twin=paired(everywhere))
    alpha = 0.05 * ON_THE_WAY * OF_THREE
    assert found.audit is not None
    added = paired(everywhere).bounds(1 - alpha)[1] + bounds(found.audit, alpha)[1]
    alone = bounds(found.trail, alpha)[1]
    assert found.bounds(0.95)[1] == pytest.approx(min(added, alone))
    assert added < alone, "6 % flips over all rows say more than 400 rows do"


def test_a_twin_lowers_where_losses_lower() -> None:
    """A share right is the twin's less the mean of (twin right, device wrong)."""
    n = 300
    audit = trail_of([PairedCounts(0, 0, k, k) for k in looks(n, last=False)], exact=True)
    right = trail_of([Successes(0.9 * k, k, k) for k in looks(n, last=False)], exact=True)
    worse = trail_of([PairedCounts(0.1 * k, 0, k, k) for k in looks(n, last=False)], exact=True)
    twin = Successes(9000.0, 10_000.0, 1e6)
    same = Sequential(0.9, 0.0, right, twin, audit, None, -1, float(n))
    bad = Sequential(0.8, 0.0, trail_of([], exact=True), twin, worse, None, -1, float(n))
    assert same.bounds(0.95)[0] > 0.86
    assert bad.bounds(0.95)[1] < 0.88
    assert bad.side(0.89, 0.95) == -1
    assert same.side(0.8, 0.95) == 1


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 0.1), st.floats(0, 0.1), st.integers(20, 400), st.integers(0, 99), st.booleans(), st.booleans())
def test_sides_and_bounds_agree(wrong: float, right: float, rows: int, seed: int, end: bool, has_twin: bool) -> None:
    """What stops a run is what the verdict says: at every limit, and at both ends."""
    losses = drawn(wrong, right, rows, seed)
    given = sequential(losses, end=end, twin=losses if has_twin else None)
    lower, upper = given.bounds(0.9)
    for value in (-0.3, -0.02, 0.0, 0.03, 0.2):
        side = given.side(value, 0.9)
        if abs(value - lower) > 1e-6 and abs(value - upper) > 1e-6:
            assert side == (1 if lower > value else -1 if upper < value else 0)


def test_p_values_are_the_least_alpha() -> None:
    given = sequential(drawn(0.2, 0.02, 300, 4), end=True)
    p = p_value_above(given, 0.05)
    assert 1e-9 < p < 0.01
    assert given.bounds(1 - p * 1.02)[0] > 0.05 > given.bounds(1 - p / 1.02)[0]
    assert p_value_above(given, 0.5) >= 0.5
    assert p_value_below(given, 0.5) < 1e-6
    assert p_value_above(sequential(drawn(0.1, 0.1, 3, 0)), 0.0) == pytest.approx(0.5)


def test_rows_that_are_missing_are_foretold() -> None:
    """No flip: what is foretold at 60 rows is what it then takes, to a look."""
    needed = next(n for n in range(60, 999) if sequential(np.zeros(n, np.int64)).side(0.02, 0.95))
    more = sequential(np.zeros(64, np.int64)).more(0.02, 0.95, 100)
    assert more is not None
    assert needed / 1.15 <= 64 + more <= needed * 1.02
    assert sequential(drawn(0.1, 0.08, 2000, 1)).more(0.02, 0.95, 2) is None
    assert sequential(np.zeros(3, np.int64)).more(0.02, 0.95, 100) is None


@pytest.mark.parametrize("differs", [0.0, 0.01, 0.2], ids=["twin-agrees", "twin-1%", "twin-bad"])
def test_at_the_margin_a_sample_with_a_twin_passes_at_most_alpha_of_the_time(differs: float) -> None:
    """The device's true drop is the margin, whatever its twin does; looked at after every batch and at the end."""
    runs, rows, margin, wrong = 250, 600, 0.05, 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        device = rng.choice(np.array([1, -1, 0]), rows, p=[0.07, 0.02, 0.91])
        twin = np.where(rng.random(rows) < differs, 0, device)
        wrong += sequential(device, end=True, twin=twin).side(margin, 0.95) == -1
    assert wrong / runs <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / runs)
