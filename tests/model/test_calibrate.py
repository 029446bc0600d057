"""Calibration as a whole: beside onnxruntime's own calibrators, in one pass, in bounded memory, with clean refusals."""

import contextlib
import io
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

from kit.errors import ModelError
from kit.model.calibrate import Method, Ranges, calibrate, observe
from kit.model.calibrate.observe import Observer
from kit.model.feeds import Feeds
from tests.calibration_nets import CONV_TENSORS, Rows, conv_net, conv_rows, model_of, two_input_net

ALL = tuple(Method(name) for name in ("minmax", "moving-average", "percentile", "entropy", "mse"))
MINMAX = Method("minmax")


class Reader:
    """Rows one by one, as onnxruntime's calibrators ask for them."""

    def __init__(self, rows: Rows) -> None:
        self.rows = iter(rows)

    def get_next(self) -> dict[str, Rows] | None:
        row = next(self.rows, None)
        return None if row is None else {"x": row[np.newaxis]}


def by_onnxruntime(model: onnx.ModelProto, rows: Rows, folder: Path, method: str, **options: object) -> Ranges:
    """Ranges of all float tensors, from all rows at once."""
    onnx.save(model, folder / "model.onnx")
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator = create_calibrator(
            folder / "model.onnx",
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=CalibrationMethod[method],
            extra_options=options,
        )
        calibrator.collect_data(Reader(rows))
        found = calibrator.compute_data()
    pairs = {name: [np.asarray(each).item() for each in data.range_value] for name, data in found.items()}
    return {name: (low, high) for name, (low, high) in pairs.items()}


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return conv_net(batch=1)


@pytest.fixture(scope="module")
def shaped(model: onnx.ModelProto) -> onnx.ModelProto:
    """With the shapes of its tensors, as preparing a model for quantization leaves it."""
    return onnx.shape_inference.infer_shapes(model)


@pytest.fixture(scope="module")
def full(model: onnx.ModelProto) -> Ranges:
    return calibrate(model, CONV_TENSORS, {"x": conv_rows(60)}, [MINMAX])[MINMAX]


AGREEMENT: dict[str, tuple[Method, str, dict[str, object], float]] = {
    "minmax": (Method("minmax"), "MinMax", {}, 1e-6),
    "moving-average": (Method("moving-average"), "MinMax", {"moving_average": True}, 1e-6),
    "percentile": (Method("percentile"), "Percentile", {}, 0.001),
    "percentile-99": (Method("percentile", 99.01), "Percentile", {"percentile": 99.01}, 0.001),
    "entropy-128": (Method("entropy", bins=128), "Entropy", {}, 1e-6),
    "entropy-512": (Method("entropy", bins=512), "Entropy", {"num_bins": 512}, 1.01 / 256),
}
"""Ours, onnxruntime's, and how far apart they may be as a share of the tensor's largest magnitude."""


@pytest.mark.parametrize("case", AGREEMENT)
def test_ranges_are_those_of_onnxruntime(case: str, model: onnx.ModelProto, full: Ranges, tmp_path: Path) -> None:
    method, name, options, tolerance = AGREEMENT[case]
    rows = conv_rows(60)
    ours = calibrate(model, CONV_TENSORS, {"x": rows}, [method])[method]
    theirs = by_onnxruntime(model, rows, tmp_path, name, **options)
    assert set(ours) == set(theirs) == set(CONV_TENSORS)
    for tensor, pair in ours.items():
        largest = max(map(abs, full[tensor]))
        assert pair == pytest.approx(theirs[tensor], abs=tolerance * largest), tensor


def test_a_real_face_detector_has_the_ranges_that_onnxruntime_finds(rnet_path: Path, tmp_path: Path) -> None:
    model = onnx.shape_inference.infer_shapes(onnx.load(rnet_path))
    name = model.graph.input[0].name
    rows = np.random.default_rng(3).uniform(-1, 1, (20, 24, 24, 3)).astype(np.float32)
    renamed = onnx.ModelProto()
    renamed.CopyFrom(model)
    renamed.graph.input[0].name = "x"
    for node in renamed.graph.node:
        node.input[:] = ["x" if each == name else each for each in node.input]
    theirs = by_onnxruntime(renamed, rows, tmp_path, "MinMax")
    ours = calibrate(renamed, list(theirs), {"x": rows}, [MINMAX])[MINMAX]
    for tensor, pair in theirs.items():
        assert ours[tensor] == pytest.approx(pair, abs=2e-6 * max(1e-9, *map(abs, pair))), tensor


