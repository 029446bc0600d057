"""The processor that a variant is for, and how a variant is tried in its arithmetic: on this host, or on the device.

On this host sums are exact (what ARM and x86 with VNNI compute) or saturating, as asked: never what this host's own
processor happens to do.
"""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import fields
from typing import Any, Protocol

import numpy as np
import onnx

from kit.device.base import Device, Progress
from kit.errors import ModelError
from kit.measure import measure_energy, measure_latency, measure_memory, predict_part
from kit.meter import open_meter
from kit.model.integer import NotModelledError
from kit.model.quantize import Variant
from kit.model.search import Target, everywhere_bases
from kit.model.session import HostSession, score_output
from kit.model.weights import file_sizes
from kit.pipeline.watched import watched_on
from kit.records import Arithmetic, DeviceRecord, Float32Array, PredictionRecord, VariantEvidence
from kit.spec.types import DatasetPart, DeviceSpec, Metric, OutputSpec, Profile
from kit.task.answers import LISTED, Answers, MisfitError, Outputs, listed_answers, outputs_asked, table_answers

PLAIN = OutputSpec()
_ENERGY_METRICS: tuple[Metric, ...] = ("battery.share", "battery.life")

X86 = ("x86_64", "amd64", "i386", "i686")
EXACT_ON_X86 = ("vnni", "amx_int8")
"""Instruction sets with 32-bit sums of int8 products (Intel SDM, volume 1, chapters on VNNI and AMX)."""

THIS_HOST = DeviceSpec(name="this host", description="", digest="", path="", link="")


def saturates(device: DeviceRecord) -> bool:
    """Whether its int8 kernels add pairs of products in 16 bits, which saturate: x86 without VNNI."""
    if device.architecture.lower() not in X86:
        return False
    return not any(word in name for name in device.instruction_sets for word in EXACT_ON_X86)


def this_host() -> DeviceRecord:
    """This machine, as an agent that runs on it would describe it."""
    from kit.agent.state import identity

    told = identity()
    known: dict[str, Any] = {
        each.name: tuple(value) if isinstance(value := told[each.name], list) else value
        for each in fields(DeviceRecord)
        if each.name in told
    }
    return DeviceRecord(name=THIS_HOST.name, link="", emulated=(), **known)


class Bench(Protocol):
    """Where variants are tried: what the target is, who ran them, and what is obtained of one."""

    target: Target
    spec: DeviceSpec
    device: DeviceRecord
    is_device: bool

    def scores(self, variant: Variant, part: DatasetPart, progress: Progress | None = None) -> Float32Array:
        """Scores float32 [rows, classes] in the target's arithmetic."""
        ...

    def evidence(
        self, variant: Variant, part: DatasetPart, profile: Profile, progress: Progress | None = None
    ) -> VariantEvidence:
        """All that the profile's requirements and its cost need, as far as it can be obtained here."""
        ...


class HostBench:
    """Tries variants on this host, sums exact or saturating as `target` says; obtains no latency, memory or energy.

    `output` names the output that holds the scores, None where there is one alone; `reading` is how outputs are read.
    """

    is_device = False
    spec = THIS_HOST

    def __init__(self, target: Target, output: str | None, reading: OutputSpec = PLAIN) -> None:
        self.target, self.output, self.reading, self.device = target, output, reading, this_host()

    def scores(self, variant: Variant, part: DatasetPart, progress: Progress | None = None) -> Float32Array:
        """See Bench."""
        if self.target.arithmetic == "saturating" and variant.record.saturation.can_saturate:
            return saturating_scores(variant, part, self.output, self.device)
        return HostSession(variant.data, exact=True).predict(part.inputs, self.output, progress)

    def evidence(
        self, variant: Variant, part: DatasetPart, profile: Profile, progress: Progress | None = None
    ) -> VariantEvidence:
        """See Bench."""
        exact = saturating = None
        if part.record.task in LISTED:
            own = exact = self._listed(variant, part, progress)
            return VariantEvidence(variant.record, None, None, None, own, exact, None)
        own = _predictions(variant, part, self.scores(variant, part, progress), self.target.arithmetic)
        if _asks(profile, ("numerics.processor_flips",)):
            scores = HostSession(variant.data, exact=True).predict(part.inputs, self.output)
            exact = _predictions(variant, part, scores, "exact")
            saturating = _saturating(variant, part, self.output, self.device)
        return VariantEvidence(variant.record, None, None, None, own, exact, saturating)

    def _listed(self, variant: Variant, part: DatasetPart, progress: Progress | None) -> PredictionRecord:
        """Answers that are a list a row, sums exact: what saturating sums make of them is not computed."""
        session, names = (
            HostSession(variant.data, exact=True),
            outputs_asked(part.record.task, self.output, self.reading),
        )
        found = [Outputs(*session.every_output(part.inputs, name, progress)) for name in names]
        return _record(
            variant, part, "exact", _fitting(variant, lambda: listed_answers(part.record, self.reading, found))
        )


