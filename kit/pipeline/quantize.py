"""Recipes to variant files, each with what it keeps and costs: estimates by the judge's formulas, on host or device.

What is found here informs; a verdict with confidence, on the device, is what certify gives.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from kit.device import Device, open_device
from kit.errors import ConversionError, DeviceError, LinkError, MeasurementError
from kit.judge.gaps import BY_ROWS, Untested, gap_of
from kit.measure import measure_latency
from kit.model.convert.verify import Comparison, compare, deciding_output
from kit.model.feeds import Feeds, as_feeds, row_count
from kit.model.predict import predict_on_host
from kit.model.quantize import Variant, VariantMaker
from kit.model.rehearse import predict_limited
from kit.model.session import HostSession
from kit.pipeline.material import Material
from kit.pipeline.objective import Yardstick, not_estimated, other_gaps
from kit.pipeline.target import PLAIN, Bench, DeviceBench, HostBench, host_target
from kit.pipeline.watcher import Watcher, waiting_for
from kit.records import DeviceRecord, Finding, ModelRecord, SearchGap, VariantRecord
from kit.spec import load_device
from kit.spec.measures import USUAL_MEASURES
from kit.spec.types import Dataset, DeviceSpec, MeasurePlan, Profile, Requirement
from kit.stats.gap import is_met

SLOWER = 1.05
"""A median that is longer than its parent's by less is not called slower: two runs differ by as much."""

QUICK = MeasurePlan(latency_inferences=300, latency_min_s=0.3)
CONFIDENCE = 0.95
State = Literal["met", "not met", "not shown"]
"""Of a profile, by estimates. not shown: nothing seen is beyond a limit, but a slice has too few rows to tell, or
only a proof passes and there is none."""

DROP, SLICES, FLIPS = "(accuracy)", "(slices)", "(processor)"
"""What is looked at whatever the profile asks; a profile's own requirements cannot have such names."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a variant loses on labelled rows, as findings of the judge and as gaps against the profile.

    drop: on all rows; slices: on each slice; flips: decisions that depend on the processor. `state` is None without a
    profile; `not_estimated` names requirements that only a device or a meter can tell of, `not_tested` slices with too
    few rows.
    """

    drop: Finding
    slices: tuple[Finding, ...]
    flips: Finding
    requirements: tuple[Finding, ...] = ()
    gaps: tuple[SearchGap, ...] = ()
    not_estimated: tuple[str, ...] = ()
    not_tested: tuple[Untested, ...] = ()
    state: State | None = None

    @property
    def unproved(self) -> tuple[SearchGap, ...]:
        """Gaps that no row showed: a decision may depend on the processor, and only a proof from the weights passes."""
        flips = {
            (each.requirement, each.subject)
            for each in self.requirements
            if each.metric == "numerics.processor_flips" and each.estimate == 0.0
        }
        return tuple(gap for gap in self.gaps if (gap.requirement, gap.subject) in flips and not is_met(gap))

    @property
    def worst_slice(self) -> Finding | None:
        """The slice that loses most, of those with rows enough."""
        tested = [each for each in self.slices if not each.reason.startswith("NOT TESTED")]
        return max(tested, key=lambda each: each.estimate or 0.0, default=None)


