"""A real tiny model of each task: by this host as reference, on the local device as variant, then judged."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

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
from kit.records import DatasetRecord, Evidence, PredictionRecord, RaggedRecord, ScoreRule, Verdict
from kit.spec.measures import MEASURES
from kit.spec.types import Dataset, DatasetPart, OutputSpec, Requirement
from tests import builders
from tests import device_kit as kits
from tests.task.tables import matrix, ragged

ROWS = 400
SPEC = kits.device_spec()
X = kits.rows(ROWS)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    opened = open_device(SPEC)
    yield opened
    opened.close()


def weights(width: int, noise: float) -> NDArray[np.float32]:
    rng = np.random.default_rng(width)
    w = rng.normal(size=(kits.FEATURES, width))
    return (w + noise * rng.normal(size=w.shape)).astype(np.float32)


def table(width: int, noise: float, *last: str) -> bytes:
    """x @ w, then the operators named."""
    names = ["x", *(f"t{index}" for index in range(len(last))), "scores"]
    nodes = [helper.make_node("MatMul", ["x", "w"], [names[1]])]
    nodes += [helper.make_node(kind, [names[1 + i]], [names[2 + i]]) for i, kind in enumerate(last)]
    return kits.graph_bytes(
        nodes, [kits.tensor("x", ["rows", kits.FEATURES])], [kits.tensor("scores", ["rows", width])],
        {"w": weights(width, noise)},
    )  # fmt: skip


def steps(count: int, classes: int, noise: float) -> bytes:
    """[1, count, classes] of x @ w."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["flat"]), helper.make_node("Reshape", ["flat", "to"], ["y"])]
    constants: dict[str, Any] = {"w": weights(count * classes, noise), "to": np.array([-1, count, classes])}
    return kits.graph_bytes(
        nodes, [kits.tensor("x", ["rows", kits.FEATURES])], [kits.tensor("y", ["rows", count, classes])], constants
    )


def boxes(noise: float) -> bytes:
    """Boxes [1, n, 4], scores [1, n] and classes [1, n]: of five boxes, those whose score is above a half."""
    nodes = [
        helper.make_node("MatMul", ["x", "wb"], ["b"]),
        helper.make_node("Reshape", ["b", "to"], ["all_boxes"]),
        helper.make_node("MatMul", ["x", "ws"], ["s"]),
        helper.make_node("Sigmoid", ["s"], ["all_scores"]),
        helper.make_node("Greater", ["all_scores", "half"], ["good"]),
        helper.make_node("Reshape", ["good", "flat"], ["kept"]),
        helper.make_node("Compress", ["all_boxes", "kept"], ["boxes"], axis=1),
        helper.make_node("Compress", ["all_scores", "kept"], ["conf"], axis=1),
        helper.make_node("Greater", ["conf", "sure"], ["is_sure"]),
        helper.make_node("Cast", ["is_sure"], ["labels"], to=TensorProto.INT64),
    ]
    outputs = [
        kits.tensor("boxes", [1, "n", 4]), kits.tensor("conf", [1, "n"]),
        kits.tensor("labels", [1, "n"], TensorProto.INT64),
    ]  # fmt: skip
    constants: dict[str, Any] = {
        "wb": weights(20, noise), "ws": weights(5, noise), "to": np.array([1, 5, 4]), "flat": np.array([-1]),
        "half": np.float32(0.5), "sure": np.float32(0.9),
    }  # fmt: skip
    return kits.graph_bytes(nodes, [kits.tensor("x", [1, kits.FEATURES])], outputs, constants)


@dataclass
class Plan:
    """A task: its model under some noise of the weights, its classes and how its outputs are read."""

    task: str
    model: Any
    classes: int
    output: OutputSpec = field(default_factory=OutputSpec)
    rule: ScoreRule = field(default_factory=ScoreRule)
    targets: int = 0

    def dataset(self) -> tuple[Dataset, PredictionRecord]:
        """The reference's own answers are the truth: it is right, and the variant nearly."""
        blank = self._with(None, np.zeros(ROWS, np.int64))
        if self.task == "frames":
            blank = self._with(ragged([[0.0] * 6] * ROWS), np.zeros(ROWS, np.int64))
        if self.task in ("regression", "multilabel"):
            blank = self._with(matrix(np.zeros((ROWS, self.targets or self.classes))), np.zeros(ROWS, np.int64))
        said = predict_on_host(self.model(0.0), blank)
        return self._truth(said), said

    def _truth(self, said: PredictionRecord) -> Dataset:
        if self.task == "anomaly":
            return self._with(None, (said.scores[:, 0] > 1).astype(np.int64))
        if said.items is not None:
            values = said.items.values[:, :5] if self.task == "detection" else said.items.values
            return self._with(RaggedRecord(values, said.items.offsets), np.zeros(ROWS, np.int64))
        if self.task in ("regression", "multilabel"):
            truth = said.scores > 0.5 if self.task == "multilabel" else said.scores + 0.5
            return self._with(matrix(truth), np.zeros(ROWS, np.int64))
        return self._with(None, said.decisions if self.task == "classification" else np.zeros(ROWS, np.int64))

    def _with(self, targets: RaggedRecord | None, labels: NDArray[np.int64]) -> Dataset:
        record = DatasetRecord(
            name="d", digest=builders.digest_of("d"), data_digest=builders.digest_of("e"), rows=ROWS,
            classes=tuple(f"c{i}" for i in range(self.classes)), labels=labels, cluster_column=None,
            cluster=np.arange(ROWS), columns={}, task=self.task, targets=targets, scores=self.rule,  # type: ignore[arg-type]
        )  # fmt: skip
        part = DatasetPart("test", X, record)
        return Dataset(
            "d", "", builders.digest_of("m"), "d.toml", record.task, record.classes, (), None, part, None,
            output=self.output,
        )  # fmt: skip


PLANS = [
    Plan("classification", lambda noise: table(3, noise, "Softmax"), 3),
    Plan("multilabel", lambda noise: table(4, noise, "Sigmoid"), 4),
    Plan("regression", lambda noise: table(2, noise), 2, targets=2),
    Plan("anomaly", lambda noise: table(1, noise), 2, rule=ScoreRule("values", 1.0)),
    Plan("sequence", lambda noise: steps(4, 3, noise), 2, OutputSpec(decode="ctc", blank="first")),
    Plan("frames", lambda noise: steps(6, 2, noise), 2),
    Plan("embedding", lambda noise: table(8, noise), 0),
    Plan("detection", boxes, 2, OutputSpec(detection=("boxes", "conf", "labels"), box_format="ltwh")),
]


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
        asked = Requirement("r", "quality.loss", "at_most", 5.0, "5", 0.95, measure=name)
        (found,) = judge_quality(case(dataset, reference, optimized, asked))
        assert found.verdict is Verdict.PASS, found.reason
        assert found.estimate is not None
        assert found.lower is not None
        assert found.upper is not None
        assert found.lower <= found.estimate <= found.upper
        asked = Requirement("r", "quality.loss", "at_most", -5.0, "-5", 0.95, measure=name)
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
