"""Cells for tests, from made-up figures of a plausible size; no product is meant."""

import numpy as np

from kit.battery import Cell, Loads, Work
from kit.records import Float64Array
from kit.spec.types import DischargeProfile, DischargeTable


def one(value: float) -> Float64Array:
    return np.array([value])


def cell(charge_c: float = 800.0, voltage_v: float = 3.0, **changes: float) -> Cell:
    """One scenario: a coin cell's charge at 3 V, without resistance, regulator loss or self-discharge."""
    plain = {"self_discharge_a": 0.0, "resistance_ohm": 0.0, "efficiency_share": 1.0, "peukert": 1.0} | changes
    numbers = {name: plain.pop(name) for name in ("reserve_share", "cutoff_v", "rated_a") if name in plain}
    arrays = {name: one(value) for name, value in plain.items()}
    return Cell(charge_c=one(charge_c), voltage_v=voltage_v, **({"reserve_share": 0.0} | numbers), **arrays)  # type: ignore[arg-type]


def loads(idle_w: float, *work: tuple[str, float, float], overlap: float = 0.0) -> Loads:
    """An idle load, and work as (name, power in W, share of time)."""
    return Loads(one(idle_w), tuple(Work(name, one(power), one(share)) for name, power, share in work), one(overlap))


def table(
    used_c: Float64Array, open_circuit_v: Float64Array, resistance_ohm: Float64Array, current_a: float | None = None
) -> DischargeTable:
    return DischargeTable(
        tuple(used_c.tolist()), tuple(open_circuit_v.tolist()), tuple(resistance_ohm.tolist()), current_a
    )


def flat(charge_c: float = 800.0, voltage_v: float = 3.0, resistance_ohm: float = 0.0) -> DischargeTable:
    """The same voltage and resistance until it is empty."""
    return table(np.array([0.0, charge_c]), np.full(2, voltage_v), np.full(2, resistance_ohm))


def coin(charge_c: float = 800.0, current_a: float | None = None) -> DischargeTable:
    """Falls slowly from 3.2 V, then off a knee; its resistance rises from 10 to 60 ohm towards the end."""
    depth = np.linspace(0.0, 1.0, 201)
    volts = 3.2 - 0.3 * depth - 1.2 * depth**12
    return table(depth * charge_c, volts, 10.0 + 50.0 * depth**4, current_a)


def profile(*tables: DischargeTable, cutoff_v: float | None = 2.0, capacity_c: float = 800.0) -> DischargeProfile:
    return DischargeProfile("made-up coin cell", "0" * 64, capacity_c, 3.0, cutoff_v, tables or (coin(),))
