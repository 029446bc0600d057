import math

import pytest

from kit.report.figures import clean, listed, percent, points, quantity, scale_for
from kit.words import count
from kit.words import percent as confidence_text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0151, "s", "15.1 ms"),
        (0.000143, "s", "143 µs"),
        (2.0, "s", "2.00 s"),
        (71_000, "B", "71.0 kB"),
        (512, "B", "512 B"),
        (3_020_000, "B", "3.02 MB"),
        (4e-4, "J", "400 µJ"),
        (0.0099, "share", "0.99 %"),
        (0.846, "share", "84.6 %"),
        (-0.036, "points", "−3.6 pp"),
        (0.014, "points", "+1.4 pp"),
        (0.0, "points", "0.0 pp"),
        (-0.0001, "points", "0.0 pp"),
        (0.0, "s", "0.0 s"),
        (12, "1", "12"),
        (None, "s", "not obtained"),
        (math.nan, "s", "not obtained"),
        (math.inf, "B", "not obtained"),
    ],
)
def test_quantity(value: float | None, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_interval_shares_the_scale_of_its_figure() -> None:
    scale = scale_for([0.0149, 0.0147, 0.0151], "s")
    assert (scale.text(0.0149), scale.interval(0.0147, 0.0151)) == ("14.9 ms", "[14.7, 15.1]")


def test_open_interval_says_so() -> None:
    scale = scale_for([0.01], "s")
    assert scale.interval(None, 0.01) == "[–, 10.0]"
    assert scale.interval(0.01, None) == "[10.0, –]"
    assert scale.interval(None, None) == ""


def test_ticks_have_no_needless_zeros() -> None:
    scale = scale_for([5.0], "s")
    assert [scale.tick(v) for v in (0.0, 2.5, 5.0, -5.0)] == ["0", "2.5", "5", "−5"]
    assert scale_for([300e3], "B").tick(300e3) == "300"


def test_what_is_huge_or_tiny_has_an_exponent() -> None:
    huge = scale_for([0.5, 0.4, 1.5589e49], "1")
    assert f"{huge.text(0.5)} {huge.interval(0.4, -1.5589e49)}" == "0.50 [0.40, −1.56e+49]"
    assert (huge.tick(1e10), huge.tick(1.5e10), huge.tick(2.5)) == ("1e+10", "1.5e+10", "2.5")
    assert quantity(9_999_999, "1") == "9,999,999"
    assert points(1e30) == "+1e+32 pp"
    tiny = scale_for([1.25e-5, 0.0, 3e-5], "1")
    assert f"{tiny.text(1.25e-5)} {tiny.interval(0.0, 3e-5)}" == "1.25e−05 [0.00, 3e−05]"
    assert scale_for([0.005], "1").text(0.005) == "0.01"


def test_confidence_is_rounded_down() -> None:
    assert [confidence_text(c) for c in (0.95, 1 - 0.05 / 3, 0.99999, 1.0)] == ["95 %", "98.33 %", "99.99 %", "100 %"]


def test_percent_and_points() -> None:
    assert (percent(0.5), percent(None), points(-0.012)) == ("50.0 %", "not obtained", "−1.2 pp")


def test_count_and_list() -> None:
    assert [count(n, "row") for n in (0, 1, 2008)] == ["0 rows", "1 row", "2,008 rows"]
    assert [listed(x) for x in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


@pytest.mark.parametrize("mark", ["\n", "\x1b", "\u202e", "\u2066", "\x00", "\u2028", "\ud800", "\u200f"])
def test_clean_shows_marks_that_move_or_hide_text(mark: str) -> None:
    assert clean(f"a{mark}b") == "a\ufffdb"


def test_clean_bounds_length_and_keeps_languages() -> None:
    assert len(clean("x" * 10_000)) == 72
    assert clean("x" * 10_000).endswith("…")
    assert clean("עברית 日本 é") == "עברית 日本 é"
