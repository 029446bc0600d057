"""Three models of how a battery lasts, from the simplest to the most faithful; each over many scenarios at once.

1. Average current: t = C (1 - reserve) / (I_average + I_self). Voltage is nominal and no resistance is known.
2. Constant power behind a regulator: each phase draws I = P / (efficiency V), V = V_nominal - I R, solved for I.
3. Stepped through the discharge: V_oc and R follow the charge used so far; the device stops where V_oc - I_peak R falls
   below its cutoff, since it is peaks that stop a device on a coin cell.

Source of the tiers: C. Park, K. Lahiri, A. Raghunathan, Battery discharge characteristics of wireless sensor nodes
(SECON 2005), and M. R. Jongerden, B. R. Haverkort, Which battery model to use? (IET Software 3, 2009). Peukert's law
(1897), for lead-acid alone: a charge C stated at I_rated is C (I_rated / I)^(k - 1) at a current I, here never more
than C.
"""

from dataclasses import dataclass

import numpy as np

from kit.battery.cell import Cell, Loads, current_a
from kit.records import Float64Array
from kit.spec.types import DischargeTable

TIERS = {
    1: "tier 1: average current",
    2: "tier 2: constant power behind a regulator",
    3: "tier 3: stepped through the discharge",
}
"""The three models by name."""

POINTS = 400
"""Steps of a discharge: each a quarter of a percent of the capacity, and the end is found between two."""

Truths = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]

PEAK_SHARE = 0.01
"""Below this, peaks are not what ended it: the voltage falls off at the end of any discharge."""

LEAST_A = 1e-60
"""A current that stands for none where one is divided by."""

SELF, LEFT = "self-discharge", "left in the battery"
"""Parts of the charge that no work takes: what the battery loses, and what is in it at the end."""

PEAK = "peak"
"""What dominates a life that ends with most of the charge left: a peak that the battery cannot carry."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A discharge along its depth: life is the cell's charge times the integral of `pace` from 0 to `until`.

    depth: float64 [points], 0 to 1; until: float64 [scenarios], where it ends; pace: float64 [scenarios, points], in
    1/A, linear between points; 0 where the load cannot be drawn, and never infinite.
    """

    depth: Float64Array
    until: Float64Array
    pace: Float64Array


@dataclass(frozen=True, slots=True)
class Drained:
    """How a battery ended, float64 [scenarios]: life in s, and where its charge went, as shares of what can be drawn.

    by_peak: bool [scenarios], whether a peak stopped the device with charge left that its idle load could have drawn:
    `PEAK_SHARE` of the capacity or more.
    """

    life_s: Float64Array
    parts: dict[str, Float64Array]
    by_peak: Truths
    trace: Trace


def average_life(cell: Cell, loads: Loads) -> Drained:
    """Tier 1: mean power at the nominal voltage; resistance and peaks are not looked at."""
    volts = cell.efficiency_share * cell.voltage_v
    currents = {"idle": loads.idle_w / volts} | {each.name: each.power_w * each.share / volts for each in loads.work}
    never = np.zeros(len(cell.charge_c), np.bool_)
    return _steady(cell, currents, never, never)


def regulated_life(cell: Cell, loads: Loads) -> Drained:
    """Tier 2: each phase draws constant power from the nominal voltage behind the internal resistance."""
    currents = _currents(loads, cell.voltage_v, cell.resistance_ohm, cell.efficiency_share)
    idle_a, peak_a = (
        current_a(each, cell.voltage_v, cell.resistance_ohm, cell.efficiency_share)
        for each in (loads.idle_w, loads.peak_w)
    )
    dead, dead_idle = (
        _spare_v(cell.voltage_v, each, cell.resistance_ohm, cell.cutoff_v) < 0 for each in (peak_a, idle_a)
    )
    return _steady(cell, currents, dead, dead & ~dead_idle)


