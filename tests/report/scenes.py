"""Whole runs to report on: judged by the real judge from synthetic evidence."""

from dataclasses import replace
from functools import cache

from kit.judge import judge
from kit.judge.front import front
from kit.records import Evidence, Finding, RunRecord, Verdict
from kit.report import View, build_view
from kit.spec.types import DeviceSpec, Profile
from tests import builders

COMMAND = ("edgeproof", "certify", "watch.joblib", "--device", "local", "--profile", "wearable")


def run_record() -> RunRecord:
    return RunRecord(
        run_id="7f3a9c21", created_utc="2026-01-15T09:30:00Z", tool_version="0.1.0", command=COMMAND, seed=7,
        source_digest=builders.digest_of("source"), profile_name="wearable",
        profile_digest=builders.digest_of("profile"), dataset_name="watch", dataset_digest=builders.digest_of("data"),
        device_name="local", device_digest=builders.digest_of("device"),
        recipes=tuple(plan.name for plan in builders.PLANS),
    )  # fmt: skip


def view_of(evidence: Evidence, profile: Profile | None = None, device: DeviceSpec | None = None) -> View:
    profile, device = profile or builders.profile(), device or builders.device()
    artifacts = {"latency.int8-channel": builders.digest_of("latency"), "judgement": builders.digest_of("judgement")}
    judgement = judge(evidence, profile, device)
    trade = front(evidence, judgement, profile)
    return build_view(run_record(), evidence, judgement, profile, device, artifacts, trade)


@cache
def ordinary() -> View:
    """Estimated energy, a slice too noisy to decide, plain int8 that depends on the processor."""
    return view_of(builders.evidence())


@cache
def broken(emulated: tuple[str, ...] = ()) -> View:
    """Every variant loses a fifth of one exercise and breaks the latency limit."""
    plans = [replace(p, slices={"exercise=row": (0.35, 0.0)}, latency_s=0.02) for p in builders.PLANS]
    return view_of(builders.evidence(plans, emulated=emulated), device=builders.device(emulated=emulated))


@cache
def certified() -> View:
    """A run that passes: measured latency, memory and size only."""
    wanted = ("latency.p99", "model.size", "accuracy.value", "numerics.processor_flips")
    asked = [r for r in builders.REQUIREMENTS if r.metric in wanted]
    return view_of(builders.evidence(), builders.profile(asked))


@cache
def untested() -> View:
    """A slice column with a value of too few rows."""
    asked = builders.requirement("accuracy.drop", 0.06, id="slices", by=("exercise",), minimum_rows=280)
    return view_of(builders.evidence(), builders.profile([asked]))


def finding(**changes: object) -> Finding:
    """One passing latency finding, to be changed."""
    plain = Finding(
        requirement="latency-p99", metric="latency.p99", subject="", verdict=Verdict.PASS, direction="at_most",
        limit=0.016, estimate=0.0149, lower=0.0147, upper=0.0151, unit="s", confidence=0.95, method="order statistics",
        rows=5000, clusters=None, obtained="measured", reason="",
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]
