"""What `edgeproof bench` says: models side by side, then what was found of each, conditions, and warnings."""

import string
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kit.cli.bench_energy import energy_rows, energy_short, meter_text
from kit.cli.figures import bytes_text, celsius, duration, hertz, percent
from kit.cli.output import columns, emulated_lines, say, tell, use_ascii
from kit.pipeline.bench_figures import CONFIDENCE, NOT_ASKED
from kit.records import ColdStartRecord, Conditions, Float64Array, Int64Array, MemoryRecord, OperatorProfile
from kit.spec.text import shown
from kit.stats.quantile import quantile_bounds
from kit.stats.stopping import early_stopping
from kit.words import count, interval, number, rounded_up
from kit.words import percent as confidence_percent

if TYPE_CHECKING:
    from kit.pipeline.bench_figures import BenchReport, LatencyFigures, ModelFigures
    from kit.pipeline.bench_trust import Trust

_LABEL = 12
_NAME = 22
_MOST_OPERATORS = 10
_LETTERS = string.ascii_uppercase
_ADVICE = "; try --stable"

Row = tuple[str, str]


def tell_bench(report: "BenchReport", trust: "Trust", *, verbose: bool = False) -> None:
    """What was asked, the models side by side, each by itself, conditions, and what to beware of.

    `verbose` adds how each kind of figure was obtained.
    """
    for line in emulated_lines(report.device.emulated):
        say(line)
    _rows([("device", _device(report)), ("work", _work(report)), ("rows", report.run.record.dataset_name)])
    say("")
    _side_by_side(report)
    for index, model in enumerate(report.models):
        say("")
        say(f"{_mark(report, index)}{shown(model.label)}")
        for label, text in _of_model(report, model, verbose=verbose):
            tell(text, f"   {label:<{_LABEL}}")
        if model.operators is not None:
            _tell_operators(model.operators, model.latency)
    say("")
    _rows([("conditions", _conditions(report.start, report.end)), ("versions", _versions(report))])
    _rows(list(_methods(report)) if verbose else [("methods", "-v says how each figure was obtained")])
    _rows([("warning", text) for text in _once(trust.warnings, [each.label for each in report.models])])
    _rows([("INVALID", text) for text in trust.invalid])
    _rows([("run", str(report.run.path))])


def _rows(rows: Sequence[Row]) -> None:
    for label, text in rows:
        tell(text, f"{label:<{_LABEL}}")


def _mark(report: "BenchReport", index: int) -> str:
    return f"{_LETTERS[index]}  " if len(report.models) > 1 else ""


def _device(report: "BenchReport") -> str:
    device = report.device
    what = device.board or device.cpu_model or device.architecture
    return f"{device.name}: {what}, {count(device.logical_cpus, 'CPU')}; {count(report.spec.threads, 'thread')}"


def _work(report: "BenchReport") -> str:
    order, workload = report.order, report.order.workload
    each = {
        "single stream": "single stream, back to back",
        "periodic": f"periodic, one every {duration(workload.period_ns / 1e9)}",
        "burst": f"bursts of {workload.burst} every {duration(workload.period_ns / 1e9)}",
        "offline": f"offline, {count(workload.batch, 'row')} a batch",
        "multi-stream": f"multi-stream, {count(workload.streams, 'thread')} side by side",
    }[workload.scenario]
    turns = " in turn (A B, then B A)" if len(report.models) == 2 else " in turn" if len(report.models) > 2 else ""
    most = f"at least {duration(order.window_s)} and {count(order.min_count, 'sample')} each"
    return f"{each}; {count(order.windows, 'window')} a model{turns}, {most}, a fresh session each"