def stepped_life(
    cell: Cell, loads: Loads, tables: tuple[DischargeTable, ...], capacity_c: float, *, with_parts: bool = True
) -> Drained:
    """Tier 3: time is the integral of dq / I(q) over used charge q, for duty cycles much shorter than the life.

    I(q) is the mean over the duty cycle of what each phase draws at V_oc(q) and R(q), and what is lost by
    self-discharge; trapezoids between `POINTS` steps. Of tables at several currents, the two around the mean current
    are interpolated linearly, at the same share of their capacity; beyond them the nearest holds, and none does better
    than one of a lower current, so that life never rises with a load. Tables are scaled
    from `capacity_c`, where they were taken, to the cell's charge. Without parts it takes a third of the time.
    """
    depth, open_circuit_v, resistance_ohm, end_c = _curve(cell, loads, tables)
    efficiency = cell.efficiency_share[:, None]
    currents = _currents(_along(loads), open_circuit_v, resistance_ohm, efficiency)
    currents[SELF] = np.broadcast_to(cell.self_discharge_a[:, None], open_circuit_v.shape)
    peak_a = current_a(loads.peak_w[:, None], open_circuit_v, resistance_ohm, efficiency)
    idle_a = current_a(loads.idle_w[:, None], open_circuit_v, resistance_ohm, efficiency)
    last = 1.0 - cell.reserve_share
    until = _stop(depth, _spare_v(open_circuit_v, peak_a, resistance_ohm, cell.cutoff_v), last)
    idle_until = _stop(depth, _spare_v(open_circuit_v, idle_a, resistance_ohm, cell.cutoff_v), last)
    by_peak = idle_until - until >= PEAK_SHARE
    scale = end_c / capacity_c
    total_a = np.asarray(sum(currents.values()))
    trace = Trace(depth, until, scale[:, None] / np.maximum(total_a, LEAST_A))
    return _integrated(trace, cell.charge_c * scale, total_a, currents if with_parts else {}, by_peak)


def _currents(
    loads: Loads, open_circuit_v: Float64Array | float, resistance_ohm: Float64Array, efficiency: Float64Array
) -> dict[str, Float64Array]:
    """Mean current of each phase: the idle load always, each kind of work what it adds while it runs."""
    idle_a = current_a(loads.idle_w, open_circuit_v, resistance_ohm, efficiency)
    currents = {"idle": idle_a}
    for each in loads.work:
        busy_a = current_a(loads.idle_w + each.power_w, open_circuit_v, resistance_ohm, efficiency)
        with np.errstate(invalid="ignore"):
            added_a = np.where(np.isfinite(busy_a), busy_a - idle_a, np.inf)
            currents[each.name] = np.where(each.share > 0, added_a * each.share, 0.0)
    return currents


def _spare_v(
    open_circuit_v: Float64Array | float, drawn_a: Float64Array, resistance_ohm: Float64Array, cutoff_v: float
) -> Float64Array:
    """How far the voltage under a current is above the cutoff; minus infinity where it cannot be drawn."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(drawn_a), open_circuit_v - drawn_a * resistance_ohm - cutoff_v, -np.inf)


def _steady(cell: Cell, currents: dict[str, Float64Array], dead: Truths, by_peak: Truths) -> Drained:
    """A drain that does not change: charge over current; nothing at all where the device stops at once."""
    load_a = np.asarray(sum(currents.values(), np.zeros_like(cell.charge_c)))
    charge_c = cell.charge_c * _peukert(cell, load_a)
    usable_c, total_a = charge_c * (1.0 - cell.reserve_share), load_a + cell.self_discharge_a
    with np.errstate(divide="ignore", invalid="ignore"):
        life_s = np.where(dead, 0.0, np.where(total_a > 0, usable_c / total_a, np.inf))
        parts = {
            name: np.where(dead | (total_a <= 0), 0.0, each / total_a * (1.0 - cell.reserve_share))
            for name, each in (currents | {SELF: cell.self_discharge_a}).items()
        }
    pace = charge_c / cell.charge_c / np.maximum(total_a, LEAST_A)
    trace = Trace(np.array([0.0, 1.0]), np.where(dead, 0.0, 1.0 - cell.reserve_share), np.stack([pace, pace], axis=1))
    return Drained(life_s, parts | {LEFT: 1.0 - np.asarray(sum(parts.values()))}, by_peak, trace)


def _peukert(cell: Cell, load_a: Float64Array) -> Float64Array:
    """What is left of the stated charge at this current: 1 unless the exponent is above 1."""
    if cell.rated_a <= 0:
        return np.ones_like(load_a)
    with np.errstate(divide="ignore"):
        return np.asarray(np.minimum(1.0, np.power(cell.rated_a / load_a, np.asarray(cell.peukert) - 1.0)))


def _along(loads: Loads) -> Loads:
    """The same loads at every step of a discharge: [scenarios, 1]."""
    work = tuple(type(each)(each.name, each.power_w[:, None], each.share[:, None]) for each in loads.work)
    return Loads(loads.idle_w[:, None], work, loads.overlap[:, None])


def _curve(
    cell: Cell, loads: Loads, tables: tuple[DischargeTable, ...]
) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
    """Depth of discharge [points], V_oc and R [scenarios, points], and the charge at depth 1 in the tables' scale."""
    knots = [np.asarray(table.used_c) / table.used_c[-1] for table in tables]
    depth = np.unique(np.concatenate([np.linspace(0.0, 1.0, POINTS + 1), *(knot for knot in knots if len(knot) < 200)]))
    rows = [(knot, table) for knot, table in zip(knots, tables, strict=True)]
    volts = np.minimum.accumulate([np.interp(depth, knot, table.open_circuit_v) for knot, table in rows])
    ohms = np.maximum.accumulate([np.interp(depth, knot, table.resistance_ohm) for knot, table in rows])
    ends = np.minimum.accumulate([table.used_c[-1] for table in tables])
    weight = _weights(loads.mean_w / (cell.efficiency_share * cell.voltage_v), tables)
    return depth, weight @ volts, weight @ ohms, weight @ ends


