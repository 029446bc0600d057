"""What a variant must meet, as estimates: a profile's requirements on given rows, by the judge's own functions."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kit.judge.base import Case
from kit.judge.gaps import BY_ROWS, RowGaps, gap_of
from kit.judge.registry import JUDGES
from kit.records import (
    DeviceRecord,
    Evidence,
    Finding,
    ModelRecord,
    PredictionRecord,
    SearchGap,
    VariantEvidence,
)
from kit.spec.types import DatasetPart, DeviceSpec, Profile


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What variants are held against: a profile, rows, and the reference's decisions on them."""

    profile: Profile
    part: DatasetPart
    reference: ModelRecord
    predictions: PredictionRecord

    def findings(self, variant: VariantEvidence, device: DeviceRecord, spec: DeviceSpec) -> tuple[Finding, ...]:
        """Every requirement on the variant, by the judge's own functions; without competition among variants."""
        evidence = Evidence(
            source=self.reference,
            conversion=None,
            reference=self.reference,
            reference_predictions=self.predictions,
            dataset=self.part.record,
            device=device,
            variants=(variant,),
        )
        return tuple(
            finding
            for asked in self.profile.requirements
            for finding in JUDGES[asked.metric](Case(asked, variant, evidence, self.profile, spec))
        )

    def row_gaps(self, share: float) -> RowGaps:
        """The gaps that decisions on these rows give; `share` of the rows that judge are these."""
        asked, data, profile = self.profile.requirements, self.part.record, self.profile
        return RowGaps(asked, data, self.predictions.decisions, share, profile.slices, profile.bins)


def other_gaps(found: Iterable[Finding], variant: VariantEvidence, rows: int) -> tuple[SearchGap, ...]:
    """The gaps that decisions do not give: of the file and of the device, as far as they were obtained.

    Where no decision may depend on the processor, only a proof from the weights passes: with it there is no gap at
    all, and a variant that can saturate is counted with at least one row of `rows` that does.
    """
    gaps = [gap for each in found if each.metric not in BY_ROWS and (gap := gap_of(each)) is not None]
    proof_only = {each.requirement for each in found if each.metric == "numerics.processor_flips" and each.limit == 0}
    if not variant.variant.saturation.can_saturate:
        return tuple(gap for gap in gaps if gap.requirement not in proof_only or gap.loss > 0)
    return tuple(replace(gap, loss=max(gap.loss, 1 / rows)) if gap.requirement in proof_only else gap for gap in gaps)


def not_estimated(profile: Profile, found: Iterable[Finding]) -> tuple[str, ...]:
    """Requirements without a single estimate: what only a device or a meter can tell."""
    told = {each.requirement for each in found if each.estimate is not None}
    return tuple(each.id for each in profile.requirements if each.id not in told)
