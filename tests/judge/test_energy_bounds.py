"""Bounds of energy cover the truth as often as they say; an accuracy that nobody states is allowed for."""

from dataclasses import replace

import numpy as np
import pytest

from kit.judge import judge
from kit.judge.energy import above_idle_bounds, energy_figures
from kit.judge.energy_bounds import ASSUMED_GAIN_SHARE, gross_bounds, systematic_share
from kit.records import EnergyRecord, Finding, MeterAccuracy, MeterRecord, UncertaintyRecord, Verdict
from tests.builders import VariantPlan, device, evidence, profile, requirement

IDLE_W, STEP_W, WINDOW_S, COUNT = 0.4, 0.5, 0.3, 300
TRUE_J = STEP_W * WINDOW_S / COUNT
ACCURACY = MeterAccuracy(0.02, 0.03, 0.001, "manual")


def record(
    rng: np.random.Generator, *, noise: float = 0.01, idle_noise: float = 0.0, accuracy: MeterAccuracy | None = ACCURACY
) -> EnergyRecord:
    """Windows of a meter whose gain and offset are drawn from its class, 10 windows, 11 stretches of idle."""
    gain, offset_w = (0.0, 0.0) if accuracy is None else (accuracy.gain_share, accuracy.offset_w)
    factor, shift_w = 1 + rng.uniform(-gain, gain), rng.uniform(-offset_w, offset_w)
    busy_w = factor * (IDLE_W + STEP_W * (1 + noise * rng.standard_normal(10))) + shift_w
    idle_w = factor * (IDLE_W + idle_noise * rng.standard_normal(11)) + shift_w
    shares = UncertaintyRecord(gain / 3**0.5, 0.0, 0.0, None, None) if accuracy else None
    return EnergyRecord(
        variant_digest="sha256:" + "a" * 64, meter=MeterRecord("m", "measured", "", {}, accuracy),
        window_energy_j=busy_w * WINDOW_S, window_s=np.full(10, WINDOW_S),
        window_inferences=np.full(10, COUNT, np.int64), idle_power_w=float(idle_w.mean()),
        trace_t_ns=np.empty(0, np.int64), trace_power_w=np.empty(0), obtained="measured",
        idle_window_power_w=idle_w, uncertainty=shares,
    )  # fmt: skip


@pytest.mark.parametrize("confidence", [0.95, 0.99])
@pytest.mark.parametrize(
    ("noise", "idle_noise", "gain"),
    [(0.01, 0.0, 0.0), (0.01, 0.02, 0.0), (0.01, 0.0, 0.02), (0.002, 0.0, 0.05), (0.02, 0.02, 0.02)],
)
def test_each_bound_above_idle_covers_as_often_as_it_says(
    noise: float, idle_noise: float, gain: float, confidence: float
) -> None:
    rng, runs = np.random.default_rng(0), 1500
    accuracy = MeterAccuracy(gain, 0.03, 0.0, "manual")
    found = [
        above_idle_bounds(record(rng, noise=noise, idle_noise=idle_noise, accuracy=accuracy), confidence)
        for _ in range(runs)
    ]
    least = confidence - 2.6 * np.sqrt(confidence * (1 - confidence) / runs)
    assert np.mean([bounds.upper >= TRUE_J for bounds in found]) >= least
    assert np.mean([bounds.lower <= TRUE_J for bounds in found]) >= least
    assert np.mean([bounds.upper >= TRUE_J for bounds in found]) < 1 or gain > 0, "a bound that never errs is too wide"


def test_gross_bounds_cover_with_gain_and_offset() -> None:
    rng = np.random.default_rng(1)
    true_j = (IDLE_W + STEP_W) * WINDOW_S / COUNT
    found = [gross_bounds(record(rng), 0.95) for _ in range(1000)]
    assert np.mean([bounds.upper >= true_j for bounds in found]) >= 0.94
    assert np.mean([bounds.lower <= true_j for bounds in found]) >= 0.94


def test_no_bound_of_gross_energy_is_below_what_a_device_can_draw() -> None:
    spread = replace(record(np.random.default_rng(0)), window_energy_j=np.array([0.001, 0.001, 0.4]),
                     window_s=np.full(3, 0.3), window_inferences=np.full(3, 10))  # fmt: skip
    found = gross_bounds(spread, 0.95)
    assert 0.0 == found.lower < found.estimate < found.upper
    swapped = gross_bounds(replace(spread, window_energy_j=-spread.window_energy_j), 0.95)
    assert (swapped.lower, swapped.estimate) == (-found.upper, -found.estimate), "leads that are swapped are not hidden"


