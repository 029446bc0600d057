"""Models that are valid ONNX and still attack the host: each dies in its own process, with a clear error here."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.errors import ModelError
from kit.model.convert import Converted, reference_of
from kit.model.load import load_onnx_bytes
from kit.model.rehearse import REPEATED_ROWS, _judge, _Reply, predict_limited, rehearse

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
ROW = np.zeros((1, 4), np.float32)


def model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> bytes:
    x, y = (helper.make_tensor_value_info(name, FLOAT, ["rows", 4]) for name in "xy")
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "attack", [x], [y], tensors)
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return load_onnx_bytes(data, "attack").data  # structurally sound: the loader has nothing against it


def filler(elements: int) -> bytes:
    """Ten bytes that ask for `elements` floats."""
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["filled"], "filler"),
        helper.make_node("ReduceSum", ["filled"], ["sum"], "sum", keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"], "add"),
    ]
    return model(nodes, {"size": np.array([elements], np.int64)})


def endless(*, above: float | None = None) -> bytes:
    """A loop of 2^60 rounds; with `above`, only where the largest input is above it."""
    values = [
        helper.make_tensor_value_info("round", INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
    ]
    outputs = [
        helper.make_tensor_value_info("on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("w", FLOAT, None),
    ]
    nodes = [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Identity", ["v"], ["w"])]
    body = helper.make_graph(nodes, "body", [*values, helper.make_tensor_value_info("v", FLOAT, None)], outputs)
    condition = [
        helper.make_node("ReduceMax", ["x"], ["largest"], "largest", keepdims=0),
        helper.make_node("Greater", ["largest", "above"], ["go_at_all"], "condition"),
    ]
    loop = helper.make_node("Loop", ["rounds", "go_at_all", "x"], ["y"], "loop", body=body)
    constants = {"rounds": np.array(1 << 60, np.int64), "above": np.array(-np.inf if above is None else above, "f4")}
    return model([*condition, loop], constants)


def noise() -> bytes:
    """Scores with random numbers added."""
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"], "noise"),
        helper.make_node("Add", ["x", "noise"], ["y"], "add"),
    ]
    return model(nodes, {})


def centred() -> bytes:
    """Scores less the mean of the batch: the rows of a batch influence each other."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], "mean", axes=[0]),
        helper.make_node("Sub", ["x", "mean"], ["y"], "sub"),
    ]
    return model(nodes, {})


def children() -> int:
    return len(psutil.Process().children(recursive=True))


def test_a_sound_model_passes(converted: dict[str, Converted], digits) -> None:
    rehearse(converted["mlp"].data, digits.test[:1], None)
    rehearse(converted["mlp"].data, digits.test[:1], "probabilities")


@pytest.mark.parametrize("elements", [1 << 31, 1 << 40, 1 << 60])
def test_a_model_that_wants_too_much_memory_is_refused(elements: int) -> None:
    before = psutil.Process().memory_info().rss
    with pytest.raises(ModelError) as caught:
        rehearse(filler(elements), ROW, None)
    assert caught.value.next_step
    assert "\n" not in str(caught.value)
    assert psutil.Process().memory_info().rss - before < 100 << 20


def test_a_model_that_never_ends_is_stopped() -> None:
    before, start = children(), time.monotonic()
    with pytest.raises(ModelError, match="one row takes more than 2 s"):
        rehearse(endless(), ROW, None, limit_s=2)
    assert time.monotonic() - start < 10
    assert children() == before


def test_what_the_child_refuses_is_told_in_its_words(converted: dict[str, Converted], digits) -> None:
    with pytest.raises(ModelError, match=r"no output 'logits'.*probabilities"):
        rehearse(converted["mlp"].data, digits.test[:1], "logits")
    with pytest.raises(ModelError, match="not finite") as caught:
        rehearse(converted["mlp"].data, np.full((1, 64), np.nan, np.float32), None)
    assert caught.value.where == "row 0"


def test_a_model_that_never_ends_on_one_row_is_stopped_there() -> None:
    rows = np.zeros((50, 4), np.float32)
    rows[37, 2] = 9
    assert np.array_equal(predict_limited(endless(above=10), rows, None), rows)
    before = children()
    with pytest.raises(ModelError, match="row 37: one row takes more than 3 s"):
        predict_limited(endless(above=8), rows, None, limit_s=3)
    assert children() == before


def test_many_slow_rows_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kit.model.rehearse.PACE_S", 0.0)
    with pytest.raises(ModelError, match="rows take more than"):
        predict_limited(endless(), np.zeros((9, 4), np.float32), None, limit_s=2)


def test_an_interrupt_ends_the_wait_and_the_child(tmp_path: Path) -> None:
    (tmp_path / "endless.onnx").write_bytes(endless())
    program = (
        "import sys, numpy as np; from pathlib import Path; from kit.model.rehearse import predict_limited\n"
        "predict_limited(Path(sys.argv[1]).read_bytes(), np.zeros((2, 4), np.float32), None)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path / "endless.onnx"], stderr=subprocess.PIPE)
    try:
        deadline_s = time.monotonic() + 30
        while not (started := psutil.Process(process.pid).children()) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate(timeout=10)[1]
        assert started
        assert not any(child.is_running() for child in started)
    finally:
        process.kill()


def test_scores_are_those_of_rows_run_one_by_one() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    seen: list[tuple[int, int]] = []
    scores = predict_limited(centred(), rows, None, progress=lambda done, total: seen.append((done, total)))
    assert not scores.any()  # a row less its own mean
    assert seen == [(done, 40) for done in range(1, 41)]


@pytest.mark.parametrize("count", [1, REPEATED_ROWS + 5])
def test_a_model_that_decides_by_chance_is_refused(count: int) -> None:
    with pytest.raises(ModelError, match=r"row 0: .*other scores when the same row is run again") as caught:
        predict_limited(noise(), np.zeros((count, 4), np.float32), None)
    assert "dropout" in caught.value.next_step


@pytest.mark.parametrize("name", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_the_death_of_the_child_is_an_error_and_not_ours(name: signal.Signals) -> None:
    done = subprocess.run(["/bin/sh", "-c", f"kill -{name.value} $$"], capture_output=True, check=False)
    with pytest.raises(ModelError, match=rf"crashed.*{name.name}"):
        _judge(done.returncode, None)
    with pytest.raises(ModelError, match="exit code 3"):
        _judge(3, _Reply())  # it said that all was well, and then died


def test_converting_an_onnx_file_rehearses_it_first(tmp_path: Path) -> None:
    path = tmp_path / "attack.onnx"
    path.write_bytes(filler(1 << 40))
    with pytest.raises(ModelError) as caught:
        reference_of(path, rows=ROW)
    assert caught.value.where.startswith(str(path))


def test_the_child_starts_without_what_only_a_few_models_need() -> None:
    code = "import sys, kit.model.rehearse; print(*{'onnx', 'pandas', 'onnxruntime.quantization'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
