"""Tiny models that are made here to try a device: one with a known answer, one that is all work, one that is all bytes.

Their answers are whole numbers below 2^24 or a multiplication by one, so float32 has them exactly in any order of
summation (IEEE 754), on any processor.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from kit.records import Float32Array

FEATURES, CLASSES = 32, 16
WORK_SIZE = 128
MAX_ROW_BYTES = 1 << 18


def known_answer(seed: int) -> tuple[bytes, Float32Array, Float32Array]:
    """A matrix product and its threshold: the model, rows float32 [8, 32], and their exact scores float32 [8, 16]."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-9, 10, (FEATURES, CLASSES)).astype(np.float32)
    rows = rng.integers(-9, 10, (8, FEATURES)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["product"]), helper.make_node("Relu", ["product"], ["scores"])]
    model = _model(nodes, ["rows", FEATURES], ["rows", CLASSES], {"w": weights})
    return model, rows, np.maximum(rows @ weights, np.float32(0))


def work() -> tuple[bytes, Float32Array]:
    """Three products of 128 x 128 matrices an inference (12.6 million operations) from one number; and its one row."""
    size = np.array([WORK_SIZE, WORK_SIZE], np.int64)
    nodes = [
        helper.make_node("Expand", ["x", "size"], ["a"]),
        helper.make_node("MatMul", ["a", "a"], ["b"]),
        helper.make_node("MatMul", ["b", "a"], ["c"]),
        helper.make_node("MatMul", ["c", "a"], ["d"]),
        helper.make_node("Slice", ["d", "start", "end"], ["scores"]),
    ]
    constants = {"size": size, "start": np.zeros(2, np.int64), "end": np.array([1, 4], np.int64)}
    return _model(nodes, [1, 1], [1, 4], constants), np.ones((1, 1), np.float32)


def noise(seed: int, size_bytes: int) -> tuple[bytes, Float32Array]:
    """About `size_bytes` that no compression makes smaller; for a row of one 1.0 it answers `values` exactly.

    Returns the model and values, float32 [1, n] of at most 256 KiB: random bits of finite numbers.
    """
    rng = np.random.default_rng(seed)
    count = max(1, min(size_bytes, MAX_ROW_BYTES) // 4)
    bits = rng.integers(0, 2**32, count, np.uint32)
    values = (bits & np.uint32(0xBFFFFFFF)).view(np.float32)[None, :]  # without the exponent's top bit: all are finite
    values[~np.isfinite(values) | (np.abs(values) < np.finfo(np.float32).tiny)] = 1.0  # some runtimes flush subnormals
    rest = rng.integers(0, 256, max(0, size_bytes - 4 * count), np.uint8)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["scores"])]
    return _model(nodes, ["rows", 1], ["rows", count], {"w": values, **({"rest": rest} if len(rest) else {})}), values


def _model(
    nodes: Sequence[NodeProto],
    rows: Sequence[int | str],
    scores: Sequence[int | str],
    constants: Mapping[str, NDArray[np.generic]],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "smoke",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, rows)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, scores)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
