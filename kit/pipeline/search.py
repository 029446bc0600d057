"""A search for the cheapest variant that meets a profile: what it is given, and what other rows say of its choice."""

import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kit.device import open_device
from kit.errors import UsageError
from kit.judge.choice import cost_of
from kit.judge.gaps import BY_ROWS, Untested
from kit.model.feeds import as_feeds
from kit.model.predict import predict_on_host
from kit.model.quantize import Variant, VariantMaker
from kit.model.search import Budget, Evaluation, SearchOutcome, Selection, search
from kit.model.search.front import choose, worst_excess
from kit.model.session import HostSession, score_output
from kit.pipeline.checks import check_cost, check_slices
from kit.pipeline.material import Material
from kit.pipeline.objective import Yardstick, not_estimated, other_gaps
from kit.pipeline.search_folder import SearchFolder
from kit.pipeline.search_trust import Trust
from kit.pipeline.selection import Rows, rows_of, strata_of
from kit.pipeline.target import Bench, DeviceBench, HostBench, host_target
from kit.pipeline.watcher import Watcher, waiting_for
from kit.records import Arithmetic, DeviceRecord, Finding, SearchGap, SearchPoint, SearchRecord, Verdict
from kit.spec.types import Dataset, Metric, Profile
from kit.stats.gap import is_met

SearchVerdict = Literal["met", "untested", "unconfirmed", "contradicted", "nothing meets it", "not known"]
"""met: within every limit on the selection rows, and on the others. untested: so too, but a slice has too few rows to
tell. unconfirmed: on the others an estimate is beyond its limit. contradicted: one is so with confidence. nothing meets
it: no variant does on the selection rows. not known: none was evaluated within the budget."""

EXIT_CODES: dict[SearchVerdict, int] = {
    "met": 0, "untested": 3, "unconfirmed": 3, "contradicted": 1, "nothing meets it": 1, "not known": 3,
}  # fmt: skip