@dataclass(frozen=True, slots=True)
class Made:
    """A variant with what is known of it; medians are of one inference, in s, None where they were not measured."""

    variant: Variant = field(repr=False)
    assessment: Assessment | None
    agreement: Comparison | None
    latency_s: float | None
    parent_latency_s: float | None

    @property
    def record(self) -> VariantRecord:
        """The variant's record."""
        return self.variant.record

    @property
    def is_larger(self) -> bool:
        """Whether its file is no smaller than its parent's."""
        return self.record.model.size_bytes >= (self.record.parent_size_bytes or 0)

    @property
    def is_slower(self) -> bool:
        """Whether its median is longer than its parent's by more than `SLOWER`."""
        return bool(self.latency_s and self.parent_latency_s and self.latency_s > SLOWER * self.parent_latency_s)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that was made, and why the rest was not; `device` is None where this host alone was used."""

    reference: ModelRecord
    material: Material
    target: str
    device: DeviceRecord | None
    variants: tuple[Made, ...]
    not_made: Mapping[str, str]


def expected_seconds(material: Material) -> dict[str, float]:
    """The steps and what each may take, s: for the estimate of the time left only."""
    each = {"make": 2.0, "assess": 3.0, "time": 1.0}
    steps = {f"{kind} {recipe.name}": seconds for recipe in material.recipes for kind, seconds in each.items()}
    return {"reference": 2.0} | steps


def quantize(material: Material, watcher: Watcher) -> Outcome:
    """Make every recipe, and look at what each keeps and costs.

    Raises:
        ConversionError: none of the recipes can be applied to this model.
        DeviceError, LinkError: the device failed.
        ModelError: the model cannot be run on the rows.
    """
    watcher.start("reference")
    yardstick = _yardstick(material)
    watcher.finish("reference")
    variants, not_made = _variants(material, watcher)
    with _bench(material, watcher) as bench, _stopwatch(material, bench) as stopwatch:
        parent_s = stopwatch.median_s(material.reference.data) if stopwatch else None
        made = tuple(_made(material, each, yardstick, bench, (stopwatch, parent_s), watcher) for each in variants)
        device = bench.device if bench.is_device else None
        return Outcome(material.reference.record, material, bench.target.described, device, made, not_made)


def _yardstick(material: Material) -> Yardstick | None:
    """The labelled rows and the reference on them; None where there are no labels. It runs in a limited process."""
    dataset, reference = material.dataset, material.reference
    if dataset is None:
        feeds, record = material.feeds, reference.record
        if feeds is not None and len(feeds) == 1 and deciding_output(record.outputs, None):
            predict_limited(reference.data, next(iter(feeds.values())), None)
        return None
    predictions = predict_on_host(reference.data, dataset)
    return Yardstick(_asked(material.profile, dataset), dataset.test, reference.record, predictions)


def _asked(profile: Profile | None, dataset: Dataset) -> Profile:
    """The profile's requirements, and what is looked at anyway."""
    measure = USUAL_MEASURES.get(dataset.task, "")
    drop = Requirement(
        DROP, "quality.loss" if measure else "accuracy.drop", "at_most", 0.0, "", CONFIDENCE, measure=measure
    )
    own = [drop, Requirement(FLIPS, "numerics.processor_flips", "at_most", 0.0, "", CONFIDENCE)]
    if dataset.slice_columns:
        own.append(replace(drop, id=SLICES, by=dataset.slice_columns))
    plain = profile or Profile("", "", "", "", (), (), "size", None, MeasurePlan())
    return replace(plain, requirements=(*plain.requirements, *own))


def _variants(material: Material, watcher: Watcher) -> tuple[list[Variant], dict[str, str]]:
    maker = VariantMaker(material.reference, material.feeds, material.calibration_digest)
    variants, not_made = [], {}
    for recipe in material.recipes:
        watcher.start(f"make {recipe.name}")
        try:
            variants.append(maker.make(recipe, watcher.update))
        except ConversionError as error:
            not_made[recipe.name] = error.what
            if len(material.recipes) == 1:
                raise
        watcher.finish(f"make {recipe.name}")
    if not variants:
        reasons = "; ".join(f"{name}: {why}" for name, why in not_made.items())
        raise ConversionError(f"no recipe can be applied: {reasons}", where=material.reference.record.name)
    return variants, not_made


@contextmanager
def _bench(material: Material, watcher: Watcher) -> Iterator[Bench]:
    """The device, opened, or this host with exact sums."""
    output = material.dataset.output_name if material.dataset else None
    reading = material.dataset.output if material.dataset else PLAIN
    if material.spec is None:
        yield HostBench(host_target(None, everywhere=False), output, reading)
        return
    watcher.start(waiting_for(material.spec))
    with closing(open_device(material.spec)) as device:
        yield DeviceBench(device, material.spec, output, reading=reading)


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Times a model's single inferences on an opened device, on typical rows."""

    device: Device
    spec: DeviceSpec
    rows: Feeds

    def median_s(self, data: bytes) -> float | None:
        """Median of one inference after warm-up, in s; None where it cannot be timed."""
        try:
            digest = self.device.deploy(data)
            record = measure_latency(self.device, self.spec, digest, next(iter(self.rows.values())), QUICK)
        except LinkError:
            raise
        except (DeviceError, MeasurementError):
            return None
        return float(np.median(record.samples_ns[record.warmup_count :])) * 1e-9