def test_every_method_at_once_is_each_alone(model: onnx.ModelProto, shaped: onnx.ModelProto) -> None:
    rows = {"x": conv_rows(20)}
    together = calibrate(model, CONV_TENSORS, rows, ALL)
    assert list(together) == list(ALL)
    for method in ALL:
        for net in (model, shaped):
            assert calibrate(net, CONV_TENSORS, rows, [method]) == {method: together[method]}


@pytest.mark.parametrize("batch", [1, "rows"])
def test_extremes_are_found_in_the_graph_where_shapes_are_known(batch: int | str) -> None:
    shaped = onnx.shape_inference.infer_shapes(conv_net(batch))
    rows = [{"x": row[np.newaxis]} for row in conv_rows(9)]
    watched, reduced = Observer(shaped, CONV_TENSORS), Observer(shaped, CONV_TENSORS, extremes=True)
    for whole, found in zip(watched.rows(rows), reduced.rows(rows), strict=True):
        assert whole.keys() == found.keys()
        for name in whole.keys() - {"x"}:
            assert found[name].size == 3 < whole[name].size
            assert (found[name].min(), found[name].max()) == (whole[name].min(), whole[name].max())


def test_rows_in_threads_come_in_their_order(monkeypatch: pytest.MonkeyPatch, shaped: onnx.ModelProto) -> None:
    rows = [{"x": np.full((1, 3, 16, 16), number, dtype=np.float32)} for number in range(40)]
    for worth_s, extremes in ((0.0, True), (0.0, False), (1e9, True)):
        monkeypatch.setattr(observe, "_WORTH_A_THREAD_S", worth_s)
        found = [row["x"].max() for row in Observer(shaped, CONV_TENSORS, extremes=extremes).rows(rows)]
        assert found == list(range(40))


def test_a_tensor_of_unknown_size_is_looked_at_whole() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["where"]), helper.make_node("Cast", ["where"], ["y"], to=1)]
    net = onnx.shape_inference.infer_shapes(model_of(nodes, {"x": [1, 4]}, ["y"], {}))
    rows = np.array([[0, 0, 0, 0], [0, 0, 5, 1]], dtype=np.float32)
    assert calibrate(net, ["y"], {"x": rows}, [MINMAX]) == {MINMAX: {"y": (0.0, 3.0)}}
    assert calibrate(net, ["y"], {"x": rows[:1]}, [MINMAX]) == {MINMAX: {}}


