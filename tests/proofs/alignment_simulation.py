"""Traces of known truth: a device's work as a meter would show it, with the noise that meters and converters have."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.measure.align import pattern_s
from kit.meter.base import PowerTrace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
DEVICE_EPOCH_NS = 7_000_000_000_000


@dataclass(frozen=True)
class World:
    """A device's clock and windows, a meter's rate, and how much of each noise there is, as shares of the step."""

    rate_hz: float = 5000.0
    white: float = 0.3
    pink: float = 0.1
    ripple: float = 0.2
    spikes: float = 3.0
    step_bits: float = 0.02
    step_w: float = 0.4
    offset_ns: int = 0
    drift_ppm: float = 0.0
    jitter_ns: float = 5000.0
    lost_share: float = 0.0
    seed: int = 0


def schedule(rng: np.random.Generator, chip_s: float, windows: int, window_s: float) -> tuple[Ints, Ints]:
    """(pattern, windows) on the device's clock, int64 [n, 2] each: a signature, then windows with uneven pauses."""
    t, pattern, busy = 1.0, [], []
    for length, idle in pattern_s(chip_s):
        length += rng.exponential(0.02 * chip_s)  # the last inference ends late
        pattern.append((t, t + length))
        t += length + idle
    for _ in range(windows):
        t += window_s * rng.uniform(0.2, 0.4)
        length = window_s * (1 + rng.exponential(0.01))
        busy.append((t, t + length))
        t += length
    to_ns = [np.rint(np.array(each) * 1e9).astype(np.int64) + DEVICE_EPOCH_NS for each in (pattern, busy)]
    return to_ns[0], to_ns[1]


def on_trace(world: World, device_ns: Ints) -> Floats:
    """The truth: moments of the device's clock on the trace's, ns; the drift counts from DEVICE_EPOCH_NS."""
    since = (device_ns - DEVICE_EPOCH_NS).astype(np.float64)
    return DEVICE_EPOCH_NS - world.offset_ns + since * (1 - world.drift_ppm * 1e-6)


def trace_of(world: World, busy_ns: Ints, windows_ns: Ints) -> PowerTrace:
    """What a meter shows of a device that works in busy_ns; its digital line is high in windows_ns."""
    rng = np.random.default_rng([world.seed, 1])
    edges = on_trace(world, busy_ns) + rng.exponential(world.jitter_ns, busy_ns.shape)
    first, last = edges.min() - rng.uniform(0.5e9, 1.5e9), edges.max() + rng.uniform(0.3e9, 1e9)
    period = 1e9 / world.rate_hz
    grid = np.arange(first, last, period) + rng.uniform(0, period)
    t_ns = np.rint(grid).astype(np.int64)
    truth = _busy_share(edges, t_ns.astype(np.float64)) * world.step_w
    power = truth + world.step_w * _noise(world, rng, (t_ns[1:] - t_ns[0]) * 1e-9) + 0.05
    step = world.step_bits * world.step_w
    power = np.round(power / step) * step if step else power
    level = _level(on_trace(world, windows_ns) + rng.exponential(world.jitter_ns, windows_ns.shape), t_ns)
    whole = PowerTrace(t_ns, np.r_[np.nan, power], 0, trigger=level)
    return _with_losses(whole, world.lost_share, rng)


def with_edges(trace: PowerTrace, rng: np.random.Generator, *, extra: int, glitches: int, missing: int) -> PowerTrace:
    """The same line with pulses that are no window's, short glitches, and some windows that it slept through."""
    assert trace.trigger is not None
    level, count = trace.trigger.copy(), len(trace.t_ns)
    starts = np.flatnonzero(np.diff(level) > 0) + 1
    for start in rng.permutation(starts)[:missing]:
        stop = start + int(np.argmin(level[start:]))
        level[start:stop] = 0
    for _ in range(extra):
        at, length = rng.integers(1, count - 1), int(rng.uniform(0.005, 0.2) * 1e9 / np.diff(trace.t_ns[:2])[0])
        level[at : min(at + length, count - 1)] = 1
    for _ in range(glitches):
        at, short = rng.integers(1, count - 2), int(40_000 / np.diff(trace.t_ns[:2])[0])
        level[at : at + short] ^= 1
    return PowerTrace(trace.t_ns, trace.power_w, 0, trigger=level)


def _busy_share(edges: Floats, t: Floats) -> Floats:
    """Share of each sample's time that is busy, float64 [n - 1]: an edge within a sample counts in part."""
    busy = np.zeros(len(t))
    for start, end in edges.reshape(-1, 2):
        busy += np.clip(t, start, end) - start
    return np.diff(busy) / np.diff(t)


def _noise(world: World, rng: np.random.Generator, t_s: Floats) -> Floats:
    """White, 1/f, mains ripple with harmonics, and a converter's spikes, as shares of the step, float64 [n]."""
    n = len(t_s)
    total = rng.normal(0, world.white, n)
    if world.pink:
        spectrum = np.fft.rfft(rng.normal(size=n)) / np.sqrt(np.maximum(np.arange(n // 2 + 1), 1))
        pink = np.fft.irfft(spectrum, n)
        total += world.pink * pink / pink.std()
    mains, phase = rng.choice([50.0, 60.0]) * (1 + rng.normal(0, 1e-3)), rng.uniform(0, 2 * np.pi, 3)
    for harmonic, share in ((1, 0.5), (2, 1.0), (6, 0.3)):
        total += world.ripple * share * np.sin(2 * np.pi * mains * harmonic * t_s + phase[harmonic % 3])
    if world.spikes:
        at = rng.random(n) < 2e-3
        total[at] += rng.exponential(world.spikes, int(at.sum()))
    return total


def _level(edges: Floats, t_ns: Ints) -> Ints:
    """The digital line at each sample, int64 [n]."""
    ends = edges.reshape(-1, 2)
    inside = np.searchsorted(np.sort(ends[:, 0]), t_ns, "right") - np.searchsorted(np.sort(ends[:, 1]), t_ns, "right")
    return np.asarray(np.clip(inside, 0, 1), np.int64)


def _with_losses(trace: PowerTrace, share: float, rng: np.random.Generator) -> PowerTrace:
    """Some bursts of samples lost: the first sample after each has no power."""
    if not share:
        return trace
    keep = np.ones(len(trace.t_ns), bool)
    burst = max(2, int(0.002 * len(keep) * share * 50))
    for at in rng.integers(1, len(keep) - burst - 1, max(1, int(share * len(keep) / burst))):
        keep[at : at + burst] = False
    power = trace.power_w.copy()
    power[1:][keep[1:] & ~keep[:-1]] = np.nan
    assert trace.trigger is not None
    return PowerTrace(trace.t_ns[keep], power[keep], int((~keep).sum()), trigger=trace.trigger[keep])
