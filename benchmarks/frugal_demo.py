"""The wearable example's network, its held-out windows and its profile: rows until the verdict, in many random orders.

Every window is decided once by the reference and by its int8 variant on this host; a run is then one random order of
the windows, followed by what follows a device. The peer is all rows; beside it stands the fixed size that a test needs
where 6 % of decisions flip and windows of a recording are as alike as the profile's floor says.
"""

import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.table import Row
from kit.judge.base import Case
from kit.judge.follow import Follow
from kit.judge.frugal import judge_sample
from kit.judge.sampled import SAMPLED
from kit.model.load import load_onnx
from kit.model.predict import predict_on_host
from kit.model.quantize import make_variant
from kit.model.twin import host_twin
from kit.pipeline.target import this_host
from kit.records import Evidence, PredictionRecord, SampleRecord, VariantEvidence, Verdict
from kit.spec.dataset import load_dataset
from kit.spec.profile import load_profile
from kit.spec.recipe import BASES
from kit.spec.types import DeviceSpec
from kit.stats.orders import next_look, random_order
from kit.stats.special import normal_quantile

ROOT = Path(__file__).resolve().parents[1]
RECIPE = "int8-per-channel-reduced"
DEVICE = DeviceSpec("replayed", "", "", "", "subprocess:")


def demo_rows(runs: int) -> list[Row]:
    """Median rows until the accuracy requirement of the profile is decided, with a twin and without."""
    case, device, twin = _case()
    total, found = case.evidence.dataset.rows, list[Row]()
    for name, beside, goal in (("", None, 0.2), (", with a twin", twin, 1.0)):
        samples = [_until_decided(case, device, beside, seed) for seed in range(runs)]
        rows = np.array([len(each.order) for each in samples])
        verdicts = [judge_sample(_with(case, each))[0].verdict for each in samples[: max(1, runs // 5)]]
        passed = sum(each is Verdict.PASS for each in verdicts) / len(verdicts)
        flips = int((device.decisions != case.evidence.reference_predictions.decisions).sum())
        note = f"90th percentile {np.quantile(rows, 0.9):,.0f}; PASS {passed:.2f}; {flips} of the decisions changed; "
        note += f"a fixed size for 6 % flips {_fixed_size(case):,}"
        what = f"demo, {case.requirement.limit_text}{name}"
        found.append(Row(what, float(np.median(rows)), "all rows", float(total), "rows", goal, note=note))
    return found


def _fixed_size(case: Case) -> int:
    """Rows n = independent rows x design effect of n rows, which fall on the recordings as they may: alpha 5 %."""
    independent = (normal_quantile(0.95) + normal_quantile(0.9)) ** 2 * 0.06 / case.requirement.limit**2
    clusters, floor = len(np.unique(case.evidence.dataset.cluster)), case.profile.icc_floor
    return math.ceil(independent * (1 - floor) / (1 - floor * independent / clusters))


def _case() -> tuple[Case, PredictionRecord, PredictionRecord]:
    """The profile's first requirement on accuracy; what the variant decides as a device runs it; and its twin."""
    from examples.watch import prepare

    with tempfile.TemporaryDirectory() as temporary:
        try:
            prepare.prepare(Path(temporary))
        except ModuleNotFoundError as error:
            sys.exit(f"{error.name} is not installed; next: make setup")
        dataset = load_dataset(Path(temporary) / "watch.toml")
    reference = load_onnx(ROOT / "examples" / "watch" / "watch-cnn.onnx")
    assert dataset.calibration is not None
    rows = dataset.calibration
    variant = make_variant(reference, BASES[RECIPE], rows.inputs, rows.record.data_digest)
    device, twin = predict_on_host(variant.data, dataset), host_twin(variant.data, dataset, saturating=False)
    assert twin is not None
    profile = load_profile("wearable")
    asked = next(each for each in profile.requirements if each.metric in SAMPLED and not each.by)
    evidence = Evidence(
        reference.record, None, reference.record, predict_on_host(reference.data, dataset), dataset.test.record,
        this_host(), (),
    )  # fmt: skip
    seen = VariantEvidence(variant.record, None, None, None, None, None, None)
    return Case(asked, seen, evidence, profile, DEVICE), device, twin


def _until_decided(case: Case, device: PredictionRecord, twin: PredictionRecord | None, seed: int) -> SampleRecord:
    order = random_order(case.evidence.dataset.rows, seed)
    count, sample = 0, _sample(device, order[:0], twin, seed)
    follow = Follow([_with(case, sample)])
    while follow(sample).any() and count < len(order):
        count = min(len(order), next_look(count))
        sample = _sample(device, order[:count], twin, seed)
    return sample


def _sample(
    device: PredictionRecord, rows: np.ndarray[tuple[int], np.dtype[np.int64]], twin: PredictionRecord | None, seed: int
) -> SampleRecord:
    return SampleRecord(
        device.model_digest, device.data_digest, DEVICE.name, seed, rows, device.scores[rows], device.decisions[rows],
        "measured", twin, "",
    )  # fmt: skip


def _with(case: Case, sample: SampleRecord) -> Case:
    profile = replace(case.profile, measure=replace(case.profile.measure, seed=sample.seed))
    return replace(case, profile=profile, variant=replace(case.variant, sample=sample))
