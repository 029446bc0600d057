"""Each way to find windows in a trace: right on known truth, refused where it could be wrong."""

from dataclasses import replace

import numpy as np
import pytest

from kit.errors import MeasurementError
from kit.measure.align import (
    ClockReading,
    Prior,
    Timing,
    align,
    align_clocks,
    align_same_clock,
    align_signature,
    align_trigger,
    are_clocks_enough,
    is_one_clock,
    pattern_s,
    text,
    to_trace,
)
from kit.measure.align.readings import fitted
from kit.measure.align.trigger import pulses
from kit.meter.base import PowerTrace
from kit.records import AlignmentRecord
from tests.proofs.alignment_simulation import World, on_trace, schedule, trace_of, with_edges

MS = 1_000_000
SILENT = World(white=0, pink=0, ripple=0, spikes=0, jitter_ns=0, offset_ns=3_000_000_000, drift_ppm=80)


def case(world=SILENT, windows=6, window_s=0.1, seed=0):
    rng = np.random.default_rng(seed)
    pattern_ns, windows_ns = schedule(rng, max(0.023, 6 / world.rate_hz), windows, window_s)
    busy_ns = np.concatenate([pattern_ns, windows_ns])
    return trace_of(replace(world, seed=seed), busy_ns, windows_ns), pattern_ns, windows_ns


def worst_ns(found, windows_ns, world=SILENT):
    return float(np.abs(to_trace(found, windows_ns) - on_trace(world, windows_ns)).max())


class TestTimes:
    def test_moments_on_the_traces_clock_are_as_the_record_says(self):
        found = AlignmentRecord("clock offset", 500, 100.0, 1_000_000_000, 10, 0.99, "")
        device = np.array([1_000_000_000, 2_000_000_000])
        np.testing.assert_array_equal(to_trace(found, device), [999_999_500, 1_999_899_500])

    def test_late_moments_lose_no_digits(self):
        found = AlignmentRecord("clock offset", 1, 0.0, 0, 10, 0.99, "")
        assert to_trace(found, np.array([2**62 + 1]))[0] == 2**62

    @pytest.mark.parametrize(
        ("ns", "words"), [(340, "340 ns"), (12_000, "12 µs"), (1_500_000, "1.5 ms"), (2e9, "2 s"), (0, "0 ns")]
    )
    def test_times_for_people(self, ns, words):
        assert text(ns) == words

    def test_a_line_is_taken_where_drift_shows_and_a_level_where_it_does_not(self):
        x, rng = np.linspace(0, 10, 60), np.random.default_rng(0)
        clear = fitted(x, 1e-4 * x + rng.normal(0, 1e-6, 60), 0, 10)
        assert clear.slope == pytest.approx(1e-4, rel=0.05)
        hidden = fitted(x, 1e-4 * x + rng.normal(0, 0.1, 60), 0, 10)
        assert hidden.slope == 0
        assert hidden.error > 1e-3


