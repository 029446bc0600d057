"""Samples on the host's clock: the bound holds whatever the delays, losses are found, and none is invented."""

import time

import numpy as np
import pytest

from kit.meter.instrument import Samples, lay_out
from kit.meter.timebase import TimeBase, fit, unseen_losses

RATE_HZ = 100_000.0


def arrivals(duration_s, *, seed=0, drift_ppm=0.0, start_ns=3_000_000, jitter_ns=400_000, lost=(), read_s=0.004):
    """Reads of a meter that starts `start_ns` after it was told to: times, samples so far, and the true base."""
    random = np.random.default_rng(seed)
    period_ns = 1e9 / RATE_HZ * (1 + drift_ppm * 1e-6)
    taken = np.arange(1, int(duration_s / read_s) + 1) * int(read_s * RATE_HZ)
    delay_ns = 100_000 + random.exponential(jitter_ns, len(taken)) + (random.random(len(taken)) < 0.01) * 2e7
    at_ns = np.maximum.accumulate(start_ns + (taken - 1) * period_ns + delay_ns).astype(np.int64)
    index = (taken - 1).astype(np.float64)
    for place, count in lost:
        index[taken > place] -= count
    return at_ns, index, period_ns


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("drift_ppm", [-80.0, 0.0, 45.0])
@pytest.mark.parametrize("duration_s", [0.5, 5.0, 60.0])
@pytest.mark.parametrize("jitter_ns", [400_000, 20_000_000])
def test_the_truth_is_within_the_stated_error(jitter_ns, duration_s, drift_ppm, seed):
    at_ns, index, period_ns = arrivals(duration_s, seed=seed, drift_ppm=drift_ppm, jitter_ns=jitter_ns)
    base = fit(at_ns, index, RATE_HZ, 0)
    for k in (0, index[-1]):
        off_ns = abs(base.start_ns + k * base.period_ns - (3_000_000 + k * period_ns))
        assert off_ns <= base.error_ns
    if jitter_ns < 1_000_000:
        assert base.error_ns < 3_000_000
    if duration_s >= 60 and jitter_ns < 1_000_000:
        assert base.drift_ppm == pytest.approx(drift_ppm, abs=10)
    if duration_s < 10:
        assert base.drift_ppm is None


def test_reads_without_a_sample_bound_nothing():
    at_ns, index, _ = arrivals(1.0)
    early = fit(np.append(1000, at_ns), np.append(-1.0, index), RATE_HZ, 0)
    assert early == fit(at_ns, index, RATE_HZ, 0)


def test_a_drift_that_no_crystal_has_is_not_believed():
    at_ns, index, _ = arrivals(20.0, drift_ppm=5000.0)
    base = fit(at_ns, index, RATE_HZ, 0)
    assert base.drift_ppm is None
    assert base.period_ns == 1e9 / RATE_HZ


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [64, 128, 640, 64_000])
def test_losses_that_the_counter_cannot_see(count, seed):
    at_ns, index, _ = arrivals(8.0, seed=seed, lost=[(400_000, count)], drift_ppm=20)
    ((read, lost),) = unseen_losses(at_ns, index, RATE_HZ, 64)
    assert lost == count
    assert index[read] == pytest.approx(400_000, abs=20_000)


def test_several_losses():
    at_ns, index, _ = arrivals(12.0, lost=[(300_000, 64), (600_000, 640), (900_000, 192)])
    assert [lost for _, lost in unseen_losses(at_ns, index, RATE_HZ, 64)] == [64, 640, 192]


@pytest.mark.parametrize("place", [2000, 40_000, 385_000], ids=["begin", "middle", "end"])
def test_a_finer_look_tells_how_many_samples_and_sees_the_ends(place):
    at_ns, index, _ = arrivals(4.0, lost=[(place, 7123)])
    came = np.append(True, np.diff(np.maximum.accumulate(index)) > 0)  # nothing comes while samples are lost
    at_ns, index = at_ns[came], index[came]
    ((read, lost),) = unseen_losses(at_ns, index, RATE_HZ, 1, least=2000, fine=True)
    assert lost == pytest.approx(7123, abs=50)
    assert index[read] == pytest.approx(place, abs=1000)


