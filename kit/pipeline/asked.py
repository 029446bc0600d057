"""What a run obtains where the data allow it or a requirement asks for it: each a journaled step of its own."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kit.device.base import Device
from kit.measure.losses import losses_of
from kit.model.embedding import embed
from kit.pipeline.attacking import device_scores, host_scores, members_of, membership
from kit.pipeline.checks import is_own
from kit.pipeline.evidence import COLUMNS, LOSSES
from kit.pipeline.explaining import explanation
from kit.pipeline.looking import look
from kit.pipeline.order import Inputs
from kit.pipeline.work import Work
from kit.records import (
    ColumnRecord,
    DataRecord,
    ExplanationRecord,
    Float32Array,
    LossRecord,
    MembershipRecord,
    PredictionRecord,
    TaskName,
)
from kit.slicing.clusters import cluster_columns
from kit.spec.measures import MEASURES
from kit.spec.types import DatasetPart

KEPT: dict[TaskName, tuple[str, ...]] = {
    "classification": ("accuracy", "brier", "log-loss"),
    "multilabel": ("hamming-loss", "brier"),
    "regression": ("mae",),
    "anomaly": ("auc",),
    "sequence": ("wer",),
    "frames": ("frame-accuracy",),
    "embedding": ("cosine",),
    "detection": ("map-50",),
}
"""Measures under which every row's loss is kept, whatever a profile asks: slices may be thought of later."""

STEPS = {"membership": ("privacy.", 3.0), "explanation": ("explanation.", 20.0)}
"""Steps of a variant: the family of metrics that asks for each, and what it may take, s."""


def asks(inputs: Inputs, *families: str) -> bool:
    """Whether a requirement of the profile is of one of these families of metrics ("privacy.")."""
    return any(each.metric.startswith(families) for each in inputs.profile.requirements)


def measures_of(inputs: Inputs) -> tuple[str, ...]:
    """Names of the measures under which losses are kept: the task's own, and those of the profile."""
    named = (each.measure for each in inputs.profile.requirements)
    known = (name for name in named if name in MEASURES or is_own(name))
    return tuple(dict.fromkeys((*KEPT.get(inputs.dataset.task, ()), *known)))


def asked_seconds(inputs: Inputs) -> dict[str, float]:
    """Steps of a variant that the profile asks for, and what each may take, s."""
    return {"losses": 0.1} | {step: seconds for step, (family, seconds) in STEPS.items() if asks(inputs, family)}


@dataclass
class Asked:
    """What requirements ask for beyond predictions and measurements; what models share is computed once."""

    work: Work

    def __post_init__(self) -> None:
        self._inputs, self._run = self.work.inputs, self.work.run
        self._seed = self._inputs.profile.measure.seed

    def first(self) -> None:
        """Faults of the data, and what concerns the reference alone, before any variant is run."""
        self.work.step("dataset/checks", DataRecord, lambda: look(self._inputs.as_loaded, self._inputs.profile))
        if self._asks("privacy."):
            self.work.step("model/membership", MembershipRecord, self._reference_membership)
        self.work.step("model/losses", LOSSES, lambda: self._losses(self._inputs.reference_predictions))
        if self._asks("slices."):
            self.work.step("dataset/found_columns", COLUMNS, self._found_columns)

    def of(self, device: Device, name: str, digest: str) -> None:
        """What requirements ask of the variant `name`, which is deployed, once its predictions are known."""
        said = self._run.get_optional(f"predictions/{name}", PredictionRecord)
        self.work.step(f"losses/{name}", LOSSES, lambda: self._losses(said))
        if self._asks("privacy."):
            self.work.step(f"membership/{name}", MembershipRecord, lambda: self._membership(device, name, digest))
        if self._asks("explanation."):
            self.work.step(f"explanation/{name}", ExplanationRecord, lambda: self._explanation(digest))

    def _asks(self, *families: str) -> bool:
        return asks(self._inputs, *families)

    def _losses(self, predictions: PredictionRecord | None) -> dict[str, LossRecord] | None:
        if predictions is None:
            return None
        inputs, folder = self._inputs, Path(self._inputs.profile.path).parent
        data, reference = inputs.dataset.test.record, inputs.reference_predictions
        return losses_of(data, reference, predictions, measures_of(inputs), folder=folder)

    def _found_columns(self) -> dict[str, ColumnRecord] | None:
        """Clusters of what the reference computes of each row, where nobody described the rows by columns."""
        inputs = self._inputs
        data, said = inputs.dataset.test.record, inputs.reference_predictions
        if data.columns or data.numbers:
            return None
        rows, output = inputs.dataset.test.inputs, inputs.dataset.output_name
        found = embed(inputs.converted.data, rows, output, progress=self.work.progress)
        return cluster_columns(said.scores if found is None else found, said.decisions, data.classes, self._seed)

    def _explanation(self, digest: str) -> ExplanationRecord | None:
        inputs, data = self._inputs, self._run.objects.get(digest)
        return explanation(inputs.converted.data, data, digest, inputs.dataset, self._seed, self.work.progress)

    @cached_property
    def _members(self) -> DatasetPart | None:
        return members_of(self._inputs.dataset, self._seed)

    @cached_property
    def _reference_scores(self) -> Float32Array | None:
        """The reference's scores on the members."""
        if self._members is None:
            return None
        inputs = self._inputs
        return host_scores(inputs.converted.data, self._members, inputs.dataset.output_name, self.work.progress)

    def _reference_membership(self) -> MembershipRecord | None:
        if self._members is None or self._reference_scores is None:
            return None
        inputs = self._inputs
        return membership(
            inputs.dataset, self._members, self._reference_scores, inputs.reference_predictions, self._seed
        )

    def _membership(self, device: Device, name: str, digest: str) -> MembershipRecord | None:
        predictions = self._run.get_optional(f"predictions/{name}", PredictionRecord)
        if predictions is None or self._members is None or self._reference_scores is None:
            return None
        scores = device_scores(device, digest, self._members, self._inputs.dataset.output_name, self.work.progress)
        reference = self._reference_scores, self._inputs.reference_predictions
        return membership(self._inputs.dataset, self._members, scores, predictions, self._seed, reference)
