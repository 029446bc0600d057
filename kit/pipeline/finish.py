"""The end of a run: judge what is stored, render the report, write the certificate."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from kit import certificate
from kit.digest import digest_file
from kit.judge import judge
from kit.judge.front import front
from kit.judge.mitigation import mitigations
from kit.pipeline.evidence import Bundle, load_bundle
from kit.records import Judgement, Verdict
from kit.report import View, build_view, emulated_parts, render_html
from kit.spec.types import Profile
from kit.store import Run

ON_A_DEVICE = ("latency.", "memory.", "battery.")
"""Families of metrics that a check of rows leaves to `certify`."""

MENDABLE = ("fairness.", "quality.")
"""Families of metrics that thresholds, recalibration or another variant may mend."""

REPORT = "report.html"
CERTIFICATE = "certificate.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: what was judged, the view of it, and the files that were written (a check has no certificate)."""

    run: Run
    bundle: Bundle
    judgement: Judgement
    view: View
    report: Path
    certificate: Path | None


def is_check(run: Run) -> bool:
    """Whether the run judges rows alone: it certifies no device."""
    return run.record.command[1:2] == ("check",)


def of_rows(profile: Profile) -> Profile:
    """The profile's requirements that rows, data and the file itself answer."""
    asked = tuple(each for each in profile.requirements if not each.metric.startswith(ON_A_DEVICE))
    return replace(profile, requirements=asked, cheapest_by="size")


def judge_run(run: Run) -> tuple[Bundle, Judgement]:
    """Judge a run from its stored records alone."""
    bundle = load_bundle(run)
    if is_check(run):
        bundle = replace(bundle, profile=of_rows(bundle.profile))
    return bundle, judge(bundle.evidence, bundle.profile, bundle.device)


def finish(run: Run) -> Outcome:
    """Judge, keep the judgement, and write report and certificate."""
    bundle, judgement = judge_run(run)
    run.put("judgement", judgement)
    view = view_of(run, bundle, judgement)
    report = run.write(REPORT, render_html(view).encode())
    if is_check(run):
        return Outcome(run, bundle, judgement, view, report, None)
    path = run.write(CERTIFICATE, certificate_bytes(run, bundle, judgement, {REPORT: digest_file(report)}))
    return Outcome(run, bundle, judgement, view, report, path)


def certificate_bytes(run: Run, bundle: Bundle, judgement: Judgement, files: Mapping[str, str]) -> bytes:
    """The certificate that follows from a run's records and the digests of its rendered files."""
    emulated = emulated_parts(bundle.evidence, bundle.device)
    built = certificate.build(run.record, bundle.evidence, judgement, emulated=emulated, steps=run.steps, files=files)
    return certificate.to_bytes(built)


def reopen(run: Run) -> Outcome:
    """A finished run, judged again from its records; writes nothing."""
    bundle, judgement = judge_run(run)
    certified = None if is_check(run) else run.path / CERTIFICATE
    return Outcome(run, bundle, judgement, view_of(run, bundle, judgement), run.path / REPORT, certified)


def view_of(run: Run, bundle: Bundle, judgement: Judgement) -> View:
    """What a report shows of a run."""
    trade = front(bundle.evidence, judgement, bundle.profile)
    return build_view(
        run.record, bundle.evidence, judgement, bundle.profile, bundle.device, run.steps, trade,
        _remedies(bundle, judgement),
    )  # fmt: skip


def _remedies(bundle: Bundle, judgement: Judgement) -> tuple[tuple[str, str, str], ...]:
    """What could be done of the chosen variant without training again, where groups or probabilities do not hold."""
    judged = next(each for each in judgement.variants if each.variant == judgement.chosen)
    needed = any(each.metric.startswith(MENDABLE) and each.verdict is not Verdict.PASS for each in judged.findings)
    chosen = next(each for each in bundle.evidence.variants if each.variant.recipe.name == judgement.chosen)
    found = mitigations(bundle.evidence, chosen, bundle.profile) if needed else ()
    return tuple((each.name, each.sentence, each.caution) for each in found)
