"""What a model computes of a row before its last product: the space in which it tells rows apart."""

import onnx
from onnx import TensorProto, helper

from kit.errors import ModelError
from kit.model.graph import constants_of, drop_unused_domains, names_of, untaken
from kit.model.rehearse import predict_limited
from kit.model.session import Array, Progress
from kit.records import Float32Array

MOST_VALUES = 100_000_000
"""Of all rows together (400 MB)."""

_LAST = ("Gemm", "MatMul")


def embed(
    data: bytes, rows: Array, output: str | None = None, *, progress: Progress | None = None
) -> Float32Array | None:
    """What enters the last matrix product before the scores: float32 [rows, dimensions], one row at a time.

    None where the model has no such product (trees, fully convolutional networks), or `MOST_VALUES` would be exceeded.
    It runs in a limited process, as `kit.model.rehearse` says.

    Args:
        data: a serialized ONNX model.
        rows: inputs [rows, *shape].
        output: name of the score output; None takes the only one.
        progress: called after every row.

    Raises:
        ModelError: the model takes too much, fails, or is not deterministic.
    """
    model = with_embedding(data, output)
    if model is None or not len(rows):
        return None
    one = predict_limited(model, rows[:1], None)
    if one.shape[1] * len(rows) > MOST_VALUES:
        return None
    return predict_limited(model, rows, None, progress=progress)


def with_embedding(data: bytes, output: str | None = None) -> bytes | None:
    """The model with one output only, [rows, dimensions]: what its last product before the scores takes in.

    The runtime leaves out what comes after that. None where there is no such product. Raises ModelError where the bytes
    are no model.
    """
    model = _parsed(data)
    graph = model.graph
    names = [value.name for value in graph.output]
    scores = output if output in names else names[0] if names else None
    entering = None if scores is None else _enters_last_product(graph, scores)
    if entering is None:
        return None
    taken = names_of(graph)
    flat, embedding = untaken("embedding_flat", taken), untaken("embedding", taken)
    graph.node.append(helper.make_node("Flatten", [entering], [flat], axis=1))
    graph.node.append(helper.make_node("Cast", [flat], [embedding], to=TensorProto.FLOAT))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(embedding, TensorProto.FLOAT, ["rows", "dimensions"]))
    drop_unused_domains(model)
    return bytes(model.SerializeToString())


def _parsed(data: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
        return model
    except Exception as error:
        raise ModelError("these bytes are no ONNX model", next_step="export it again") from error


def _enters_last_product(graph: onnx.GraphProto, scores: str) -> str | None:
    """The tensor that the last product before `scores` multiplies by constants.

    A product of two computed tensors (attention) is none: it mixes parts of a row, and decides nothing.
    """
    constants = constants_of(graph)
    needed, found = {scores}, None
    for node in reversed(graph.node):  # topological order
        if not needed.intersection(node.output):
            continue
        if node.op_type in _LAST and node.input[1] in constants and node.input[0] not in constants:
            found = node.input[0]
            break
        needed.update(node.input)
    return found
