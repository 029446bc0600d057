"""Tiny ONNX models and devices for tests of agent, links, drivers and measuring."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kit.spec.types import DeviceSpec

FEATURES, CLASSES = 12, 3


def weights(seed: int = 0) -> NDArray[np.float32]:
    """float32 [FEATURES, CLASSES]."""
    return np.random.default_rng(seed).normal(size=(FEATURES, CLASSES)).astype(np.float32)


def rows(count: int = 50, seed: int = 1) -> NDArray[np.float32]:
    """float32 [count, FEATURES]."""
    return np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32)


def graph_bytes(
    nodes: Sequence[object],
    inputs: Sequence[object],
    outputs: Sequence[object],
    constants: dict[str, NDArray[np.generic]],
) -> bytes:
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def tensor(name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> object:
    return helper.make_tensor_value_info(name, kind, list(shape))


def linear(seed: int = 0, batch: int | str = "rows", **constants: NDArray[np.generic]) -> bytes:
    """scores = x @ weights(seed); extra constants only make the file larger."""
    node = helper.make_node("MatMul", ["x", "w"], ["scores"])
    return graph_bytes(
        [node],
        [tensor("x", [batch, FEATURES])],
        [tensor("scores", [batch, CLASSES])],
        {"w": weights(seed), **constants},
    )


def classifier() -> bytes:
    """As scikit-learn converts them: an int64 label and float scores; `scores` is the only float output of rank 2."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [tensor("label", ["rows"], TensorProto.INT64), tensor("scores", ["rows", CLASSES])]
    return graph_bytes(nodes, [tensor("x", ["rows", FEATURES])], outputs, {"w": weights()})


def two_scores() -> bytes:
    """Two float outputs of rank 2: ambiguous unless one is named."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    outputs = [tensor("scores", ["rows", CLASSES]), tensor("probabilities", ["rows", CLASSES])]
    return graph_bytes(nodes, [tensor("x", ["rows", FEATURES])], outputs, {"w": weights()})


def two_inputs() -> bytes:
    node = helper.make_node("Add", ["a", "b"], ["scores"])
    inputs = [tensor("a", ["rows", FEATURES]), tensor("b", ["rows", FEATURES])]
    return graph_bytes([node], inputs, [tensor("scores", ["rows", FEATURES])], {})


def logarithm() -> bytes:
    """scores = log(x)[:, :CLASSES]: not finite where x is 0 or negative."""
    nodes = [helper.make_node("Log", ["x"], ["l"]), helper.make_node("MatMul", ["l", "w"], ["scores"])]
    return graph_bytes(
        nodes, [tensor("x", ["rows", FEATURES])], [tensor("scores", ["rows", CLASSES])], {"w": np.abs(weights())}
    )


def heavy(weight_bytes: int) -> bytes:
    """Weights of about this size, cheap to run: x @ w[FEATURES, many], of which CLASSES columns are the scores."""
    many = max(CLASSES, weight_bytes // 4 // FEATURES)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["all"]),
        helper.make_node("Slice", ["all", "from", "to", "axes"], ["scores"]),
    ]
    constants = {
        "w": np.random.default_rng(0).normal(size=(FEATURES, many)).astype(np.float32),
        "from": np.array([0]), "to": np.array([CLASSES]), "axes": np.array([1]),
    }  # fmt: skip
    return graph_bytes(nodes, [tensor("x", [1, FEATURES])], [tensor("scores", [1, CLASSES])], constants)


def hungry(floats: int = 1 << 45) -> bytes:
    """Asks for an intermediate of so many floats when it is run."""
    one = helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["big"], value=one),
        helper.make_node("ReduceSum", ["big"], ["total"], keepdims=0),
        helper.make_node("Mul", ["x", "total"], ["scores"]),
    ]
    outputs = [tensor("scores", ["rows", FEATURES])]
    return graph_bytes(nodes, [tensor("x", ["rows", FEATURES])], outputs, {"size": np.array([floats])})


def slow(size: int = 700) -> bytes:
    """About 10 ms an inference: a chain of matrix products of its own constants."""
    big = (np.eye(size) + 1e-3).astype(np.float32)
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0),
        helper.make_node("Mul", ["big", "total"], ["m0"]),
        *[helper.make_node("MatMul", [f"m{i}", "big"], [f"m{i + 1}"]) for i in range(4)],
        helper.make_node("Slice", ["m4", "from", "to"], ["scores"]),
    ]
    constants = {"big": big, "from": np.array([0, 0]), "to": np.array([1, CLASSES])}
    return graph_bytes(nodes, [tensor("x", [1, FEATURES])], [tensor("scores", [1, CLASSES])], constants)


def device_spec(**changes: object) -> DeviceSpec:
    """A subprocess device on this machine."""
    fields: dict[str, object] = {"name": "local", "description": "", "digest": "", "path": "", "link": "subprocess:"}
    return DeviceSpec(**(fields | changes))  # type: ignore[arg-type]


def alive(process_id: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(is_so: Callable[[], object], within_s: float = 20.0) -> bool:
    """Whether it becomes so in time, which is ample: where all is well it is not used."""
    deadline_s = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


def wait_gone(process_id: int) -> bool:
    """Whether the process goes away in time."""
    return wait_until(lambda: not alive(process_id))


def group_members(group: int) -> list[int]:
    """Processes, zombies left out, of a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group and alive(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
