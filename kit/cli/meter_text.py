"""What `edgeproof meter` prints: figures with how they were obtained; what was not seen is said, never filled in."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.cli.figures import duration, percent
from kit.cli.output import wrapped
from kit.meter.base import FLOWS_BACK
from kit.words import MINUS, count, number, quantity

if TYPE_CHECKING:
    from kit.pipeline.meter import Look, Recorded, Stretch
    from kit.pipeline.meter_list import DriverRow, FoundMeter, KeyRow
    from kit.records import MeterAccuracy, MeterRecord

_ALL_SEEN = 0.999
_FEW_LOST_SHARE = 0.05
_AMPERES = ((1.0, "A"), (1e-3, "mA"), (1e-6, "µA"), (1e-9, "nA"))


def list_lines(rows: Sequence["DriverRow"], found: Sequence["FoundMeter"]) -> Iterator[str]:
    """Drivers, and below them what was found."""
    yield "drivers"
    for row in rows:
        yield from wrapped(f"{row.words.measures}; needs {row.words.needs}", first=f"  {row.name:<16} ", rest=" " * 19)
        if missing := _missing(row):
            yield from wrapped(missing, first=" " * 19, rest=" " * 19)
    yield ""
    yield "found on this machine" if found else "no meter was found on this machine"
    for each in found:
        keys = "".join(f" {name}={_quoted(value)}" for name, value in each.keys.items())
        trouble = f": {each.trouble}" if each.trouble else ""
        yield from wrapped(f"{each.what}{trouble}", first=f"  {each.driver}{keys}  ", rest=" " * 19)


def list_object(rows: Sequence["DriverRow"], found: Sequence["FoundMeter"]) -> dict[str, Any]:
    """The same for machines."""
    drivers = [
        {
            "name": row.name, "measures": row.words.measures, "needs": row.words.needs, "in_this_release": row.is_here,
            "library": row.words.library or None, "library_is_installed": row.has_library,
        }
        for row in rows
    ]  # fmt: skip
    return {"schema": "edgeproof/meters/1", "drivers": drivers, "found": [asdict(each) for each in found]}


def show_lines(row: "DriverRow", keys: Sequence["KeyRow"]) -> Iterator[str]:
    """A driver and its keys."""
    yield from wrapped(row.words.measures, first=f"{row.name}: ", rest="  ")
    if missing := _missing(row):
        yield from wrapped(missing, first="  ", rest="  ")
    yield "keys, with an example of each" if keys else "it has no keys"
    for key in keys:
        remark = "; ".join(filter(None, ("needed" if key.is_needed else "", key.note)))
        lines = wrapped(remark, first=f"  {key.example:<26} ", rest=" " * 29)
        yield from (line.rstrip() for line in lines)
    yield ""


def look_lines(seen: "Look | None") -> Iterator[str]:
    """A meter that was read; or that it was not, since a key is missing."""
    if seen is None:
        yield "not read: it needs its keys for that"
        return
    yield from _emulated(seen.meter)
    yield from _rows(_meter_rows(seen.meter))
    rate = "" if seen.rate_hz is None else f"{number(seen.rate_hz, 3)} per second, "
    yield from _rows([("samples", f"{rate}{_losses(seen.lost_samples, seen.gaps)}"), *_power_rows(seen.seen)])
    yield from _rows([("not seen", _unseen(seen.seen, seen.ended))])
    yield from _rows([("warning", each) for each in _back(seen.seen)])


def show_object(row: "DriverRow", keys: Sequence["KeyRow"], seen: "Look | None") -> dict[str, Any]:
    """The same for machines; `read` is null where a needed key is missing."""
    return {
        "schema": "edgeproof/meter/1",
        "driver": row.name,
        "measures": row.words.measures,
        "keys": [asdict(key) for key in keys],
        "read": None if seen is None else asdict(seen),
    }


def record_lines(found: "Recorded", output: Path | None) -> Iterator[str]:
    """A command's energy and power, and how far to trust them."""
    from kit.pipeline.command import ended_words

    trace, whole = found.trace, found.whole
    yield from _emulated(trace.meter)
    yield from _rows([("command", " ".join(found.command)), ("ended", _ended(ended_words(found.status), whole))])
    yield from _rows(_meter_rows(trace.meter))
    yield from _rows([("energy", _energy(found)), *_power_rows(whole)])
    if found.idle is not None:
        yield from _rows([("idle", _idle(found.idle)), ("above idle", _above(found))])
    samples = f"{count(len(trace.t_ns), 'sample')}, {_losses(trace.lost_samples, len(trace.gaps_ns))}"
    yield from _rows([("samples", samples), ("not seen", _unseen(whole, trace.ended))])
    yield from _rows([("warning", each) for each in _warnings(trace.lost_samples, len(trace.t_ns), whole)])
    yield from _rows([("trace", "" if output is None else str(output))])


def record_object(found: "Recorded", output: Path | None) -> dict[str, Any]:
    """The same for machines; a figure that was not obtained is null."""
    trace = found.trace
    return {
        "schema": "edgeproof/meter-record/1",
        "command": list(found.command),
        "status": found.status,
        "interrupted_by": found.interrupted_by or None,
        "obtained": trace.obtained,
        "meter": asdict(trace.meter),
        "measured": asdict(found.whole),
        "idle": None if found.idle is None else asdict(found.idle),
        "above_idle_j": found.above_idle_j,
        "accuracy_j": _accuracy_j(trace.meter.accuracy, found.whole),
        "samples": len(trace.t_ns),
        "lost_samples": trace.lost_samples,
        "gaps": len(trace.gaps_ns),
        "meter_ended": trace.ended,
        "warnings": _warnings(trace.lost_samples, len(trace.t_ns), found.whole),
        "trace": None if output is None else str(output),
    }


