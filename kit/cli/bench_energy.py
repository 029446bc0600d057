"""Energy, power and current of a bench, as a person reads them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from kit.cli.figures import duration, percent
from kit.judge.energy import INTERVAL_WINDOWS, EnergyBounds
from kit.records import EnergyRecord, MeterRecord
from kit.words import count, interval, quantity
from kit.words import percent as confidence_percent

if TYPE_CHECKING:
    from kit.pipeline.bench_figures import ModelFigures

_WORKING = "inference"
"""The phase of back-to-back inferences."""


def energy_short(model: "ModelFigures") -> str:
    """Energy above idle of one inference, for a table; an estimate is marked with a tilde."""
    record, found = model.energy, model.energy_figures
    if record is None or found is None:
        return "–"
    return ("~" if record.obtained == "estimated" else "") + quantity(found.above_idle.estimate, "J")


def energy_rows(model: "ModelFigures") -> Iterator[tuple[str, str]]:
    """Energy with its bounds; idle, mean and peak power; current where the meter tells it; how, and how far off."""
    record, found = model.energy, model.energy_figures
    if record is None or found is None:
        return
    windows = count(len(record.window_energy_j), "window")
    windows += f" (bounds need {INTERVAL_WINDOWS})" if found.gross.upper is None else ""
    above, gross = _bounded(found.above_idle), _bounded(found.gross)
    yield "energy", f"{above} above idle, {gross} gross, an inference; {record.obtained}, {windows}"
    yield "power", _power(record)
    if any(phase.mean_current_a is not None for phase in record.phases):
        yield "current", "; ".join(_current(record))
    yield "", _quality(record)


def _bounded(energy: EnergyBounds) -> str:
    ends = "" if energy.upper is None else f" {interval(energy.lower, energy.upper, 'J')}"
    return quantity(energy.estimate, "J") + ends


def _power(record: EnergyRecord) -> str:
    spent_j, took_s = float(record.window_energy_j.sum()), float(record.window_s.sum())
    peak_w = float(np.nanmax(record.trace_power_w)) if np.isfinite(record.trace_power_w).any() else None
    texts = [f"idle {quantity(record.idle_power_w, 'W')}"]
    if took_s > 0:
        texts.append(f"mean {quantity(spent_j / took_s, 'W')} while inferring")
    if peak_w is not None:
        texts.append(f"peak {quantity(peak_w, 'W')}")
    others = [phase for phase in record.phases if phase.name not in ("idle", _WORKING)]
    texts += [f"{phase.name} {quantity(phase.energy_j, 'J')} in {duration(phase.duration_s)}" for phase in others]
    return ", ".join(texts)


def _current(record: EnergyRecord) -> Iterator[str]:
    for phase in record.phases:
        if phase.mean_current_a is not None:
            peak = "" if phase.peak_current_a is None else f", peak {amperes(phase.peak_current_a)}"
            yield f"{phase.name} mean {amperes(phase.mean_current_a)}{peak}"


def amperes(current_a: float) -> str:
    """A current in A, mA or µA, to three digits."""
    return quantity(current_a, "W").removesuffix("W") + "A"


def meter_text(meter: MeterRecord) -> str:
    """What the meter is, and how far a reading may be off as its maker states it."""
    text, accuracy = f"{meter.name}: {meter.description}", meter.accuracy
    if accuracy is None:
        return f"{text}; its accuracy is not stated"
    offset = f" and {quantity(accuracy.offset_w, 'W')}" if accuracy.offset_w else ""
    return f"{text}; within {percent(accuracy.gain_share)} of the reading{offset} ({accuracy.source})"


def _quality(record: EnergyRecord) -> str:
    found, texts = record.uncertainty, list[str]()
    if found is not None and found.combined_share is not None:
        texts.append(f"standard uncertainty {percent(found.combined_share)}")
    if record.alignment is not None:
        error = quantity(record.alignment.error_ns * 1e-9, "s")
        sure = confidence_percent(record.alignment.confidence)
        texts.append(f"aligned by {record.alignment.method} within {error} ({sure})")
    lost = f"{count(record.lost_samples, 'sample')} lost" if record.lost_samples else "no sample lost"
    return "; ".join([*texts, f"{len(record.trace_t_ns):,} samples, {lost}"])
