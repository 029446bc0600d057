"""Which variants compete to be picked: the family over which a PASS is corrected.

The cheapest variant that passes is picked, so a wrong PASS has as many chances as variants that could pass. What rules
a variant out without looking at the sample (its size, the pair sums that its weights allow) takes it out of the family:
it can never be certified, rightly or wrongly, and the choice of the family owes nothing to the rows judged.
"""

from kit.records import Evidence, VariantEvidence
from kit.spec.types import Profile, Requirement


def competitors(evidence: Evidence, profile: Profile) -> tuple[str, ...]:
    """Names of the variants that some sample could make pass; the fp32 reference is the fallback and not among them."""
    return tuple(
        variant.variant.recipe.name
        for variant in evidence.variants
        if variant.variant.recipe.precision != "fp32"
        and not any(_ruled_out(variant, requirement) for requirement in profile.requirements)
    )


def _ruled_out(variant: VariantEvidence, requirement: Requirement) -> bool:
    if requirement.metric == "model.size" and requirement.direction == "at_most":
        return variant.variant.model.size_bytes > requirement.limit
    if requirement.metric == "numerics.processor_flips":
        return requirement.limit == 0 and variant.variant.saturation.can_saturate
    return False
