"""Parts of the uncertainty against what simulated meters are truly off by."""

import numpy as np
import pytest

from kit.judge.energy_bounds import above_idle_bounds
from kit.measure.trace import energies_j
from kit.measure.uncertainty import split_time_ns, standard_error, uncertainty
from kit.meter.base import PowerTrace
from kit.records import EnergyRecord, MeterAccuracy, MeterRecord
from kit.stats.special import normal_quantile

MS = 1_000_000
ACCURACY = MeterAccuracy(0.02, 0.05, 0.004, "manual")
ONES = np.ones(10)


def parts(
    above_j=0.1 * ONES, window_s=0.2 * ONES, idle_w=0.3 * ONES, accuracy=ACCURACY, error_ns=0, split_ns=0.0, counts=None
):
    counts = np.full(len(above_j), 100) if counts is None else counts
    return uncertainty(accuracy, above_j, window_s, counts, idle_w, error_ns=error_ns, split_ns=split_ns)


def test_gain_stays_and_offset_cancels():
    known = parts()
    assert known.accuracy_share == pytest.approx(0.02 / np.sqrt(3))
    assert known == parts(accuracy=MeterAccuracy(0.02, 99.0, 0.004, "another offset"))


def test_gain_is_that_of_rectangular_errors():
    """A meter drawn from its class again and again is off by that much, whatever its offset."""
    rng = np.random.default_rng(0)
    gain, offset_w = rng.uniform(-0.02, 0.02, 20_000), rng.uniform(-0.05, 0.05, 20_000)
    busy_w, idle_w = ((1 + gain) * power + offset_w for power in (0.8, 0.3))
    off = (busy_w - idle_w) / 0.5 - 1
    assert parts().accuracy_share == pytest.approx(float(off.std()), rel=0.02)


def test_resolution_is_that_of_two_rounded_means():
    rng = np.random.default_rng(1)
    busy_w, idle_w = rng.uniform(0.7, 0.9, 20_000), rng.uniform(0.2, 0.4, 20_000)
    shown = np.round(busy_w / 0.004) * 0.004 - np.round(idle_w / 0.004) * 0.004
    off_w = float((shown - busy_w + idle_w).std())
    assert parts().resolution_share == pytest.approx(off_w / 0.5, rel=0.02)


def test_alignment_is_two_edges_of_a_window():
    assert parts(error_ns=MS).alignment_share == pytest.approx(2 * MS / np.sqrt(3) / 0.2e9)
    assert parts(split_ns=3.0 * MS).alignment_share == pytest.approx(3 * MS / np.sqrt(3) / 0.2e9)


@pytest.mark.parametrize("period_ms", [1, 4, 20])
def test_energy_hidden_by_samples_across_the_ends_is_told_exactly(period_ms):
    """Truth: 1 W in the window and nothing beside it; what the integral lacks is what split_time_ns says."""
    rng, period = np.random.default_rng(period_ms), period_ms * MS
    t_ns = np.arange(0, 500 * MS, period)
    starts = rng.integers(50 * MS, 60 * MS, 20)
    for start in starts.tolist():
        window = np.array([[start, start + 300 * MS + start % 1000]])
        busy = np.clip(t_ns, *window[0]) - window[0, 0]
        trace = PowerTrace(t_ns, np.r_[np.nan, np.diff(busy) / period], 0)
        missing_s = (window[0, 1] - window[0, 0]) * 1e-9 - energies_j([trace], window)[0]
        assert split_time_ns([trace], window) == pytest.approx(missing_s * 1e9, rel=1e-6, abs=1)


def test_a_single_sample_over_all_of_a_window_hides_what_is_beside_it():
    trace = PowerTrace(np.array([0, 110 * MS]), np.array([np.nan, 100 / 110]), 0)
    window = np.array([[5 * MS, 105 * MS]])
    missing_s = 0.1 - energies_j([trace], window)[0]
    assert split_time_ns([trace], window) == pytest.approx(missing_s * 1e9)
    assert split_time_ns([trace], window + 500 * MS) == 0


