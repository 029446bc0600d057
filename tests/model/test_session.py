"""Running rows on this host: same scores as numpy, strict dtypes and shapes, one rule for the output."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.errors import ModelError
from kit.model.convert import Converted
from kit.model.load import load_onnx
from kit.model.session import HostSession, as_model_rows, reason_of
from kit.records import TensorInfo

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


def linear(batch: int | str = "rows", dtype: int = TensorProto.FLOAT, extra_outputs: int = 0) -> bytes:
    """x [batch, 4] @ w, and further outputs of the same kind."""
    weights = numpy_helper.from_array(WEIGHTS.astype(helper.tensor_dtype_to_np_dtype(dtype)), "w")
    names = ["y", *(f"y{number}" for number in range(extra_outputs))]
    nodes = [helper.make_node("MatMul", ["x", "w"], [name], name) for name in names]
    x = helper.make_tensor_value_info("x", dtype, [batch, 4])
    outputs = [helper.make_tensor_value_info(name, dtype, [batch, 3]) for name in names]
    graph = helper.make_graph(nodes, "linear", [x], outputs, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(700, 4)).astype(np.float32)


def test_scores_are_those_of_numpy_in_every_batch(rows: np.ndarray) -> None:
    scores = HostSession(linear()).predict(rows)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, rows @ WEIGHTS, rtol=1e-5, atol=1e-6)


def test_a_batch_fixed_to_one_is_looped(rows: np.ndarray) -> None:
    np.testing.assert_allclose(
        HostSession(linear(batch=1)).predict(rows[:20]), rows[:20] @ WEIGHTS, rtol=1e-5, atol=1e-6
    )


def test_a_batch_fixed_to_more_than_one_is_refused(rows: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"\[8, 4\]"):
        HostSession(linear(batch=8)).predict(rows)


def test_double_and_half_scores_come_as_float32(rows: np.ndarray) -> None:
    scores = HostSession(linear(dtype=TensorProto.DOUBLE)).predict(rows)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, rows @ WEIGHTS, rtol=1e-5, atol=1e-6)


def test_progress_counts_every_row_once(rows: np.ndarray) -> None:
    seen: list[tuple[int, int]] = []
    HostSession(linear()).predict(rows, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (700, 700)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_several_possible_outputs_are_listed_and_one_can_be_named(rows: np.ndarray) -> None:
    session = HostSession(linear(extra_outputs=1))
    with pytest.raises(ModelError, match=r"several outputs.*y .*y0 ") as caught:
        session.predict(rows)
    assert caught.value.next_step
    np.testing.assert_allclose(session.predict(rows, "y0"), rows @ WEIGHTS, rtol=1e-5, atol=1e-6)
    with pytest.raises(ModelError, match=r"no output 'z'.*y "):
        session.predict(rows, "z")


def test_rnet_needs_the_name_of_its_scores(rnet_path: Path) -> None:
    session = HostSession(load_onnx(rnet_path).data)
    faces = np.zeros((3, 24, 24, 3), np.float32)
    with pytest.raises(ModelError, match=r"dense_2.*softmax_1"):
        session.predict(faces)
    scores = session.predict(faces, "softmax_1")
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


def test_a_missing_transpose_is_named(rnet_path: Path) -> None:
    session = HostSession(load_onnx(rnet_path).data)
    with pytest.raises(ModelError, match="a transpose is missing"):
        session.predict(np.zeros((2, 3, 24, 24), np.float32), "softmax_1")
    with pytest.raises(ModelError, match=r"\[24, 24, 3\]|rows of shape"):
        session.predict(np.zeros((2, 1728), np.float32), "softmax_1")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((0, 4), np.float32), "no rows"),
        (np.float32(1), "no rows"),
        (np.zeros((2, 5), np.float32), r"\[5\]"),
        (np.zeros((2, 2, 2), np.float32), "does not take rows"),
        (np.zeros((2, 4), np.uint8), "raw pixels or counts"),
        (np.zeros((2, 4), np.bool_), "the rows are bool"),
        (np.array([["a"] * 4]), "the rows are <U1"),
        (np.full((1, 4), 1 / 3), "lose digits"),
        (np.full((1, 4), 1e300), "lose digits"),
        (np.full((1, 4), np.nan, np.float32), "not finite"),
    ],
)
def test_rows_that_do_not_fit_are_refused(inputs: np.ndarray, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        HostSession(linear()).predict(inputs)
    assert caught.value.next_step


def test_the_row_with_a_bad_score_is_named(rows: np.ndarray) -> None:
    rows[517, 2] = np.inf
    with pytest.raises(ModelError, match="not finite") as caught:
        HostSession(linear()).predict(rows)
    assert caught.value.where == "row 517"


def test_doubles_that_float32_holds_exactly_are_taken() -> None:
    wanted = TensorInfo("x", "float32", ("rows", 4))
    exact = np.array([[0.5, -2.0, 0.0, 1024.0]])
    rows = as_model_rows(exact, wanted)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, exact)


def test_no_copy_is_made_of_rows_that_fit(rows: np.ndarray) -> None:
    assert np.shares_memory(as_model_rows(rows, TensorInfo("x", "float32", ("rows", 4))), rows)


def test_what_the_runtime_refuses_is_one_line() -> None:
    model = onnx.ModelProto.FromString(linear())
    model.graph.node[0].op_type = "Frobnicate"
    with pytest.raises(ModelError, match=r"onnxruntime .* cannot load") as caught:
        HostSession(model.SerializeToString())
    assert "\n" not in str(caught.value)
    assert "Frobnicate" in str(caught.value)


def test_an_opset_that_the_runtime_does_not_have_is_refused_with_the_one_it_has() -> None:
    model = onnx.ModelProto.FromString(linear())
    model.opset_import[0].version = onnx.defs.onnx_opset_version() + 5
    with pytest.raises(ModelError, match=r"till opset \d+|[Oo]pset") as caught:
        HostSession(model.SerializeToString())
    assert "older opset" in caught.value.next_step


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "ValueError"),
        ("[ONNXRuntimeError] : 1 : FAIL : Load\nfailed", "Load failed"),
        ("while running N. Status Message: /src/a/b.cc:36 void* A::B(int, C*) Failed to allocate", None),
        (
            "[ONNXRuntimeError] : 1 : FAIL : N failed: /src/onnx_runtime/core/op_kernel.cc:87 virtual OrtValue* "
            "ns::Context::Value(int, const ns::Shape&) [ONNXRuntimeError] : 1 : FAIL : Size overflowed",
            "N failed: Size overflowed",
        ),
        ("/src/a.h:9 T ns::f(T) const [with T = float; U = int] i < n was false.", "i < n was false."),
        ("/src/a.cc:9 main", "main"),
        ("the file /home/model.h5 is missing", "the file /home/model.h5 is missing"),
        ("x" * 999, "x" * 300),
    ],
)
def test_the_runtimes_words_come_without_its_noise(said: str, told: str | None) -> None:
    assert reason_of(ValueError(said)) == (told or "while running N. Status Message: Failed to allocate")


def test_several_inputs_are_refused_by_name() -> None:
    model = onnx.ModelProto.FromString(linear())
    model.graph.initializer.pop()
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 3]))
    with pytest.raises(ModelError, match=r"2 inputs \(x .*w "):
        HostSession(model.SerializeToString()).predict(np.zeros((1, 4), np.float32))


def test_threads_and_batches_change_no_bit(converted: dict[str, Converted], digits) -> None:
    data = converted["mlp"].data
    one = HostSession(data).predict(digits.test)
    np.testing.assert_array_equal(one, HostSession(data, threads=2).predict(digits.test))