@pytest.mark.parametrize("size", [3, 8, 17, 100, 1001])
def test_a_hidden_nan_is_seen_where_extremes_pass_over_it(size: int) -> None:
    nodes = [helper.make_node("Sqrt", ["x"], ["root"]), helper.make_node("Max", ["root", "one"], ["y"])]
    net = onnx.shape_inference.infer_shapes(
        model_of(nodes, {"x": [1, size]}, ["y"], {"one": np.ones(1, dtype=np.float32)})
    )
    rows = np.random.default_rng(size).uniform(1, 2, (20, size)).astype(np.float32)
    rows[13, size // 2] = -1
    with pytest.raises(ModelError, match="'root' is not finite: it holds nan") as caught:
        calibrate(net, ["root", "y"], {"x": rows}, [MINMAX])
    assert caught.value.where == "row 13"


@pytest.mark.parametrize("sizes", [(30,), (1,) * 30, (7, 7, 7, 7, 2), (29, 1)], ids=["one", "rows", "sevens", "last"])
@pytest.mark.parametrize("batch", [1, "rows"])
def test_batches_change_nothing(batch: int | str, sizes: Sequence[int]) -> None:
    net, rows = conv_net(batch), conv_rows(30)
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    assert calibrate(net, CONV_TENSORS, iter({"x": part} for part in parts), ALL) == calibrate(
        conv_net(1), CONV_TENSORS, {"x": rows}, ALL
    )


def test_order_of_rows_changes_nothing_but_the_rounding_of_means(model: onnx.ModelProto) -> None:
    rows = conv_rows(30)
    there, back = (calibrate(model, CONV_TENSORS, {"x": each}, ALL) for each in (rows, rows[::-1]))
    for method in ALL:
        if method.name == "moving-average":
            for tensor in CONV_TENSORS:
                assert there[method][tensor] == pytest.approx(back[method][tensor], rel=1e-12)
        else:
            assert there[method] == back[method]


def test_rows_are_read_once_and_as_they_are_needed(model: onnx.ModelProto) -> None:
    read: list[int] = []
    done: list[int] = []

    def once() -> Iterator[Feeds]:
        for number, row in enumerate(conv_rows(12)):
            read.append(number)
            assert number <= len(done) + 2, "more than two rows ahead"
            yield {"x": row[np.newaxis]}

    found = calibrate(model, CONV_TENSORS, once(), ALL, lambda now, _: done.append(now))
    assert read == list(range(12))
    assert done == list(range(1, 13))
    assert found == calibrate(model, CONV_TENSORS, {"x": conv_rows(12)}, ALL)


def test_progress_is_in_rows_of_all_that_are_known(model: onnx.ModelProto) -> None:
    for feeds, total, expected in (
        ({"x": conv_rows(3)}, None, [(1, 3), (2, 3), (3, 3)]),
        ([{"x": conv_rows(2)}, {"x": conv_rows(1)}], 3, [(1, 3), (2, 3), (3, 3)]),
        ([{"x": conv_rows(2)}], None, [(1, 1), (2, 2)]),
    ):
        seen: list[tuple[int, int]] = []
        calibrate(model, ["x"], feeds, [MINMAX], lambda *at, to=seen: to.append(at), total_rows=total)
        assert seen == expected


def test_several_inputs() -> None:
    random = np.random.default_rng(0)
    left, right = (random.normal(0, 2, (9, 4)).astype(np.float32) for _ in range(2))
    found = calibrate(two_input_net(), ["left", "right", "product", "y"], {"left": left, "right": right}, [MINMAX])
    product = left * right
    assert found[MINMAX] == {
        "left": (left.min(), left.max()),
        "right": (right.min(), right.max()),
        "product": (product.min(), product.max()),
        "y": (np.trunc(product).min() + 0.0, np.trunc(product).max()),
    }


def test_what_holds_no_floats_has_no_range() -> None:
    rows = {name: np.ones((2, 4), dtype=np.float32) for name in ("left", "right")}
    assert set(calibrate(two_input_net(), ["whole", "product"], rows, ALL)[MINMAX]) == {"product"}


@pytest.mark.parametrize("dtype", ["float16", "double"])
def test_other_floats_have_ranges(dtype: str) -> None:
    kind = TensorProto.FLOAT16 if dtype == "float16" else TensorProto.DOUBLE
    nodes = [
        helper.make_node("Cast", ["x"], ["other"], to=kind),
        helper.make_node("Cast", ["other"], ["y"], to=TensorProto.FLOAT),
    ]
    net = model_of(nodes, {"x": [1, 4]}, ["y"])
    rows = np.array([[1.5, -2.25, 0, 8], [0, 0, 0, -16]], dtype=np.float32)
    for method, ranges in calibrate(net, ["other"], {"x": rows}, ALL).items():
        if method.name in ("minmax", "percentile"):
            assert ranges["other"] == (-16.0, 8.0)


def test_zeros_constants_and_nothing_at_all() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "zero"], ["zeros"]),
        helper.make_node("Neg", ["zeros"], ["minus"]),
        helper.make_node("Add", ["zeros", "three"], ["threes"]),
        helper.make_node("Slice", ["x", "nowhere", "nowhere"], ["empty"]),
        helper.make_node("Concat", ["threes", "empty", "minus"], ["y"], axis=0),
    ]
    weights: dict[str, NDArray[Any]] = {
        "zero": np.zeros(1, dtype=np.float32),
        "three": np.full(1, 3, dtype=np.float32),
        "nowhere": np.zeros(1, dtype=np.int64),
    }
    net = model_of(nodes, {"x": [1, 4]}, ["y"], weights)
    found = calibrate(net, ["zeros", "minus", "threes", "empty"], {"x": np.ones((5, 4), dtype=np.float32)}, ALL)
    for method, ranges in found.items():
        assert ranges == {"zeros": (0.0, 0.0), "minus": (0.0, 0.0), "threes": (3.0, 3.0)}, method
        assert not any(np.signbit(value) for value in ranges["minus"])


def test_symmetric_ranges_have_zero_in_their_middle(model: onnx.ModelProto) -> None:
    rows = {"x": conv_rows(10)}
    plain, middle = (calibrate(model, CONV_TENSORS, rows, ALL, symmetric=each) for each in (False, True))
    for method in ALL:
        for tensor, (low, high) in middle[method].items():
            assert -low == high == max(map(abs, plain[method][tensor]))


def test_the_model_is_not_changed(model: onnx.ModelProto) -> None:
    before = model.SerializeToString(deterministic=True)
    calibrate(model, CONV_TENSORS, {"x": conv_rows(2)}, ALL)
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 1, 6])
def test_what_is_not_finite_is_named_with_tensor_and_row(where: int, bad: float, shaped: onnx.ModelProto) -> None:
    rows = conv_rows(8)
    rows[where, 1, 2, 3] = bad
    for methods in (ALL, [MINMAX]):
        with pytest.raises(ModelError, match=r"tensor '\w+' is not finite") as caught:
            calibrate(shaped, CONV_TENSORS, {"x": rows}, methods)
        assert caught.value.where == f"row {where}"
        assert caught.value.next_step