class TestClocks:
    def reading(self, host_ms, offset_ns, error_ns=1000):
        return ClockReading(host_ms * MS, offset_ns, error_ns)

    def test_drift_lies_between_two_readings(self):
        found = align_clocks(self.reading(1000, 5000), self.reading(11_000, 1_005_000), 0)
        assert found.drift_ppm == pytest.approx(100, rel=1e-3)
        moments = np.array([1000 * MS + 5000, 11_000 * MS + 1_005_000])
        np.testing.assert_allclose(to_trace(found, moments), [1000 * MS, 11_000 * MS], atol=2)

    def test_every_part_is_in_the_bound(self):
        first, last = self.reading(0, 0, 2000), self.reading(10_000, 0, 7000)
        found = align_clocks(first, last, 300)
        assert found.error_ns == pytest.approx(7000 + 300 + 5e-6 * 10e9 / 2, abs=5)
        assert "300 ns" in found.explanation

    @pytest.mark.parametrize("jump_ns", [20 * MS, -20 * MS])
    def test_a_clock_that_jumps(self, jump_ns):
        with pytest.raises(MeasurementError, match="clock moved by 20 ms"):
            align_clocks(self.reading(0, 0), self.reading(10_000, jump_ns), 0)

    def test_a_clock_that_stands_or_wraps(self):
        with pytest.raises(MeasurementError, match="clock moved"):
            align_clocks(self.reading(0, 0), self.reading(1000, -4_000_000_000), 0)

    def test_one_clock(self):
        found = align_same_clock(2000)
        assert (found.method, found.offset_ns, found.drift_ppm) == ("same clock", 0, 0)
        assert found.error_ns == 3000

    @pytest.mark.parametrize(
        ("offset_ns", "here", "is_one"), [(500, True, True), (500, False, False), (5000, True, False)]
    )
    def test_whether_it_is_one_clock(self, offset_ns, here, is_one):
        assert is_one_clock(self.reading(0, offset_ns), same_machine=here) == is_one

    @pytest.mark.parametrize(
        ("error_ns", "one", "enough"), [(MS, False, True), (3 * MS, False, False), (9e9, True, True)]
    )
    def test_whether_clocks_are_enough(self, error_ns, one, enough):
        assert are_clocks_enough(self.reading(0, 0, int(error_ns)), 1000, 300 * MS, one_clock=one) == enough


class TestPulses:
    def of(self, text_of_levels, step_us=20, pause_us=0):
        level = np.array([int(each) for each in text_of_levels])
        found = pulses(np.arange(len(level)) * step_us * 1000, level, pause_us * 1000)
        return [(a / 1000, b / 1000) for a, b in zip(found.rises, found.falls, strict=True)]

    @pytest.mark.parametrize(
        ("levels", "pause_us", "expected"),
        [
            ("00011110000", 0, [(50, 130)]),
            ("0001000011110000", 0, [(150, 230)]),  # 20 µs are a glitch, high or low
            ("00011110111100", 0, [(50, 230)]),
            ("11100001111000", 0, [(130, 210)]),  # when it rose is not known
            ("00011110000111", 0, [(50, 130)]),  # nor when the last fell
            ("000111100001111000", 0, [(50, 130), (210, 290)]),
            ("000111100001111000", 100, [(50, 290)]),  # inferences of one window
            ("0101010101", 0, []),
            ("00000", 0, []),
            ("11111", 0, []),
        ],
    )
    def test_high_stretches(self, levels, pause_us, expected):
        assert self.of(levels, pause_us=pause_us) == expected


