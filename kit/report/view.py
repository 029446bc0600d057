"""From records and verdicts to a view: everything that a report shows, computed once, for the page and the terminal."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kit.digest import short
from kit.records import Evidence, Front, Judgement, RunRecord, Verdict
from kit.report import machine, sentences
from kit.report.figures import clean, listed
from kit.report.sections.data import DataView, build_data
from kit.report.sections.energy import EnergyView, build_energy
from kit.report.sections.explanations import ExplanationView, build_explanations
from kit.report.sections.fairness import FairnessView, build_fairness
from kit.report.sections.front import FrontView, build_front
from kit.report.sections.latency import LatencyView, build_latency
from kit.report.sections.lineage import (
    Box,
    ConditionRow,
    ConversionView,
    ReproduceView,
    build_conditions,
    build_conversion,
    build_inputs,
    build_lineage,
    build_reproduce,
)
from kit.report.sections.membership import MembershipView, build_membership
from kit.report.sections.memory import MemoryView, build_memory
from kit.report.sections.numerics import NumericsView, build_numerics
from kit.report.sections.remedies import Remedy, build_remedies, sampling_text
from kit.report.sections.requirements import SIGNS, RequirementRow, build_requirements, variant_of
from kit.report.sections.slices import SlicesView, build_slices
from kit.report.sections.variants import VariantsView, build_variants
from kit.report.sections.warnings import find_warnings
from kit.spec.types import DeviceSpec, Profile
from kit.words import count


@dataclass(frozen=True, slots=True)
class Banner:
    """The verdict in one sentence, and what it is about."""

    status: str
    sign: str
    sentence: str
    counts: str
    facts: tuple[tuple[str, str], ...]
    emulated: str


@dataclass(frozen=True, slots=True)
class View:
    """A whole report, ready to show; `summary` is the machine's object."""

    title: str
    banner: Banner
    variant: str
    requirements: tuple[RequirementRow, ...]
    attention: tuple[RequirementRow, ...]
    warnings: tuple[str, ...]
    latency: LatencyView | None
    memory: MemoryView | None
    energy: EnergyView | None
    slices: SlicesView | None
    fairness: tuple[FairnessView, ...]
    variants: VariantsView
    front: FrontView | None
    data: DataView | None
    membership: MembershipView | None
    explanations: ExplanationView | None
    remedies: tuple[Remedy, ...]
    sampling: str
    numerics: NumericsView
    conversion: ConversionView | None
    lineage: tuple[Box, ...]
    inputs: tuple[Box, ...]
    artifacts: tuple[tuple[str, str], ...]
    conditions: tuple[ConditionRow, ...]
    reproduce: ReproduceView
    created: str
    summary: dict[str, Any]


def build_view(
    run: RunRecord,
    evidence: Evidence,
    judgement: Judgement,
    profile: Profile,
    device: DeviceSpec,
    artifacts: Mapping[str, str],
    front: Front | None = None,
    remedies: Iterable[tuple[str, str, str]] = (),
) -> View:
    """The view of a run: the chosen variant in depth, the others beside it.

    `artifacts` maps a name to a digest; `remedies` are (name, sentence, caution) each.
    """
    chosen = judgement.chosen
    judged = variant_of(judgement, chosen)
    known = next((v for v in evidence.variants if v.variant.recipe.name == chosen), None)
    requirements = build_requirements(judgement, profile, chosen)
    warnings = find_warnings(evidence, device, judged)
    return View(
        title=f"{clean(evidence.source.name)} on {clean(device.name)}",
        banner=_banner(evidence, judgement, profile, device, requirements),
        variant=clean(chosen, 40),
        requirements=requirements,
        attention=tuple(row for row in requirements if row.status != "PASS"),
        warnings=warnings,
        latency=build_latency(known.latency if known else None, judged),
        memory=build_memory(evidence.variants, judgement),
        energy=build_energy(known.energy if known else None, judged, profile, device),
        slices=build_slices(evidence, judged, profile) if known else None,
        fairness=build_fairness(evidence, known, judged, profile) if known else (),
        variants=build_variants(evidence, judgement, profile),
        front=build_front(front),
        data=build_data(evidence, judged),
        membership=build_membership(evidence, judgement),
        explanations=build_explanations(evidence, known, judged) if known else None,
        remedies=build_remedies(remedies),
        sampling=sampling_text(evidence, known, judged),
        numerics=build_numerics(evidence, chosen),
        conversion=build_conversion(evidence.conversion),
        lineage=build_lineage(evidence, known, artifacts),
        inputs=build_inputs(evidence, run),
        artifacts=tuple((clean(name, 80), clean(digest, 80)) for name, digest in artifacts.items()),
        conditions=build_conditions(evidence, known, profile, device),
        reproduce=build_reproduce(run, evidence),
        created=clean(run.created_utc, 40),
        summary=machine.build_summary(run, evidence, judgement, profile, device, artifacts, warnings)
        | {"front": machine.front_object(front)},
    )


