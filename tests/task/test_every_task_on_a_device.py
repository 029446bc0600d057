"""A real tiny model of each task: by this host as reference, on the local device as variant, then judged."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from kit.device import open_device
from kit.device.base import Device
from kit.errors import MeasurementError, ModelError
from kit.judge.agreement import judge_flips
from kit.judge.base import Case
from kit.judge.quality import judge_quality
from kit.judge.wellformed_answers import check_dataset, check_losses, check_predictions
from kit.measure.losses import losses_of
from kit.measure.predictions import predict_part
from kit.model.predict import predict_on_host
from kit.records import Evidence, PredictionRecord, Verdict
from kit.spec.measures import MEASURES
from kit.spec.types import Dataset, Requirement
from tests import builders
from tests import device_kit as kits
from tests.task.nets import PLANS, Plan

SPEC = kits.device_spec()


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    opened = open_device(SPEC)
    yield opened
    opened.close()


def case(dataset: Dataset, reference: PredictionRecord, optimized: PredictionRecord, asked: Requirement) -> Case:
    plain = builders.evidence((builders.FP32, builders.INT8_REDUCED), rows=200)
    evidence: Evidence = replace(plain, dataset=dataset.test.record, reference_predictions=reference)
    variant = replace(plain.variants[1], predictions=optimized)
    return Case(asked, variant, evidence, builders.profile(), builders.device())


@pytest.fixture(scope="module", params=PLANS, ids=[plan.task for plan in PLANS])
def prepared(request: pytest.FixtureRequest) -> tuple[Plan, Dataset, PredictionRecord]:
    return request.param, *request.param.dataset()


def test_predicted_and_judged(device: Device, prepared: tuple[Plan, Dataset, PredictionRecord]) -> None:
    plan, dataset, reference = prepared
    record = dataset.test.record
    check_dataset(record)
    digest = device.deploy(plan.model(0.003))
    optimized = predict_part(device, digest, dataset.test, output=None, exact=False, spec=SPEC, reading=dataset.output)
    for each in (reference, optimized):
        check_predictions(each, record, "here")
    measures = [name for name, rule in MEASURES.items() if record.task in rule.tasks]
    losses = losses_of(record, reference, optimized, measures)
    for name, rule in ((name, MEASURES[name]) for name in measures):
        check_losses(losses[name], record, "here")
        largest = None if rule.has_end else 8.0
        asked = Requirement("r", "quality.loss", "at_most", 5.0, "5", 0.95, measure=name, largest=largest)
        (found,) = judge_quality(case(dataset, reference, optimized, asked))
        assert found.verdict is Verdict.PASS, found.reason
        assert found.estimate is not None
        assert found.lower is not None
        assert found.upper is not None
        assert found.lower <= found.estimate <= found.upper
        asked = Requirement("r", "quality.loss", "at_most", -5.0, "-5", 0.95, measure=name, largest=largest)
        (other,) = judge_quality(case(dataset, reference, optimized, asked))
        assert other.verdict is Verdict.FAIL, other.reason
        assert found.unit == ("points" if rule.kind == "share" else "1")
    asked = Requirement("r", "agreement.flips", "at_most", 1.0, "100 %", 0.95)
    (found,) = judge_flips(case(dataset, reference, optimized, asked))
    if record.task in ("regression", "embedding", "detection"):
        assert (found.obtained, found.verdict) == ("absent", Verdict.INCONCLUSIVE)
        assert "quality.loss" in found.need
    else:
        assert found.verdict is Verdict.PASS
        assert found.details["flips_to_right"] == 0.0


def test_the_same_model_answers_the_same_on_host_and_device(
    device: Device, prepared: tuple[Plan, Dataset, PredictionRecord]
) -> None:
    plan, dataset, host = prepared
    there = predict_part(
        device, device.deploy(plan.model(0.0)), dataset.test, output=None, exact=False, spec=SPEC,
        reading=dataset.output,
    )  # fmt: skip
    np.testing.assert_array_equal(host.scores, there.scores)
    np.testing.assert_array_equal(host.decisions, there.decisions)
    assert (host.items is None) == (there.items is None)
    if host.items is not None and there.items is not None:
        np.testing.assert_array_equal(host.items.values, there.items.values)
        np.testing.assert_array_equal(host.items.offsets, there.items.offsets)


def test_boxes_differ_in_number_from_row_to_row() -> None:
    items = PLANS[-1].dataset()[1].items
    assert items is not None
    counts = np.diff(items.offsets)
    assert counts.min() < counts.max() <= 5
    assert (items.values[:, 2] >= items.values[:, 0]).all()


def test_outputs_that_do_not_fit_are_refused_by_host_and_device(device: Device) -> None:
    plan = replace(PLANS[4], classes=3)
    dataset, _ = PLANS[4].dataset()
    record = replace(dataset.test.record, classes=("a", "b", "c", "d"))
    wrong = replace(dataset, test=replace(dataset.test, record=record), classes=record.classes)
    data = plan.model(0.0)
    with pytest.raises(ModelError, match="no whole number of steps of 5 classes"):
        predict_on_host(data, wrong)
    with pytest.raises(MeasurementError, match="no whole number of steps of 5 classes"):
        predict_part(
            device, device.deploy(data), wrong.test, output=None, exact=False, spec=SPEC, reading=wrong.output
        )  # fmt: skip
