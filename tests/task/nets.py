"""A tiny ONNX model of each task, under some noise of its weights, with the reference's own answers as the truth."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from kit.model.predict import predict_on_host
from kit.records import DatasetRecord, PredictionRecord, RaggedRecord, ScoreRule
from kit.spec.types import Dataset, DatasetPart, OutputSpec
from tests import builders
from tests import device_kit as kits
from tests.task.tables import matrix, ragged

ROWS = 400
X = kits.rows(ROWS)


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
