"""How long a battery lasts without and with a model, the share of life that this costs, and how often it may run."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kit.battery.cell import Cell, Loads, Work
from kit.battery.corners import corners, over_corners
from kit.battery.inputs import RATED_HOURS, Inputs, Statement, inputs_of
from kit.battery.tiers import LEFT, Drained, average_life, regulated_life, stepped_life
from kit.records import Float64Array
from kit.spec.types import BatterySpec, Duty, Range

SLOWEST_HZ, FASTEST_HZ = 1e-9, 1e9
HALVINGS = 20
"""Of the 41 powers of e between the two: a rate is then known to a part in 25,000."""


@dataclass(frozen=True, slots=True)
class Model:
    """What a model asks: energy of one inference above idle (J; what is below 0 counts as 0), and how often (1/s).

    inference_s: how long one takes, which tells its peak; None: not known, it is then spread evenly.
    """

    energy_j: Range
    rate_hz: float
    inference_s: float | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """Lives in s (infinite where nothing drains the battery), the share of life that the model costs, 0 to 1.

    parts: where the charge goes with the model, as shares of what can be drawn. by_peak: whether a peak stops
    the device with charge left, likely and in some corner. overloaded: an inference takes longer than its
    period; the model then runs always.
    """

    tier: int
    life_s: Range
    life_without_model_s: Range
    share: Range
    parts: dict[str, Range]
    by_peak: tuple[bool, bool]
    overloaded: bool
    statements: tuple[Statement, ...]
    assumed: tuple[str, ...]

    @property
    def dominant(self) -> str:
        """Where most of the charge goes, likely."""
        return max((name for name in self.parts if name != LEFT), key=lambda name: self.parts[name].likely)


class _Box:
    """A battery and a model at every corner of their ranges."""

    def __init__(self, battery: BatterySpec, model: Model, inputs: Inputs | None = None) -> None:
        self.battery, self.model = battery, model
        self.inputs: Inputs = inputs or inputs_of(battery)
        energy = Range(*(max(0.0, each) for each in (model.energy_j.low, model.energy_j.likely, model.energy_j.high)))
        together = battery.transmit is not None and model.inference_s is not None and self.inputs.tier > 1
        overlap = Range(0.0, 0.0, 1.0) if together else Range(0.0, 0.0, 0.0)
        self.at = corners(self.inputs.ranges | {"energy_j": energy, "overlap": overlap})

    @cached_property
    def cell(self) -> Cell:
        """The cell at every corner."""
        full_c, at = self.at["full_c"], self.at
        is_peukert = not self.inputs.ranges["peukert"].is_exact
        return Cell(
            charge_c=full_c * at["derating"],
            reserve_share=self.battery.reserve_share,
            self_discharge_a=full_c * at["self_hz"],
            voltage_v=self.inputs.voltage_v,
            resistance_ohm=at["resistance_ohm"],
            efficiency_share=at["efficiency"],
            cutoff_v=self.inputs.cutoff_v,
            peukert=at["peukert"],
            rated_a=self.inputs.capacity_c / (RATED_HOURS * 3600.0) if is_peukert else 0.0,
        )

    def drained(self, rate_hz: Float64Array | float, *, with_parts: bool = False) -> Drained:
        """The end of the battery with the model at a rate, which may differ by corner; 0: without the model."""
        loads = Loads(self.at["idle_w"], (self._inference(rate_hz), *self._transmit()), self.at["overlap"])
        if self.inputs.tier == 3:
            tables, capacity_c = self.inputs.tables, self.inputs.capacity_c
            return stepped_life(self.cell, loads, tables, capacity_c, with_parts=with_parts)
        return regulated_life(self.cell, loads) if self.inputs.tier == 2 else average_life(self.cell, loads)

    def _inference(self, rate_hz: Float64Array | float) -> Work:
        energy_j = self.at["energy_j"]
        rates = np.broadcast_to(np.asarray(rate_hz, np.float64), energy_j.shape)
        busy = rates * (self.model.inference_s or 0.0)
        spread = (busy <= 0) | (busy >= 1)
        share = np.where(spread, np.where(rates > 0, 1.0, 0.0), busy)
        power_w = np.where(spread, energy_j * rates, energy_j / (self.model.inference_s or 1.0))
        return Work("inference", power_w, share)

    def _transmit(self) -> tuple[Work, ...]:
        pulse, ones = self.battery.transmit, np.ones_like(self.at["idle_w"])
        return (
            () if pulse is None else (Work("transmit", ones * pulse.power_w, ones * pulse.duration_s * pulse.rate_hz),)
        )


def forecast(battery: BatterySpec, model: Model) -> Forecast:
    """Life, share and where the charge goes, each over every corner of the ranges that go in."""
    box = _Box(battery, model)
    alone, busy = box.drained(0.0), box.drained(model.rate_hz, with_parts=True)
    return Forecast(
        tier=box.inputs.tier,
        life_s=over_corners(busy.life_s),
        life_without_model_s=over_corners(alone.life_s),
        share=over_corners(_share(busy.life_s, alone.life_s)),
        parts={name: over_corners(np.clip(part, 0.0, 1.0)) for name, part in busy.parts.items()},
        by_peak=(bool(busy.by_peak[0]), bool(busy.by_peak.any())),
        overloaded=model.rate_hz * (model.inference_s or 0.0) > 1.0,
        statements=box.inputs.statements,
        assumed=box.inputs.assumed,
    )


def likely_life_s(battery: BatterySpec, model: Model) -> float:
    """Life in s where each input of battery and model has its likely value: quick, for a curve of many rates."""
    energy = Range(*(model.energy_j.likely,) * 3)
    box = _Box(battery, Model(energy, model.rate_hz, model.inference_s), inputs_of(battery).likely())
    return float(box.drained(model.rate_hz).life_s[0])


def share_of_life(energy_j: Range, duty: Duty, battery: BatterySpec, *, inference_s: float | None = None) -> Range:
    """Share of life that the model costs: 1 - life with it / life without it, over every corner of the ranges."""
    return forecast(battery, Model(energy_j, duty.inferences_per_s, inference_s)).share


def most_often(battery: BatterySpec, model: Model, *, share: float | None = None, life_s: float | None = None) -> Range:
    """Highest rate (1/s) at which the model costs at most `share` of the life, or leaves at least `life_s`.

    By bisection at every corner, since life never rises with the rate. 0: no rate meets it; infinite: every one does.
    `model.rate_hz` is not looked at. A rate is never more than an inference's duration allows.
    """
    box = _Box(battery, model)
    alone = box.drained(0.0)

    def is_met(rate_hz: Float64Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        life = box.drained(rate_hz).life_s
        met = np.ones(len(life), np.bool_) if share is None else _share(life, alone.life_s) <= share
        return met if life_s is None else met & (life >= life_s)

    most_hz = 1.0 / model.inference_s if model.inference_s else FASTEST_HZ
    low, high = (np.full(len(alone.life_s), np.log(each)) for each in (min(SLOWEST_HZ, most_hz), most_hz))
    never, always = ~is_met(np.exp(low)), is_met(np.exp(high))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        met = is_met(np.exp(middle))
        low, high = np.where(met, middle, low), np.where(met, high, middle)
    top_hz = most_hz if model.inference_s else np.inf
    return over_corners(np.where(always, top_hz, np.where(never, 0.0, np.exp(low))))


def _share(life_s: Float64Array, alone_s: Float64Array) -> Float64Array:
    """1 - with / without, 0 to 1; all of it where there is no life to begin with."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = 1.0 - np.where(np.isinf(alone_s), np.where(np.isinf(life_s), 1.0, 0.0), life_s / alone_s)
    return np.asarray(np.where(alone_s > 0, np.clip(found, 0.0, 1.0), 1.0))
