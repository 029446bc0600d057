"""What share of a model file is weights."""

from collections.abc import Iterator

import onnx


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes that the initializers of `model` take on storage, those of nested graphs and external data included.

    External data need not have been read: their stated length counts, or that of their type and shape.
    """
    return sum(_stored_bytes(tensor) for graph in _graphs(model.graph) for tensor in _initializers(graph))


def file_sizes(data: bytes) -> dict[str, int]:
    """`model_bytes` and `weight_bytes` of the model file `data`, which holds all of its tensors."""
    model = onnx.ModelProto.FromString(data)
    return {"model_bytes": len(data), "weight_bytes": weight_bytes(model)}


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those in its nodes' attributes, to any depth."""
    left = [graph]
    while left:
        each = left.pop()
        yield each
        for attribute in (attribute for node in each.node for attribute in node.attribute):
            left.extend([attribute.g] if attribute.HasField("g") else [])
            left.extend(attribute.graphs)


def _initializers(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _stored_bytes(tensor: onnx.TensorProto) -> int:
    """As protobuf writes it, name and shape included, and its data where they lie outside."""
    inside = int(tensor.ByteSize())
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return inside
    length = next((entry.value for entry in tensor.external_data if entry.key == "length"), "")
    return inside + (int(length) if length.isascii() and length.isdecimal() else _data_bytes(tensor))


def _data_bytes(tensor: onnx.TensorProto) -> int:
    """What raw data of its type and shape take; 4-bit elements lie two to a byte."""
    count = 1
    for size in tensor.dims:
        count *= max(0, size)
    name = onnx.TensorProto.DataType.Name(tensor.data_type)
    if name.endswith("INT4") or name.startswith("FLOAT4"):
        return (count + 1) // 2
    return count * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