def test_what_overflows_inside_is_named(model: onnx.ModelProto, shaped: onnx.ModelProto) -> None:
    rows = conv_rows(4)
    rows[2] = 3e38
    for net in (model, shaped):
        with pytest.raises(ModelError, match="'conv1' is not finite") as caught:
            calibrate(net, ["x", "conv1"], iter({"x": row[np.newaxis]} for row in rows), [MINMAX])
        assert caught.value.where == "row 2"


@pytest.mark.parametrize(
    ("feeds", "tensors", "message"),
    [
        ([], ["conv1"], "no rows"),
        ({"x": np.zeros((0, 3, 16, 16), dtype=np.float32)}, ["conv1"], "no rows"),
        ({"x": np.zeros((2, 3, 16, 15), dtype=np.float32)}, ["conv1"], "shape"),
        ({}, ["conv1"], "no rows for input 'x'"),
        ({"z": np.zeros((2, 3, 16, 16), dtype=np.float32)}, ["conv1"], "no rows for input 'x'"),
        ({"x": np.zeros((2, 3, 16, 16), dtype=np.uint8)}, ["conv1"], "uint8"),
        ({"x": np.zeros((2, 3, 16, 16), dtype=np.float32)}, ["nowhere"], "no tensor 'nowhere'"),
        ({"x": np.zeros((2, 3, 16, 16), dtype=np.float32)}, ["w1"], "no tensor 'w1'"),
    ],
    ids=["no batches", "no rows", "shape", "no inputs", "name", "dtype", "tensor", "weight"],
)
def test_refusals(feeds: Feeds, tensors: list[str], message: str, model: onnx.ModelProto) -> None:
    with pytest.raises(ModelError, match=message):
        calibrate(model, tensors, feeds, ALL)


def test_a_model_without_inputs_is_refused() -> None:
    net = model_of([helper.make_node("Neg", ["w"], ["y"])], {}, ["y"], {"w": np.ones(3, dtype=np.float32)})
    with pytest.raises(ModelError, match="no inputs"):
        calibrate(net, ["y"], {}, ALL)


def test_a_model_that_the_runtime_refuses_is_said_to_be() -> None:
    net = conv_net()
    net.graph.node[0].op_type = "Convolve"
    with pytest.raises(ModelError, match="cannot calibrate the model"):
        calibrate(net, ["conv1"], {"x": conv_rows(1)}, ALL)


def test_a_row_that_the_runtime_fails_on_is_named() -> None:
    nodes = [helper.make_node("Gather", ["table", "index"], ["row"]), helper.make_node("Cast", ["x"], ["index"], to=7)]
    net = model_of([nodes[1], nodes[0]], {"x": [1, 2]}, ["row"], {"table": np.eye(3, dtype=np.float32)})
    rows = np.array([[0, 1], [2, 0], [1, 9]], dtype=np.float32)
    with pytest.raises(ModelError, match="the runtime fails") as caught:
        calibrate(net, ["row"], {"x": rows}, [MINMAX])
    assert caught.value.where == "row 2"


def test_an_interrupt_leaves_no_thread_behind(model: onnx.ModelProto) -> None:
    before = set(threading.enumerate())

    def interrupt(done: int, _: int) -> None:
        if done == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        calibrate(model, CONV_TENSORS, {"x": conv_rows(50)}, ALL, interrupt)
    assert set(threading.enumerate()) == before


def test_an_error_of_the_reader_comes_through(model: onnx.ModelProto) -> None:
    def broken() -> Iterator[Feeds]:
        yield {"x": conv_rows(2)}
        raise OSError("the card was pulled out")

    before = set(threading.enumerate())
    with pytest.raises(OSError, match="pulled out"):
        calibrate(model, CONV_TENSORS, broken(), ALL)
    assert set(threading.enumerate()) == before


PEAK = """
import sys
from pathlib import Path
from kit.model.calibrate import Method, calibrate
from tests.calibration_nets import CONV_TENSORS, conv_net, conv_rows

count = int(sys.argv[1])
methods = [Method(name) for name in ("minmax", "moving-average", "percentile", "entropy", "mse")]
feeds = ({"x": conv_rows(1, seed=number)} for number in range(count))
calibrate(conv_net(1, channels=512), CONV_TENSORS, feeds, methods)
status = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def peak_kib(rows: int) -> int:
    """High-water mark of a process that calibrates on so many rows, of 3 MB of tensors each."""
    done = subprocess.run([sys.executable, "-c", PEAK, str(rows)], check=True, capture_output=True, text=True)
    return int(done.stdout)


def test_memory_does_not_grow_with_rows() -> None:
    few, many = peak_kib(20), peak_kib(160)
    assert many <= 1.1 * few, "keeping the tensors would have taken 400 MB more"