def _weights(mean_a: Float64Array, tables: tuple[DischargeTable, ...]) -> Float64Array:
    """How much each table counts at each mean current: float64 [scenarios, tables], rows sum to 1."""
    if len(tables) == 1:
        return np.ones((len(mean_a), 1))
    known = np.array([table.current_a or 0.0 for table in tables])
    return np.stack([np.interp(mean_a, known, each) for each in np.eye(len(tables))], axis=1)


def _stop(depth: Float64Array, spare_v: Float64Array, last: float) -> Float64Array:
    """Depth at which the voltage first falls below the cutoff, at most `last`; between two steps where it did."""
    below = spare_v < 0
    index = np.where(below.any(axis=1), below.argmax(axis=1), len(depth) - 1)
    before = np.maximum(index - 1, 0)
    rows = np.arange(len(spare_v))
    high, low = spare_v[rows, before], spare_v[rows, index]
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(np.isfinite(low) & (high > low), high / (high - low), 0.0)
    crossing = depth[before] + np.clip(part, 0.0, 1.0) * (depth[index] - depth[before])
    found = np.where(below.any(axis=1), np.where(index == 0, 0.0, crossing), np.inf)
    return np.minimum(found, last)


def _integrated(
    trace: Trace, full_c: Float64Array, total_a: Float64Array, currents: dict[str, Float64Array], by_peak: Truths
) -> Drained:
    """Time and charge by part until each scenario's end: trapezoids of dq / I, the last step cut at the end."""
    depth, until = trace.depth, trace.until
    with np.errstate(divide="ignore", invalid="ignore"):
        pace = np.where(np.isfinite(total_a) & (total_a > 0), 1.0 / total_a, 0.0)
        life_s = full_c * area(pace, until, depth)
        life_s = np.where((total_a <= 0).any(axis=1) & (until > 0), np.inf, life_s)
        parts = {name: area(np.nan_to_num(each * pace, posinf=0.0), until, depth) for name, each in currents.items()}
    left = {LEFT: 1.0 - np.asarray(sum(parts.values()))} if parts else {}
    return Drained(life_s, parts | left, by_peak, trace)


def area(values: Float64Array, until: Float64Array, depth: Float64Array) -> Float64Array:
    """Integral from 0 to `until` of what is linear between the points of `depth`: [scenarios]."""
    steps = np.clip(until[:, None] - depth[None, :-1], 0.0, np.diff(depth)[None, :])
    slopes = (values[:, 1:] - values[:, :-1]) / np.diff(depth)
    return np.asarray(np.einsum("ij,ij->i", steps, values[:, :-1] + slopes * steps / 2))
