"""The embedding is what the last product takes in: multiplied by its weights it gives the scores."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from kit.errors import ModelError
from kit.model.embedding import embed, with_embedding
from kit.model.session import HostSession
from tests import saturation_nets
from tests.digits_case import net, weights


def test_the_embedding_times_the_last_weights_is_the_scores() -> None:
    given = weights()
    data = net(given)
    rows = np.random.default_rng(0).random((9, 64), dtype=np.float32) * 16
    found = embed(data, rows)
    assert found is not None
    assert found.dtype == np.float32
    assert found.shape == (9, 32)
    assert (found >= 0).all()  # behind a Relu
    assert found @ given[2] + given[3] == pytest.approx(HostSession(data).predict(rows), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("make", [saturation_nets.mlp, saturation_nets.matmul_mlp, saturation_nets.separable_cnn])
def test_networks_of_several_kinds_have_one(make: object) -> None:
    model: onnx.ModelProto = make()  # type: ignore[operator]
    shape = [each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim][1:]
    rows = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    last = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")][-1]
    weight = next(each for each in model.graph.initializer if each.name == last.input[1])
    found = embed(model.SerializeToString(), rows)
    assert found is not None
    assert found.shape[0] == 3
    assert found.shape[1] in numpy_helper.to_array(weight).shape


def test_a_network_without_a_last_product_has_none() -> None:
    data = saturation_nets.residual_2d()
    graph = data.graph
    while graph.node and graph.node[-1].op_type in ("Gemm", "MatMul", "Flatten"):
        graph.node.pop()
    del graph.output[:]
    graph.output.append(onnx.helper.make_empty_tensor_value_info(graph.node[-1].output[0]))
    assert all(node.op_type not in ("Gemm", "MatMul") for node in graph.node)
    assert with_embedding(data.SerializeToString()) is None


def test_no_rows_and_too_many_values_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    data = net(weights())
    assert embed(data, np.zeros((0, 64), np.float32)) is None
    monkeypatch.setattr("kit.model.embedding.MOST_VALUES", 32 * 4 - 1)
    assert embed(data, np.ones((4, 64), np.float32)) is None
    assert embed(data, np.ones((3, 64), np.float32)) is not None


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ModelError, match="no ONNX model"):
        with_embedding(b"\xff" * 40)
    assert with_embedding(b"") is None
