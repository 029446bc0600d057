import numpy as np
import pytest

from kit.stats.trend import trend


@pytest.mark.parametrize("count", [6, 10, 24, 25, 60, 500])
@pytest.mark.parametrize("rise", [-300.0, 0.0, 40.0])
def test_a_straight_line_is_found_exactly_whatever_its_length(count: int, rise: float) -> None:
    found = trend(np.linspace(1000.0, 1000.0 + rise, count), 0.975)
    assert (found.lower, found.change, found.upper) == pytest.approx((rise, rise, rise), abs=1e-6)


def test_wild_values_do_not_bend_it() -> None:
    values = np.linspace(1000.0, 900.0, 20)
    values[[3, 17]] = 5.0
    assert trend(values, 0.975).change == pytest.approx(-100, rel=0.15)


@pytest.mark.parametrize("count", [9, 24, 60])
def test_bounds_cover_the_truth_as_often_as_they_say(count: int) -> None:
    rng, trials, change = np.random.default_rng(5), 2000, -30.0
    line = np.linspace(0.0, change, count)
    below = above = 0
    for _ in range(trials):
        found = trend(line + rng.standard_t(3, count) * 20, 0.95)
        below += found.upper < change
        above += found.lower > change
    assert below / trials < 0.06
    assert above / trials < 0.06


def test_more_values_give_tighter_bounds() -> None:
    rng = np.random.default_rng(1)
    few, many = (trend(rng.normal(0, 1, count), 0.975) for count in (9, 240))
    assert many.upper - many.lower < few.upper - few.lower
