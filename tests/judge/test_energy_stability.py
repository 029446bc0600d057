"""Energy windows of one and the same device are stable; a trend or a change of level of 10 % or more is not."""

import dataclasses

import numpy as np
import pytest

from kit.judge.energy_stability import LEAST_WINDOWS, energy_stability
from kit.records import EnergyRecord, MeterRecord

METER = MeterRecord("ppk2", "measured", "a meter", {})


def record(each_j: np.ndarray) -> EnergyRecord:
    """Windows of 100 inferences each, with so much energy an inference."""
    count = len(each_j)
    return EnergyRecord(
        variant_digest="sha256:1", meter=METER, window_energy_j=100 * np.asarray(each_j, np.float64),
        window_s=np.full(count, 0.5), window_inferences=np.full(count, 100), idle_power_w=0.001,
        trace_t_ns=np.arange(2), trace_power_w=np.ones(2), obtained="measured",
    )  # fmt: skip


def noise(count: int, seed: int, share: float = 0.02) -> np.ndarray:
    return 1e-3 * np.random.default_rng(seed).lognormal(0, share, count)


def test_the_same_device_is_stable() -> None:
    assert energy_stability(record(noise(10, 0))).state == "stable"


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5], ids=["calm", "noisy", "wild"])
def test_windows_in_any_order_are_seldom_called_unstable(share: float) -> None:
    """A permutation test at 3 %, whatever the spread."""
    called = sum(energy_stability(record(noise(10, seed, share))).state == "unstable" for seed in range(100))
    assert called <= 8


@pytest.mark.parametrize("windows", [10, 16, 40])
def test_a_step_is_told_with_its_place_and_size(windows: int) -> None:
    each_j = noise(windows, 1)
    each_j[windows // 2 :] *= 1.3
    found = energy_stability(record(each_j))
    assert found.state == "unstable"
    assert found.change == pytest.approx(0.3, abs=0.05)
    assert f"up to window {windows // 2} and" in found.why
    assert found.why.endswith("% more")


@pytest.mark.parametrize("end", [0.7, 1.4])
def test_a_drift_is_told(end: float) -> None:
    found = energy_stability(record(noise(12, 2) * np.linspace(1.0, end, 12)))
    assert found.state == "unstable"
    assert found.change is not None
    assert (found.change > 0) is (end > 1)


def test_a_change_too_small_to_matter_is_stable() -> None:
    each_j = noise(20, 3, share=0.001)
    each_j[10:] *= 1.05
    assert energy_stability(record(each_j)).state == "stable"


@pytest.mark.parametrize("each_j", [noise(LEAST_WINDOWS - 1, 0), np.r_[noise(9, 0), 0.0], noise(1, 0)],
                         ids=["few", "zero", "one"])  # fmt: skip
def test_too_little_to_tell(each_j: np.ndarray) -> None:
    found = energy_stability(record(each_j))
    assert (found.state, found.change, found.why) == ("unknown", None, "")


def test_alike_windows_are_stable() -> None:
    assert energy_stability(record(np.full(10, 1e-3))).state == "stable"
    one_each = dataclasses.replace(record(noise(10, 0)), window_inferences=np.ones(10, np.int64))
    assert energy_stability(one_each).state == "stable"
