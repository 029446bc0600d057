"""The same results for machines: one JSON-ready object, in SI units, with absent figures as null."""

import math
from collections.abc import Mapping
from typing import Any

from kit.records import AxisFigure, Evidence, Finding, Front, FrontPoint, Judgement, RunRecord, VariantJudgement
from kit.report import sentences
from kit.spec.types import DeviceSpec, Profile

SCHEMA = "edgeproof/result/1"


def build_summary(
    run: RunRecord,
    evidence: Evidence,
    judgement: Judgement,
    profile: Profile,
    device: DeviceSpec,
    artifacts: Mapping[str, str],
    warnings: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The run as one object: verdict, requirements of the chosen variant, every variant's, lineage and conditions."""
    chosen = next((v for v in judgement.variants if v.variant == judgement.chosen), None)
    return {
        "schema": SCHEMA,
        "run": {
            "id": run.run_id,
            "created_utc": run.created_utc,
            "tool_version": run.tool_version,
            "command": list(run.command),
            "seed": run.seed,
        },
        "verdict": judgement.verdict.value,
        "chosen": judgement.chosen,
        "why_chosen": judgement.why_chosen,
        "emulated": emulated_parts(evidence, device),
        "requirements": [_requirement(f) for f in chosen.findings] if chosen else [],
        "variants": [_variant(v) for v in judgement.variants],
        "conditions": _conditions(evidence, profile, device, judgement.chosen),
        "lineage": _lineage(run, evidence),
        "warnings": list(warnings),
        "artifacts": dict(artifacts),
    }


def front_object(front: Front | None) -> dict[str, Any] | None:
    """The trade-off front: each variant's figures on its axes, shares 0 to 1, and where it stands; None without one."""
    if front is None:
        return None
    return {
        "gap_of": front.gap_of,
        "cost_of": front.cost_of,
        "cost_unit": front.cost_unit,
        "confidence": front.confidence,
        "margin": front.margin,
        "method": front.method,
        "points": [_point(point) for point in front.points],
    }


def _point(point: FrontPoint) -> dict[str, Any]:
    axes = {"accuracy": point.accuracy, "gap": point.gap, "cost": point.cost}
    return {
        "variant": point.variant,
        "verdict": point.verdict.value,
        "standing": point.standing,
        "by": list(point.by),
        **{name: None if figure is None else _axis_figure(figure) for name, figure in axes.items()},
    }


def _axis_figure(figure: AxisFigure) -> dict[str, Any]:
    ends = {"estimate": figure.estimate, "lower": figure.lower, "upper": figure.upper}
    return {name: _figure(value) for name, value in ends.items()} | {"obtained": figure.obtained}


def emulated_parts(evidence: Evidence, device: DeviceSpec) -> list[str]:
    """Every emulated part: of the device as declared, as it said itself, and each kind of record so obtained."""
    parts = {*device.emulated, *evidence.device.emulated}
    for variant in evidence.variants:
        for kind in ("latency", "memory", "energy", "predictions"):
            record = getattr(variant, kind)
            if record is not None and record.obtained == "emulated":
                parts.add(kind)
    return sorted(parts)


def _variant(judged: VariantJudgement) -> dict[str, Any]:
    return {
        "name": judged.variant,
        "digest": judged.digest,
        "verdict": judged.verdict.value,
        "cost": _figure(judged.cost),
        "cost_unit": judged.cost_unit,
        "requirements": [_requirement(f) for f in judged.findings],
    }


def _figure(value: float | None) -> float | None:
    """JSON has no infinity and no NaN: such a bound is absent."""
    return value if value is not None and math.isfinite(value) else None


def _requirement(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.requirement,
        "metric": finding.metric,
        "subject": finding.subject,
        "unit": finding.unit,
        "direction": finding.direction,
        "limit": _figure(finding.limit),
        "estimate": _figure(finding.estimate),
        "interval": [_figure(finding.lower), _figure(finding.upper)],
        "confidence": finding.confidence,
        "method": finding.method,
        "n": finding.rows,
        "clusters": finding.clusters,
        "obtained": finding.obtained,
        "verdict": finding.verdict.value,
        "tested": finding.estimate is not None and not sentences.is_untested(finding),
        "reason": finding.reason,
        "sentence": sentences.sentence(finding),
        "need": finding.need,
        "evidence": list(finding.evidence),
        "details": {key: _figure(value) for key, value in finding.details.items()},
    }


def _conditions(evidence: Evidence, profile: Profile, device: DeviceSpec, chosen: str) -> dict[str, Any]:
    seen = evidence.device
    latency = next((v.latency for v in evidence.variants if v.variant.recipe.name == chosen), None)
    moments = {}
    if latency is not None:
        moments = {
            when: {key: getattr(moment, key) for key in moment.__dataclass_fields__}
            for when, moment in (("before", latency.before), ("after", latency.after))
        }
    return {
        "device": device.name,
        "link": seen.link,
        "limits": list(seen.limits),
        "board": seen.board,
        "system": seen.system,
        "architecture": seen.architecture,
        "cpu_model": seen.cpu_model,
        "instruction_sets": list(seen.instruction_sets),
        "runtime": seen.runtime,
        "runtime_version": seen.runtime_version,
        "threads": device.threads,
        "timing_is_real": device.timing_is_real,
        "profile": profile.name,
        **moments,
    }


def _lineage(run: RunRecord, evidence: Evidence) -> dict[str, Any]:
    return {
        "source": evidence.source.digest,
        "reference": evidence.reference.digest,
        "profile": run.profile_digest,
        "dataset": run.dataset_digest,
        "device": run.device_digest,
        "agent": evidence.device.agent_digest,
        "variants": {
            v.variant.recipe.name: {
                "model": v.variant.model.digest,
                "parent": v.variant.parent_digest,
                "calibration": v.variant.calibration_digest,
                "notes": list(v.variant.notes),
            }
            for v in evidence.variants
        },
    }
