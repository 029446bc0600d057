"""Predictions of as few rows as decide: the steps of a run that send them, and the others where those are needed."""

from dataclasses import replace
from functools import partial

from kit.device.base import Device
from kit.judge.base import Case
from kit.judge.family import candidates_of
from kit.judge.follow import Follow
from kit.judge.frugal import judge_sample
from kit.judge.sampled import SAMPLED
from kit.measure.frugal import run_rest, sample_part
from kit.model.twin import host_twin
from kit.pipeline.target import saturates
from kit.pipeline.work import Work
from kit.records import (
    DeviceRecord,
    Evidence,
    PredictionRecord,
    SampleRecord,
    VariantEvidence,
    VariantRecord,
    Verdict,
)

NEEDS_NO_ROWS = ("latency.", "memory.", "model.", "battery.", "data.", "explanation.")
"""Families of metrics that do not rest on the device's predictions of the test part."""


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


def predict_rest(work: Work, device: Device, name: str, digest: str, sample: SampleRecord) -> PredictionRecord | None:
    """Predictions of all rows, where a requirement needs all of them and none that some could decide is broken.

    A variant that is broken already is not certified whatever the other rows say; so they are not sent.
    """
    inputs = work.inputs
    asked = {each.metric for each in inputs.profile.requirements} - set(SAMPLED)
    if all(metric.startswith(NEEDS_NO_ROWS) for metric in asked) or _is_broken(work, name, sample):
        return None
    return run_rest(
        device, digest, inputs.dataset.test, sample,
        output=inputs.dataset.output_name, spec=inputs.device, progress=work.progress,
    )  # fmt: skip


def _is_broken(work: Work, name: str, sample: SampleRecord) -> bool:
    """Whether the sample breaks a requirement, as the verdict will have it."""
    cases = [replace(case, variant=replace(case.variant, sample=sample)) for case in _cases(work, name)]
    findings = (found for case in cases for found in judge_sample(case))
    return any(found.verdict is Verdict.FAIL for found in findings)


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
