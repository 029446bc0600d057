"""Predictions without a device, and what keeps a model from being judged on rows that are not its own."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kit.digest import digest_bytes
from kit.errors import ModelError
from kit.model.predict import predict_on_host
from kit.records import DatasetRecord
from kit.spec.types import Dataset, DatasetPart

CLASSES = ("a", "b", "c")


def net(weights: np.ndarray, classes: tuple[str, ...] = ()) -> bytes:
    """scores = x @ weights."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["scores"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", weights.shape[0]])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", weights.shape[1]])],
        [onnx.numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if classes:
        helper.set_model_props(model, {"edgeproof.classes": json.dumps(classes)})
    return model.SerializeToString()


def dataset(inputs: np.ndarray) -> Dataset:
    digest = digest_bytes(inputs.tobytes())
    rows = len(inputs)
    record = DatasetRecord("d", digest, digest, rows, CLASSES, np.zeros(rows, np.int64), None, np.arange(rows), {})
    part = DatasetPart("test", inputs.astype(np.float32), record)
    return Dataset("d", "", digest, "d.toml", "classification", CLASSES, (), None, part, None)


def test_scores_and_decisions_are_those_of_the_model() -> None:
    data = net(np.eye(3))
    inputs = np.array([[1.0, 2.0, 0.0], [5.0, 1.0, 1.0]])
    record = predict_on_host(data, dataset(inputs))
    np.testing.assert_array_equal(record.scores, inputs.astype(np.float32))
    assert record.decisions.tolist() == [1, 0]
    assert record.model_digest == digest_bytes(data)
    assert (record.where, record.arithmetic, record.obtained) == ("host", "default", "measured")


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(ModelError, match="2 scores a row, dataset d has 3 classes"):
        predict_on_host(net(np.ones((3, 2))), dataset(np.ones((2, 3))))


def test_scores_that_are_not_finite_are_refused_with_the_row() -> None:
    inputs = np.ones((4, 3))
    inputs[2] = 1e38
    with pytest.raises(ModelError, match=r"row 2: .* not finite"):
        predict_on_host(net(np.full((3, 3), 1e3)), dataset(inputs))


@pytest.mark.parametrize(
    ("names", "refused"),
    [(("a", "b", "c"), False), (("c", "a", "b"), True), (("0", "1", "2"), False), (("x", "b", "c"), False)],
)
def test_classes_in_another_order_are_refused(names: tuple[str, ...], refused: bool) -> None:
    data, rows = net(np.eye(3), names), dataset(np.ones((2, 3)))
    if not refused:
        assert predict_on_host(data, rows).scores.shape == (2, 3)
        return
    with pytest.raises(ModelError, match="another order") as caught:
        predict_on_host(data, rows)
    assert "c, a, b" in str(caught.value)


def test_a_named_output_is_taken(tmp_path: Path) -> None:
    named = replace(dataset(np.ones((2, 3))), output_name="nothing")
    with pytest.raises(ModelError, match="no output 'nothing'"):
        predict_on_host(net(np.eye(3)), named)
