"""Changes of level: false alarms by simulation, the statistic by hand, batches, trends and stretches."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kit.stats.changes import (
    CRITICAL,
    MINIMUM_COUNT,
    Batches,
    batched,
    episodes,
    has_order,
    is_step,
    level_shift,
    level_trend,
    self_normalised,
)
from tests.proofs.verdict_simulation import autocorrelated, tolerance


def levels(values: np.ndarray) -> Batches:
    return Batches(values, values, tuple(range(len(values))))


@pytest.mark.parametrize(("phi", "most"), [(0.0, 0.01), (0.5, 0.08), (0.8, 0.25)])
@pytest.mark.parametrize("count", [20, 40])
def test_the_statistic_without_a_change(count: int, phi: float, most: float) -> None:
    """As CRITICAL says; strong correlation from batch to batch is a change that lasts a while, and MATTERS decides."""
    series = autocorrelated(400, count, phi, np.random.default_rng(1))
    found = [level_shift(levels(np.exp(0.02 * row))) for row in series]
    assert np.mean([shift.statistic > CRITICAL for shift in found]) <= most
    assert not any(shift.matters for shift in found), "2 % is no change that matters"


def test_the_statistic_by_hand() -> None:
    values = np.array([0.0, 1.0] * 6 + [3.0, 4.0] * 6)
    split, statistic = self_normalised(values)
    distance = 12 * 12 / 24**1.5 * -3.0
    spread = 2 * 6 * 0.5**2 / 24**2  # partial sums about the mean are -0.5 and 0 in turn
    assert split == 12
    assert statistic == pytest.approx(distance**2 / spread)


def test_it_does_not_depend_on_unit_or_level() -> None:
    values = np.random.default_rng(2).normal(size=40)
    split, statistic = self_normalised(values)
    for changed, where in ((3.0 * values + 17.0, split), (values[::-1], 40 - split)):
        found = self_normalised(changed)
        assert found[0] == where
        assert found[1] == pytest.approx(statistic)


def test_a_clean_step_is_sure() -> None:
    assert self_normalised(np.repeat([1.0, 2.0], 20)) == (20, float("inf"))
    assert self_normalised(np.ones(40))[1] == 0.0


@pytest.mark.parametrize("ratio", [1.5, 1.2, 0.7])
@pytest.mark.parametrize("batch", [8, 20, 32])
def test_a_step_in_noise_is_found_where_it_is(batch: int, ratio: float) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        values = np.exp(rng.normal(0, 0.02, 40)) * np.where(np.arange(40) < batch, 1.0, ratio)
        shift = level_shift(levels(values))
        assert shift.matters
        assert abs(shift.batch - batch) <= 2
        assert shift.ratio == pytest.approx(ratio, rel=0.1)
        assert shift.apart > 0.85
        assert is_step(levels(values), shift)


@given(st.integers(0, 3000), st.integers(0, 2**32 - 1))
def test_batches_are_equal_and_in_order(count: int, seed: int) -> None:
    samples = np.random.default_rng(seed).gamma(2.0, size=count)
    found = batched(samples)
    if count < MINIMUM_COUNT:
        assert found is None
        return
    assert found is not None
    assert 20 <= len(found.level) <= 40
    steps = set(np.diff(found.first))
    assert len(steps) == 1
    assert found.first[0] < len(found.level)
    assert found.first[-1] + steps.pop() == count
    assert (found.floor <= found.level).all()


def test_one_wild_value_does_not_move_a_batch() -> None:
    samples = np.ones(400)
    samples[[5, 77, 210]] = 1e6
    found = batched(samples)
    assert found is not None
    assert (found.level == 1.0).all()


def test_a_line_is_no_step() -> None:
    rng = np.random.default_rng(4)
    values = levels(np.linspace(1.0, 1.5, 40) * np.exp(rng.normal(0, 0.01, 40)))
    assert not is_step(values, level_shift(values))
    found = level_trend(values, 0.99)
    assert found.change == pytest.approx(0.4, abs=0.03)  # of the median, 1.25
    assert found.lower > 0.35


@pytest.mark.parametrize(
    ("slow", "found"),
    [
        ((), ()),
        ((10, 11, 12, 13), ((10, 14),)),
        ((10, 11, 12), ()),
        ((0, 1, 2, 3, 36, 37, 38, 39), ((0, 4), (36, 40))),
        ((1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24), ()),
        ((3, 10, 11, 12, 13, 14, 30, 35), ()),
    ],
    ids=["none", "one", "too short", "at both ends", "a pattern", "others elsewhere"],
)
def test_slow_stretches(slow: tuple[int, ...], found: tuple[tuple[int, int], ...]) -> None:
    values = np.where(np.isin(np.arange(40), slow), 1.5, 1.0)
    assert episodes(levels(values)) == found


@pytest.mark.parametrize("count", [20, 40])
@pytest.mark.parametrize("name", ["normal", "cauchy", "two values", "wild ones"])
def test_what_could_come_in_any_order_seldom_has_one(name: str, count: int) -> None:
    rng, runs = np.random.default_rng(4), 600
    draw: Callable[[], NDArray[np.float64]] = {
        "normal": lambda: np.exp(rng.normal(size=count)),
        "cauchy": lambda: np.exp(np.clip(rng.standard_cauchy(count), -50, 50)),
        "two values": lambda: np.where(rng.random(count) < 0.5, 1.0, 1.6),
        "wild ones": lambda: np.where(rng.random(count) < 0.1, 100.0, 1.0),
    }[name]
    assert np.mean([has_order(levels(draw())) for _ in range(runs)]) <= 0.02 + tolerance(0.02, runs)


def test_what_changes_drifts_or_lasts_has_an_order() -> None:
    noise = np.exp(0.02 * np.random.default_rng(5).normal(size=40))
    index = np.arange(40)
    for factor in (
        np.where(index < 20, 1.0, 1.3),
        np.where(index < 34, 1.0, 1.3),
        np.linspace(1.0, 1.2, 40),
        np.where(np.isin(index // 4, [2, 7]), 1.5, 1.0),
        np.where(index // 4 == 5, 1.5, 1.0),
    ):
        assert has_order(levels(factor * noise))
        assert has_order(levels(1e6 * (factor * noise)[::-1]))
    assert not has_order(levels(np.ones(40)))
    assert not has_order(levels(1.0 + (index % 2)))
