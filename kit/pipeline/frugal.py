"""Predictions of as few rows as decide: the step of a run that sends them."""

from functools import partial

from kit.device.base import Device
from kit.judge.base import Case
from kit.judge.family import candidates_of
from kit.judge.follow import Follow
from kit.judge.sampled import SAMPLED
from kit.measure.frugal import sample_part
from kit.model.twin import host_twin
from kit.pipeline.target import saturates
from kit.pipeline.work import Work
from kit.records import DeviceRecord, Evidence, SampleRecord, VariantEvidence, VariantRecord


def sample_variant(work: Work, device: Device, name: str, data: bytes, digest: str) -> SampleRecord:
    """Rows of the test part in random order on the device, until every requirement on rows is decided.

    What came is kept after every batch, and gone on with.
    """
    inputs, run, step = work.inputs, work.run, f"sampling/{name}"
    cases = _cases(work, name)
    saturating = saturates(run.get("device/identity", DeviceRecord))
    saturating = saturating and cases[0].variant.variant.saturation.can_saturate
    return sample_part(
        device,
        digest,
        inputs.dataset.test,
        output=inputs.dataset.output_name,
        spec=inputs.device,
        seed=inputs.profile.measure.seed,
        wanted=Follow(cases),
        twin=host_twin(data, inputs.dataset, saturating=saturating),
        so_far=run.get_optional(step, SampleRecord) if step in run.steps else None,
        keep=partial(_keep, work, step),
        progress=work.progress,
    )


def _keep(work: Work, step: str, sample: SampleRecord) -> None:
    work.run.put(step, sample)


def _cases(work: Work, name: str) -> list[Case]:
    """The requirements of one variant as the verdict will see them, of which nothing was run yet."""
    run, inputs = work.run, work.inputs
    records = (run.get_optional(f"variant/{each}", VariantRecord) for each in inputs.recipes)
    variants = tuple(_unmeasured(record) for record in records if record is not None)
    evidence = Evidence(
        source=inputs.source,
        conversion=inputs.converted.conversion,
        reference=inputs.converted.reference,
        reference_predictions=inputs.reference_predictions,
        dataset=inputs.dataset.test.record,
        device=run.get("device/identity", DeviceRecord),
        variants=variants,
    )
    (variant,) = (each for each in variants if each.variant.recipe.name == name)
    asked = (each for each in inputs.profile.requirements if each.metric in SAMPLED)
    profile = inputs.profile
    return [
        Case(each, variant, evidence, profile, inputs.device, candidates_of(variant, each, evidence, profile))
        for each in asked
    ]


def _unmeasured(record: VariantRecord) -> VariantEvidence:
    return VariantEvidence(record, None, None, None, None, None, None)
