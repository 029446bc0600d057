"""Energy of an inference with bounds: windows that depend on each other, idle power, and what the meter may be off by.

Chance narrows with more windows, a meter's error does not. Chance enters with Student's t at the effective count of
windows; accuracy, resolution and alignment as standard uncertainties times the normal quantile; their squares add
(JCGM 100:2008, 5.1.2).
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from kit.records import EnergyRecord, Float64Array
from kit.stats.means import MeanBounds, batch_mean_bounds
from kit.stats.special import normal_quantile

INTERVAL_WINDOWS = 3
"""Fewest windows that give an interval at all."""

ASSUMED_GAIN_SHARE = 0.05
"""A meter whose accuracy nobody states is taken to be off by up to this much: the worst class of panel meters that
IEC 60051 knows (class 5). A verdict stands only if it stands at both ends of that."""


@dataclass(frozen=True, slots=True)
class EnergyBounds:
    """Energy of one inference in J, and each end of its interval; None where too few windows give none."""

    estimate: float
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class EnergyFigures:
    """Energy of one inference, each bound one-sided at `confidence`; shares are of energy above idle.

    systematic_share: standard uncertainty that more windows do not reduce, as far as it is known. assumed_gain_share:
    what the bounds allow for a meter that states no accuracy; None for one that does, and for an estimate.
    """

    gross: EnergyBounds
    above_idle: EnergyBounds
    confidence: float
    windows: int
    effective_windows: float | None
    systematic_share: float
    assumed_gain_share: float | None


def energy_per_inference_j(record: EnergyRecord) -> Float64Array:
    """Energy above idle of one inference in each window, J, float64 [windows]: gross less idle power x time."""
    above_j = record.window_energy_j - record.idle_power_w * record.window_s
    return np.asarray(above_j / np.maximum(record.window_inferences, 1), dtype=np.float64)


def gross_per_inference_j(record: EnergyRecord) -> Float64Array:
    """Energy of one inference in each window with all that the device drew meanwhile, J, float64 [windows]."""
    return np.asarray(record.window_energy_j / np.maximum(record.window_inferences, 1), dtype=np.float64)


def above_idle_bounds(record: EnergyRecord, confidence: float) -> MeanBounds:
    """Mean energy above idle of an inference, J, from 3 windows or more: the meter's offset cancels, its gain not."""
    random = batch_mean_bounds(energy_per_inference_j(record), confidence)
    systematic = normal_quantile(confidence) * systematic_share(record) * abs(random.estimate)
    half = math.hypot(random.upper - random.estimate, _idle_half_j(record, confidence), systematic)
    return _widened(record, random, half)


def gross_bounds(record: EnergyRecord, confidence: float) -> MeanBounds:
    """Mean gross energy of an inference, J, from at least 3 windows: errors of gain and of offset both count.

    What a device draws is not below 0, and nor is the lower bound; unless the estimate itself is, as of a meter whose
    leads are swapped.
    """
    random = batch_mean_bounds(gross_per_inference_j(record), confidence)
    accuracy, known = record.meter.accuracy, record.uncertainty
    each_s = float(record.window_s.mean() / np.maximum(record.window_inferences, 1).mean())
    parts_j = [0.0]
    if accuracy is not None:
        offset_w = math.hypot(accuracy.offset_w, accuracy.resolution_w / 2)
        parts_j += [accuracy.gain_share * random.estimate / math.sqrt(3), offset_w * each_s / math.sqrt(3)]
    if known is not None and known.alignment_share is not None:
        parts_j.append(known.alignment_share * float(energy_per_inference_j(record).mean()))
    systematic = normal_quantile(confidence) * math.hypot(*parts_j)
    bounds = _widened(record, random, math.hypot(random.upper - random.estimate, systematic))
    return bounds if bounds.estimate < 0 else replace(bounds, lower=max(0.0, bounds.lower))


def energy_figures(record: EnergyRecord, confidence: float) -> EnergyFigures:
    """Gross and above idle, each with its interval where there are windows enough; a record has one window at least."""
    has_bounds = len(record.window_energy_j) >= INTERVAL_WINDOWS
    above = above_idle_bounds(record, confidence) if has_bounds else None
    gross = gross_bounds(record, confidence) if has_bounds else None
    return EnergyFigures(
        gross=_bounds(gross_per_inference_j(record), gross),
        above_idle=_bounds(energy_per_inference_j(record), above),
        confidence=confidence,
        windows=len(record.window_energy_j),
        effective_windows=None if above is None else above.effective_count,
        systematic_share=systematic_share(record),
        assumed_gain_share=assumed_gain_share(record),
    )


def systematic_share(record: EnergyRecord) -> float:
    """Standard uncertainty of energy above idle that more windows do not reduce: all of its known parts, as a share."""
    accuracy, known = record.meter.accuracy, record.uncertainty
    if known is None:
        return 0.0 if accuracy is None else accuracy.gain_share / math.sqrt(3)
    parts = (known.accuracy_share, known.resolution_share, known.alignment_share)
    return math.hypot(*(part for part in parts if part is not None))


def assumed_gain_share(record: EnergyRecord) -> float | None:
    """How far off a meter is taken to be that states no accuracy; None for others, and for what is no meter."""
    is_stated = record.meter.accuracy is not None or record.obtained == "estimated"
    return None if is_stated else ASSUMED_GAIN_SHARE


def _idle_half_j(record: EnergyRecord, confidence: float) -> float:
    """What idle power's own spread over its stretches, correlated as they are, moves an inference by."""
    idle_w = record.idle_window_power_w
    if idle_w is None or len(idle_w) < INTERVAL_WINDOWS:
        return 0.0
    bounds = batch_mean_bounds(idle_w, confidence)
    return (bounds.upper - bounds.estimate) * float(record.window_s.sum() / max(1, int(record.window_inferences.sum())))


def _widened(record: EnergyRecord, random: MeanBounds, half: float) -> MeanBounds:
    """Bounds at `half` from the estimate, and further by the gain that a meter without stated accuracy may have."""
    lower, upper = random.estimate - half, random.estimate + half
    gain = assumed_gain_share(record) or 0.0
    ends = [end / (1 + sign * gain) for end in (lower, upper) for sign in (-1, 1)]
    return MeanBounds(random.estimate, min(ends), max(ends), random.count, random.effective_count)


def _bounds(values: Float64Array, of: MeanBounds | None) -> EnergyBounds:
    estimate = float(values.mean())
    return EnergyBounds(estimate, None, None) if of is None else EnergyBounds(estimate, of.lower, of.upper)