def _side_by_side(report: "BenchReport") -> None:
    """The models under each other, and the ratio of each to the first."""
    say(f"   {'model':<{_NAME}} {'size':>8} {'p50':>8} {'p99':>8} {'per s':>8} {'memory':>8} {'energy':>8}")
    for index, model in enumerate(report.models):
        mark = _mark(report, index) or "   "
        name = shown(model.label)
        if len(name) > _NAME:
            say(mark + name)
            name, mark = "", "   "
        say(f"{mark}{name:<{_NAME}} {' '.join(f'{text:>8}' for text in _cells(model))}".rstrip())
    if len(report.models) > 1:
        say("")
        for index, model in enumerate(report.models[1:], 1):
            tell(_ratio(model, _LETTERS[index]), f"{_LETTERS[index]} to A      ")


def _cells(model: "ModelFigures") -> tuple[str, ...]:
    found, memory = model.latency, model.memory
    middle = {each.probability: duration(each.estimate) for each in found.percentiles} if found else {}
    return (
        bytes_text(model.model.size_bytes),
        middle.get(0.5, "–"),
        middle.get(0.99, "–"),
        number(found.rate_per_s, 3) if found else "–",
        bytes_text(float(np.median(memory.peak_bytes))) if memory else "–",
        energy_short(model),
    )


def _ratio(model: "ModelFigures", letter: str) -> str:
    ratio = model.ratio
    if ratio is None:
        return "too few rounds to compare: 3 windows of each are needed"
    ends = f"[{number(ratio.lower, 3)}, {number(ratio.upper, 3)}]"
    sure = f"{count(ratio.pairs, 'round')}, {confidence_percent(ratio.confidence)}"
    said = "no difference can be told" if not ratio.differs else f"{letter} is {_faster(ratio.estimate)}"
    return f"{number(ratio.estimate, 3)} of its median latency {ends} ({sure}): {said}"


def _faster(estimate: float) -> str:
    word = "faster" if estimate < 1 else "slower"
    return f"{word} by {100 * abs(1 - estimate):.{0 if abs(1 - estimate) >= 0.1 else 1}f} %"


def _of_model(report: "BenchReport", model: "ModelFigures", *, verbose: bool) -> Iterator[Row]:
    if model.latency is not None:
        yield from _latency(report, model.latency)
        if verbose:
            yield "by MLPerf", _early_stopping(model.latency)
    if model.cold is not None:
        yield "cold start", _cold(model.cold)
    if model.memory is not None:
        yield from _memory(model.memory)
    yield from energy_rows(model)
    if model.audited is not None:
        yield "audit", "; ".join([model.audited.state, *model.audited.reasons])
    for kind, why in model.absent.items():
        if why != NOT_ASKED:
            yield {"cold": "cold start"}.get(kind, kind), f"– ({why})"


def _latency(report: "BenchReport", found: "LatencyFigures") -> Iterator[Row]:
    of = " a batch" if report.order.workload.scenario == "offline" else ""
    for bounds in found.percentiles:
        ends = interval(bounds.lower, bounds.upper, "s") + of + _missing(found.windows_missing(bounds))
        yield f"p{100 * bounds.probability:g}", f"{duration(bounds.estimate):<8} {ends}"
    yield "throughput", _rate(found)
    yield "samples", _samples(found)
    yield "load", (f"{_middle(found.load_s)} before a first inference of {_middle(found.first_run_s)}, "
                   f"apart from the above")  # fmt: skip
    yield "stability", _stability(found)


def _missing(windows: int) -> str:
    """What an interval lacks for both of its ends."""
    return f" about {count(rounded_up(windows), 'more window')} for both ends" if windows else ""


def _early_stopping(found: "LatencyFigures") -> str:
    """The upper estimates that MLPerf's rules give of the same samples, for comparison."""
    samples_s = found.samples_s
    each = [(bounds.probability, early_stopping(samples_s, bounds.probability)) for bounds in found.percentiles]
    told = [f"p{100 * probability:g} {duration(by.estimate)}" for probability, by in each if by.estimate is not None]
    return f"{', '.join(told) or 'too few samples'}: early stopping at 99 %, which takes samples as independent"


