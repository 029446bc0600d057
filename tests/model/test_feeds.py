"""Rows for models with any number of inputs: batches, whole inputs, scalars, and outputs row by row."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from kit.errors import ModelError
from kit.model.feeds import as_feeds, batch_rows, feed_batches, joined_rows, row_count, spread_rows
from kit.model.load import LoadedModel, load_onnx_bytes
from kit.model.rows import BATCH_ROWS
from kit.model.session import HostSession
from kit.records import TensorInfo
from tests.model.nets import normal, two_inputs

X = TensorInfo("x", "float32", ("rows", 4))
ONE = TensorInfo("one", "float32", (1, 3))
STATE = TensorInfo("state", "float32", (2, "rows", 5))
RATE = TensorInfo("rate", "int64", ())


def stateful() -> LoadedModel:
    """x [rows, 4], state [2, rows, 4] and a rate: scaled [rows, 4] and next [2, rows, 4], as voice models have them."""
    nodes = [
        helper.make_node("Cast", ["rate"], ["r"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "r"], ["scaled"]),
        helper.make_node("Add", ["state", "x"], ["next"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4]),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, "rows", 4]),
        helper.make_tensor_value_info("rate", TensorProto.INT64, []),
    ]
    outputs = [
        helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["rows", 4]),
        helper.make_tensor_value_info("next", TensorProto.FLOAT, [2, "rows", 4]),
    ]
    graph = helper.make_graph(nodes, "stateful", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return load_onnx_bytes(model.SerializeToString(), "stateful.onnx")


def test_two_inputs_run_in_batches_and_as_one_by_one() -> None:
    session = HostSession(two_inputs().data)
    rows = {"left": normal(1, 300, 32), "right": normal(2, 300, 16)}
    seen: list[tuple[int, int]] = []
    outputs = session.run(rows, lambda done, total: seen.append((done, total)))
    assert {name: values.shape for name, values in outputs.items()} == {"all": (300, 32), "half": (300, 16)}
    assert seen == [(128, 300), (256, 300), (300, 300)]
    for row in (0, 127, 128, 299):
        alone = session.run({name: values[row : row + 1] for name, values in rows.items()})
        for name, values in alone.items():
            np.testing.assert_allclose(values[0], outputs[name][row], rtol=1e-5, atol=1e-5)


def test_states_and_scalars_take_a_whole_array_a_row() -> None:
    rows = {"x": normal(1, 5, 4), "state": normal(2, 5, 2, 1, 4), "rate": np.array([1, 2, 3, 4, 5])}
    outputs = HostSession(stateful().data).run(rows)
    np.testing.assert_allclose(outputs["scaled"], rows["x"] * rows["rate"][:, None], rtol=1e-6)
    np.testing.assert_allclose(outputs["next"], rows["state"] + rows["x"][:, None, None, :], rtol=1e-6)
    assert outputs["next"].shape == (5, 2, 1, 4)


def test_one_array_goes_to_the_only_input() -> None:
    assert list(as_feeds(normal(1, 3, 4), (X,))) == ["x"]
    with pytest.raises(ModelError, match=r"2 inputs \(x .*, rate \[\]\), and the rows are one array") as caught:
        as_feeds(normal(1, 3, 4), (X, RATE))
    assert ".npz" in caught.value.next_step


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"x": normal(1, 3, 4)}, "no rows for input 'rate'"),
        ({"x": normal(1, 3, 4), "rate": np.zeros(2, np.int64)}, "different numbers of rows"),
        ({"x": normal(1, 3, 4), "rate": np.zeros((3, 1), np.int64)}, "does not take rows"),
        ({"x": normal(1, 3, 4), "rate": np.zeros(3, np.float32)}, "the rows are float32, the model wants int64"),
        ({"x": normal(1, 3, 4), "rate": np.zeros(3, np.int64), "z": np.zeros(3)}, "'z', which is no input"),
        ({"x": normal(1, 0, 4), "rate": np.zeros(0, np.int64)}, "no rows"),
        ({"x": np.float32(1), "rate": np.int64(1)}, "no rows"),
    ],
    ids=["missing", "lengths", "rank", "dtype", "extra", "empty", "scalars"],
)
def test_rows_that_do_not_fit_are_refused(rows, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        as_feeds(rows, (X, RATE))


def test_a_state_of_another_size_is_refused_with_both_shapes() -> None:
    with pytest.raises(ModelError, match=r"\[1, 2, rows, 5\] does not take rows of shape \[3, 1, 5\]"):
        as_feeds({"state": normal(1, 2, 3, 1, 5)}, (STATE,))


@pytest.mark.parametrize(
    ("inputs", "step"), [((X,), BATCH_ROWS), ((X, ONE), 1), ((X, STATE), 1), ((X, RATE), 1), ((RATE,), 1)]
)
def test_batches_are_as_large_as_all_inputs_allow(inputs: tuple[TensorInfo, ...], step: int) -> None:
    count = 200
    sizes = {"x": (4,), "one": (3,), "state": (2, 1, 5), "rate": ()}
    feeds = {
        each.name: np.arange(count * int(np.prod(sizes[each.name]))).reshape(count, *sizes[each.name])
        for each in inputs
    }
    batches = list(feed_batches(feeds, inputs))
    assert [batch_rows(batch, inputs) for batch in batches] == [min(step, count - s) for s in range(0, count, step)]
    for each in inputs:
        shape = batches[0][each.name].shape
        assert shape == (sizes[each.name] if each in (STATE, RATE) else (min(step, count), *sizes[each.name]))
        assert all(isinstance(batch[each.name], np.ndarray) for batch in batches), "the runtime takes no NumPy scalars"


def test_a_row_of_many_bytes_makes_small_batches() -> None:
    wide = TensorInfo("x", "float32", ("rows", 100_000))
    batches = list(feed_batches({"x": np.zeros((7, 100_000), np.float32)}, (wide,)))
    assert [len(batch["x"]) for batch in batches] == [2, 2, 2, 1]


def test_spread_rows_keeps_ends_and_order() -> None:
    feeds = {"a": np.arange(1000), "b": np.arange(1000) * 2}
    few = spread_rows(feeds, 10)
    assert (few["a"][0], few["a"][-1], row_count(few)) == (0, 999, 10)
    np.testing.assert_array_equal(few["b"], few["a"] * 2)
    assert (np.diff(few["a"]) > 0).all()
    assert spread_rows(feeds, 1000)["a"] is feeds["a"]


def test_outputs_join_by_row() -> None:
    y = TensorInfo("y", "float32", ("rows", 2))
    unknown = TensorInfo("y", "float32", ("?", "?"))
    np.testing.assert_array_equal(joined_rows([np.zeros((2, 2)), np.ones((1, 2))], [2, 1], y), [[0, 0], [0, 0], [1, 1]])
    assert joined_rows([np.zeros((3, 2)), np.zeros((3, 2))], [1, 1], unknown).shape == (2, 3, 2)
    assert joined_rows([np.zeros(()), np.zeros(())], [1, 1], TensorInfo("y", "float32", ())).shape == (2,)


@pytest.mark.parametrize(
    ("shapes", "counts"),
    [([(3, 2), (4, 2)], [1, 1]), ([(5, 2)], [2]), ([(1, 2), (1, 3)], [1, 1]), ([()], [2])],
    ids=["detections", "not-by-row", "changing", "one-for-all"],
)
def test_outputs_that_are_not_by_row_are_refused_with_their_shapes(shapes, counts) -> None:
    with pytest.raises(ModelError, match="output 'y' is not one value a row") as caught:
        joined_rows([np.zeros(shape) for shape in shapes], counts, TensorInfo("y", "float32", ("?", "?")))
    assert "first dimension" in caught.value.next_step


def test_the_row_that_fails_is_named() -> None:
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    table = helper.make_tensor("table", TensorProto.FLOAT, [4], [1, 2, 3, 4])
    inputs = [helper.make_tensor_value_info("x", TensorProto.INT64, [1])]
    graph = helper.make_graph(
        [node], "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])], [table]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ModelError, match="the runtime fails") as caught:
        HostSession(model.SerializeToString()).run(np.array([0, 3, 9, 1]))
    assert caught.value.where == "row 2"
