"""What `edgeproof bench --json` says: the schema edgeproof/bench/1 (docs/bench.md)."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.judge.energy import INTERVAL_WINDOWS
from kit.judge.energy_stability import energy_stability
from kit.pipeline.bench_figures import CONFIDENCE, RATE_WINDOWS
from kit.records import ColdStartRecord, EnergyRecord, Int64Array, MemoryRecord, OperatorProfile
from kit.stats.quantile import QuantileBounds, quantile_bounds
from kit.stats.stopping import early_stopping

if TYPE_CHECKING:
    from kit.pipeline.bench_figures import BenchReport, LatencyFigures, ModelFigures, Window
    from kit.pipeline.bench_trust import Trust

SCHEMA = "edgeproof/bench/1"

Object = dict[str, Any]


def bench_object(report: "BenchReport", trust: "Trust") -> Object:
    """All figures of a bench; times in s, sizes in B, energies in J, shares 0 to 1, as the names say."""
    order, run = report.order, report.run
    return {
        "schema": SCHEMA,
        "tool_version": run.record.tool_version,
        "run": {"id": run.record.run_id, "path": str(run.path), "created_utc": run.record.created_utc},
        "valid": trust.is_valid,
        "invalid": list(trust.invalid),
        "warnings": list(trust.warnings),
        "device": asdict(report.device),
        "threads": report.spec.threads,
        "emulated": list(report.device.emulated),
        "rows": {"source": run.record.dataset_name, "digest": run.record.dataset_digest},
        "work": {
            **asdict(order.workload),
            "windows": order.windows,
            "window_s": order.window_s,
            "min_count": order.min_count,
            "memory_sessions": order.memory_sessions,
            "energy_windows": order.energy_windows,
            "energy_window_s": order.energy_window_s,
            "longest_audit_s": order.longest_audit_s,
            "seed": order.seed,
            "stable": order.stable,
            "missing_windows": report.missing_windows,
        },
        "confidence": CONFIDENCE,
        "conditions": {"start": asdict(report.start), "end": asdict(report.end)},
        "waits": [
            {"waited_s": each.waited_s, "departures": list(each.departures), "conditions": asdict(each.conditions)}
            for each in report.held
        ],
        "models": [_model(each) for each in report.models],
    }


def _model(model: "ModelFigures") -> Object:
    return {
        "label": model.label,
        "model": asdict(model.model),
        "latency": None if model.latency is None else _latency(model.latency),
        "ratio_to_first": None if model.ratio is None else asdict(model.ratio) | {"differs": model.ratio.differs},
        "memory": None if model.memory is None else _memory(model.memory),
        "energy": None if model.energy is None else _energy(model, model.energy),
        "cold_start": None if model.cold is None else _cold(model.cold),
        "operators": None if model.operators is None else _operators(model.operators),
        "audit": None if model.audited is None else asdict(model.audited),
        "absent": dict(model.absent),
    }


def _latency(found: "LatencyFigures") -> Object:
    rate = found.rate_bounds
    return {
        "obtained": found.record.obtained,
        "clock": found.record.clock,
        "clock_resolution_ns": found.record.clock_resolution_ns,
        "percentiles": [_percentile(each, found) for each in found.percentiles],
        "samples": found.count,
        "slowest_s": found.slowest_s,
        "throughput_per_s": {
            "estimate": found.rate_per_s,
            "lower": None if rate is None else rate.lower,
            "upper": None if rate is None else rate.upper,
            "windows_missing": max(0, RATE_WINDOWS - len(found.windows)) if rate is None else rate.windows_missing,
        },
        "load_s": found.load_s.tolist(),
        "first_run_s": found.first_run_s.tolist(),
        "warmup_method": found.record.warmup_method,
        "late_count": found.late_count,
        "window_medians_differ_share": found.spread,
        "stability": asdict(found.whole),
        "windows": [_window(each) for each in found.windows],
        "rejected": [_window(each) for each in found.rejected],
    }


def _percentile(bounds: QuantileBounds, found: "LatencyFigures") -> Object:
    """A bound that the samples do not reach is null; about `windows_missing` more would give both."""
    missing = found.windows_missing(bounds)
    return {
        "name": f"p{100 * bounds.probability:g}",
        "probability": bounds.probability,
        "estimate_s": bounds.estimate,
        "lower_s": bounds.lower,
        "upper_s": bounds.upper,
        "mlperf_early_stopping_s": early_stopping(found.samples_s, bounds.probability).estimate,
        "effective_samples": bounds.effective_count,
        "minimum_samples": bounds.minimum_count,
        "windows_missing": missing,
        "samples_missing": int(np.ceil(missing * found.count / len(found.windows))),
    }


def _window(window: "Window") -> Object:
    record = window.record
    return {
        "number": window.number,
        "median_s": float(np.median(window.steady_s)),
        "samples": len(record.samples_ns),
        "warmup_samples": record.warmup_count,
        "late_count": record.late_count,
        "stability": asdict(window.stability),
        "before": asdict(record.before),
        "after": asdict(record.after),
    }


def _memory(record: MemoryRecord) -> Object:
    phases: dict[str, Int64Array | None] = {
        "peak": record.peak_bytes,
        "steady": record.steady_bytes,
        "load_peak": record.load_peak_bytes,
        "first_run_peak": record.first_run_peak_bytes,
        "steady_proportional": record.steady_proportional_bytes,
        "arena": record.arena_bytes,
    }
    return {
        "obtained": record.obtained,
        "method": record.method,
        "sessions": len(record.peak_bytes),
        "baseline_bytes": record.baseline_bytes,
        "model_bytes": record.model_bytes,
        "weight_bytes": record.weight_bytes,
        **{name: None if values is None else _median(values) for name, values in phases.items()},
    }


def _median(values: Int64Array) -> Object:
    """With the bounds, null where there are fewer sessions than `minimum_sessions`."""
    bounds = quantile_bounds(values.astype(np.float64), 0.5, CONFIDENCE)
    return {
        "median_bytes": bounds.estimate,
        "lower_bytes": bounds.lower,
        "upper_bytes": bounds.upper,
        "minimum_sessions": bounds.minimum_count,
    }


def _energy(model: "ModelFigures", record: EnergyRecord) -> Object:
    return {
        "obtained": record.obtained,
        "meter": asdict(record.meter),
        "per_inference_j": None if model.energy_figures is None else asdict(model.energy_figures),
        "minimum_windows": INTERVAL_WINDOWS,
        "stability": asdict(energy_stability(record)),
        "idle_power_w": record.idle_power_w,
        "windows": len(record.window_energy_j),
        "inferences": int(record.window_inferences.sum()),
        "window_energy_j": record.window_energy_j.tolist(),
        "window_s": record.window_s.tolist(),
        "lost_samples": record.lost_samples,
        "gaps": 0 if record.gaps_ns is None else len(record.gaps_ns),
        "ended": record.ended,
        "alignment": None if record.alignment is None else asdict(record.alignment),
        "phases": [asdict(each) for each in record.phases],
        "uncertainty": None if record.uncertainty is None else asdict(record.uncertainty),
    }


def _cold(record: ColdStartRecord) -> Object:
    return {
        "obtained": record.obtained,
        "method": record.method,
        "ready_s": (record.ready_ns * 1e-9).tolist(),
        "load_s": (record.load_ns * 1e-9).tolist(),
        "first_run_s": (record.first_run_ns * 1e-9).tolist(),
    }


def _operators(profile: OperatorProfile) -> Object:
    return {
        "obtained": profile.obtained,
        "method": profile.method,
        "inferences": profile.inferences,
        "operators": [asdict(each) for each in profile.operators],
    }
