"""Stability of latency records: what must be seen, what must not, and what it is put down to."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kit.judge import judge
from kit.judge.latency import NEEDS
from kit.judge.stability import Stability, assess
from kit.judge.strain import Kind
from kit.records import Conditions, Finding, LatencyRecord, Telemetry, Verdict
from kit.spec.types import DeviceSpec
from tests.builders import VariantPlan, conditions, device, digest_of, evidence, profile, requirement
from tests.builders import latency as latency_record
from tests.proofs.verdict_simulation import tolerance

Series = NDArray[np.float64]
MS = 1_000_000


def noise(count: int, seed: int, spread: float = 0.04) -> Series:
    """Times about 2 ms with a spread, and now and then a far outlier, as an operating system makes them."""
    rng = np.random.default_rng(seed)
    outliers = np.where(rng.random(count) < 0.01, rng.uniform(1.5, 10.0, count), 1.0)
    return np.asarray(2.0 * np.exp(rng.normal(0, spread, count)) * outliers)


def record(
    samples_ms: Series, telemetry: Callable[[float], dict[str, Any]] | None = None, **changes: Any
) -> LatencyRecord:
    """Samples back to back; `telemetry` gives the conditions at each tenth of a second, from the share of the run."""
    samples_ns = np.round(samples_ms * MS).astype(np.int64)
    starts_ns = np.concatenate([[0], np.cumsum(samples_ns)[:-1]]).astype(np.int64) + 7_000_000_000
    end_ns = int(starts_ns[-1] + samples_ns[-1]) if len(samples_ns) else 7_000_000_000
    told = []
    if telemetry is not None:
        for clock_ns in range(7_000_000_000, end_ns, 100 * MS):
            share = (clock_ns - 7_000_000_000) / (end_ns - 7_000_000_000)
            told.append(Telemetry(clock_ns, replace(conditions(None), **{"frequency_hz": None, **telemetry(share)})))
    plain = latency_record(VariantPlan(), digest_of("m"), np.random.default_rng(0), samples_ms * 1e-3)
    return replace(plain, samples_ns=samples_ns, starts_ns=starts_ns, telemetry=tuple(told), **changes)


def slowed(count: int = 1000, ratio: float = 1.5, start: float = 0.5, end: float = 1.0, seed: int = 0) -> Series:
    """Times of which those from `start` to `end` of the run are `ratio` as long."""
    samples, index = noise(count, seed), np.arange(count) / count
    return np.where((index >= start) & (index < end), samples * ratio, samples)


def kinds(found: Stability) -> list[Kind]:
    return [cause.kind for cause in found.causes]


@pytest.mark.parametrize("count", [150, 400, 2000, 50_000])
@pytest.mark.parametrize("ratio", [1.5, 1 / 1.5, 1.2])
def test_a_lasting_change_is_seen_and_placed(count: int, ratio: float) -> None:
    for seed in range(10):
        found = assess(record(slowed(count, ratio, seed=seed)))
        assert found.state == "unstable"
        assert kinds(found) == ["throttling" if ratio > 1 else "clock change"]
        assert min(abs(edge - count / 2) for edge in found.boundaries) <= count / 30


@pytest.mark.parametrize(("start", "end"), [(0.25, 1.0), (0.8, 1.0), (0.3, 0.6), (0.0, 0.3), (0.6, 0.75)])
def test_a_change_is_seen_wherever_it_lies(start: float, end: float) -> None:
    seen = sum(assess(record(slowed(1000, 1.5, start, end, seed))).state == "unstable" for seed in range(20))
    assert seen == 20


def alternating(count: int, seed: int) -> Series:
    """A clock with two speeds, 1.3 apart, that changes every few tens of inferences."""
    rng, state = np.random.default_rng(seed), 0
    states: list[int] = []
    while len(states) < count:
        states += [state] * int(rng.geometric(1 / 15))
        state = 1 - state
    return noise(count, seed) * np.where(np.array(states[:count]), 1.3, 1.0)


def correlated(count: int, seed: int) -> Series:
    """Slow fluctuations of a few per cent: AR(1) with 0.9."""
    rng, level = np.random.default_rng(seed), np.zeros(count)
    for step in range(1, count):
        level[step] = 0.9 * level[step - 1] + rng.normal()
    return np.asarray(2.0 * np.exp(0.01 * level))


def collecting(count: int, seed: int) -> Series:
    """Every fortieth inference waits three times as long for something that is cleaned up."""
    return noise(count, seed) * np.where(np.arange(count) % 40 == 17, 3.0, 1.0)


def interrupted(count: int, seed: int) -> Series:
    """Others' work in bursts of ten inferences, here and there, each twice as long."""
    rng, factor = np.random.default_rng(seed), np.ones(count)
    for start in rng.integers(0, count, count // 150):
        factor[start : start + 10] = 2.0
    return noise(count, seed) * factor


@pytest.mark.parametrize("count", [300, 1000, 4000])
@pytest.mark.parametrize(
    "series",
    [
        noise,
        lambda count, seed: noise(count, seed, spread=0.3),
        alternating,
        correlated,
        collecting,
        interrupted,
        lambda count, seed: slowed(count, 1.05, seed=seed),
        lambda count, seed: np.full(count, 2.0) + (seed % 2),
        lambda count, seed: np.random.default_rng(seed).integers(1, 3, count) * 1.0,
    ],
    ids=[
        "noise",
        "wide noise",
        "two clocks",
        "correlated",
        "collector",
        "short bursts",
        "5 %",
        "constant",
        "coarse clock",
    ],
)
def test_how_devices_are_is_not_unstable(series: Callable[[int, int], Series], count: int) -> None:
    runs = 50
    alarms = [found for seed in range(runs) if (found := assess(record(series(count, seed)))).state != "stable"]
    allowed = 10 if series is alternating else 1  # 300 samples are few of its stretches, and may lie unevenly
    assert len(alarms) <= allowed, alarms[:3]


@pytest.mark.parametrize(
    ("count", "draw"),
    [
        (100, lambda rng, count: np.exp(rng.normal(size=count))),
        (200, lambda rng, count: np.exp(rng.normal(size=count))),
        (150, lambda rng, count: np.exp(0.5 * rng.normal(size=count))),
        (150, lambda rng, count: np.where(rng.random(count) < 0.5, 1.0, 1.6)),
        (1000, lambda rng, count: np.where(rng.random(count) < 0.5, 1.0, 1.6) * np.exp(0.01 * rng.normal(size=count))),
        (150, lambda rng, count: np.minimum(1 + 0.02 * np.abs(rng.standard_t(1.2, count)), 200.0)),
    ],
    ids=["wide, 100", "wide, 200", "half as wide, 150", "two values, 150", "two levels, 1000", "heavy tail, 150"],
)
def test_samples_in_any_order_are_seldom_unstable(
    count: int, draw: Callable[[np.random.Generator, int], Series]
) -> None:
    """At most 2 % of such runs, whatever their distribution."""
    rng, runs = np.random.default_rng(17), 400
    unstable = [assess(record(draw(rng, count))).state == "unstable" for _ in range(runs)]
    assert np.mean(unstable) <= 0.02 + tolerance(0.02, runs)


@pytest.mark.parametrize("change", [0.2, 0.5, -0.3])
def test_a_drift_is_a_trend(change: float) -> None:
    for seed in range(10):
        samples = noise(1500, seed) * np.linspace(1.0, 1.0 + change, 1500)
        found = assess(record(samples))
        assert found.state == "unstable"
        assert found.causes[0].kind == "trend"
        assert ("slower" if change > 0 else "faster") in found.causes[0].sentence
        assert len(found.boundaries) == 2


def test_slow_stretches_are_bursts() -> None:
    found = assess(record(slowed(1000, 1.6, 0.45, 0.57)))
    assert found.state == "unstable"
    assert found.causes[0].kind in ("bursts", "throttling")
    samples = np.where(np.isin(np.arange(1000) // 100, [2, 7]), 2.0, 1.0) * noise(1000, 3)
    found = assess(record(samples))
    assert found.state == "unstable"


@pytest.mark.parametrize("count", [0, 1, 30, 99])
def test_too_few_samples_are_unknown(count: int) -> None:
    assert assess(record(noise(count, 0))) == Stability("unknown")


def test_few_samples_are_unstable_where_the_device_says_so() -> None:
    def heats(share: float) -> dict[str, Any]:
        return {"cooling_share": 0.0 if share < 0.5 else 0.4}

    slower = np.repeat([50.0, 75.0], 30)
    found = assess(record(slower, heats))
    assert (found.state, kinds(found), found.boundaries) == ("unstable", ["throttling"], ())
    assert "second half inferences took 1.5 times as long" in found.causes[0].sentence
    assert assess(record(slower, lambda share: {"cooling_share": 0.4})).state == "unknown"
    for without_effect in (np.full(60, 50.0), slower[::-1]):
        assert assess(record(without_effect, heats)).state == "unknown"


@pytest.mark.parametrize("count", [60, 99, 150])
@pytest.mark.parametrize("spread", [0.03, 1.0])
def test_a_clock_that_scales_is_no_change_where_the_samples_show_none(count: int, spread: float) -> None:
    rng = np.random.default_rng(5)
    told = [
        assess(record(20 * noise(count, seed, spread), lambda _: {"frequency_hz": rng.choice([0.8e9, 2e9])}))
        for seed in range(100)
    ]
    assert sum(found.state == "unstable" for found in told) <= 2


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["frequency_hz", "cooling_share", "temperature_celsius", "held_back_s", "busy_cpu_s"])
def test_a_figure_that_is_no_number_is_no_cause(name: str, value: float) -> None:
    found = assess(record(slowed(), lambda share: {"process_cpu_s": 0.0, name: value}))
    assert "nothing else was seen" in found.causes[0].sentence
    later = assess(record(slowed(), lambda share: {"process_cpu_s": 0.0, name: value if share > SLOW_FROM else 1.0}))
    assert "nothing else was seen" in later.causes[0].sentence


def test_warm_up_is_no_change() -> None:
    samples = np.concatenate([np.linspace(20.0, 4.0, 400), noise(1200, 0)])
    assert assess(record(samples, warmup_count=400)).state == "stable"
    assert assess(record(samples)).state == "unstable"


SLOW_FROM = 0.4
"""Share of the time after which `slowed()` is slow: half of the samples, each 1.5 times as long."""


def rising(before: float, after: float) -> Callable[[float], float]:
    """A counter's value over a run of 2.5 s: it rises by `before` and then by `after` a second."""
    return lambda share: 2.5 * (before * min(share, SLOW_FROM) + after * max(share - SLOW_FROM, 0.0))


def used(others: Callable[[float], float]) -> Callable[[float], dict[str, Any]]:
    return lambda share: {"busy_cpu_s": 100 + 2.5 * share + others(share), "process_cpu_s": 2.5 * share}


def after(name: str, before: float, later: float) -> Callable[[float], dict[str, Any]]:
    return lambda share: {name: before if share < SLOW_FROM else later}


@pytest.mark.parametrize(
    ("telemetry", "kind", "words"),
    [
        (after("cooling_share", 0.0, 0.3), "throttling", "cooling was engaged to 30 %"),
        (lambda share: {"throttle_count": int(rising(0, 40)(share))}, "throttling", "throttling events a second"),
        (lambda share: {"held_back_s": rising(0, 0.33)(share)}, "throttling", "a quota kept it from running 3"),
        (after("frequency_hz", 1.8e9, 1.2e9), "clock change", "at 1,200 MHz there, and"),
        (used(rising(0.0, 0.9)), "interference", "others used 0.85 processors"),
        (used(rising(0.8, 0.8)), "interference", "0.75 in the rest"),
        (
            lambda share: {**used(rising(1.0, 1.4))(share), "held_back_s": rising(0, 0.33)(share)},
            "throttling",
            "a quota",
        ),
        (after("memory_pressure_share", 0.0, 0.4), "memory pressure", "40 % of the time"),
        (after("temperature_celsius", 50.0, 63.0), "temperature", "63 °C instead of 50"),
        (used(rising(0.0, 0.0)), "throttling", "nothing else was seen"),
        (lambda share: {"cooling_share": 0.3, "held_back_s": rising(0.2, 0.2)(share)}, "throttling", "nothing else"),
        (lambda share: {}, "throttling", "even the fastest did"),
        (lambda share: {"cpu_pressure_share": 0.85}, "interference", "waited for a processor up to 85 % of the time"),
        (lambda share: {"cpu_pressure_share": 0.1}, "throttling", "nothing else was seen"),
    ],
    ids=[
        "cooling", "counted", "quota", "clock", "others came", "others throughout", "quota, and others took the rest",
        "memory", "temperature", "quiet machine", "held alike throughout", "nothing told",
        "crowded", "hardly crowded",
    ],
)  # fmt: skip
def test_the_device_s_state_names_the_cause(
    telemetry: Callable[[float], dict[str, Any]], kind: Kind, words: str
) -> None:
    found = assess(record(slowed(), telemetry))
    assert found.state == "unstable"
    assert found.causes[0].kind == kind
    assert words in found.causes[0].sentence
    assert "inferences became slower to stay: 1.99 ms before, 2.98 ms after" in found.causes[0].sentence


def test_a_change_near_the_end_is_believed_where_the_device_tells_of_it() -> None:
    """The samples alone do not show one in the last 5 %: it might as well be a part of the tail."""
    samples = slowed(1000, 3.0, 0.95)
    assert assess(record(samples)).state == "stable"
    found = assess(record(samples, lambda share: {"frequency_hz": 2e9 if share < 0.87 else 6e8}))
    assert (found.state, kinds(found)) == ("unstable", ["clock change"])


def test_a_state_that_changed_without_effect_is_no_instability() -> None:
    assert (
        assess(record(noise(1000, 0), lambda share: {"cooling_share": share, "frequency_hz": 2e9 - 1e9 * share})).state
        == "stable"
    )


@pytest.mark.parametrize("seed", range(8))
def test_a_change_that_noise_hides_is_believed_where_the_device_tells_of_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    swings = np.repeat(rng.uniform(1.0, 3.0, 100), 10) * noise(1000, seed)
    samples = np.where(np.arange(1000) < 500, swings, 1.35 * swings)
    found = assess(record(samples, after("held_back_s", 0.0, 0.0)))
    told = assess(record(samples, lambda share: {"held_back_s": rising(0.0, 0.5)(share)}))
    assert told.state == "unstable"
    assert "throttling" in kinds(told) or found.state == "unstable"
    faster = assess(record(samples[::-1], lambda share: {"held_back_s": rising(0.0, 0.5)(share)}))
    assert "a quota" not in " ".join(cause.sentence for cause in faster.causes)


def test_a_device_that_recovers_was_throttled_before() -> None:
    found = assess(
        record(slowed(start=0.0, end=0.5), lambda share: {"cooling_share": 0.5 if share < 1 - SLOW_FROM else 0.0})
    )
    assert found.causes[0].kind == "throttling"
    assert "faster to stay" in found.causes[0].sentence


def test_work_that_interrupts_leaves_the_fastest_alone() -> None:
    rng, samples = np.random.default_rng(0), noise(1000, 1, spread=0.01)
    samples[500:] *= np.where(rng.random(500) < 0.7, rng.uniform(1.5, 3.0, 500), 1.0)
    assert kinds(assess(record(samples))) == ["interference"]


@pytest.mark.parametrize(("late", "state"), [(0, "stable"), (40, "stable"), (300, "unstable")])
def test_late_starts_are_another_workload(late: int, state: str) -> None:
    found = assess(record(noise(1000, 0), late_count=late))
    assert found.state == state
    assert kinds(found) == (["late starts"] if state == "unstable" else [])


def test_a_record_without_starts_is_placed_by_its_samples() -> None:
    made = replace(record(slowed(), lambda share: {"cooling_share": 0.0 if share < SLOW_FROM else 0.3}), starts_ns=None)
    assert kinds(assess(made)) == ["throttling"]
    assert "cooling" in assess(made).causes[0].sentence


def test_it_is_pure() -> None:
    made = record(slowed(), used(rising(0.1, 0.5)))
    before = made.samples_ns.copy()
    assert assess(made) == assess(made)
    np.testing.assert_array_equal(made.samples_ns, before)


def found_on(
    samples_ms: Series, limit_s: float, metric: Any = "latency.p90", spec: DeviceSpec | None = None, **changes: Any
) -> Finding:
    spec = spec or device()
    given = evidence([VariantPlan("int8")], emulated=spec.emulated)
    one = given.variants[0]
    made = replace(record(samples_ms, **changes), variant_digest=one.variant.model.digest)
    given = replace(given, variants=(replace(one, latency=made),))
    return judge(given, profile([requirement(metric, limit_s)]), spec).variants[0].findings[0]


@pytest.mark.parametrize(
    ("limit_s", "verdict"),
    [
        (10e-3, Verdict.PASS),  # 3 ms at the slowest, 1.5 times that is 4.6 ms
        (4e-3, Verdict.INCONCLUSIVE),  # held now; not if it slows by as much again
        (2.5e-3, Verdict.INCONCLUSIVE),  # held before, broken after
        (1.5e-3, Verdict.FAIL),  # broken even before
    ],
)
def test_a_run_that_was_throttled_is_judged_by_its_stretches(limit_s: float, verdict: Verdict) -> None:
    found = found_on(slowed(3000), limit_s)
    assert found.verdict is verdict
    assert "The run was not stable: " in found.reason
    assert "became slower to stay" in found.reason
    assert found.need == (NEEDS["throttling"] if verdict is Verdict.INCONCLUSIVE else "")
    if verdict is Verdict.PASS:
        assert found.upper is not None
        assert found.upper > 3e-3
        assert "would if it slowed by as much again" in found.reason
    if verdict is Verdict.FAIL:
        assert "Even its fastest stretch is beyond the limit" in found.reason


def test_a_stretch_that_is_too_short_is_bounded_by_the_whole_and_its_ratio() -> None:
    """250 samples cannot bound p99; 500 can, and halves differ by 1.5: once for the slower, once for what may come."""
    found = found_on(slowed(500), 1.0, "latency.p99")
    assert found.verdict is Verdict.PASS
    assert found.upper is not None
    ratio = found.details["slowest_to_fastest"]
    assert found_on(slowed(500), 1.01 * found.upper * ratio, "latency.p99").verdict is Verdict.PASS
    assert found_on(slowed(500), 0.99 * found.upper * ratio, "latency.p99").verdict is Verdict.INCONCLUSIVE
    assert found_on(slowed(200), 1.0, "latency.p99").verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("emulated", [(), ("clock",)], ids=["real", "declared emulated"])
def test_an_emulated_clock_certifies_only_where_it_is_declared(emulated: tuple[str, ...]) -> None:
    found = found_on(slowed(3000), 1.0, spec=device(emulated=emulated), obtained="emulated")
    assert found.verdict is (Verdict.PASS if emulated else Verdict.INCONCLUSIVE)


@pytest.mark.parametrize("limit_s", [1.0, 1e-6])
def test_late_starts_decide_nothing(limit_s: float) -> None:
    """They place no change, so no stretch of the run is known to be as it should."""
    found = found_on(noise(1000, 0), limit_s, late_count=600)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "came late" in found.reason
    assert "stretch" not in found.reason
    assert found.need == NEEDS["late starts"]


@pytest.mark.parametrize("limit_s", [1.0, 1e-6])
@pytest.mark.parametrize(("count", "warmup_count"), [(64, 0), (99, 0), (150, 51)])
def test_too_few_samples_to_tell_stability_decide_nothing(count: int, warmup_count: int, limit_s: float) -> None:
    found = found_on(noise(count, 0), limit_s, "latency.p50", warmup_count=warmup_count)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert f"{count - warmup_count} inferences cannot show that the device kept its speed" in found.reason
    assert found.need == "at least 100 inferences after warm-up"
    assert (found.lower, found.upper) != (None, None)
    assert found_on(noise(100, 0), limit_s, "latency.p50").verdict is (Verdict.PASS if limit_s == 1.0 else Verdict.FAIL)


@pytest.mark.parametrize("limit_s", [1.0, 1e-6])
def test_a_change_told_among_few_samples_decides_nothing(limit_s: float) -> None:
    found = found_on(20 * slowed(60, 3.0), limit_s, "latency.p50", telemetry=after("frequency_hz", 2e9, 6e8))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "its clock ran at" in found.reason
    assert found.need == NEEDS["clock change"]


def test_a_fast_stretch_of_few_samples_fails_nothing() -> None:
    """99 samples have no effective count; those of the slower stretch have."""
    fails = [found_on(slowed(240, 1.5, start, seed=3), 1e-6, "latency.p50").verdict for start in (0.25, 0.5)]
    assert fails == [Verdict.INCONCLUSIVE, Verdict.FAIL]


def test_a_stable_run_says_nothing_of_it() -> None:
    found = found_on(noise(3000, 0), 10e-3)
    assert found.verdict is Verdict.PASS
    assert "stable" not in found.reason


def test_p99_9_is_judged_and_refused_below_its_count() -> None:
    assert found_on(noise(4000, 0), 1.0, "latency.p99.9").verdict is Verdict.PASS
    found = found_on(noise(2000, 0), 1.0, "latency.p99.9")
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "cannot bound p99.9 at 95 %: at least 2,995 are needed" in found.reason


def test_conditions_may_be_told_or_not_in_any_mix() -> None:
    """Fields that come and go, as from a driver that sometimes cannot read: never an error."""
    rng = np.random.default_rng(9)
    names = [name for name in Conditions.__dataclass_fields__ if name not in ("utc", "governor", "load_1min")]

    def some(_: float) -> dict[str, Any]:
        return {name: (None if rng.random() < 0.5 else float(rng.integers(0, 3))) for name in names}

    for seed in range(30):
        assert assess(record(slowed(seed=seed), some)).state == "unstable"