class TestTrigger:
    def test_found_below_a_sample(self):
        trace, _, windows_ns = case()
        found = align_trigger(trace, windows_ns)
        assert worst_ns(found, windows_ns) <= found.error_ns < 400_000
        assert "12 of 12 edges" in found.explanation

    def test_drift_shows_where_samples_are_fine_against_it(self):
        world = replace(SILENT, rate_hz=50_000)
        trace, _, windows_ns = case(world, windows=10, window_s=0.3)
        assert align_trigger(trace, windows_ns).drift_ppm == pytest.approx(80, abs=20)

    @pytest.mark.parametrize("bit", [0, 3, 7])
    def test_whichever_line_is_wired(self, bit):
        trace, _, windows_ns = case()
        other = np.random.default_rng(0).integers(0, 2, len(trace.t_ns)) << ((bit + 1) % 8)
        found = align_trigger(replace(trace, trigger=(trace.trigger << bit) | other), windows_ns)
        assert f"line {bit}" in found.explanation
        assert worst_ns(found, windows_ns) <= found.error_ns

    def test_a_line_that_is_high_for_each_inference(self):
        trace, _, windows_ns = case(replace(SILENT, rate_hz=20_000))
        low = np.arange(len(trace.t_ns)) % 100 < 5
        found = align_trigger(replace(trace, trigger=np.where(low, 0, trace.trigger)), windows_ns)
        assert worst_ns(found, windows_ns) <= max(found.error_ns, 300_000)

    def test_missing_and_extra_pulses(self):
        trace, _, windows_ns = case(replace(SILENT, rate_hz=10_000), windows=8)
        dirty = with_edges(trace, np.random.default_rng(1), extra=4, glitches=10, missing=2)
        found = align_trigger(dirty, windows_ns)
        assert worst_ns(found, windows_ns) <= found.error_ns

    def test_equal_windows_at_equal_pauses_are_ambiguous_unless_clocks_tell(self):
        starts = (1000 + 150 * np.arange(10)) * MS
        windows_ns = np.stack([starts, starts + 100 * MS], axis=1)
        world = replace(SILENT, offset_ns=0, drift_ppm=0)
        seen = trace_of(world, windows_ns, windows_ns)
        trace = replace(
            seen, trigger=np.where(seen.t_ns < on_trace(world, windows_ns)[0, 1] + 20 * MS, 0, seen.trigger)
        )
        with pytest.raises(MeasurementError, match="more than one place"):
            align_trigger(trace, windows_ns)
        truth_ns = int(windows_ns[0, 0] - on_trace(world, windows_ns)[0, 0])
        found = align_trigger(trace, windows_ns, Prior(truth_ns, 10 * MS))
        assert worst_ns(found, windows_ns, world) <= found.error_ns

    @pytest.mark.parametrize("line", ["none", "still", "noise", "other work"])
    def test_a_line_that_tells_nothing(self, line):
        trace, _, windows_ns = case()
        rng = np.random.default_rng(2)
        level = {
            "none": None,
            "still": np.ones(len(trace.t_ns), np.int64),
            "noise": rng.integers(0, 2, len(trace.t_ns)),
            "other work": ((trace.t_ns // (37 * MS)) % 2).astype(np.int64),
        }[line]
        with pytest.raises(MeasurementError) as caught:
            align_trigger(replace(trace, trigger=level), windows_ns)
        assert caught.value.next_step


class TestSignature:
    def test_the_pattern_is_a_maximal_length_sequence(self):
        """Two-valued autocorrelation (Golomb): 31 at no shift, -1 at every other."""
        bits = [level for busy, idle in pattern_s(1.0) for level in [1] * round(busy) + [-1] * round(idle)]
        assert len(bits) == 31
        assert [int(np.dot(bits, np.roll(bits, shift))) for shift in range(31)] == [31] + [-1] * 30

    def test_found_below_a_sample(self):
        trace, pattern_ns, windows_ns = case()
        found = align_signature(trace, np.concatenate([pattern_ns, windows_ns]))
        assert worst_ns(found, windows_ns) < 50_000 < 1e9 / SILENT.rate_hz
        assert worst_ns(found, windows_ns) <= found.error_ns

    def test_the_pattern_alone_is_enough(self):
        trace, pattern_ns, _ = case()
        found = align_signature(trace, pattern_ns)
        assert worst_ns(found, pattern_ns) <= found.error_ns

    def test_other_work_beside_it_does_not_move_it(self):
        rng = np.random.default_rng(0)
        pattern_ns, windows_ns = schedule(rng, 0.023, 6, 0.1)
        start = pattern_ns[0, 0]
        other_ns = np.array([[start - 60 * MS, start - 5 * MS]])
        busy_ns = np.concatenate([pattern_ns, windows_ns])
        trace = trace_of(SILENT, np.concatenate([other_ns, busy_ns]), windows_ns)
        found = align_signature(trace, busy_ns)
        assert worst_ns(found, windows_ns) <= found.error_ns < 500_000

    def test_where_the_clocks_say_it_is_not(self):
        trace, pattern_ns, windows_ns = case()
        busy_ns = np.concatenate([pattern_ns, windows_ns])
        with pytest.raises(MeasurementError):
            align_signature(trace, busy_ns, Prior(SILENT.offset_ns + 100_000 * MS, MS))
        near = align_signature(trace, busy_ns, Prior(SILENT.offset_ns + 4 * MS, 10 * MS))
        assert worst_ns(near, windows_ns) <= near.error_ns

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda t: replace(t, power_w=np.random.default_rng(0).normal(size=len(t.t_ns))), "noise|one place"),
            (lambda t: replace(t, power_w=np.full(len(t.t_ns), 0.3)), "noise|one place"),
            (lambda t: replace(t, power_w=np.full(len(t.t_ns), np.nan)), "not where"),
            (lambda t: PowerTrace(t.t_ns[::500], t.power_w[::500], 0), "no signature for samples"),
            (lambda t: PowerTrace(t.t_ns[:1], t.power_w[:1], 0), "no signature for samples"),
            (lambda t: PowerTrace(t.t_ns[:900], t.power_w[:900], 0), "not where|too long or too short|noise"),
        ],
        ids=["noise", "flat", "nothing seen", "slow", "one sample", "short"],
    )
    def test_a_trace_that_does_not_show_it(self, change, said):
        trace, pattern_ns, windows_ns = case()
        with pytest.raises(MeasurementError, match=said) as caught:
            align_signature(change(trace), np.concatenate([pattern_ns, windows_ns]))
        assert caught.value.next_step

    def test_one_that_repeats_is_ambiguous(self):
        """The same pattern twice in the trace, one of them asked for."""
        pattern_ns, _ = schedule(np.random.default_rng(0), 0.023, 0, 0.1)
        again_ns = pattern_ns + 2000 * MS
        trace = trace_of(SILENT, np.concatenate([pattern_ns, again_ns]), pattern_ns)
        with pytest.raises(MeasurementError, match="more than one place"):
            align_signature(trace, pattern_ns)
        assert align_signature(trace, np.concatenate([pattern_ns, again_ns])).method == "signature"

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_too_few_stretches(self, count):
        trace, pattern_ns, _ = case()
        with pytest.raises(MeasurementError, match="no signature for samples"):
            align_signature(trace, pattern_ns[:count])

    def test_stretches_that_overlap(self):
        trace, pattern_ns, _ = case()
        with pytest.raises(MeasurementError, match="overlap"):
            align_signature(trace, np.concatenate([pattern_ns, pattern_ns]))