ON_HOST: tuple[Metric, ...] = (*BY_ROWS, "model.size", "numerics.processor_flips")
"""What can be estimated without a device."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A search's inputs, read and checked. `notes` say what was decided for the user."""

    material: Material
    profile: Profile
    dataset: Dataset
    rows: Rows
    seed: int
    arithmetic: Arithmetic | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A finished search: its record, and what the other rows say of the chosen variant, with intervals.

    `device` is None where this host alone was used; `not_estimated` names requirements that nothing here could tell of,
    `not_tested` slices with too few rows among those that choose or those that confirm.
    """

    asked: Asked
    record: SearchRecord
    verdict: SearchVerdict
    confirmation: tuple[Finding, ...]
    target: str
    device: DeviceRecord | None
    not_estimated: tuple[str, ...]
    not_tested: tuple[Untested, ...] = ()


def read_search(material: Material, seed: int, arithmetic: Arithmetic | None) -> Asked:
    """Check that there is all that a search needs.

    Raises:
        UsageError: no profile, no labelled manifest, no calibration part, too few clusters, or a requirement on a
            column that is not there.
    """
    profile, dataset = material.profile, material.dataset
    if profile is None or dataset is None:
        missing = "--profile" if profile is None else "--data with labels: a dataset manifest"
        raise UsageError(
            f"a search needs {missing}", next_step="it looks for the cheapest variant that meets a profile"
        )
    if material.feeds is None:
        raise UsageError(
            f"a search makes int8 variants, and dataset {dataset.name} has no calibration part",
            where=dataset.path,
            next_step='add a [[part]] with role = "calibration"',
        )
    if arithmetic and material.spec:
        raise UsageError(
            "--arithmetic is for a device that is not here", next_step="leave it out: the device itself computes"
        )
    check_slices(profile, dataset)
    _check_estimable(profile, material)
    rows, notes = rows_of(dataset, seed), list[str]()
    if material.spec is not None:
        check_cost(profile, material.spec)
    if profile.cheapest_by != "size" and (material.spec is None or not material.spec.timing_is_real):
        notes.append(f"the profile picks the cheapest by {profile.cheapest_by}, which no device here can tell: by size")
        profile = replace(profile, cheapest_by="size")
    if dataset.selection is None:
        notes.append(HALVED)
    return Asked(material, profile, dataset, rows, seed, arithmetic, tuple(notes))


HALVED = "half of the test part chose the variant: certify it on other rows, or add a selection part"


def _check_estimable(profile: Profile, material: Material) -> None:
    """Refuse a profile of which nothing can be estimated here: everything would seem to meet it."""
    asked = [each.metric for each in profile.requirements]
    if material.spec is None and not any(metric in ON_HOST for metric in asked):
        raise UsageError(
            f"nothing that profile {profile.name} requires can be estimated without a device: "
            f"{', '.join(dict.fromkeys(asked)) or 'it requires nothing'}",
            where=profile.path,
            next_step="require an accuracy.drop or a model.size of it, or give --device",
        )


@contextmanager
def opened_bench(asked: Asked, watcher: Watcher) -> Iterator[Bench]:
    """The attached device, or this host in the arithmetic that was asked for."""
    spec, output = asked.material.spec, asked.dataset.output_name
    everywhere = any(each.metric == "numerics.processor_flips" for each in asked.profile.requirements)
    if spec is None:
        yield HostBench(host_target(asked.arithmetic, everywhere=everywhere), output)
        return
    watcher.start(waiting_for(spec))
    with closing(open_device(spec)) as device:
        yield DeviceBench(device, spec, output, everywhere=everywhere)


@dataclass(slots=True)
class Evaluator:
    """Scores a variant on every selection row, where it is meant to run, and takes its cost."""

    bench: Bench
    yardstick: Yardstick
    share: float
    not_estimated: tuple[str, ...] = ()

    def __call__(self, variant: Variant) -> Evaluation:
        """See `kit.model.search.base.Evaluate`."""
        on = self.yardstick
        evidence = self.bench.evidence(variant, on.part, on.profile)
        assert evidence.predictions is not None
        found = on.findings(evidence, self.bench.device, self.bench.spec)
        self.not_estimated = not_estimated(on.profile, found)
        rows = np.arange(on.part.record.rows)
        gaps = (*on.row_gaps(self.share)(evidence.predictions.decisions, rows), *other_gaps(found, evidence, len(rows)))
        cost, unit = cost_of(evidence, on.profile)
        latency_s, _ = cost_of(evidence, replace(on.profile, cheapest_by="latency"))
        energy_j, _ = cost_of(evidence, replace(on.profile, cheapest_by="energy"))
        return Evaluation(evidence.predictions.scores, gaps, cost, unit, _known(latency_s), _known(energy_j))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


class Phases:
    """Tells a watcher of the search's phases as steps."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher, self._phase = watcher, ""

    def __call__(self, phase: str, done: int, total: int) -> None:
        """`done` of `total` in a phase."""
        if phase != self._phase:
            self.end()
            self._phase = phase
            self._watcher.start(phase)
        self._watcher.update(done, total)

    def end(self) -> None:
        """The phase is over."""
        if self._phase:
            self._watcher.finish(self._phase)
        self._phase = ""


EXPECTED_S = {"reference": 2.0, "treatments": 6.0, "nodes": 5.0, "evaluations": 6.0, "confirmation": 1.0}
"""The steps, and what each may take, s: only their proportions matter."""


def run_search(asked: Asked, folder: SearchFolder, budget: Budget, watcher: Watcher) -> Found:
    """Search, keep every point in `folder` as it is found, and confirm the choice on the other rows.

    Raises:
        EdgeproofError: a variant cannot be made or scored, or the device fails; what was found is in the folder.
    """
    watcher.start("reference")
    selection, confirmation = _yardsticks(asked)
    watcher.finish("reference")
    untested = _untested(asked, (selection, confirmation))
    material, phases = asked.material, Phases(watcher)
    with opened_bench(asked, watcher) as bench:
        evaluator = Evaluator(bench, selection, asked.rows.share)
        stated = frozenset(each.id for each in asked.profile.requirements if each.metric in ON_HOST)
        trust = Trust(folder, material.reference, evaluator, stated)
        known = trust.known()
        outcome = search(
            VariantMaker(material.reference, material.feeds, material.calibration_digest),
            selection_of(asked, selection),
            evaluator,
            bench.target,
            budget,
            asked.seed,
            phases,
            folder.remember,
            known,
        )
        outcome = trust.settled(outcome)
        phases.end()
        confirmed = Confirmation((), ())
        if outcome.chosen is not None:
            watcher.start("confirmation")
            point = outcome.points[outcome.chosen]
            confirmed = _confirmed(asked, confirmation, Variant(folder.data_of(point), point.variant), bench)
            watcher.finish("confirmation")
        return Found(
            asked=asked,
            record=_record(asked, outcome, confirmed, bench),
            verdict=_verdict(outcome, confirmed, untested),
            confirmation=confirmed.findings,
            target=bench.target.described,
            device=bench.device if bench.is_device else None,
            not_estimated=evaluator.not_estimated,
            not_tested=untested,
        )