def test_sampling_is_the_scatter_of_the_mean():
    rng = np.random.default_rng(2)
    means, told = [], []
    for _ in range(400):
        above_j = rng.normal(0.1, 0.01, 20)
        means.append(above_j.mean())
        told.append(parts(above_j, 0.2 * np.ones(20)).sampling_share * above_j.mean())
    assert np.std(means) <= np.median(told) <= 2 * np.std(means)


def test_windows_that_hold_fewer_inferences_are_no_less_certain():
    """A device that gets its processor for half of some windows infers half as much there, at the same energy each."""
    counts = np.array([100, 50, 90, 60, 100, 55, 80, 70, 95, 50])
    assert parts(1e-3 * counts, counts=counts).sampling_share == pytest.approx(0, abs=1e-12)
    noisy = parts(1e-3 * counts * (1 + 0.01 * np.arange(10)), counts=counts).sampling_share
    assert noisy == pytest.approx(parts(0.1 * (1 + 0.01 * np.arange(10))).sampling_share)


@pytest.mark.parametrize("windows", [3, 4, 10, 30])
def test_a_standard_uncertainty_is_below_the_half_of_its_interval(windows):
    """What the record says and the bounds that are told beside it are of one quantity."""
    rng = np.random.default_rng(windows)
    counts = rng.integers(50, 150, windows)
    above_j = 1e-3 * counts * (1 + 0.02 * rng.normal(size=windows))
    window_s, idle_w = rng.uniform(0.2, 0.4, windows), 0.3 + 0.001 * rng.normal(size=windows + 4)
    known = parts(above_j, window_s, idle_w, error_ns=MS, counts=counts)
    record = EnergyRecord(
        variant_digest="sha256:" + "a" * 64, meter=MeterRecord("m", "measured", "", {}, ACCURACY),
        window_energy_j=above_j + float(idle_w.mean()) * window_s, window_s=window_s, window_inferences=counts,
        idle_power_w=float(idle_w.mean()), trace_t_ns=np.empty(0, np.int64), trace_power_w=np.empty(0),
        obtained="measured", idle_window_power_w=idle_w, uncertainty=known,
    )  # fmt: skip
    bounds = above_idle_bounds(record, 0.95)
    half_share = (bounds.upper - bounds.lower) / 2 / bounds.estimate
    assert normal_quantile(0.95) * known.combined_share <= half_share * 1.0001


def test_idle_power_that_wanders_counts():
    rng = np.random.default_rng(3)
    calm, wild = (parts(idle_w=0.3 + scale * rng.normal(size=11)).sampling_share for scale in (0.0, 0.01))
    assert calm == pytest.approx(0, abs=1e-12)
    assert wild >= 0.01 / np.sqrt(11) * 0.2 / 0.1 * 0.5


def test_correlated_windows_are_worth_fewer():
    rng = np.random.default_rng(4)
    noise = rng.normal(size=60)
    walk = np.array([noise[max(0, i - 8) : i + 1].sum() for i in range(60)])
    walk *= noise.std() / walk.std()
    assert standard_error(walk) > 1.7 * standard_error(noise)


@pytest.mark.parametrize("missing", ["accuracy", "windows"])
def test_what_is_not_known_makes_the_whole_unknown(missing):
    known = parts(accuracy=None) if missing == "accuracy" else parts(0.1 * np.ones(2), 0.2 * np.ones(2))
    assert known.combined_share is None
    assert (known.accuracy_share is None) == (missing == "accuracy")
    assert (known.sampling_share is None) == (missing == "windows")
    assert known.alignment_share == 0


@pytest.mark.parametrize("energy_j", [0.0, -0.1, float("nan")])
def test_energy_that_is_not_positive_has_no_share(energy_j):
    known = parts(energy_j * ONES)
    assert {getattr(known, name) for name in known.__dataclass_fields__} == {None}


def test_the_whole_is_the_root_of_squares():
    known = parts(0.1 + 0.001 * np.arange(10.0), error_ns=MS)
    each = (known.accuracy_share, known.resolution_share, known.alignment_share, known.sampling_share)
    assert known.combined_share == pytest.approx(float(np.sqrt(np.square(each).sum())))
    assert all(known.combined_share > share for share in each)
