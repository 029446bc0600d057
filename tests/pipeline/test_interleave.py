"""Turns that a drift cannot favour, and an interval of a ratio that holds as often as it says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.pipeline.interleave import paired_ratio, turns
from kit.records import Float64Array


@given(models=st.integers(1, 6), windows=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_every_model_has_one_window_a_round(models: int, windows: int, seed: int) -> None:
    order = turns(models, windows, seed)
    assert len(order) == windows
    assert all(sorted(each) == list(range(models)) for each in order)
    assert order == turns(models, windows, seed)


@given(models=st.integers(2, 6), pairs=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_a_linear_drift_weighs_on_all_alike(models: int, pairs: int, seed: int) -> None:
    sequence = [model for each in turns(models, 2 * pairs, seed) for model in each]
    place = np.arange(len(sequence))
    means = [place[np.array(sequence) == model].mean() for model in range(models)]
    assert means == pytest.approx([means[0]] * models)


def test_two_models_go_a_b_b_a() -> None:
    for seed in range(20):
        (first, second, *_) = turns(2, 4, seed)
        assert first == second[::-1]
    assert {turns(2, 2, seed)[0] for seed in range(20)} == {(0, 1), (1, 0)}


def test_the_ratio_is_of_the_second_to_the_first() -> None:
    ratio = paired_ratio([1.0, 2.0, 4.0], [0.5, 1.0, 2.0], 0.95)
    assert ratio is not None
    assert (ratio.estimate, ratio.lower, ratio.upper) == pytest.approx((0.5, 0.5, 0.5))
    assert ratio.differs
    assert ratio.pairs == 3


def test_what_a_round_does_to_both_cancels() -> None:
    rounds = np.array([1.0, 3.0, 1.1, 0.4, 2.0, 1.0])
    ratio = paired_ratio(list(rounds), list(1.05 * rounds * [1.001, 0.999, 1.0, 1.002, 0.998, 1.0]), 0.95)
    assert ratio is not None
    assert 1.04 < ratio.lower < ratio.estimate < ratio.upper < 1.06


def test_too_few_rounds_have_no_interval() -> None:
    assert paired_ratio([1.0, 1.0], [2.0, 2.1], 0.95) is None
    assert paired_ratio([], [], 0.95) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [([1.0, 1.0, 1.0], [1.0, 1.0]), ([0.0, 1.0, 1.0], [1.0] * 3), ([1.0] * 3, [float("nan"), 1, 1])],
    ids=["unpaired", "zero", "nan"],
)
def test_what_is_no_pair_of_medians_is_refused(one: list[float], other: list[float]) -> None:
    with pytest.raises(ValueError, match="pairs"):
        paired_ratio(one, other, 0.95)


@pytest.mark.parametrize("rounds", [3, 6, 10], ids="{} rounds".format)
def test_the_interval_covers_as_often_as_it_says(rounds: int) -> None:
    random = np.random.default_rng(rounds)
    held = told = 0
    for _ in range(2000):
        shared = np.exp(random.normal(0, 0.2, rounds))  # what the machine does to both
        one, other = (shared * np.exp(random.normal(0, 0.03, rounds)) for _ in range(2))
        ratio = paired_ratio(list(one), list(other * 0.9), 0.95)
        same = paired_ratio(list(one), list(other), 0.95)
        assert ratio is not None
        assert same is not None
        held += ratio.lower <= 0.9 <= ratio.upper
        told += same.differs
    assert held > 0.98 * 2000
    assert told < 0.02 * 2000


def log_ratios(correlation: float, rounds: int, runs: int) -> Float64Array:
    """Stationary first-order autoregressions of standard deviation 1 and mean 0, float64 [runs, rounds]."""
    shocks = np.random.default_rng(rounds).normal(size=(runs, rounds))
    shocks[:, 1:] *= np.sqrt(1 - correlation**2)
    for before in range(rounds - 1):
        shocks[:, before + 1] += correlation * shocks[:, before]
    return shocks


@pytest.mark.parametrize("confidence", [0.95, 0.99], ids=str)
@pytest.mark.parametrize("correlation", [-0.3, 0.0, 0.3, 0.6], ids="correlation {}".format)
@pytest.mark.parametrize("rounds", [3, 6, 10, 20, 50], ids="{} rounds".format)
def test_rounds_that_hang_together_are_no_difference(rounds: int, correlation: float, confidence: float) -> None:
    runs, ones = 4000, [1.0] * rounds
    told = 0
    for each in log_ratios(correlation, rounds, runs):
        ratio = paired_ratio(ones, list(np.exp(0.02 * each)), confidence)
        assert ratio is not None
        told += ratio.differs
    allowed = 1 - confidence
    assert told / runs <= allowed + 3 * math.sqrt(allowed * (1 - allowed) / runs)


def test_rounds_that_hang_together_more_than_is_allowed_for_are_beyond_the_promise() -> None:
    ones, runs = [1.0] * 10, log_ratios(0.8, 10, 2000)
    told = [ratio.differs for each in runs if (ratio := paired_ratio(ones, list(np.exp(0.02 * each)), 0.95))]
    assert 0.05 < np.mean(told) < 0.25


@pytest.mark.parametrize(("rounds", "deviations"), [(3, 10.0), (6, 4.0), (10, 2.5)], ids=["3", "6", "10"])
def test_a_difference_that_is_there_is_told(rounds: int, deviations: float) -> None:
    ones, runs = [1.0] * rounds, log_ratios(0.0, rounds, 1000)
    found = [paired_ratio(ones, list(np.exp(0.02 * (each - deviations))), 0.95) for each in runs]
    assert np.mean([ratio.differs and ratio.upper < 1 for ratio in found if ratio]) > 0.85


def test_a_drift_is_no_difference_between_models_that_take_turns() -> None:
    random = np.random.default_rng(0)
    in_turn = one_by_one = 0
    for seed in range(500):
        drift = 1 + 0.02 * np.arange(12) + random.normal(0, 0.004, 12)  # a device that gets hotter: 24 % in 12 windows
        sequence = [model for turn in turns(2, 6, seed) for model in turn]
        medians = [[drift[place] for place in range(12) if sequence[place] == model] for model in (0, 1)]
        turned, apart = (paired_ratio(a, b, 0.95) for a, b in (medians, (list(drift[:6]), list(drift[6:]))))
        assert turned is not None
        assert apart is not None
        in_turn, one_by_one = in_turn + turned.differs, one_by_one + apart.differs
    assert in_turn <= 25
    assert one_by_one == 500