def counts_text(rows: tuple[RequirementRow, ...]) -> str:
    """``1 broken, 1 undecided, 6 met``."""
    names = {"FAIL": "broken", "INCONCLUSIVE": "undecided", sentences.NOT_TESTED: "not tested", "PASS": "met"}
    numbers = {word: sum(row.status == word for row in rows) for word in names}
    parts = [f"{numbers[word]} {name}" for word, name in names.items() if numbers[word]]
    return ", ".join(parts) or "nothing was required"


def _banner(
    evidence: Evidence, judgement: Judgement, profile: Profile, device: DeviceSpec, rows: tuple[RequirementRow, ...]
) -> Banner:
    parts = machine.emulated_parts(evidence, device)
    limits = "; ".join(clean(each, 80) for each in evidence.device.limits[:8])
    held = f" Held to: {limits}." if limits else ""
    emulated = f"Rehearsal: certifies no hardware. Emulated: {clean(listed(parts), 200)}.{held}" if parts else ""
    judged = variant_of(judgement, judgement.chosen)
    return Banner(
        status=judgement.verdict.value,
        sign=SIGNS[judgement.verdict.value],
        sentence=verdict_sentence(judgement, profile, device, rows),
        counts=f"{count(len(rows), 'requirement')}: {counts_text(rows)}",
        facts=(
            ("variant", clean(judgement.chosen, 40)),
            ("model", short(judged.digest) if judged else ""),
            ("device", clean(f"{device.name}, {evidence.device.cpu_model or evidence.device.architecture}", 80)),
            ("profile", clean(profile.name, 40)),
            ("dataset", f"{clean(evidence.dataset.name, 40)}, {count(evidence.dataset.rows, 'row')}"),
        ),
        emulated=emulated,
    )


def verdict_sentence(
    judgement: Judgement, profile: Profile, device: DeviceSpec, rows: tuple[RequirementRow, ...]
) -> str:
    """The whole run in one sentence."""
    who, where = clean(judgement.chosen, 40), clean(device.name, 40)
    if judgement.verdict is Verdict.PASS:
        return f"{who} meets every requirement of {clean(profile.name, 40)} on {where}."
    wanted = "FAIL" if judgement.verdict is Verdict.FAIL else "INCONCLUSIVE"
    named = [row for row in rows if row.status == wanted] or [row for row in rows if row.status != "PASS"]
    labels = [row.label for row in named]
    names = [row.label if labels.count(row.label) == 1 else clean(row.id, 40) for row in named]
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    what = (", ".join(names[:2]) if more else listed(names[:2])) + more
    if judgement.verdict is Verdict.FAIL:
        if len(judgement.variants) == 1:
            return f"{who} does not meet {clean(profile.name, 40)} on {where}: it breaks {what}."
        return f"No variant meets {clean(profile.name, 40)} on {where}; the nearest, {who}, breaks {what}."
    verb = "is" if len(names) == 1 else "are"
    return f"{who} breaks nothing of {clean(profile.name, 40)} on {where}, but {what} {verb} undecided."
