"""Each method's threshold beside a plain computation on all values at once, and beside onnxruntime's collector."""

import contextlib
import io
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from kit.errors import ModelError
from kit.model.calibrate.base import Method
from kit.model.calibrate.entropy import LEVELS, divergences, entropy_threshold, rebinned
from kit.model.calibrate.histogram import HALF_BINS, Histogram
from kit.model.calibrate.mse import CANDIDATES, STEPS, mse_threshold
from kit.model.calibrate.statistics import TensorStatistics
from kit.model.calibrate.thresholds import range_of
from kit.records import CalibrationMethod

Values = NDArray[np.float32]


def _values(make: Callable[[np.random.Generator], NDArray[np.float64]]) -> Values:
    return make(np.random.default_rng(5)).astype(np.float32)


SHAPES: dict[str, Values] = {
    "normal": _values(lambda random: random.normal(0, 3, 60_000)),
    "relu": _values(lambda random: np.maximum(random.normal(0, 1, 60_000), 0)),
    "relu6": _values(lambda random: np.clip(random.normal(2, 3, 60_000), 0, 6)),
    "heavy tail": _values(lambda random: random.standard_t(3, 60_000)),
    "laplace": _values(lambda random: random.laplace(0, 0.01, 60_000)),
    "few": _values(lambda random: random.normal(0, 1, 300)),
    "shifted": _values(lambda random: random.normal(-20, 1, 60_000)),
    "one outlier": _values(lambda random: np.append(random.normal(0, 1, 60_000), 500.0)),
}
NAMES: tuple[CalibrationMethod, ...] = ("minmax", "moving-average", "percentile", "entropy", "mse")


def kept_of(*rows: Values) -> TensorStatistics:
    kept = TensorStatistics(counted=True)
    for row in rows:
        kept.add_row(row)
    return kept


def largest(values: Values) -> float:
    return float(np.abs(values).max())


def collected(values: Values, method: str, **options: object) -> tuple[float, float]:
    """onnxruntime's own thresholds of all values at once."""
    settings = {"symmetric": False, "num_bins": 2048, "num_quantized_bins": 128, "percentile": 99.999}
    collector = HistogramCollector(method=method, scenario="same", **{**settings, **options})
    with contextlib.redirect_stdout(io.StringIO()):
        collector.collect({"t": [values]})
        low, high, *_ = collector.compute_collection_result()["t"]
    return float(low), float(high)


@pytest.mark.parametrize("percentile", [50.6, 90.1, 99.1, 99.9, 99.999])
@pytest.mark.parametrize("shape", SHAPES)
def test_percentile_is_that_of_onnxruntime(shape: str, percentile: float) -> None:
    values = SHAPES[shape]
    ours = range_of(kept_of(values), Method("percentile", percentile))
    theirs = collected(values, "percentile", symmetric=True, percentile=percentile)
    clipped = [min(max(each, -largest(values)), largest(values)) for each in theirs]
    # its bin's lower edge, ours the finer bin's upper edge; where all is negative, its high end may be below its low
    assert ours[1] == pytest.approx(max(min(values.max(), clipped[1]), ours[0]), abs=largest(values) / 1024)


@pytest.mark.parametrize("share", [50.5, 99.0, 99.9])
@pytest.mark.parametrize("shape", SHAPES)
def test_percentile_holds_its_share(shape: str, share: float) -> None:
    values = SHAPES[shape]
    low, high = range_of(kept_of(values), Method("percentile", share))
    threshold = max(-low, high)
    exact = np.sort(np.abs(values))[math.ceil(share / 100 * values.size) - 1]
    assert np.count_nonzero(np.abs(values) <= threshold) >= share / 100 * values.size
    assert threshold <= exact + largest(values) / (HALF_BINS / 2)


