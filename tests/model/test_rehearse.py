"""Models that are valid ONNX and still attack the host: each dies in its own process, with a clear error here."""

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper, numpy_helper

from kit.errors import ModelError
from kit.model.convert import Converted, convert
from kit.model.load import load_onnx_bytes
from kit.model.rehearse import _judge, rehearse

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


def endless() -> bytes:
    """A loop of 2^60 rounds."""
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
    loop = helper.make_node("Loop", ["rounds", "true", "x"], ["y"], "loop", body=body)
    return model([loop], {"rounds": np.array(1 << 60, np.int64), "true": np.array(True)})


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


@pytest.mark.parametrize("name", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_the_death_of_the_child_is_an_error_and_not_ours(name: signal.Signals) -> None:
    done = subprocess.run(["/bin/sh", "-c", f"kill -{name.value} $$"], capture_output=True, check=False)
    with pytest.raises(ModelError, match=rf"crashed.*{name.name}"):
        _judge(done)
    with pytest.raises(ModelError, match="exit code 3"):
        _judge(subprocess.run(["/bin/sh", "-c", "exit 3"], capture_output=True, check=False))


def test_converting_an_onnx_file_rehearses_it_first(tmp_path: Path) -> None:
    path = tmp_path / "attack.onnx"
    path.write_bytes(filler(1 << 40))
    with pytest.raises(ModelError) as caught:
        convert(path, inputs=ROW)
    assert caught.value.where.startswith(str(path))
