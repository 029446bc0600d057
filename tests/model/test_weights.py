"""The share of a file that is weights: counted, whether they lie in the file or beside it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.model.load import load_onnx
from kit.model.weights import file_sizes, weight_bytes
from tests import device_kit as kits

MB = 1_000_000
SLACK = 200  # names and shapes


def test_weights_are_nearly_all_of_a_file_that_holds_little_else() -> None:
    data = kits.heavy(5 * MB)
    assert 5 * MB - 48 <= weight_bytes(onnx.ModelProto.FromString(data)) < len(data)


def test_a_model_without_initializers_has_none() -> None:
    assert weight_bytes(onnx.ModelProto.FromString(kits.two_inputs())) == 0


def test_external_data_are_counted_without_being_read(tmp_path: Path) -> None:
    """As many bytes whether the data are in the file, beside it and not read, or beside it and gone."""
    inside = onnx.ModelProto.FromString(kits.heavy(MB))
    expected = weight_bytes(inside)
    onnx.save(inside, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    outside = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    assert outside.ByteSize() < MB / 10
    assert weight_bytes(outside) == pytest.approx(expected, abs=8 * SLACK)
    for tensor in outside.graph.initializer:
        kept = [entry for entry in tensor.external_data if entry.key == "location"]
        del tensor.external_data[:]
        tensor.external_data.extend(kept)
    (tmp_path / "m.data").unlink()
    assert weight_bytes(outside) == pytest.approx(expected, abs=8 * SLACK)


def test_what_is_read_with_the_file_counts_once(tmp_path: Path) -> None:
    inside = onnx.ModelProto.FromString(kits.heavy(MB))
    onnx.save(inside, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    loaded = load_onnx(tmp_path / "m.onnx")
    share = weight_bytes(loaded.proto) / loaded.record.size_bytes
    assert 0.99 < share < 1


def test_four_bit_weights_lie_two_to_a_byte() -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.INT4, dims=[1001], data_location=TensorProto.EXTERNAL)
    model = onnx.ModelProto(graph=onnx.GraphProto(initializer=[tensor]))
    assert 501 <= weight_bytes(model) < 501 + SLACK


def test_nested_graphs_and_sparse_initializers_count() -> None:
    weights = np.arange(1000, dtype=np.float32)
    inner = onnx.GraphProto(name="then", initializer=[numpy_helper.from_array(weights, "inner")])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=onnx.GraphProto(name="else"))
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(weights, "values"), numpy_helper.from_array(np.arange(1000), "indices"), [5000]
    )
    graph = onnx.GraphProto(node=[node], sparse_initializer=[sparse])
    assert 4000 + 4000 + 8000 <= weight_bytes(onnx.ModelProto(graph=graph)) < 16_000 + SLACK


def test_the_sizes_of_a_file() -> None:
    data = kits.heavy(MB)
    sizes = file_sizes(data)
    assert sizes["model_bytes"] == len(data)
    assert MB - 48 <= sizes["weight_bytes"] < len(data)