class TestChoice:
    def timing(self, windows_ns, error_ns, pattern_ns=None, one_clock=False):
        host_ns = [round(each) for each in on_trace(SILENT, np.array([windows_ns[0, 0], windows_ns[-1, 1]]))]
        readings = [
            ClockReading(host, int(device) - host, error_ns)
            for host, device in zip(host_ns, (windows_ns[0, 0], windows_ns[-1, 1]), strict=True)
        ]
        return Timing(windows_ns, *readings, one_clock, pattern_ns)

    @pytest.mark.parametrize(
        ("error_ns", "triggered", "signed", "method"),
        [
            (10_000, True, True, "trigger"),
            (10_000, False, True, "clock offset"),
            (5 * MS, False, True, "signature"),
            (5 * MS, False, False, "clock offset"),
            (5 * MS, True, False, "trigger"),
        ],
    )
    def test_the_best_that_is_there(self, error_ns, triggered, signed, method):
        trace, pattern_ns, windows_ns = case()
        trace = trace if triggered else replace(trace, trigger=None)
        busy_ns = np.concatenate([pattern_ns, windows_ns]) if signed else None
        found = align(trace, self.timing(windows_ns, error_ns, busy_ns))
        assert found.method == method
        assert worst_ns(found, windows_ns) <= found.error_ns

    def test_what_was_refused_is_said(self):
        trace, pattern_ns, windows_ns = case()
        noise = np.random.default_rng(0).integers(0, 2, len(trace.t_ns))
        flat = replace(trace, trigger=noise, power_w=np.full(len(trace.t_ns), 0.3))
        found = align(flat, self.timing(windows_ns, 5 * MS, np.concatenate([pattern_ns, windows_ns])))
        assert found.method == "clock offset"
        assert "no trigger: " in found.explanation
        assert "no signature: " in found.explanation

    def test_nothing_places_the_windows(self):
        trace, _, windows_ns = case()
        with pytest.raises(MeasurementError, match="placed to 80"):
            align(replace(trace, trigger=None), self.timing(windows_ns, 80 * MS))
