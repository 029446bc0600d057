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
    with pytest.raises(ModelError, match="2 scores a row, the dataset has 3 classes"):
        predict_on_host(net(np.ones((3, 2))), dataset(np.ones((2, 3))))


def test_scores_that_are_not_finite_are_refused_with_the_row() -> None:
    inputs = np.ones((4, 3))
    inputs[2] = 1e38
    with pytest.raises(ModelError, match=r"row 2: .* not finite"):
        predict_on_host(net(np.full((3, 3), 1e3)), dataset(inputs))


@pytest.mark.parametrize("names", [("a", "b", "c"), ("0", "1", "2"), ("0.0", "1.0", "2.0"), ()])
def test_classes_that_are_named_alike_or_by_index_or_not_at_all_fit(names: tuple[str, ...]) -> None:
    assert predict_on_host(net(np.eye(3), names), dataset(np.ones((2, 3)))).scores.shape == (2, 3)


def test_indices_are_compared_where_the_dataset_names_its_classes_by_numbers() -> None:
    numbered = replace(dataset(np.ones((2, 3))), classes=("1", "2", "3"))
    with pytest.raises(ModelError, match="classes are 0, 1, 2, and not dataset d's: 1, 2, 3"):
        predict_on_host(net(np.eye(3), ("0", "1", "2")), numbered)


def test_a_model_that_names_no_classes_fits_any_names() -> None:
    numbered = replace(dataset(np.ones((2, 3))), classes=("0", "1", "2"))
    assert predict_on_host(net(np.eye(3)), numbered).scores.shape == (2, 3)


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (("c", "a", "b"), "in another order than dataset d's: c, a, b"),
        (("x", "b", "c"), "x, b, c, and not dataset d's: a, b, c"),
        (("cat", "dog", "cow"), "cat, dog, cow, and not dataset d's: a, b, c"),
        (("a", "b"), "a, b, and not dataset d's: a, b, c"),
    ],
)
def test_classes_in_another_order_or_of_another_kind_are_refused(names: tuple[str, ...], what: str) -> None:
    with pytest.raises(ModelError, match=what) as caught:
        predict_on_host(net(np.eye(3), names), dataset(np.ones((2, 3))))
    assert caught.value.where == "d.toml"
    assert caught.value.next_step


def test_the_calibration_rows_are_run_under_limits_too() -> None:
    rows = dataset(np.ones((4, 3)))
    bad = replace(rows.test, inputs=np.full((3, 3), 1e38, np.float32))
    assert predict_on_host(net(np.full((3, 3), 1e3)), rows)
    with pytest.raises(ModelError, match=r"calibration row 0: .* not finite"):
        predict_on_host(net(np.full((3, 3), 1e3)), replace(rows, calibration=bad))


def test_a_named_output_is_taken(tmp_path: Path) -> None:
    named = replace(dataset(np.ones((2, 3))), output_name="nothing")
    with pytest.raises(ModelError, match="no output 'nothing'"):
        predict_on_host(net(np.eye(3)), named)