def _rate(found: "LatencyFigures") -> str:
    bounds = found.rate_bounds
    if bounds is None:
        return f"{number(found.rate_per_s, 3)} inferences/s"
    lower = "–" if bounds.lower is None else number(bounds.lower, 3)
    ends = f"[{lower}, {number(bounds.upper, 3)}]{_missing(bounds.windows_missing)}"
    return f"{number(found.rate_per_s, 3)} inferences/s {ends}"


def _samples(found: "LatencyFigures") -> str:
    least, most = min(found.warmup_counts), max(found.warmup_counts)
    warmup = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    late = f"; {count(found.late_count, 'start')} late" if found.late_count else ""
    return (f"{found.count:,} in {count(len(found.windows), 'window')}, none trimmed; warm-up of {warmup} a window "
            f"left out; slowest {duration(found.slowest_s)}{late}")  # fmt: skip


def _stability(found: "LatencyFigures") -> str:
    states = [each.stability.state for each in found.windows]
    words = [f"{states.count(state)} {state}" for state in ("stable", "unstable") if state in states]
    words += [f"{states.count('unknown')} too short to tell"] if "unknown" in states else []
    again = f", {len(found.rejected)} taken again" if found.rejected else ""
    whole = "too short to tell" if found.whole.state == "unknown" else found.whole.state
    differ = "" if found.spread is None else f"; the slowest's median is {percent(found.spread)} above the fastest's"
    return f"{whole} as a whole; of {count(len(states), 'window')} {', '.join(words)}{again}{differ}"


def _middle(values: Float64Array) -> str:
    """The median, and the range where there are several."""
    text, low, high = map(duration, (float(np.median(values)), float(values.min()), float(values.max())))
    return text if low == high else f"{text} ({low} to {high})"


def _cold(record: ColdStartRecord) -> str:
    whole_s = np.asarray((record.ready_ns + record.load_ns + record.first_run_ns) * 1e-9, np.float64)
    parts = list[str]()
    for name, values in (("runtime", record.ready_ns), ("load", record.load_ns), ("first run", record.first_run_ns)):
        parts.append(f"{name} {duration(float(np.median(values)) * 1e-9)}")
    sessions = count(len(whole_s), "fresh process", "fresh processes")
    return f"{_middle(whole_s)} in {sessions}: {', '.join(parts)}"


def _memory(record: MemoryRecord) -> Iterator[Row]:
    origin = "" if record.obtained == "measured" else f", {record.obtained}"
    least = quantile_bounds(record.peak_bytes.astype(np.float64), 0.5, CONFIDENCE).minimum_count
    few = f" (bounds need {least})" if len(record.peak_bytes) < least else ""
    sessions = count(len(record.peak_bytes), "fresh session") + few
    yield "memory", (f"peak {_bytes(record.peak_bytes)}, steady {_bytes(record.steady_bytes)}, above the runtime's "
                     f"{bytes_text(record.baseline_bytes)}, {sessions}{origin}")  # fmt: skip
    phases = {
        "load peak": record.load_peak_bytes,
        "first run peak": record.first_run_peak_bytes,
        "steady proportional": record.steady_proportional_bytes,
        "arena": record.arena_bytes,
    }
    told = [f"{name} {bytes_text(float(np.median(values)))}" for name, values in phases.items() if values is not None]
    if record.weight_bytes is not None and record.model_bytes:
        told.append(f"weights {percent(record.weight_bytes / record.model_bytes)} of the file")
    if told:
        yield "", "; ".join(told)


def _bytes(values: Int64Array) -> str:
    """The median of sessions with its bounds, where there are sessions enough."""
    bounds = quantile_bounds(values.astype(np.float64), 0.5, CONFIDENCE)
    ends = "" if bounds.upper is None else f" {interval(bounds.lower, bounds.upper, 'B')}"
    return bytes_text(bounds.estimate) + ends


