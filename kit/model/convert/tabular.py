"""What the converters of tabular models share: one float32 input of features, one output of scores or values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kit.digest import digest_bytes
from kit.model.convert.base import Source
from kit.model.graph import drop_unused_domains, keep_output
from kit.records import ModelRecord, TensorInfo

INPUT = "x"
SCORES, VALUES = "probabilities", "prediction"
ML_OPSET = 3
"""Of ai.onnx.ml: the newest that onnxruntime 1.13 runs, and it has all that trees need."""


def tabular_record(
    name: str, digest: str, size_bytes: int, described: str, features: int, output: str, width: int
) -> ModelRecord:
    """The record of a model of `features` columns that gives `width` scores or values a row."""
    return ModelRecord(
        name=name,
        digest=digest,
        size_bytes=size_bytes,
        format=described,
        inputs=(TensorInfo(INPUT, "float32", ("rows", features)),),
        outputs=(TensorInfo(output, "float32", ("rows", width)),),
    )  # fmt: skip


def tabular_source(
    path: Path,
    data: bytes,
    described: str,
    features: int,
    output: str,
    predict: Callable[[NDArray[Any]], NDArray[Any]],
    export: Callable[[ModelRecord], bytes],
    notes: tuple[str, ...] = (),
) -> Source:
    """The source that a model of `features` columns is; how wide its output is, it shows on a row of zeros."""
    width = predict(np.zeros((1, features), np.float32)).shape[1]
    record = tabular_record(path.name, digest_bytes(data), len(data), described, features, output, width)
    return Source(record, lambda feeds: {output: predict(feeds[INPUT])}, lambda: export(record), notes)


def tidy(proto: onnx.ModelProto, output: str, width: int, opset: int) -> None:
    """Keep the output of scores or values alone, under that name, and state shapes and opsets deliberately.

    Labels are dropped (strings, integers: decisions come from scores); they are a converter's first output of two.
    """
    given = proto.graph.output[-1].name
    keep_output(proto, given)
    _rename(proto.graph, given, output)
    (value,) = proto.graph.output
    value.CopyFrom(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["rows", width]))
    for entry in proto.graph.input:
        entry.type.tensor_type.shape.dim[0].dim_param = "rows"
    del proto.opset_import[:]
    for domain, version in (("", opset), ("ai.onnx.ml", ML_OPSET)):
        proto.opset_import.add(domain=domain, version=version)
    proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import, ignore_unknown=True)
    drop_unused_domains(proto)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
