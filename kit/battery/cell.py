"""A cell and what drains it: the current that constant power draws through a regulator and an internal resistance."""

from dataclasses import dataclass

import numpy as np

from kit.records import Float64Array


@dataclass(frozen=True, slots=True)
class Work:
    """Work that comes again and again: power above the idle load (W) while it runs, and the share of time it takes.

    float64 [scenarios] each. Work whose duration is not known is spread evenly: share 1, its mean power.
    """

    name: str
    power_w: Float64Array
    share: Float64Array


@dataclass(frozen=True, slots=True)
class Loads:
    """What drains a cell: idle_w float64 [scenarios], always; and work on top. Powers are behind the regulator.

    overlap: float64 [scenarios], 0 where no two kinds of work run at once, 1 where all do; it counts for peaks alone.
    """

    idle_w: Float64Array
    work: tuple[Work, ...]
    overlap: Float64Array

    @property
    def mean_w(self) -> Float64Array:
        """Mean power, float64 [scenarios]."""
        return np.asarray(sum((each.power_w * each.share for each in self.work), self.idle_w))

    @property
    def peak_w(self) -> Float64Array:
        """Highest power, float64 [scenarios]; what is spread evenly always runs."""
        powers = [np.where(each.share > 0, each.power_w, 0.0) for each in self.work]
        steady = [np.where(each.share >= 1, power, 0.0) for each, power in zip(self.work, powers, strict=True)]
        base = np.asarray(sum(steady, self.idle_w))
        bursts = [power - always for power, always in zip(powers, steady, strict=True)]
        if not bursts:
            return base
        highest, together = np.max(bursts, axis=0), np.sum(bursts, axis=0)
        return np.asarray(base + highest + self.overlap * (together - highest))


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell in each scenario, float64 [scenarios]: what can be drawn of it (C) before `reserve_share` of that is left.

    self_discharge_a: what it loses by itself. peukert: exponent, 1 for what is no lead-acid; rated_a: the current at
    which its capacity is stated. cutoff_v: where the device stops; 0: nowhere. Without a nominal voltage, voltage_v is
    1 and charges are energies in J.
    """

    charge_c: Float64Array
    reserve_share: float
    self_discharge_a: Float64Array
    voltage_v: float
    resistance_ohm: Float64Array
    efficiency_share: Float64Array
    cutoff_v: float = 0.0
    peukert: Float64Array | float = 1.0
    rated_a: float = 0.0


def current_a(
    power_w: Float64Array, open_circuit_v: Float64Array | float, resistance_ohm: Float64Array, efficiency: Float64Array
) -> Float64Array:
    """Current in A that gives `power_w` behind a regulator; infinite where the cell cannot deliver it.

    The root that the iteration I = P / (efficiency V), V = V_oc - I R comes to from I = 0: the smaller one of
    R I^2 - V_oc I + P / efficiency = 0, in the form that keeps its digits as R goes to 0 (W. H. Press et al., Numerical
    Recipes, 3rd ed., 5.6).
    """
    drawn_w = power_w / efficiency
    square = np.square(open_circuit_v) - 4.0 * resistance_ohm * drawn_w
    with np.errstate(invalid="ignore", divide="ignore"):
        found = 2.0 * drawn_w / (open_circuit_v + np.sqrt(np.maximum(square, 0.0)))
    dead = (square < 0) | ((np.asarray(open_circuit_v) <= 0) & (drawn_w > 0))
    return np.where(dead, np.inf, np.where(drawn_w > 0, found, 0.0))
