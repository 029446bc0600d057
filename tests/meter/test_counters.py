"""Energy counters as traces: wraps, resets, slow updates, failures; by hand and against a known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import MeasurementError
from kit.meter.counters import CounterKind, means_between, trace_of_counters
from kit.meter.series import numbers, whole
from tests.meter.scripted import check_trace, energy_j, samples_of

KIND = CounterKind((np.inf,), 1000.0)


def trace_of(values, kind=KIND, scale=1.0, **options):
    samples = samples_of(values, **options)
    return check_trace(trace_of_counters(samples, numbers(samples, 0, scale)[:, None], kind))


class TestTexts:
    @pytest.mark.parametrize(
        ("text", "value"), [("12", 12.0), (" -7\n", -7.0), ("+0", 0.0), ("9" * 18, float("9" * 18))]
    )
    def test_whole_numbers(self, text, value):
        assert whole(text) == value

    @pytest.mark.parametrize("text", [None, "", "nan", "inf", "1_000", "1.5", "0x10", "٣", "9" * 19, "1 2"])
    def test_anything_else_is_not_known(self, text):
        assert np.isnan(whole(text))


class TestCounting:
    def test_a_steady_draw(self):
        trace = trace_of(range(100, 200), scale=0.02)
        assert trace.power_w[1:] == pytest.approx(2.0)
        assert len(trace.t_ns) == 100
        assert trace.lost_samples == 0
        assert not trace.ended
        assert trace.clock_error_ns == 1000

    def test_late_readings_are_counted_and_their_energy_is_kept(self):
        t_s = [0, 0.01, 0.02, 0.09, 0.1, 0.11]
        trace = trace_of([0, 1, 2, 9, 10, 11], t_s=t_s, late=6)
        assert energy_j(trace) == pytest.approx(11)
        assert trace.lost_samples == 6
        assert not len(trace.gaps_ns)

    def test_a_single_failed_reading_is_lost_and_its_energy_is_not(self):
        trace = trace_of([0, 1, None, 3, 4])
        assert trace.lost_samples == 1
        assert energy_j(trace) == pytest.approx(4)
        assert not len(trace.gaps_ns)

    def test_the_time_of_an_update_is_known_as_well_as_stated(self):
        kind = CounterKind((np.inf,), 1000.0, update_s=0.001)
        assert trace_of(range(10), kind).clock_error_ns == 1000 + 1_000_000

    def test_one_that_moved_at_each_reading_is_no_older_than_two(self):
        assert trace_of(range(10), CounterKind((np.inf,), 1000.0, update_s=60.0)).clock_error_ns == 1000 + 20_000_000


class TestWrapsAndResets:
    def test_a_wrap_is_unwound(self):
        trace = trace_of([90, 95, 0, 5, 10], CounterKind((100.0,), 1000.0))
        assert trace.power_w[1:] == pytest.approx(500.0)
        assert not len(trace.gaps_ns)

    def test_several_wraps(self):
        trace = trace_of([each % 7 for each in range(50)], CounterKind((7.0,), 150.0))
        assert energy_j(trace) == pytest.approx(49)

    def test_a_fall_that_is_no_wrap_is_a_reset_and_a_gap(self):
        trace = trace_of([50, 51, 0, 1, 2], CounterKind((1e6,), 1000.0))
        assert len(trace.gaps_ns) == 1
        assert np.isnan(trace.power_w[2])
        assert energy_j(trace) == pytest.approx(3)

    def test_a_counter_that_never_wraps_falls_only_by_a_reset(self):
        assert len(trace_of([50, 51, 0, 1, 2]).gaps_ns) == 1

    def test_a_leap_that_no_device_draws_is_a_gap(self):
        trace = trace_of([0, 1, 10**9, 10**9 + 1, 10**9 + 2])
        assert len(trace.gaps_ns) == 1
        assert energy_j(trace) == pytest.approx(3)

    def test_a_silence_in_which_it_may_have_wrapped_twice_is_a_gap(self):
        t_s = [0, 1, 2, 70, 71, 72]
        trace = trace_of([0, 1, 2, 10, 11, 12], CounterKind((100.0,), 1.0), t_s=t_s)
        assert len(trace.gaps_ns) == 1
        assert energy_j(trace) == pytest.approx(4)

    @given(st.lists(st.integers(0, 400), min_size=2, max_size=60), st.integers(0, 999))
    @settings(max_examples=200, deadline=None)
    def test_whatever_was_drawn_is_found_through_any_wraps(self, draws, start):
        drawn = np.concatenate([[0], np.cumsum([draw + 1 for draw in draws])])
        trace = trace_of((start + drawn) % 1000, CounterKind((1000.0,), 49_900.0))
        assert energy_j(trace) == pytest.approx(drawn[-1])


class TestUpdates:
    def test_slow_updates_give_the_mean_between_them_not_zeros_and_a_spike(self):
        values = [each // 10 for each in range(100)]  # one update each 0.1 s, read each 0.01 s
        trace = trace_of(values)
        assert trace.power_w[1:] == pytest.approx(10.0)
        assert len(trace.t_ns) == 9
        assert trace.clock_error_ns == 1000 + 10_000_000

    def test_the_first_value_is_of_unknown_age_so_the_trace_begins_with_the_first_update(self):
        trace = trace_of([0, 0, 0, 3, 3, 6, 6, 9])
        assert trace.t_ns[0] - 10**12 == 30_000_000
        assert energy_j(trace) == pytest.approx(6)

    def test_an_update_that_was_seen_late_is_left_to_the_next(self):
        t_s = [0, 0.01, 0.02, 0.03, 0.04, 0.14, 0.15, 0.16, 0.17, 0.18]
        trace = trace_of([0, 0, 1, 1, 2, 7, 7, 8, 8, 9], t_s=t_s)
        assert 10**12 + 140_000_000 not in trace.t_ns
        assert energy_j(trace) == pytest.approx(8)
        assert trace.clock_error_ns < 15_000_000

    def test_a_counter_that_does_not_move_is_no_zero(self):
        with pytest.raises(MeasurementError, match=r"moved 0 times in 0\.99 s") as caught:
            trace_of([5] * 100)
        assert "measure longer" in caught.value.next_step

    def test_too_few_updates_are_refused(self):
        with pytest.raises(MeasurementError, match=r"moved 3 times in 0\.07 s, and 4 are the least"):
            trace_of([0, 0, 1, 1, 2, 2, 3, 3], CounterKind((np.inf,), 1000.0, 0.2, 4))

    def test_one_that_stands_still_at_the_end_has_ended_there(self):
        trace = trace_of([*range(50), *[49] * 300])
        assert "did not move in the last 3 s" in trace.ended
        assert trace.t_ns[-1] == 10**12 + 490_000_000
        assert trace.gaps_ns.tolist() == [[trace.t_ns[-1], 10**12 + 3_490_000_000]]
        assert trace.power_w[1:] == pytest.approx(100.0)


class TestFailures:
    def test_one_that_vanishes_keeps_what_it_measured_and_an_honest_gap(self):
        trace = trace_of([*range(50), *[None] * 30])
        assert "could not be read any more" in trace.ended
        assert energy_j(trace) == pytest.approx(49)
        assert trace.lost_samples == 30
        assert trace.gaps_ns.tolist() == [[10**12 + 490_000_000, 10**12 + 790_000_000]]

    def test_one_that_comes_back_has_a_gap_though_its_counter_grew(self):
        trace = trace_of([0, 1, 2, None, None, None, None, 40, 41, 42])
        assert len(trace.gaps_ns) == 1
        assert trace.lost_samples == 4
        assert not trace.ended
        assert energy_j(trace) == pytest.approx(4)

    def test_one_that_comes_back_from_zero(self):
        trace = trace_of([50, 51, 52, *[None] * 20, 0, 1, 2])
        assert len(trace.gaps_ns) == 1
        assert energy_j(trace) == pytest.approx(4)

    def test_texts_that_are_no_number(self):
        with pytest.raises(MeasurementError, match="moved 0 times"):
            trace_of(["error"] * 10)

    def test_a_single_reading(self):
        with pytest.raises(MeasurementError, match="moved 0 times"):
            trace_of([1])


class TestSeveral:
    def test_their_sum_each_unwound_by_itself(self):
        samples = samples_of([8, 9, 0, 1, 2], [97, 98, 99, 0, 1])
        values = np.stack([numbers(samples, 0), numbers(samples, 1)], axis=1)
        trace = check_trace(trace_of_counters(samples, values, CounterKind((10.0, 100.0), 400.0)))
        assert trace.power_w[1:] == pytest.approx(200.0)

    def test_one_that_vanishes_ends_all(self):
        samples = samples_of(range(20), [*range(10), *[None] * 10])
        values = np.stack([numbers(samples, 0), numbers(samples, 1)], axis=1)
        trace = check_trace(trace_of_counters(samples, values, CounterKind((np.inf, np.inf), 400.0)))
        assert trace.ended
        assert energy_j(trace) == pytest.approx(18)


class TestMeans:
    def test_a_ramp(self):
        samples = samples_of(range(11), period_s=1.0)
        t_ns = samples.t_ns[[0, 4, 10]]
        assert means_between(samples, numbers(samples, 0), t_ns)[1:] == pytest.approx([2.0, 7.0])

    def test_what_could_not_be_read_is_bridged_and_nothing_at_all_is_not_known(self):
        samples = samples_of([4, None, 4], period_s=1.0)
        assert means_between(samples, numbers(samples, 0), samples.t_ns)[1:] == pytest.approx([4.0, 4.0])
        assert np.isnan(means_between(samples, np.full(3, np.nan), samples.t_ns)).all()
