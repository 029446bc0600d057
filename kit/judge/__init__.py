"""Verdicts: a pure function of records and profile.

`judge` holds every requirement of a profile against every variant and picks the cheapest variant that passes.
"""

from kit.judge.base import Case, worst
from kit.judge.choice import choose, cost_obtained, cost_of
from kit.judge.consistency import check_consistent
from kit.judge.family import candidates_of
from kit.judge.registry import JUDGES
from kit.records import Evidence, Finding, Judgement, VariantEvidence, VariantJudgement
from kit.spec.types import DeviceSpec, Profile

__all__ = ["judge"]


def judge(evidence: Evidence, profile: Profile, device: DeviceSpec) -> Judgement:
    """Every requirement on every variant, and the variant chosen.

    Pure: equal arguments give an equal judgement, anywhere. Each claim on one of k variants that compete in it (see
    `kit.judge.family`) has its confidence raised to 1 - (1 - confidence) / k, since the cheapest that passes is picked.

    Raises:
        MeasurementError: the records do not belong together (another model, dataset, row count or origin), cannot be
            measurements (dtypes, shapes, values), or there are none.
    """
    check_consistent(evidence, device)
    judged = tuple(_variant(variant, evidence, profile, device) for variant in evidence.variants)
    obtained = {one.variant.recipe.name: cost_obtained(one, profile) for one in evidence.variants}
    chosen, why = choose(judged, profile, obtained)
    return Judgement(chosen.verdict, chosen.variant, why, judged, profile.digest)


def _variant(variant: VariantEvidence, evidence: Evidence, profile: Profile, device: DeviceSpec) -> VariantJudgement:
    findings: list[Finding] = []
    for requirement in profile.requirements:
        candidates = candidates_of(variant, requirement, evidence, profile)
        case = Case(requirement, variant, evidence, profile, device, candidates)
        findings.extend(JUDGES[requirement.metric](case))
    cost, unit = cost_of(variant, profile)
    return VariantJudgement(
        variant=variant.variant.recipe.name,
        digest=variant.variant.model.digest,
        verdict=worst(finding.verdict for finding in findings),
        findings=tuple(findings),
        cost=cost,
        cost_unit=unit,
    )