def _tell_operators(profile: OperatorProfile, latency: "LatencyFigures | None") -> None:
    """A table of the nodes that take longest; what does not fit a line is cut."""
    top, rest = profile.operators[:_MOST_OPERATORS], profile.operators[_MOST_OPERATORS:]
    name = max(len(each.op_type) for each in top) if top else 0
    rows = [(each.share, duration(each.mean_ns * 1e-9), f"{each.op_type:<{name}}  {each.name}") for each in top]
    if rest:
        rows.append((sum(each.share for each in rest), "", count(len(rest), "other operator")))
    slower = "" if latency is None else f" to {_times(profile, latency)} the p50"
    for index, (share, time, what) in enumerate(rows):
        label = "" if index else f"operators of {count(profile.inferences, 'inference')}, slowed by profiling{slower}"
        if label:
            say(f"   {label}")
        line = f"   {'':<{_LABEL}}{percent(share):>7} {time:>8}  {shown(what)}"
        say(line if len(line) <= columns() else line[: columns() - 1] + "…")


def _times(profile: OperatorProfile, latency: "LatencyFigures") -> str:
    """All operators' time under the profiler over the median without it."""
    together_s = 1e-9 * sum(each.mean_ns for each in profile.operators)
    return f"{number(together_s / max(latency.percentiles[0].estimate, 1e-9), 3)} times"


def _conditions(start: Conditions, end: Conditions) -> str:
    """What the device told before and after; what it did not tell is left out."""
    pairs = (
        ("load", _plain(start.load_1min), _plain(end.load_1min)),
        ("", hertz(start.frequency_hz), hertz(end.frequency_hz)),
        ("", celsius(start.temperature_celsius), celsius(end.temperature_celsius)),
        ("memory free", bytes_text(start.available_memory_bytes), bytes_text(end.available_memory_bytes)),
        ("cooling", percent(start.cooling_share), percent(end.cooling_share)),
        ("processor pressure", percent(start.cpu_pressure_share), percent(end.cpu_pressure_share)),
        ("battery", percent(start.battery_share), percent(end.battery_share)),
    )
    arrow = "->" if use_ascii(sys.stdout) else "→"
    told = [f"{name} {first} {arrow} {last}".strip() for name, first, last in pairs if first and last]
    governor = [f"governor {start.governor}"] if start.governor else []
    return "; ".join([*governor, *told]) or "the device tells nothing of its state"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _methods(report: "BenchReport") -> Iterator[Row]:
    """How figures were obtained, each method once."""
    for label, methods in (
        ("warm-up", [each.latency.record.warmup_method for each in report.models if each.latency]),
        ("clock", [each.latency.record.clock for each in report.models if each.latency]),
        ("memory by", [each.memory.method for each in report.models if each.memory]),
        ("cold by", [each.cold.method for each in report.models if each.cold]),
        ("profiled by", [each.operators.method for each in report.models if each.operators]),
        ("meter", [meter_text(each.energy.meter) for each in report.models if each.energy]),
    ):
        yield from ((label, method) for method in dict.fromkeys(methods))


def _once(warnings: Sequence[str], labels: Sequence[str]) -> Iterator[str]:
    """Warnings with models by their letters: what is said of several models once, and what to try once for all."""
    whose: dict[str, list[str]] = {}
    for text in warnings:
        index = next((i for i, label in enumerate(labels) if text.startswith(f"{label}: ")), None)
        said = text if index is None else text.removeprefix(f"{labels[index]}: ")
        whose.setdefault(said, []).extend([] if index is None else [_LETTERS[index]])
    advised = [said for said in whose if said.endswith(_ADVICE)]
    for said, letters in whose.items():
        shortened = said.removesuffix(_ADVICE) if len(advised) > 1 else said
        yield f"{' and '.join(letters)}: {shortened}" if letters else shortened
    if len(advised) > 1:
        yield f"where it is unstable{_ADVICE.replace(';', ',')}"


def _versions(report: "BenchReport") -> str:
    device, record = report.device, report.run.record
    return (f"{device.runtime} {device.runtime_version}, Python {device.python_version}, agent {device.agent_version}; "
            f"edgeproof {record.tool_version}, {record.created_utc}, seed {record.seed}")  # fmt: skip