@contextmanager
def _stopwatch(material: Material, bench: Bench) -> Iterator[Stopwatch | None]:
    """On the device that is attached, else in an agent on this host; None without rows for the only input."""
    dataset, feeds = material.dataset, material.feeds
    rows = as_feeds(dataset.test.inputs, material.reference.record.inputs) if dataset else feeds
    if rows is None or len(rows) != 1:
        yield None
    elif isinstance(bench, DeviceBench):
        yield Stopwatch(bench.opened, bench.spec, rows) if bench.spec.timing_is_real else None
    else:
        spec = load_device("local")
        with closing(open_device(spec)) as device:
            yield Stopwatch(device, spec, rows)


def _made(
    material: Material,
    variant: Variant,
    yardstick: Yardstick | None,
    bench: Bench,
    timed: tuple[Stopwatch | None, float | None],
    watcher: Watcher,
) -> Made:
    name, (stopwatch, parent_s) = variant.record.recipe.name, timed
    watcher.start(f"assess {name}")
    assessment = _assessed(material, variant, yardstick, bench, watcher) if yardstick else None
    agreement = None if yardstick or material.feeds is None else _agreement(material, variant)
    watcher.finish(f"assess {name}")
    watcher.start(f"time {name}")
    latency_s = stopwatch.median_s(variant.data) if stopwatch else None
    watcher.finish(f"time {name}")
    return Made(variant, assessment, agreement, latency_s, parent_s)


def _assessed(material: Material, variant: Variant, on: Yardstick, bench: Bench, watcher: Watcher) -> Assessment:
    evidence = bench.evidence(variant, on.part, on.profile, watcher.update)
    found = on.findings(evidence, bench.device, bench.spec)
    ours = {name: tuple(each for each in found if each.requirement == name) for name in (DROP, SLICES, FLIPS)}
    (drop,), (flips,) = ours[DROP], ours[FLIPS]
    plain = Assessment(drop, ours[SLICES], flips)
    if material.profile is None or evidence.predictions is None:
        return plain
    rest = tuple(each for each in found if each.requirement not in ours)
    asked = replace(on, profile=material.profile)
    rows = np.arange(on.part.record.rows)
    untested: tuple[Untested, ...] = ()
    if len(on.predictions.decisions):
        of_rows = asked.row_gaps(1.0)
        gaps, untested = of_rows(evidence.predictions.decisions, rows), of_rows.untested()
    else:  # answers that are no class a row are judged as a whole, and not counted again
        gaps = tuple(gap for each in rest if each.metric in BY_ROWS and (gap := gap_of(each)))
    whole = replace(
        plain, requirements=rest, gaps=(*gaps, *other_gaps(rest, evidence, len(rows))),
        not_estimated=not_estimated(material.profile, rest), not_tested=untested,
    )  # fmt: skip
    return replace(whole, state=_state(whole))


def _state(assessment: Assessment) -> State:
    if any(not is_met(gap) for gap in assessment.gaps if gap not in assessment.unproved):
        return "not met"
    return "not shown" if assessment.unproved or assessment.not_tested or not assessment.gaps else "met"


def _agreement(material: Material, variant: Variant) -> Comparison:
    """Reference and variant on the typical rows, sums exact."""
    assert material.feeds is not None
    source = HostSession(material.reference.data).run(material.feeds)
    other = HostSession(variant.data, exact=True).run(material.feeds)
    return compare(source, other, decides=deciding_output(material.reference.record.outputs, None))


def rows_used(material: Material) -> int:
    """Rows that variants were looked at on."""
    if material.dataset is not None:
        return material.dataset.test.record.rows
    return row_count(material.feeds) if material.feeds else 0
