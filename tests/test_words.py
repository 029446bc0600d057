"""Figures as people read them."""

import pytest

from kit.words import count, fixed, interval, number, percent, quantity, rounded_up


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0151, "s", "15.1 ms"),
        (1.5e-4, "s", "150 µs"),
        (2.5, "s", "2.5 s"),
        (0.0, "s", "0 s"),
        (71_234, "B", "71.2 kB"),
        (8e6, "B", "8 MB"),
        (12, "B", "12 B"),
        (4e-4, "J", "400 µJ"),
        (0.839, "share", "83.9 %"),
        (-0.036, "points", "−3.6 points"),
        (0.0002, "points", "0.02 points"),
        (3, "1", "3"),
        (9_999_999, "1", "9,999,999"),
        (1.25e7, "1", "1.25e+07"),
        (-1e100, "1", "−1e+100"),
        (1.5e-9, "1", "1.5e−09"),
        (-1e30, "share", "−1e+32 %"),
    ],
)
def test_quantity(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_intervals() -> None:
    assert interval(-0.027, 0.0, "points") == "[−2.7, 0.0]"
    assert interval(-0.078, 0.093, "points") == "[−7.8, +9.3]"
    assert interval(None, 0.0151, "s") == "[–, 15.1 ms]"
    assert interval(0.1, None, "share") == "[10.0, –]"
    assert interval(0.5, 1e48, "1") == "[0.5, 1e+48]"
    assert interval(-1e30, 0.9, "share") == "[−1e+32, 90.0]"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.0"), (-0.0, "0.0"), (-1e-9, "0.0"), (-2.25, "−2.2"), (-0.04, "−0.04")]
)
def test_no_negative_zero(value: float, text: str) -> None:
    assert fixed(value) == text


def test_confidence_is_never_rounded_up() -> None:
    assert percent(0.95) == "95 %"
    assert percent(1 - 0.05 / 3) == "98.33 %"
    assert percent(0.99666667) == "99.66 %"
    assert percent(1.0) == "100 %"


def test_counts() -> None:
    assert count(1, "row") == "1 row"
    assert count(2008, "row") == "2,008 rows"
    assert [rounded_up(x) for x in (0.2, 7.1, 5873, 101)] == [1, 8, 5900, 110]
    assert number(1234.5, 3) == "1,234"