def test_fewer_than_the_least_are_not_told():
    at_ns, index, _ = arrivals(4.0, lost=[(200_000, 1900)])
    assert unseen_losses(at_ns, index, RATE_HZ, 1, least=2000, fine=True) == []


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("duration_s", [0.3, 10.0])
@pytest.mark.parametrize("jitter_ns", [50_000, 3_000_000, 20_000_000])
def test_a_finer_look_invents_none(jitter_ns, duration_s, seed):
    at_ns, index, _ = arrivals(duration_s, seed=seed, jitter_ns=jitter_ns, drift_ppm=-50 + 10 * seed)
    assert unseen_losses(at_ns, index, RATE_HZ, 1, least=2000, fine=True) == []


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("jitter_ns", [50_000, 400_000, 3_000_000, 20_000_000])
def test_none_is_invented(jitter_ns, seed):
    at_ns, index, _ = arrivals(10.0, seed=seed, jitter_ns=jitter_ns, drift_ppm=-50 + 5 * seed)
    assert unseen_losses(at_ns, index, RATE_HZ, 64) == []


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_hardly_any_reads(count):
    at_ns, index, _ = arrivals(1.0)
    assert unseen_losses(at_ns[:count], index[:count], RATE_HZ, 64) == []


def test_a_host_that_stalls_for_a_second_has_lost_nothing():
    at_ns, index, _ = arrivals(8.0)
    stalled = (at_ns > 3e9) & (at_ns < 4e9)
    at_ns = np.where(stalled, int(4e9), at_ns)
    assert unseen_losses(at_ns, index, RATE_HZ, 64) == []


BASE = TimeBase(1000.0, 100.0, 7, None)


class TestLayOut:
    def test_gaps_have_the_length_of_what_is_missing(self):
        trace = lay_out(Samples(np.arange(6.0), 2.0, losses=[(2, 3), (5, 1)]), BASE)
        assert trace.t_ns.tolist() == [1000, 1100, 1500, 1600, 1700, 1900]
        assert trace.gaps_ns.tolist() == [[1100, 1500], [1700, 1900]]
        assert np.isnan(trace.power_w).tolist() == [True, False, True, False, False, True]
        assert trace.power_w[[1, 3, 4]].tolist() == [2.0, 6.0, 8.0]
        assert (trace.lost_samples, trace.clock_error_ns) == (4, 7)

    @pytest.mark.parametrize("group", [1, 2, 3, 5, 100])
    def test_averaging_keeps_the_energy(self, group):
        random = np.random.default_rng(group)
        samples = Samples(random.random(1000), 3.0, np.arange(1000) % 256, [(100, 7), (101, 1), (640, 64)])
        fine, coarse = lay_out(samples, BASE), lay_out(samples, BASE, group=group)
        energies = [np.nansum(t.power_w[1:] * np.diff(t.t_ns)) for t in (fine, coarse)]
        assert energies[0] == pytest.approx(energies[1])
        assert coarse.lost_samples == fine.lost_samples == 72
        assert (coarse.gaps_ns == fine.gaps_ns).all()
        assert coarse.t_ns[-1] == fine.t_ns[-1]
        assert len(coarse.t_ns) == len(coarse.power_w) == len(coarse.voltage_v) == len(coarse.trigger)
        assert np.isnan(coarse.power_w).sum() == 4

    def test_as_many_losses_as_samples_take_no_longer_than_samples_do(self):
        count, started_s = 1_000_000, time.thread_time()
        trace = lay_out(Samples(np.ones(count), 1.0, losses=[(at, 2) for at in range(1, count, 2)]), BASE)
        assert time.thread_time() - started_s < 10
        assert trace.t_ns[-1] == 1000 + 100 * (count - 1 + 2 * (count // 2))
        assert trace.lost_samples == count

    def test_losses_outside_are_counted_and_are_no_gaps(self):
        trace = lay_out(Samples(np.ones(3), 1.0, losses=[(0, 5), (3, 9)]), BASE)
        assert trace.lost_samples == 14
        assert trace.t_ns.tolist() == [1500, 1600, 1700]
        assert len(trace.gaps_ns) == 0

    def test_power_may_be_a_mean_of_its_own(self):
        trace = lay_out(Samples(np.ones(4), np.full(4, 2.0), power_w=np.full(4, 2.5)), BASE, group=3)
        assert trace.power_w[1:].tolist() == [2.5]
        assert trace.voltage_v.tolist() == [2.0, 2.0]
