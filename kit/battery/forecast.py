"""How long a battery lasts without and with a model, the share of life that this costs, and how often it may run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kit.battery.bounds import greatest_share, grid, least_share
from kit.battery.cell import Cell, Loads, Work
from kit.battery.corners import corners, over_corners
from kit.battery.inputs import RATED_HOURS, Inputs, Statement, inputs_of
from kit.battery.tiers import LEFT, PEAK, Drained, Truths, average_life, regulated_life, stepped_life
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

    @property
    def runs_hz(self) -> float:
        """The rate at which it runs: no more often than one after another."""
        return min(self.rate_hz, 1.0 / self.inference_s) if self.inference_s else self.rate_hz

    @property
    def is_overloaded(self) -> bool:
        """Whether an inference takes longer than its period: the model then runs always, slower than asked."""
        return self.runs_hz < self.rate_hz


@dataclass(frozen=True, slots=True)
class Forecast:
    """Lives in s (infinite where nothing drains the battery), the share of life that the model costs, 0 to 1.

    parts: where the charge goes with the model, as shares of what can be drawn. by_peak: whether a peak stops
    the device with charge left, likely and in some corner. overloaded: the rate asked cannot be kept; all
    figures are of the model running always. reserve_share: what of the charge is never drawn.
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
    reserve_share: float = 0.0

    @property
    def dominant(self) -> str:
        """What most of the charge goes to, likely; a peak where that leaves more of it than anything else takes."""
        most = max((name for name in self.parts if name != LEFT), key=lambda name: self.parts[name].likely)
        wasted = self.parts[LEFT].likely - self.reserve_share
        return PEAK if self.by_peak[0] and wasted > self.parts[most].likely else most


def _asked(battery: BatterySpec, model: Model, inputs: Inputs) -> dict[str, Range]:
    """What the model adds to the ranges of a battery."""
    energy = Range(*(max(0.0, each) for each in (model.energy_j.low, model.energy_j.likely, model.energy_j.high)))
    together = battery.transmit is not None and model.inference_s is not None and inputs.tier > 1
    return {"energy_j": energy, "overlap": Range(0.0, 0.0, 1.0) if together else Range(0.0, 0.0, 0.0)}


class _Box:
    """A battery and a model at every corner of their ranges, or at the scenarios of `at`."""

    def __init__(
        self,
        battery: BatterySpec,
        model: Model,
        inputs: Inputs | None = None,
        at: dict[str, Float64Array] | None = None,
    ) -> None:
        self.battery, self.model = battery, model
        self.inputs: Inputs = inputs or inputs_of(battery)
        self.at = at or corners(self.inputs.ranges | _asked(battery, model, self.inputs))

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
        spread = (busy <= 0) | (busy >= 1.0 - 1e-12)  # as 1 / inference_s times inference_s may be
        share = np.where(spread, np.where(rates > 0, 1.0, 0.0), busy)
        power_w = np.where(spread, energy_j * rates, energy_j / (self.model.inference_s or 1.0))
        return Work("inference", power_w, share)

    def _transmit(self) -> tuple[Work, ...]:
        pulse, ones = self.battery.transmit, np.ones_like(self.at["idle_w"])
        return (
            () if pulse is None else (Work("transmit", ones * pulse.power_w, ones * pulse.duration_s * pulse.rate_hz),)
        )


class _Shares:
    """Bounds of the share of life: at the corners where that is exact, else over the cells of a grid."""

    def __init__(self, box: _Box) -> None:
        self.box, self.alone_s = box, box.drained(0.0).life_s
        at, self.shape = grid(box.inputs.ranges)
        asked, ones = _asked(box.battery, box.model, box.inputs), np.ones(len(at["idle_w"]))
        cheap = at | {name: each.low * ones for name, each in asked.items()}
        dear = at | {name: each.high * ones for name, each in asked.items()}
        self.cheap, self.dear = (_Box(box.battery, box.model, box.inputs, each) for each in (cheap, dear))
        steady = box.inputs.tier == 1 and box.inputs.ranges["peukert"].is_exact
        self.alone = None if steady or len(ones) == 1 else self.cheap.drained(0.0).trace
        self.one_curve = len(box.inputs.tables) <= 1

    def least(self, rate_hz: float) -> float:
        """Lower bound, 0 to 1."""
        if self.alone is None:
            return float(self._at_corners(rate_hz).min())
        return least_share(self.alone, self.cheap.drained(rate_hz).trace, self.shape, one_curve=self.one_curve)

    def greatest(self, rate_hz: float) -> float:
        """Upper bound, 0 to 1."""
        if self.alone is None:
            return float(self._at_corners(rate_hz).max())
        return greatest_share(self.alone, self.dear.drained(rate_hz).trace, self.shape, one_curve=self.one_curve)

    def likely(self, rate_hz: float) -> float:
        """Where every input has its likely value."""
        return float(self._at_corners(rate_hz)[0])

    def _at_corners(self, rate_hz: float) -> Float64Array:
        return _share(self.box.drained(rate_hz).life_s, self.alone_s)