@pytest.mark.parametrize(
    ("shape", "bins"), [*((shape, bins) for shape in SHAPES for bins in (128, 512)), ("relu", 2048)]
)
def test_entropy_is_that_of_onnxruntime(shape: str, bins: int) -> None:
    values = SHAPES[shape]
    low, high = range_of(kept_of(values), Method("entropy", bins=bins))
    theirs = collected(values, "entropy", num_bins=bins)
    step = 2 * largest(values) / bins  # theirs has one bin more on the right of zero than on its left
    assert low == pytest.approx(theirs[0], abs=1.01 * step)
    assert high == pytest.approx(theirs[1], abs=1e-6 * largest(values))


@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_of_fine_bins_loses_no_more_than_that_of_all_values(shape: str) -> None:
    values, bins = SHAPES[shape].astype(np.float64), 2048
    top = float(np.abs(values).max())
    histogram = kept_of(SHAPES[shape]).histogram
    assert histogram is not None
    exact, _ = np.histogram(values, bins, range=(-top, top))
    losses = divergences(exact)
    chosen = round(entropy_threshold(histogram, top, bins) / top * bins / 2)
    candidates = [index for index in range(losses.size) if min(LEVELS // 2 + index + 1, bins // 2) == chosen]
    # candidates may tie, far apart: what counts is that the chosen one is as good
    assert losses[candidates].min() <= losses.min() + 0.02 * abs(losses.min()) + 1e-4


@pytest.mark.parametrize(
    ("shape", "bins"), [*((shape, bins) for shape in SHAPES for bins in (128, 130, 512)), ("heavy tail", 2048)]
)
def test_divergences_from_running_sums_are_the_plain_ones(shape: str, bins: int) -> None:
    counts = rebinned(kept_of(SHAPES[shape]).histogram or Histogram(), largest(SHAPES[shape]), bins)
    half = bins // 2
    plain = [plain_divergence(counts, half - n, min(half + n + 1, bins)) for n in range(LEVELS // 2, half + 1)]
    assert divergences(counts) == pytest.approx(plain, abs=1e-5)
    assert plain[int(np.argmin(divergences(counts)))] == pytest.approx(min(plain), abs=1e-6)


def plain_divergence(counts: NDArray[np.int64], start: int, end: int) -> float:
    """By the definition, one candidate at a time."""
    inside = counts[start:end]
    clipped = inside.copy()
    clipped[0] += counts[:start].sum()
    clipped[-1] += counts[end:].sum()
    merged = inside.size // LEVELS
    spread = np.zeros_like(inside)
    for level in range(LEVELS):
        bins = slice(level * merged, (level + 1) * merged)
        mass = inside[bins].sum() + (inside[LEVELS * merged :].sum() if level == LEVELS - 1 else 0)
        users = np.count_nonzero(clipped[bins])
        spread[bins] = mass // users if users else 0
    if not spread.any():
        return math.inf
    p, q = (smoothed(each) for each in (clipped, spread))
    return float((p * np.log(p / q)).sum())


def smoothed(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    empty = counts == 0
    paid = 1e-4 * np.count_nonzero(empty) / np.count_nonzero(~empty)
    smooth = np.where(empty, 1e-4, counts - paid)
    return np.asarray(smooth / smooth.sum())


@pytest.mark.parametrize("bins", [128, 2048])
@pytest.mark.parametrize("shape", SHAPES)
def test_rebinning_loses_nothing_and_misplaces_little(shape: str, bins: int) -> None:
    values = SHAPES[shape]
    top = largest(values)
    counts = rebinned(kept_of(values).histogram or Histogram(), top, bins)
    exact, _ = np.histogram(values.astype(np.float64), bins, range=(-top, top))
    assert counts.sum() == values.size
    assert counts.min() >= 0
    few = 0.001 * values.size + 10
    assert counts[: bins // 2].sum() == pytest.approx(exact[: bins // 2].sum(), abs=few)
    assert np.abs(np.cumsum(counts) - np.cumsum(exact)).max() <= few


@pytest.mark.parametrize("shape", SHAPES)
def test_mse_is_the_best_of_its_candidates_on_all_values(shape: str) -> None:
    values = SHAPES[shape].astype(np.float64)
    low, high, top = values.min(), values.max(), largest(SHAPES[shape])
    thresholds = top * np.arange(CANDIDATES, 0, -1) / CANDIDATES
    errors = np.array([plain_error(values, max(low, -each), min(high, each)) for each in thresholds])
    histogram = kept_of(SHAPES[shape]).histogram
    assert histogram is not None
    chosen = mse_threshold(histogram, low, high)
    (index,) = np.flatnonzero(thresholds == chosen)
    assert errors[index] <= 1.02 * errors.min()


def plain_error(values: NDArray[np.float64], low: float, high: float) -> float:
    """Sum of squared errors of quantizing to 8 bits and back."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / STEPS
    zero = round(-low / scale)
    levels = np.clip(np.rint(values / scale) + zero, 0, STEPS)
    return float((((levels - zero) * scale - values) ** 2).sum())


def test_mse_gives_up_an_outlier_that_costs_too_much() -> None:
    with_one = SHAPES["one outlier"]
    assert range_of(kept_of(with_one), Method("mse"))[1] > 400.0, "of 60,000 values one is worth most of its range"
    assert range_of(kept_of(with_one, *[SHAPES["normal"]] * 100), Method("mse"))[1] < 200.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_range_is_within_what_was_seen(shape: str, name: CalibrationMethod) -> None:
    values = SHAPES[shape]
    low, high = range_of(kept_of(values), Method(name))
    assert low <= high
    assert abs(low) <= largest(values)
    assert abs(high) <= largest(values)
    half, other = range_of(kept_of(values), Method(name), symmetric=True)
    assert half == -other
    assert other == max(abs(low), abs(high))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 5.0, -5.0, 1e-42, 3e38])
def test_a_constant_is_its_own_range(name: CalibrationMethod, value: float) -> None:
    row = np.full(50, value, dtype=np.float32)
    low, high = range_of(kept_of(row, row), Method(name))
    assert (low, high) == pytest.approx((row[0], row[0]), rel=1e-5)
    assert math.copysign(1, low) > 0 or value != 0, "zero has no sign"


def test_moving_average_is_the_mean_of_each_rows_extremes() -> None:
    rows = [np.array(each, dtype=np.float32) for each in ([0, 1], [-3, 5], [-6, 0])]
    assert range_of(kept_of(*rows), Method("moving-average")) == (-3.0, 2.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(dtype: str, bad: float) -> None:
    row = np.array([[1.0, 2.0], [bad, 3.0]], dtype=dtype)
    with pytest.raises(ModelError, match=str(bad)):
        kept_of(row)


def test_what_float32_cannot_hold_is_refused() -> None:
    with pytest.raises(ModelError, match="inf"):
        kept_of(np.array([1.0, -1e300]))


@pytest.mark.parametrize("sizes", [(60_000,), (1,) * 500, (20_000, 3, 16_000, 5, 40_000), (16_384,) * 4, (16_385, 9)])
def test_rows_of_any_size_are_all_counted(sizes: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=sum(sizes)).astype(np.float32)
    rows = np.split(values, np.cumsum(sizes)[:-1])
    apart, together = kept_of(*rows).histogram, Histogram()
    together.add(values)
    assert apart is not None
    assert np.array_equal(apart.counts, together.counts)
    assert apart.counts.sum() == values.size
    kept = kept_of(*rows)
    for _ in range(2):
        assert kept.histogram is not None
        assert np.array_equal(kept.histogram.counts, apart.counts), "looking counts nothing twice"


def test_nothing_is_not_a_row() -> None:
    kept = kept_of(np.zeros((0, 3), dtype=np.float32))
    assert kept.rows == 0


def test_entropy_of_zeros_is_zero() -> None:
    assert entropy_threshold(Histogram(), 0.0, 2048) == 0.0
