"""The growing histogram: nothing is lost, order and division do not matter, quantiles are within one bin."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kit.model.calibrate.histogram import HALF_BINS, Histogram
from kit.model.calibrate.thresholds import percentile_threshold

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
VALUES = st.lists(FLOATS, min_size=1, max_size=60).map(lambda each: np.array(each, dtype=np.float32))
MODEST = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=60).map(
    lambda each: np.array(each, dtype=np.float32)
)


def histogram_of(*parts: NDArray[np.float32]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        histogram.add(part)
    return histogram


def same(one: Histogram, other: Histogram) -> bool:
    return one.exponent == other.exponent and np.array_equal(one.counts, other.counts)


@given(VALUES)
def test_counts_are_those_of_exact_arithmetic(values: NDArray[np.float32]) -> None:
    histogram = histogram_of(values)
    expected = np.zeros(2 * HALF_BINS, dtype=np.int64)
    for value in values.tolist():
        bin_ = math.trunc(math.ldexp(value, -(histogram.exponent or 0))) if value else 0
        expected[HALF_BINS + bin_] += 1
    assert np.array_equal(histogram.counts, expected)


@given(VALUES)
def test_the_largest_magnitude_is_in_the_upper_half_of_the_bins(values: NDArray[np.float32]) -> None:
    largest, histogram = float(np.abs(values).max()), histogram_of(values)
    if largest >= 2.0**-100:
        assert HALF_BINS / 2 * histogram.width <= largest < HALF_BINS * histogram.width
    assert histogram.counts[0] == 0
    assert histogram.counts.sum() == values.size


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_order_and_division_change_nothing(parts: list[NDArray[np.float32]]) -> None:
    together = histogram_of(np.concatenate(parts))
    assert same(histogram_of(*parts), together)
    assert same(histogram_of(*reversed(parts)), together)
    assert same(histogram_of(np.sort(np.concatenate(parts))), together)


@given(VALUES, VALUES)
def test_merging_is_adding(one: NDArray[np.float32], other: NDArray[np.float32]) -> None:
    together = histogram_of(one, other)
    for left, right in ((one, other), (other, one)):
        merged, right_alone = histogram_of(left), histogram_of(right)
        before = right_alone.counts.copy()
        merged.merge(right_alone)
        assert same(merged, together)
        assert np.array_equal(right_alone.counts, before)


@given(VALUES)
def test_merging_with_none_changes_nothing(values: NDArray[np.float32]) -> None:
    merged, empty = histogram_of(values), Histogram()
    merged.merge(Histogram())
    empty.merge(histogram_of(values))
    assert same(merged, histogram_of(values))
    assert same(empty, histogram_of(values))


@given(MODEST, st.integers(0, 300))
def test_widening_preserves_counts(values: NDArray[np.float32], doublings: int) -> None:
    histogram = histogram_of(values)
    before = histogram.magnitudes
    if histogram.exponent is None:
        return
    histogram.widen(histogram.exponent + doublings)
    assert histogram.counts.sum() == values.size
    shifted = np.arange(HALF_BINS) >> min(doublings, 62)
    assert np.array_equal(histogram.magnitudes, np.bincount(shifted, before, HALF_BINS))


@given(MODEST, st.floats(0.5, 1.0))
def test_a_quantile_is_less_than_a_bin_above_the_exact_one(values: NDArray[np.float32], share: float) -> None:
    histogram = histogram_of(values)
    magnitudes = np.sort(np.abs(values.astype(np.float64)))
    exact = magnitudes[math.ceil(share * values.size) - 1]
    threshold = percentile_threshold(histogram, share)
    assert exact <= threshold <= exact + histogram.width
    assert np.count_nonzero(magnitudes <= threshold) >= share * values.size


def test_more_values_than_a_chunk_are_all_counted() -> None:
    values = np.random.default_rng(0).normal(size=700_001).astype(np.float32)
    histogram = histogram_of(values)
    assert histogram.counts.sum() == values.size
    assert same(histogram_of(*np.array_split(values, 7)), histogram)


def test_zeros_wait_for_a_width() -> None:
    histogram = histogram_of(np.zeros(5, dtype=np.float32))
    assert histogram.exponent is None
    assert histogram.width == 0.0
    histogram.add(np.array([3.0], dtype=np.float32))
    assert histogram.magnitudes[0] == 5
    assert histogram.counts.sum() == 6


@pytest.mark.parametrize("value", [1e-45, 1.2e-38, 1.0, -7.25, 3.4028235e38, -3.4028235e38])
def test_every_float_has_a_bin(value: float) -> None:
    histogram = histogram_of(np.full(3, value, dtype=np.float32))
    assert histogram.counts.sum() == 3
    (used,) = np.flatnonzero(histogram.counts)
    assert abs(histogram.centres[used] - np.float32(value)) <= histogram.width
    assert np.sign(histogram.centres[used]) in (0, np.sign(value))


def test_memory_is_of_fixed_size() -> None:
    histogram = Histogram()
    size = histogram.counts.nbytes
    for power in range(-100, 100, 7):
        histogram.add(np.full(100, 2.0**power, dtype=np.float32))
    assert histogram.counts.nbytes == size