class DeviceBench:
    """Tries variants on an opened device: its own kernels decide, its own clock times, its meter tells energy."""

    is_device = True

    def __init__(
        self, device: Device, spec: DeviceSpec, output: str | None, *, everywhere: bool = False,
        reading: OutputSpec = PLAIN,
    ) -> None:  # fmt: skip
        self.opened, self.spec, self.output, self.reading = device, spec, output, reading
        self.device = device.identify()
        arithmetic: Arithmetic = "saturating" if saturates(self.device) else "exact"
        words = {"saturating": "x86 without VNNI, whose int8 sums saturate", "exact": "int8 sums are exact"}
        emulated = f", EMULATED: {', '.join(self.device.emulated)}" if self.device.emulated else ""
        bases = everywhere_bases() if everywhere else ()  # the same decisions are asked for on other processors too
        self.target = Target(arithmetic, f"{spec.name} ({words[arithmetic]}{emulated})", bases)

    def scores(self, variant: Variant, part: DatasetPart, progress: Progress | None = None) -> Float32Array:
        """See Bench."""
        return self._predicted(variant, part, exact=False, progress=progress).scores

    def evidence(
        self, variant: Variant, part: DatasetPart, profile: Profile, progress: Progress | None = None
    ) -> VariantEvidence:
        """See Bench."""
        digest, plan, rows = self.opened.deploy(variant.data), profile.measure, part.inputs
        own = self._predicted(variant, part, exact=False, progress=progress)
        exact = saturating = latency = memory = energy = None
        if _asks(profile, ("numerics.processor_flips",)):
            exact = self._predicted(variant, part, exact=True)
            saturating = _saturating(variant, part, self.output, self.device)
        if self.spec.timing_is_real:
            latency = measure_latency(self.opened, self.spec, digest, rows, plan)
        if _asks(profile, ("memory.peak",)):
            memory = measure_memory(self.opened, self.spec, digest, rows, plan, **file_sizes(variant.data))
        if self.spec.meter is not None and (profile.cheapest_by == "energy" or _asks(profile, _ENERGY_METRICS)):
            with closing(open_meter(self.spec.meter, watched_on(self.opened))) as meter:
                energy = measure_energy(self.opened, meter, digest, rows, plan)
        return VariantEvidence(variant.record, latency, memory, energy, own, exact, saturating)

    def _predicted(
        self, variant: Variant, part: DatasetPart, *, exact: bool, progress: Progress | None = None
    ) -> PredictionRecord:
        digest = self.opened.deploy(variant.data)
        return predict_part(
            self.opened, digest, part, output=self.output, exact=exact, spec=self.spec, progress=progress,
            reading=self.reading,
        )  # fmt: skip


def host_target(arithmetic: Arithmetic | None, *, everywhere: bool) -> Target:
    """The target where no device is named: `arithmetic` if it is asked for; saturating if the variant must decide the
    same `everywhere`, since what holds there without saturating holds on every processor; else exact.
    """
    if arithmetic == "saturating":
        return Target("saturating", "x86 without VNNI, whose int8 sums saturate, computed")
    if arithmetic is None and everywhere:
        words = "any processor, since the profile asks for the same decisions on all: int8 sums that may saturate"
        return Target("saturating", words)
    return Target("exact", "exact int8 sums (ARM, x86 with VNNI)")


def saturating_scores(variant: Variant, part: DatasetPart, output: str | None, host: DeviceRecord) -> Float32Array:
    """What x86 without VNNI would score, computed; by this host's own kernels where it is one and no model is known.

    Raises:
        ModelError: an operator's saturating arithmetic is not modelled, and this host does not saturate.
    """
    from kit.model.fused import predict_on_saturating_x86

    proto = onnx.ModelProto.FromString(variant.data)
    name = score_output(HostSession(variant.data).outputs, output)
    kept = [each for each in proto.graph.output if each.name == name]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    try:
        return np.asarray(predict_on_saturating_x86(proto, part.inputs).outputs, dtype=np.float32)
    except NotModelledError as error:
        if saturates(host):
            return HostSession(variant.data).predict(part.inputs, output)
        raise ModelError(
            f"what x86 without VNNI computes of it is not known: {error.what}",
            where=variant.record.model.name,
            next_step="give --device with such a processor, or a recipe with reduced range (int8-per-channel-reduced)",
        ) from None


def _saturating(variant: Variant, part: DatasetPart, output: str | None, host: DeviceRecord) -> PredictionRecord | None:
    """The computed predictions for what can saturate; None where nothing can or it cannot be computed."""
    if not variant.record.saturation.can_saturate or part.record.task in LISTED:
        return None
    try:
        return _predictions(variant, part, saturating_scores(variant, part, output, host), "saturating")
    except ModelError:
        return None


def _asks(profile: Profile, metrics: Iterable[Metric]) -> bool:
    return any(asked.metric in metrics for asked in profile.requirements)


def _predictions(variant: Variant, part: DatasetPart, scores: Float32Array, arithmetic: Arithmetic) -> PredictionRecord:
    return _record(variant, part, arithmetic, _fitting(variant, lambda: table_answers(part.record, scores)))


def _fitting(variant: Variant, answers: Callable[[], Answers]) -> Answers:
    try:
        return answers()
    except MisfitError as error:
        where = f"{variant.record.model.name} {error.where}".strip()
        raise ModelError(error.what, where=where, next_step=error.next_step) from None


def _record(variant: Variant, part: DatasetPart, arithmetic: Arithmetic, answers: Answers) -> PredictionRecord:
    return PredictionRecord(
        model_digest=variant.record.model.digest,
        data_digest=part.record.data_digest,
        where="host",
        arithmetic=arithmetic,
        scores=answers.scores,
        decisions=answers.decisions,
        items=answers.items,
        obtained="computed" if arithmetic == "saturating" else "measured",
    )