def forecast(battery: BatterySpec, model: Model) -> Forecast:
    """Life and share, bounded anywhere in the ranges that go in; where the charge goes, at their corners."""
    box = _Box(battery, model)
    alone, busy, shares = box.drained(0.0), box.drained(model.runs_hz, with_parts=True), _Shares(box)
    share = float(_share(busy.life_s, alone.life_s)[0])
    least, greatest = shares.least(model.runs_hz), shares.greatest(model.runs_hz)
    return Forecast(
        tier=box.inputs.tier,
        life_s=over_corners(busy.life_s),
        life_without_model_s=over_corners(alone.life_s),
        share=Range(min(least, share), share, max(greatest, share)),
        parts={name: over_corners(np.clip(part, 0.0, 1.0)) for name, part in busy.parts.items()},
        by_peak=(bool(busy.by_peak[0]), bool(busy.by_peak.any())),
        overloaded=model.is_overloaded,
        statements=box.inputs.statements,
        assumed=box.inputs.assumed,
        reserve_share=battery.reserve_share,
    )


def likely_life_s(battery: BatterySpec, model: Model) -> float:
    """Life in s where each input of battery and model has its likely value: quick, for a curve of many rates."""
    energy = Range(*(model.energy_j.likely,) * 3)
    box = _Box(battery, Model(energy, model.rate_hz, model.inference_s), inputs_of(battery).likely())
    return float(box.drained(model.runs_hz).life_s[0])


def share_of_life(energy_j: Range, duty: Duty, battery: BatterySpec, *, inference_s: float | None = None) -> Range:
    """Share of life that the model costs: 1 - life with it / life without it, with bounds over the ranges."""
    return forecast(battery, Model(energy_j, duty.inferences_per_s, inference_s)).share


def most_often(battery: BatterySpec, model: Model, *, share: float | None = None, life_s: float | None = None) -> Range:
    """Highest rate (1/s) at which the model costs at most `share` of the life, or leaves at least `life_s`.

    By bisection, since life never rises with the rate. 0: no rate meets it; infinite: every one does.
    `model.rate_hz` is not looked at. A rate is never more than an inference's duration allows.
    """
    box, found = _Box(battery, model), []
    if share is not None:
        shares = _Shares(box)
        ends = (shares.likely, shares.greatest, shares.least)

        def is_cheap(rate_hz: Float64Array) -> Truths:
            return np.array([end(float(rate)) <= share for end, rate in zip(ends, rate_hz, strict=True)])

        found.append(over_corners(_highest_hz(is_cheap, len(ends), model)))
    if life_s is not None:
        rows = len(box.at["idle_w"])
        found.append(over_corners(_highest_hz(lambda rate_hz: box.drained(rate_hz).life_s >= life_s, rows, model)))
    return Range(*(min(ends) for ends in zip(*((each.low, each.likely, each.high) for each in found), strict=True)))


def _highest_hz(is_met: Callable[[Float64Array], Truths], count: int, model: Model) -> Float64Array:
    """The highest rate that meets it, float64 [count]."""
    most_hz = 1.0 / model.inference_s if model.inference_s else FASTEST_HZ
    low, high = (np.full(count, np.log(each)) for each in (min(SLOWEST_HZ, most_hz), most_hz))
    never, always = ~is_met(np.exp(low)), is_met(np.exp(high))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        met = is_met(np.exp(middle))
        low, high = np.where(met, middle, low), np.where(met, high, middle)
    top_hz = most_hz if model.inference_s else np.inf
    return np.where(always, top_hz, np.where(never, 0.0, np.exp(low)))


def _share(life_s: Float64Array, alone_s: Float64Array) -> Float64Array:
    """1 - with / without, 0 to 1; all of it where there is no life to begin with."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = 1.0 - np.where(np.isinf(alone_s), np.where(np.isinf(life_s), 1.0, 0.0), life_s / alone_s)
    return np.asarray(np.where(alone_s > 0, np.clip(found, 0.0, 1.0), 1.0))