def _untested(asked: Asked, yardsticks: tuple[Yardstick, Yardstick]) -> tuple[Untested, ...]:
    """Each slice once: as it is on the rows that choose, else as on those that confirm."""
    shares = asked.rows.share, _confirming_share(asked)
    each = [
        untested for on, share in zip(yardsticks, shares, strict=True) for untested in on.row_gaps(share).untested()
    ]
    return tuple({(one.requirement, one.subject): one for one in reversed(each)}.values())[::-1]


def _confirming_share(asked: Asked) -> float:
    return 1.0 if asked.dataset.selection is not None else 1.0 - asked.rows.share


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The chosen variant on the other rows: gaps as the search counts them, and findings with their intervals."""

    gaps: tuple[SearchGap, ...]
    findings: tuple[Finding, ...]


def _confirmed(asked: Asked, on: Yardstick, variant: Variant, bench: Bench) -> Confirmation:
    """By what rows can tell: size and times were told already."""
    told = (*BY_ROWS, "numerics.processor_flips")
    requirements = tuple(each for each in asked.profile.requirements if each.metric in told)
    on = replace(on, profile=replace(asked.profile, requirements=requirements, cheapest_by="size"))
    evidence = bench.evidence(variant, on.part, on.profile)
    assert evidence.predictions is not None
    found = on.findings(evidence, bench.device, bench.spec)
    rows = np.arange(on.part.record.rows)
    gaps = (
        *on.row_gaps(_confirming_share(asked))(evidence.predictions.decisions, rows),
        *other_gaps(found, evidence, len(rows)),
    )
    return Confirmation(gaps, found)


def _verdict(outcome: SearchOutcome, confirmed: Confirmation, untested: tuple[Untested, ...] = ()) -> SearchVerdict:
    if outcome.chosen is None:
        return "nothing meets it" if outcome.points else "not known"
    if any(each.verdict is Verdict.FAIL for each in confirmed.findings):
        return "contradicted"
    if not all(is_met(gap) for gap in confirmed.gaps):
        return "unconfirmed"
    return "untested" if untested or not outcome.points[outcome.chosen].gaps else "met"


def _record(asked: Asked, outcome: SearchOutcome, confirmed: Confirmation, bench: Bench) -> SearchRecord:
    return SearchRecord(
        reference_digest=asked.material.reference.record.digest,
        profile_digest=asked.profile.digest,
        dataset_digest=asked.dataset.digest,
        seed=asked.seed,
        arithmetic=bench.target.arithmetic,
        selection_rows=asked.rows.selection.record.rows,
        confirmation_rows=asked.rows.confirmation.record.rows,
        points=outcome.points,
        front=outcome.front,
        chosen=outcome.chosen,
        why=outcome.why,
        confirmation=confirmed.gaps,
        full_evaluations=outcome.full_evaluations,
        partial_rows=outcome.partial_rows,
        quantizer_calls=outcome.quantizer_calls,
        seconds=outcome.seconds,
        stopped=outcome.stopped,
    )


def best_so_far(points: tuple[SearchPoint, ...]) -> int | None:
    """The number of the point that would be chosen now, or of the nearest; None without any."""
    chosen, _ = choose(points)
    nearest = min(range(len(points)), key=lambda index: worst_excess(points[index].gaps), default=None)
    return nearest if chosen is None else chosen


def _yardsticks(asked: Asked) -> tuple[Yardstick, Yardstick]:
    """The reference on the selection rows and on the rows that confirm; it runs in a limited process."""
    reference, parts = asked.material.reference, (asked.rows.selection, asked.rows.confirmation)
    first, second = (
        Yardstick(
            asked.profile, part, reference.record, predict_on_host(reference.data, replace(asked.dataset, test=part))
        )
        for part in parts
    )
    return first, second


def selection_of(asked: Asked, yardstick: Yardstick) -> Selection:
    """The selection rows as a search takes them."""
    reference, part = asked.material.reference, yardstick.part
    return Selection(
        feeds=as_feeds(part.inputs, reference.record.inputs),
        output=score_output(HostSession(reference.data).outputs, asked.dataset.output_name),
        labels=part.record.labels,
        reference=yardstick.predictions.scores,
        strata=strata_of(part.record, asked.profile),
        objective=yardstick.row_gaps(asked.rows.share),
    )