def test_an_offset_widens_gross_energy_and_not_what_is_above_idle() -> None:
    steady, shifted = (
        energy_figures(replace(one, meter=replace(one.meter, accuracy=replace(ACCURACY, offset_w=offset_w))), 0.95)
        for one, offset_w in ((record(np.random.default_rng(2)), 0.0), (record(np.random.default_rng(2)), 0.3))
    )
    assert shifted.above_idle == steady.above_idle
    assert shifted.gross.upper is not None
    assert steady.gross.upper is not None
    assert shifted.gross.upper > 1.1 * steady.gross.upper


def test_more_windows_do_not_narrow_what_the_meter_is_off_by() -> None:
    rng = np.random.default_rng(3)
    few = record(rng, noise=1e-6)
    many = replace(
        few, window_energy_j=np.tile(few.window_energy_j, 50), window_s=np.tile(few.window_s, 50),
        window_inferences=np.tile(few.window_inferences, 50),
    )  # fmt: skip
    narrow = above_idle_bounds(many, 0.95)
    assert (narrow.upper - narrow.lower) / 2 / narrow.estimate == pytest.approx(1.645 * 0.02 / 3**0.5, rel=0.01)


def test_a_meter_without_stated_accuracy_is_allowed_for_and_says_so() -> None:
    found = energy_figures(record(np.random.default_rng(4), accuracy=None, noise=1e-4), 0.95)
    assert found.assumed_gain_share == ASSUMED_GAIN_SHARE
    assert found.above_idle.upper == pytest.approx(found.above_idle.estimate / 0.95, rel=1e-3)
    assert found.above_idle.lower == pytest.approx(found.above_idle.estimate / 1.05, rel=1e-3)
    known = energy_figures(record(np.random.default_rng(4), noise=1e-4), 0.95)
    assert known.assumed_gain_share is None


def test_an_estimate_has_no_class_of_accuracy() -> None:
    one = replace(record(np.random.default_rng(5), accuracy=None), obtained="estimated")
    assert energy_figures(one, 0.95).assumed_gain_share is None


@pytest.mark.parametrize("windows", [1, 2, 3])
def test_few_windows_have_no_interval(windows: int) -> None:
    one = record(np.random.default_rng(6))
    few = replace(
        one, window_energy_j=one.window_energy_j[:windows], window_s=one.window_s[:windows],
        window_inferences=one.window_inferences[:windows],
    )  # fmt: skip
    found = energy_figures(few, 0.95)
    assert (found.above_idle.lower is None) == (found.gross.upper is None) == (windows < 3)
    assert found.above_idle.estimate == pytest.approx(TRUE_J, rel=0.1)
    assert found.windows == windows


def test_all_known_parts_are_systematic_but_chance() -> None:
    one = replace(record(np.random.default_rng(7)), uncertainty=UncertaintyRecord(0.03, 0.0, 0.04, 0.5, 0.5))
    assert systematic_share(one) == pytest.approx(0.05)
    assert systematic_share(replace(one, uncertainty=None)) == pytest.approx(0.02 / 3**0.5)


class TestVerdict:
    """battery.share of a meter with and without a stated accuracy, by a limit on either side of what it is off by."""

    def judged(self, accuracy: MeterAccuracy | None, beyond: float) -> Finding:
        plan = VariantPlan("a", energy_obtained="measured", energy_spread=0.001)
        given = evidence([plan])
        energy = given.variants[0].energy
        assert energy is not None
        energy = replace(energy, meter=replace(energy.meter, accuracy=accuracy))
        power_w = 4e-4 * 0.5 * (1 + beyond)
        limit = power_w / (power_w + 0.02)
        given = replace(given, variants=(replace(given.variants[0], energy=energy),))
        return judge(given, profile([requirement("battery.share", limit)]), device()).variants[0].findings[0]

    @pytest.mark.parametrize(
        ("accuracy", "beyond", "verdict"),
        [
            (None, 0.03, "INCONCLUSIVE"),
            (None, 0.08, "PASS"),
            (None, -0.03, "INCONCLUSIVE"),
            (None, -0.08, "FAIL"),
            (MeterAccuracy(0.005, 0, 0, "manual"), 0.03, "PASS"),
            (MeterAccuracy(0.005, 0, 0, "manual"), -0.03, "FAIL"),
            (MeterAccuracy(0.04, 0, 0, "manual"), 0.03, "INCONCLUSIVE"),
            (MeterAccuracy(0.04, 0, 0, "manual"), 0.08, "PASS"),
        ],
    )
    def test_it_stands_only_clear_of_what_the_meter_may_be_off_by(
        self, accuracy: MeterAccuracy | None, beyond: float, verdict: str
    ) -> None:
        found = self.judged(accuracy, beyond)
        assert found.verdict == verdict
        assert ("assumed_gain_share" in found.details) == (accuracy is None)
        assert ("states no accuracy, and 5 % is allowed for" in found.reason) == (accuracy is None)
        if found.verdict is Verdict.INCONCLUSIVE:
            assert "its error is most of the interval" in found.need
