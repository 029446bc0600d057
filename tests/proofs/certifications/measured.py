"""latency.*, memory.peak, battery.share and battery.life at the limit, each certification by the judge itself."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from kit.battery import Model, forecast
from kit.judge.base import Case
from kit.records import Float64Array, MeterAccuracy, VariantEvidence
from kit.spec.types import BatterySpec, Duty, Metric, Range
from kit.stats.special import normal_quantile
from tests.builders import device, profile, requirement
from tests.proofs.certifications.cases import template
from tests.proofs.certifications.scenario import Rng, Scenario, by_judging

INFERENCE_S, RATE_HZ, ENERGY_J = 1e-3, 2.0, 4e-4
BATTERY = BatterySpec(
    capacity_j=4_000.0, other_load_w=0.02, capacity_tolerance_share=0.0, health_share=Range(1.0, 1.0, 1.0),
    derating_share=Range(1.0, 1.0, 1.0), self_discharge_share=Range(0.02, 0.02, 0.02),
    temperature_celsius=Range(20.0, 20.0, 20.0),
)  # fmt: skip
"""All of it stated exactly, so that energy alone is in doubt."""

METER = MeterAccuracy(gain_share=0.01, offset_w=0.0, resolution_w=0.0, source="simulated")


def series(count: int, phi: float, rng: Rng) -> Float64Array:
    """A stationary Gaussian AR(1) series [count] of unit variance."""
    noise = rng.standard_normal(count)
    if phi == 0:
        return noise
    noise[1:] *= np.sqrt(1 - phi**2)
    for step in range(1, count):
        noise[step] += phi * noise[step - 1]
    return noise


def times_s(normal: Float64Array) -> Float64Array:
    """Times about a millisecond with a long tail; monotone, so that quantiles go along."""
    return np.asarray(INFERENCE_S * np.exp(0.05 * normal + 0.02 * np.maximum(normal - 1.0, 0.0) ** 2))


def of(metric: Metric, limit: float, variant: VariantEvidence, **asked: object) -> Case:
    """The case of one requirement on one variant, on a device with a battery."""
    wanted = requirement(metric, limit, **asked)  # type: ignore[arg-type]
    plan = profile([wanted], duty=Duty(inferences_per_s=RATE_HZ))
    return Case(wanted, variant, replace(template(), variants=(variant,)), plan, device(battery=BATTERY))


def latency(percentile: float, count: int, phi: float, *, step_ns: int = 1, share: float = 1.0) -> Scenario:
    """The quantile is the limit, of samples that a clock tells in steps of `step_ns`.

    The step after the limit's holds the quantile, though barely, so that with long steps only a PASS is wrong.
    """
    probability = percentile / 100
    limit_s = float(times_s(np.array([normal_quantile(probability)]))[0])

    first_ns = round(limit_s * 1e9)

    def draw(rng: Rng) -> Case:
        since_limit_ns = (times_s(series(count, phi, rng)) - limit_s) * 1e9 + 1.0
        samples_ns = first_ns + (np.ceil(since_limit_ns / step_ns) * step_ns).astype(np.int64)
        variant = template().variants[0]
        assert variant.latency is not None
        record = replace(variant.latency, samples_ns=samples_ns, warmup_count=0)
        limit = (first_ns + step_ns / 2) * 1e-9
        return of(f"latency.p{percentile:g}", limit, replace(variant, latency=record))  # type: ignore[arg-type]

    words = f"p{percentile:g} of {count} samples, phi {phi:g}" + (f", clock of {step_ns} ns" if step_ns > 1 else "")
    return Scenario("latency", words, by_judging(draw), share=share, fails=step_ns == 1)


def memory(sessions: int) -> Scenario:
    """The median session peak is the limit."""

    def draw(rng: Rng) -> Case:
        peaks = np.round(3e6 * np.exp(0.1 * rng.standard_normal(sessions))).astype(np.int64)
        variant = template().variants[0]
        assert variant.memory is not None
        return of("memory.peak", 3e6, replace(variant, memory=replace(variant.memory, peak_bytes=peaks)))

    return Scenario("memory.peak", f"{sessions} sessions", by_judging(draw))


def battery(metric: Metric, windows: int, phi: float) -> Scenario:
    """Mean energy above idle is exactly what costs the limit. A meter of stated accuracy, off by what it may be.

    Its gain is drawn anew for each certification, as is idle power's error.
    """
    life = forecast(BATTERY, Model(Range(ENERGY_J, ENERGY_J, ENERGY_J), RATE_HZ, INFERENCE_S))
    direction = "at_most" if metric == "battery.share" else "at_least"
    limit = life.share.likely if metric == "battery.share" else life.life_s.likely

    def draw(rng: Rng) -> Case:
        variant = template().variants[0]
        record = variant.energy
        assert record is not None
        gain = 1 + rng.uniform(-0.01, 0.01)
        idle_w = 0.4 + 0.01 * series(windows, phi, rng)
        runs = np.full(windows, 300, np.int64)
        seconds = runs * INFERENCE_S
        energy_j = 0.4 * seconds + ENERGY_J * runs * (1 + 0.03 * series(windows, phi, rng))
        measured = replace(
            record,
            meter=replace(record.meter, accuracy=METER, obtained="measured"),
            window_energy_j=gain * energy_j,
            window_s=np.asarray(seconds, np.float64),
            window_inferences=runs,
            idle_power_w=float(gain * idle_w.mean()),
            idle_window_power_w=gain * idle_w,
            obtained="measured",
        )
        return of(metric, limit, replace(variant, energy=measured), direction=direction)

    return Scenario(metric, f"{windows} windows, phi {phi:g}", by_judging(draw))


def scenarios() -> Iterator[Scenario]:
    """Every one; correlated as far as docs/statistics.md promises."""
    for percentile, count, phi in ((50, 400, 0.0), (50, 2000, 0.5), (90, 1000, 0.0), (95, 1000, 0.3), (99, 2000, 0.0)):
        yield latency(percentile, count, phi)
    yield latency(99, 1000, 0.5, share=0.5)
    yield latency(99.9, 4000, 0.0, share=0.5)
    yield latency(95, 1000, 0.0, step_ns=50_000)
    for sessions in (5, 7, 12, 40):
        yield memory(sessions)
    for windows, phi in ((8, 0.0), (10, 0.3), (30, 0.6)):
        yield battery("battery.share", windows, phi)
    yield battery("battery.life", 10, 0.3)
