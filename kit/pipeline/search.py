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
from kit.judge.gaps import BY_ROWS, excess, is_met
from kit.model.feeds import as_feeds
from kit.model.predict import predict_on_host
from kit.model.quantize import Variant, VariantMaker
from kit.model.search.base import Budget, Evaluation, Selection
from kit.model.session import HostSession, score_output
from kit.pipeline.checks import check_cost, check_slices
from kit.pipeline.objective import Yardstick, other_gaps
from kit.pipeline.quantize import Material
from kit.pipeline.search_folder import SearchFolder
from kit.pipeline.selection import Rows, rows_of, strata_of
from kit.pipeline.target import Bench, DeviceBench, HostBench, host_target
from kit.pipeline.watcher import Watcher, waiting_for
from kit.records import Arithmetic, DeviceRecord, Finding, SearchGap, SearchPoint, SearchRecord, Verdict
from kit.spec.types import Dataset, Profile

SearchVerdict = Literal["met", "unconfirmed", "contradicted", "nothing meets it"]
"""met: within every limit on the selection rows, and on the others too. unconfirmed: on the others an estimate is beyond
its limit. contradicted: one is beyond it with confidence. nothing meets it: no variant does on the selection rows."""

EXIT_CODES: dict[SearchVerdict, int] = {"met": 0, "unconfirmed": 3, "contradicted": 1, "nothing meets it": 1}


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
    """A finished search: its record, and what the other rows say of the chosen variant, with intervals."""

    record: SearchRecord
    verdict: SearchVerdict
    confirmation: tuple[Finding, ...]
    binding: SearchGap | None
    target: str
    device: DeviceRecord | None
    files: tuple[str, ...]
    rows: str
    notes: tuple[str, ...]


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
    rows, notes = rows_of(dataset, seed), list[str]()
    if material.spec is not None:
        check_cost(profile, material.spec)
    if profile.cheapest_by != "size" and (material.spec is None or not material.spec.timing_is_real):
        notes.append(f"the profile picks the cheapest by {profile.cheapest_by}, which no device here can tell: by size")
        profile = replace(profile, cheapest_by="size")
    if dataset.selection is None:
        notes.append("half of the test part chose the variant: certify it on other rows, or add a selection part")
    return Asked(material, profile, dataset, rows, seed, arithmetic, tuple(notes))


@contextmanager
def opened_bench(asked: Asked, watcher: Watcher) -> Iterator[Bench]:
    """The attached device, or this host in the arithmetic that was asked for."""
    spec, output = asked.material.spec, asked.dataset.output_name
    if spec is None:
        everywhere = any(each.metric == "numerics.processor_flips" for each in asked.profile.requirements)
        yield HostBench(host_target(asked.arithmetic, everywhere=everywhere), output)
        return
    watcher.start(waiting_for(spec))
    with closing(open_device(spec)) as device:
        yield DeviceBench(device, spec, output)


@dataclass(frozen=True, slots=True)
class Evaluator:
    """Scores a variant on every selection row, where it is meant to run, and takes its cost."""

    bench: Bench
    yardstick: Yardstick
    share: float
    watcher: Watcher

    def __call__(self, variant: Variant) -> Evaluation:
        """See `kit.model.search.base.Evaluate`."""
        on = self.yardstick
        evidence = self.bench.evidence(variant, on.part, on.profile, self.watcher.update)
        assert evidence.predictions is not None
        found = on.findings(evidence, self.bench.device, self.bench.spec)
        rows = np.arange(on.part.record.rows)
        gaps = (*on.row_gaps(self.share)(evidence.predictions.decisions, rows), *other_gaps(found, evidence, len(rows)))
        cost, unit = cost_of(evidence, on.profile)
        latency_s, _ = cost_of(evidence, replace(on.profile, cheapest_by="latency"))
        energy_j, _ = cost_of(evidence, replace(on.profile, cheapest_by="energy"))
        return Evaluation(evidence.predictions.scores, gaps, cost, unit, _known(latency_s), _known(energy_j))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def yardsticks(asked: Asked) -> tuple[Yardstick, Yardstick]:
    """The reference on the selection rows and on the rows that confirm; it runs in a limited process."""
    return tuple(  # type: ignore[return-value]
        Yardstick(
            asked.profile, part, asked.material.reference.record, predict_on_host(asked.material.reference.data, d)
        )
        for part in (asked.rows.selection, asked.rows.confirmation)
        for d in (replace(asked.dataset, test=part),)
    )


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
