"""Whether the windows of an energy measurement are of one and the same device: no trend, and no change of level."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kit.judge.energy_bounds import gross_per_inference_j
from kit.records import EnergyRecord, Float64Array
from kit.stats.changes import MATTERS
from kit.words import quantity

LEAST_WINDOWS = 10
"""Of fewer, too many orders look as orderly as a change of level does."""

ORDER_ERROR, _ORDERS = 0.03, 999
_LEAST_SIDE = 2


@dataclass(frozen=True, slots=True)
class EnergyStability:
    """ "unknown": too few windows to tell. change: of a window's energy an inference, as a share; why: a sentence."""

    state: Literal["stable", "unstable", "unknown"]
    change: float | None = None
    why: str = ""


def energy_stability(record: EnergyRecord) -> EnergyStability:
    """Stable unless the order of windows means something, at `ORDER_ERROR`, and the level changed by 10 % or more.

    Gross energy of an inference in each window is looked at: what it has above idle may be little, and then chance.
    """
    each_j = gross_per_inference_j(record)
    if len(each_j) < LEAST_WINDOWS or not (each_j > 0).all():
        return EnergyStability("unknown")
    split = _split(each_j)
    before_j, after_j = float(np.median(each_j[:split])), float(np.median(each_j[split:]))
    change = after_j / before_j - 1.0
    if max(1 + change, 1 / (1 + change)) < MATTERS or not _has_order(each_j):
        return EnergyStability("stable")
    why = (
        f"an inference took {quantity(before_j, 'J')} up to window {split} and {quantity(after_j, 'J')} after it, "
        f"{quantity(abs(change), 'share')} {'more' if change > 0 else 'less'}"
    )
    return EnergyStability("unstable", change, why)


def _has_order(each_j: Float64Array) -> bool:
    """A permutation test of the largest cumulative sum of logs about their mean: large where a level changes or drifts.

    E. L. Lehmann and J. P. Romano, Testing Statistical Hypotheses (2005), 15.2. The random orders are always the same.
    """
    logs = np.log(each_j) - np.log(each_j).mean()
    orders = np.random.default_rng(0).permuted(np.tile(logs, (_ORDERS, 1)), axis=1)
    largest = np.abs(np.cumsum(np.vstack([logs, orders]), axis=1)).max(axis=1)
    reached = int((largest >= largest[0] * (1 - 1e-9)).sum())  # the order as it was is one of them
    return reached / (1 + _ORDERS) <= ORDER_ERROR


def _split(values: Float64Array) -> int:
    """Where a step fits the values [n] best, by the sum of squares, with two or more on each side."""
    splits = range(_LEAST_SIDE, len(values) - _LEAST_SIDE + 1)
    return min(splits, key=lambda at: float(at * values[:at].var() + (len(values) - at) * values[at:].var()))
