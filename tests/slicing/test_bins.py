"""Bins have about equally many rows, name their ends, and never part equal numbers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.slicing.bins import quantile_bins

NUMBERS = st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.integers(-3, 3).map(float), min_size=1)


@given(NUMBERS, st.integers(1, 9))
def test_bins_follow_the_order_of_numbers(numbers: list[float], bins: int) -> None:
    values = np.array(numbers, dtype=np.float64)
    record = quantile_bins(values, bins)
    missing = np.isnan(values)
    assert len(record.values) <= bins + bool(missing.any())
    assert len(set(record.values)) == len(record.values)
    assert (record.codes >= 0).all()
    assert (record.codes < len(record.values)).all()
    known = np.flatnonzero(~missing)
    order = known[np.argsort(values[known], kind="stable")]
    assert (np.diff(record.codes[order]) >= 0).all()
    assert all(record.values[code] == "missing" for code in record.codes[missing])
    for low, high in pairwise(order):
        assert values[low] != values[high] or record.codes[low] == record.codes[high]


def test_quartiles_of_distinct_numbers_are_equally_large_and_named() -> None:
    record = quantile_bins(np.random.default_rng(0).permutation(np.arange(1.0, 101.0)))
    assert np.bincount(record.codes).tolist() == [25, 25, 25, 25]
    assert record.values == ("at most 25", "above 25 to 50", "above 50 to 75", "above 75")


@pytest.mark.parametrize(
    ("numbers", "names"),
    [
        ([5.0] * 9, ("at most 5",)),
        ([0.0] * 90 + [1.0] * 10, ("at most 0", "above 0")),
        ([np.nan] * 4, ("missing",)),
        ([1.0, np.nan], ("at most 1", "missing")),
        ([1.00001, 1.00002, 1.00003, 1.00004], ("at most 1.00001", "above 1.00001 to 1.00002",
                                                "above 1.00002 to 1.00003", "above 1.00003")),
    ],
    ids=["one number", "two", "none", "one known", "close"],
)  # fmt: skip
def test_few_numbers_have_few_bins(numbers: list[float], names: tuple[str, ...]) -> None:
    assert quantile_bins(np.array(numbers)).values == names
