"""Where it all comes from: conversion, lineage with digests, conditions planned and observed, how to reproduce."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kit.digest import short
from kit.records import Conditions, ConversionRecord, Evidence, OutputDifference, RunRecord, VariantEvidence
from kit.report.figures import ABSENT, clean, percent, quantity
from kit.report.sections.variants import made_of
from kit.spec.types import DeviceSpec, EmulateSpec, Profile
from kit.words import count


@dataclass(frozen=True, slots=True)
class ConversionView:
    """The conversion, verified row by row."""

    sentence: str
    agrees: bool
    readings: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Box:
    """One step of the lineage or one of its inputs."""

    step: str
    name: str
    detail: str
    digest: str
    full_digest: str


@dataclass(frozen=True, slots=True)
class ConditionRow:
    """One condition: planned beside observed; `differs` puts it first."""

    name: str
    planned: str
    observed: str
    differs: bool


@dataclass(frozen=True, slots=True)
class ReproduceView:
    """What is needed to do it again."""

    command: str
    rows: tuple[tuple[str, str], ...]


def build_conversion(record: ConversionRecord | None) -> ConversionView | None:
    """The comparison of source and reference; None where the source was ONNX already."""
    if record is None:
        return None
    rows = ", ".join(str(r) for r in record.differing_rows[:12]) + (" …" if len(record.differing_rows) > 12 else "")
    readings = [
        ("converter", f"{clean(record.converter)} {clean(record.converter_version)}"),
        *_decisions(record),
        ("largest difference of a score", f"{record.max_abs_difference:.2g}"),
        ("largest relative difference", f"{record.max_rel_difference:.2g}"),
        *([("rows that differ", rows)] if rows else []),
        *(_output(each) for each in record.outputs if len(record.outputs) > 1),
    ]
    agrees = record.decisions_agree in (None, record.rows)
    return ConversionView(_compared(record), agrees, tuple(readings))


def _compared(record: ConversionRecord) -> str:
    """What the comparison of all rows came to, in a sentence."""
    generated = record.row_source == "generated"
    rows = count(record.rows, "generated row" if generated else "row")
    if record.decisions_agree is None:
        return f"Compared on {rows}: every value agrees within rounding; no output holds decisions."
    differing = record.rows - record.decisions_agree
    verdict = f"{count(differing, 'decision')} differ" if differing else "every decision agrees"
    return f"Compared on {rows}: {verdict}."


def _decisions(record: ConversionRecord) -> list[tuple[str, str]]:
    if record.decisions_agree is None:
        return [("decisions", "none to compare")]
    return [("decisions that agree", f"{record.decisions_agree:,} of {record.rows:,}")]


def _output(each: OutputDifference) -> tuple[str, str]:
    return f"output {clean(each.output, 40)}", f"at most {each.max_abs_difference:.2g} apart"


def build_lineage(evidence: Evidence, variant: VariantEvidence | None, artifacts: Mapping[str, str]) -> tuple[Box, ...]:
    """Boxes from source model to certificate, each made from the one before; a step that did not happen is left out.

    The certificate holds this report's digest, so the report cannot hold the certificate's.
    """
    source, reference = evidence.source, evidence.reference
    boxes = [_box("source model", source.name, f"{source.format}, {quantity(source.size_bytes, 'B')}", source.digest)]
    if evidence.conversion is not None:
        made = f"{evidence.conversion.converter} {evidence.conversion.converter_version}"
        boxes.append(_box("reference", reference.name, f"{made}, opset {reference.opset}", reference.digest))
    if variant is not None:
        boxes += _variant_boxes(variant)
    device = evidence.device
    how = f"{device.runtime} {device.runtime_version}, agent {device.agent_version}"
    return (
        *boxes,
        _box("device", device.name, how, device.agent_digest),
        Box("records", count(len(artifacts), "stored step"), "every digest is listed below", "", ""),
        Box("report", "this page", "drawn from the records alone", "", ""),
        Box("certificate", "certificate.json", "names this report and every digest here", "", ""),
    )


def build_inputs(evidence: Evidence, run: RunRecord) -> tuple[Box, ...]:
    """What the chain was given beside its source model: the rows it was judged on and what was required."""
    data = evidence.dataset
    return (
        _box("dataset", data.name, count(data.rows, "row"), data.digest),
        _box("profile", run.profile_name, count(len(run.recipes), "recipe"), run.profile_digest),
    )


def _variant_boxes(variant: VariantEvidence) -> list[Box]:
    record = variant.variant
    boxes = []
    if record.calibration_digest:
        how = f"{count(record.calibration_rows, 'row')}, {record.recipe.calibration or 'ranges of float16'}"
        boxes.append(_box("calibration", record.recipe.name, how, record.calibration_digest))
    left = f", {len(record.left_in_float)} operators in float" if record.left_in_float else ""
    detail = f"{made_of(variant)}, {quantity(record.model.size_bytes, 'B')}{left}"
    return [*boxes, _box("variant", record.recipe.name, detail, record.model.digest)]


def _box(step: str, name: str, detail: str, digest: str) -> Box:
    return Box(step, clean(name, 48), clean(detail, 80), short(digest), clean(digest, 80))


def build_conditions(
    evidence: Evidence, variant: VariantEvidence | None, profile: Profile, device: DeviceSpec
) -> tuple[ConditionRow, ...]:
    """What was planned beside what was seen; what differs comes first."""
    rows = [*_planned(variant, profile, device), *_machine(evidence, device)]
    if variant is not None and variant.latency is not None:
        rows += _moments(variant.latency.before, variant.latency.after)
    return tuple(sorted(rows, key=lambda row: not row.differs))


def _planned(variant: VariantEvidence | None, profile: Profile, device: DeviceSpec) -> list[ConditionRow]:
    plan = profile.measure
    latency, memory, energy = (
        (None, None, None) if variant is None else (variant.latency, variant.memory, variant.energy)
    )
    kept = None if latency is None else len(latency.samples_ns) - latency.warmup_count
    sessions = None if memory is None else len(memory.peak_bytes)
    windows = None if energy is None else len(energy.window_s)
    span = None if energy is None or not windows else float(np.median(energy.window_s))
    return [
        _at_least("latency samples", plan.latency_inferences, kept),
        _at_least("memory sessions", plan.memory_sessions, sessions),
        _at_least("energy windows", plan.energy_windows, windows),
        _at_least("energy window", plan.energy_window_s, span, "s"),
        _same("threads", str(device.threads), ABSENT if latency is None else str(latency.threads)),
    ]


def _at_least(name: str, planned: float, observed: float | None, unit: str = "1") -> ConditionRow:
    short_of = observed is None or observed < planned * 0.98
    return ConditionRow(name, f"≥ {quantity(planned, unit)}", quantity(observed, unit), short_of)


def _same(name: str, planned: str, observed: str) -> ConditionRow:
    return ConditionRow(name, clean(planned), clean(observed), planned != observed)


def _machine(evidence: Evidence, device: DeviceSpec) -> list[ConditionRow]:
    seen = evidence.device
    emulated = sorted({*device.emulated, *seen.emulated})
    sets = ", ".join(seen.instruction_sets) or "unknown"
    return [
        _same("device", device.name, seen.name),
        _same("link", device.link, seen.link),
        ConditionRow(
            "emulated parts",
            ", ".join(map(clean, sorted(device.emulated))) or "none",
            ", ".join(map(clean, emulated)) or "none",
            False,
        ),
        ConditionRow(
            "processor",
            "",
            clean(f"{seen.cpu_model} ({seen.architecture}, {count(seen.logical_cpus, 'logical processor')})", 140),
            False,
        ),
        ConditionRow("instruction sets", "", clean(sets, 200), False),
        ConditionRow("memory", "", quantity(seen.memory_bytes, "B"), False),
        *_limits(evidence, device),
        ConditionRow(
            "runtime", "", clean(f"{seen.runtime} {seen.runtime_version}, {', '.join(seen.providers)}", 140), False
        ),
        ConditionRow(
            "system", "", clean(f"{seen.system}, Python {seen.python_version}, agent {seen.agent_version}", 140), False
        ),
    ]


def _limits(evidence: Evidence, device: DeviceSpec) -> list[ConditionRow]:
    """The board, what the device file limits an emulated device to, and what was enforced on it and by what."""
    board, enforced = evidence.device.board, evidence.device.limits
    rows = [] if board is None else [ConditionRow("board", "", clean(board, 140), False)]
    if device.emulate is None and not enforced:
        return rows
    planned, observed = _asked_limits(device.emulate), clean("; ".join(enforced), 300) or "none"
    return [*rows, ConditionRow("limits", planned, observed, bool(planned) and not enforced)]


def _asked_limits(emulate: EmulateSpec | None) -> str:
    """[emulate] of a device file in words; empty where it has none."""
    if emulate is None:
        return ""
    sizes = (("memory", emulate.memory_bytes), ("storage", emulate.storage_bytes))
    parts = [f"{quantity(size_bytes, 'B')} of {name}" for name, size_bytes in sizes if size_bytes is not None]
    parts += [] if emulate.cpu_share is None else [f"{percent(emulate.cpu_share, 0)} of a core"]
    parts += [] if emulate.line is None else [f"a line of {emulate.line.baud} baud"]
    return ", ".join(parts)


def _moments(before: Conditions, after: Conditions) -> list[ConditionRow]:
    def pair(name: str, first: str, last: str) -> ConditionRow:
        return ConditionRow(name, "", first if first == last else f"{first} → {last}", False)

    def celsius(value: float | None) -> str:
        return ABSENT if value is None else f"{value:.1f} °C"

    def hertz(value: float | None) -> str:
        return ABSENT if value is None else f"{value / 1e9:.2f} GHz"

    def load(value: float | None) -> str:
        return ABSENT if value is None else f"{value:.2f}"

    return [
        pair("time (UTC)", clean(before.utc, 32), clean(after.utc, 32)),
        pair("governor", clean(before.governor or ABSENT, 32), clean(after.governor or ABSENT, 32)),
        pair("clock", hertz(before.frequency_hz), hertz(after.frequency_hz)),
        pair("temperature", celsius(before.temperature_celsius), celsius(after.temperature_celsius)),
        pair("load, 1 minute", load(before.load_1min), load(after.load_1min)),
        pair(
            "memory available",
            quantity(before.available_memory_bytes, "B"),
            quantity(after.available_memory_bytes, "B"),
        ),
        pair("battery", percent(before.battery_share, 0), percent(after.battery_share, 0)),
    ]


def build_reproduce(run: RunRecord, evidence: Evidence) -> ReproduceView:
    """Command, digests of every input, and the seed."""
    return ReproduceView(
        command=clean(shlex.join(run.command), 2000),
        rows=(
            ("run", clean(run.run_id)),
            ("created (UTC)", clean(run.created_utc)),
            ("tool", f"edgeproof {clean(run.tool_version)}"),
            ("seed", str(run.seed)),
            ("source model", run.source_digest),
            ("reference", evidence.reference.digest),
            (f"profile {clean(run.profile_name, 40)}", run.profile_digest),
            (f"dataset {clean(run.dataset_name, 40)}", run.dataset_digest),
            (f"device {clean(run.device_name, 40)}", run.device_digest),
            ("agent", evidence.device.agent_digest),
            ("recipes", clean(", ".join(run.recipes), 400)),
        ),
    )
