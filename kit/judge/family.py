"""Which variants compete to be picked: the family over which a PASS is corrected, requirement by requirement.

The cheapest variant that passes is picked, so a wrong PASS has as many chances as variants that could pass. What rules
a variant out without looking at the sample (its size, the pair sums that its weights allow) takes it out of the family:
it can never be certified, rightly or wrongly, and the choice of the family owes nothing to the rows judged.

A claim that compares with the reference cannot be wrong of fp32, which is the reference: there the optimized variants
alone are the family. Any other sampled claim (time, memory, battery, accuracy itself) can, so fp32 competes as well.
"""

from kit.records import Evidence, VariantEvidence
from kit.spec.types import Metric, Profile, Requirement

AGAINST_REFERENCE: tuple[Metric, ...] = (
    "accuracy.drop",
    "quality.loss",
    "agreement.flips",
    "slices.found",
    "fairness.gap_change",
    "numerics.processor_flips",
    "privacy.membership",
    "explanation.agreement",
)
"""Metrics that compare a variant with the reference or with its own exact arithmetic."""

OF_THE_DATA: tuple[Metric, ...] = (
    "data.missing",
    "data.wrong",
    "data.duplicates",
    "data.leaked",
    "data.shifted",
    "data.lagged",
)
"""Metrics that are the same for every variant: none competes in them."""


def competitors(evidence: Evidence, profile: Profile, metric: Metric) -> tuple[str, ...]:
    """Names of the variants that some sample could make pass, and that a claim about `metric` could be wrong of."""
    return tuple(
        variant.variant.recipe.name
        for variant in evidence.variants
        if not (_is_reference(variant) and metric in AGAINST_REFERENCE)
        and not any(_ruled_out(variant, requirement) for requirement in profile.requirements)
    )


def candidates_of(variant: VariantEvidence, requirement: Requirement, evidence: Evidence, profile: Profile) -> int:
    """How many variants share the error of `requirement` on `variant`: 1 for fp32 against itself.

    A variant that is ruled out is judged like those that are not.
    """
    if requirement.metric in OF_THE_DATA or (_is_reference(variant) and requirement.metric in AGAINST_REFERENCE):
        return 1
    return max(1, len(competitors(evidence, profile, requirement.metric)))


def _is_reference(variant: VariantEvidence) -> bool:
    return variant.variant.recipe.precision == "fp32"


def _ruled_out(variant: VariantEvidence, requirement: Requirement) -> bool:
    if requirement.metric == "model.size" and requirement.direction == "at_most":
        return variant.variant.model.size_bytes > requirement.limit
    if requirement.metric == "numerics.processor_flips":
        return requirement.limit == 0 and variant.variant.saturation.can_saturate
    return False