def _rows(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    for name, text in rows:
        if text:
            yield from wrapped(text, first=f"{name:<11}", rest=" " * 11)


def _emulated(meter: "MeterRecord") -> Iterator[str]:
    if meter.obtained != "measured":
        yield f"{meter.obtained.upper()}: the meter {meter.name}; no figure here was measured by an instrument"


def _meter_rows(meter: "MeterRecord") -> list[tuple[str, str]]:
    return [("meter", f"{meter.name} ({meter.obtained}): {meter.description}"), ("accuracy", _accuracy(meter.accuracy))]


def _accuracy(accuracy: "MeterAccuracy | None") -> str:
    if accuracy is None:
        return "not stated by anyone: how far the figures may be off is not known"
    parts = [f"{percent(accuracy.gain_share)} of the reading"]
    parts += [f"{quantity(accuracy.offset_w, 'W')} offset"] if accuracy.offset_w else []
    parts += [f"{quantity(accuracy.resolution_w, 'W')} steps"] if accuracy.resolution_w else []
    return f"within {', '.join(parts)} ({accuracy.source})"


def _accuracy_j(accuracy: "MeterAccuracy | None", seen: "Stretch") -> float | None:
    """How far the energy may be off by the meter's stated accuracy alone; steps even out over many samples."""
    if accuracy is None or seen.energy_j is None:
        return None
    return accuracy.gain_share * abs(seen.energy_j) + accuracy.offset_w * seen.seen_s


def _energy(found: "Recorded") -> str:
    whole, accuracy_j = found.whole, _accuracy_j(found.trace.meter.accuracy, found.whole)
    if whole.energy_j is None:
        return "not obtained: the meter saw nothing while the command ran"
    within = "" if accuracy_j is None else f" ± {_signed(accuracy_j, 'J')} by the meter's accuracy"
    part = "" if _is_whole(whole) else f", of the {duration(whole.seen_s)} that were seen"
    return f"{_signed(whole.energy_j, 'J')}{within}{part}"


def _power_rows(seen: "Stretch") -> list[tuple[str, str]]:
    if seen.mean_power_w is None:
        return [("power", "not obtained")]
    peak = "" if seen.peak_power_w is None else f", peak {_signed(seen.peak_power_w, 'W')}"
    rows = [("power", f"mean {_signed(seen.mean_power_w, 'W')}{peak}")]
    is_whole = seen.current_seen_s >= _ALL_SEEN * seen.seen_s
    if seen.mean_current_a is not None:
        peak = "" if seen.peak_current_a is None else f", peak {_amperes(seen.peak_current_a)}"
        part = "" if is_whole else f", of the {duration(seen.current_seen_s)} in which it was known"
        rows.append(("current", f"mean {_amperes(seen.mean_current_a)}{peak}{part}"))
    return rows


def _idle(idle: "Stretch") -> str:
    if idle.mean_power_w is None:
        return "not obtained: the meter saw nothing before the command"
    return f"{_signed(idle.mean_power_w, 'W')} before the command, over {duration(idle.seen_s)}"


def _above(found: "Recorded") -> str:
    return "not obtained" if found.above_idle_j is None else _signed(found.above_idle_j, "J")


def _losses(lost: int, gaps: int) -> str:
    return f"{count(lost, 'lost sample')}, {count(gaps, 'gap')}"


def _warnings(lost: int, samples: int, whole: "Stretch") -> list[str]:
    """What a reader of the figures must not miss: current that flows back, and one of 20 samples or more lost."""
    share = lost / max(1, lost + samples)
    few = "of the samples were lost: short peaks were not seen; free the machine, or sample less often"
    return _back(whole) + ([f"{percent(share)} {few}"] if share > _FEW_LOST_SHARE else [])


def _back(seen: "Stretch") -> list[str]:
    return [FLOWS_BACK] if seen.mean_power_w is not None and seen.mean_power_w < 0 else []


def _ended(words: str, whole: "Stretch") -> str:
    return f"{words.removeprefix('ended ')} after {duration(whole.duration_s)}"


def _is_whole(seen: "Stretch") -> bool:
    return seen.seen_s >= _ALL_SEEN * seen.duration_s


def _unseen(seen: "Stretch", ended: str) -> str:
    why = f": the meter ended early: {ended}" if ended else ""
    if _is_whole(seen):
        return why.removeprefix(": ")
    return f"{duration(seen.duration_s - seen.seen_s)} of {duration(seen.duration_s)}{why}"


def _missing(row: "DriverRow") -> str:
    if not row.is_here:
        return "this release has no such driver"
    return "" if row.has_library else f"not installed: pip install 'edgeproof[{row.words.extra}]'"


def _signed(value: float, unit: str) -> str:
    return f"{MINUS if value < 0 else ''}{quantity(abs(value), unit)}"


def _amperes(value: float) -> str:
    factor, name = next((row for row in _AMPERES if abs(value) >= row[0]), _AMPERES[-1])
    return f"{number(value / factor, 3)} {name}"


def _quoted(value: str) -> str:
    return value if value and " " not in value else f"'{value}'"
