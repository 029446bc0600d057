"""What a model file says of itself: its interface as a record, and the properties written into it."""

from collections.abc import Mapping

import onnx

from kit.digest import digest_bytes
from kit.errors import ModelError
from kit.records import ModelRecord, TensorInfo

PREFIX = "edgeproof."
"""Every property that this tool writes into `metadata_props` starts so."""


def main_opset(model: onnx.ModelProto) -> int | None:
    """Version of the default operator set, None where the model imports none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)


def free_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Inputs that a caller must give: those without an initializer of the same name."""
    constants = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in constants]


def tensor_info(value: onnx.ValueInfoProto) -> TensorInfo:
    """Name, numpy dtype and shape of an input or output; a dimension without name or size is ``?``.

    Raises:
        ModelError: it is no tensor, or of a data type that does not exist.
    """
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ModelError(
            f"{value.name!r} is {'untyped' if kind is None else 'a ' + kind.removesuffix('_type')}, not a tensor",
            next_step="export the model with tensors as inputs and outputs (scikit-learn: zipmap off)",
        )
    tensor = value.type.tensor_type
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    except (KeyError, ValueError, TypeError):
        raise ModelError(f"{value.name!r} has an unknown data type ({tensor.elem_type})") from None
    return TensorInfo(value.name, dtype, tuple(_dimension(dim) for dim in tensor.shape.dim))


def _dimension(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    """Its size or name; -1 is how some exporters (Paddle's) write a dynamic dimension."""
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value != -1 else dim.dim_param or "?"


def record_of(model: onnx.ModelProto, data: bytes, name: str) -> ModelRecord:
    """The record of `model`, whose serialized bytes are `data`; raises ModelError as `tensor_info` does."""
    return ModelRecord(
        name=name,
        digest=digest_bytes(data),
        size_bytes=len(data),
        format="onnx",
        opset=main_opset(model),
        inputs=tuple(tensor_info(value) for value in free_inputs(model.graph)),
        outputs=tuple(tensor_info(value) for value in model.graph.output),
    )


def properties(model: onnx.ModelProto) -> dict[str, str]:
    """The model's `metadata_props`."""
    return {entry.key: entry.value for entry in model.metadata_props}


def with_properties(model: onnx.ModelProto, new: Mapping[str, str]) -> onnx.ModelProto:
    """`model` itself, with properties added or replaced, in sorted order so that equal models have equal bytes."""
    merged = {**properties(model), **new}
    del model.metadata_props[:]
    for key in sorted(merged):
        model.metadata_props.add(key=key, value=merged[key])
    return model


def serialized(model: onnx.ModelProto) -> bytes:
    """The model's bytes, the same for equal models."""
    return bytes(model.SerializeToString(deterministic=True))
