"""An ONNX graph that grows from a TensorFlow Lite one: values in both layouts, quantized tensors as they are stored.

A quantized tensor is its integers; an operator on it is dequantized, computed in float and quantized again (QDQ, the
form that onnxruntime runs in integers). Images stay channels last at the interface; convolutions ask for channels
first, and a transposition is written only where a value is asked for in a layout that it does not have yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from kit.errors import ConversionError
from kit.model.convert.tflite.file import Graph, Operator, Quantization, Tensor
from kit.model.load import MAX_MODEL_BYTES

FIRST = (0, 3, 1, 2)
"""Channels last to channels first: dimension `FIRST[i]` of the one is dimension i of the other."""

LAST = (0, 2, 3, 1)
"""Channels first to channels last."""

RELU, RELU_N1_TO_1, RELU6, TANH = 1, 2, 3, 4
"""Activations fused into an operator, by the schema's number (ActivationFunctionType)."""

_CLIPS = {RELU: (0.0, None), RELU_N1_TO_1: (-1.0, 1.0), RELU6: (0.0, 6.0)}


class UnsupportedError(Exception):
    """An operator in a form that has no counterpart; the text says which."""


@dataclass(slots=True)
class Builder:
    """The ONNX graph so far: `first` has the channels-first form of a tensor's value, `plain` the form of the file."""

    graph: Graph
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, onnx.TensorProto] = field(default_factory=dict)
    plain: dict[int, str] = field(default_factory=dict)
    first: dict[int, str] = field(default_factory=dict)
    folded: dict[int, NDArray[Any]] = field(default_factory=dict)
    constant_bytes: int = 0

    def tensor(self, index: int) -> Tensor:
        """The file's tensor of that index; UnsupportedError for an absent one."""
        if index < 0:
            raise UnsupportedError("an input that it needs is absent")
        return self.graph.tensors[index]

    def constant(self, index: int) -> NDArray[Any] | None:
        """Stored values of a constant, None if the tensor is computed."""
        return self.folded.get(index, self.tensor(index).data) if index >= 0 else None

    def numbers(self, index: int) -> list[int]:
        """A constant list of integers: axes, sizes, paddings."""
        values = self.constant(index)
        if values is None:
            raise UnsupportedError(f"its argument {self.tensor(index).name!r} is computed, not constant")
        return [int(value) for value in values.reshape(-1)]

    def quantization(self, index: int) -> Quantization | None:
        """Scale and zero point of a tensor that holds quantized integers, None for any other."""
        found = self.tensor(index)
        return found.quantization if found.dtype in ("int8", "uint8", "int16", "int32", "int4") else None

    def real_values(self, index: int) -> NDArray[Any]:
        """A constant's real values, float32."""
        values, quantization = self.constant(index), self.quantization(index)
        if values is None:
            raise UnsupportedError(f"its argument {self.tensor(index).name!r} is computed, not constant")
        if quantization is None:
            return values.astype(np.float32)
        shape = [1] * values.ndim
        if not quantization.per_tensor:
            shape[quantization.axis] = -1
        scale, zero = quantization.scale.reshape(shape), quantization.zero_point.reshape(shape)
        return np.asarray((values.astype(np.int64) - zero) * scale, np.float32).reshape(values.shape)

    def emit(self, operator: str, inputs: Sequence[str], *, outputs: int = 1, **attributes: Any) -> list[str]:
        """Append a node; the names of its outputs."""
        number = len(self.nodes)
        names = [f"{operator}_{number}:{index}" for index in range(outputs)]  # no name of a file's tensor has a colon
        self.nodes.append(helper.make_node(operator, list(inputs), names, f"{operator}_{number}", **attributes))
        return names

    def one(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node of one output; its name."""
        return self.emit(operator, inputs, **attributes)[0]

    def reduced(self, operator: str, name: str, axes: Sequence[int], *, keep: bool = True) -> str:
        """Append a reduction over `axes`, an input or an attribute as the opset has it."""
        if operator == "ReduceSum" or self.opset >= 18:
            return self.one(operator, name, self.literal(list(axes), np.int64), keepdims=int(keep))
        return self.one(operator, name, axes=list(axes), keepdims=int(keep))

    def literal(self, values: Any, dtype: Any, *, shared: bool = True) -> str:
        """Name of a constant with these values, one for equal values unless it must not be `shared`."""
        array = np.ascontiguousarray(values, dtype=dtype).reshape(np.shape(values))
        self.constant_bytes += array.nbytes
        if self.constant_bytes > MAX_MODEL_BYTES:
            raise ConversionError("its constants take more memory than any model may", next_step="give a smaller model")
        proto = numpy_helper.from_array(array)
        key = f"{array.dtype.name}{list(array.shape)}{hash(proto.raw_data)}"
        if array.size <= 8:
            key = f"{array.dtype.name}{list(array.shape)}={array.reshape(-1).tolist()}"
        known = self.initializers.get(key) if shared else None
        if known is not None and known.raw_data == proto.raw_data:
            return known.name
        proto.name = f"constant_{len(self.initializers)}:0"
        self.initializers[key if shared and known is None else f"{key}#{len(self.initializers)}"] = proto
        return proto.name

    def stored(self, index: int, layout: tuple[int, ...] = ()) -> str:
        """Name of the tensor's value as the file stores it; with `layout` `FIRST`, channels first."""
        values = self.constant(index)
        if values is not None:
            return self.literal(np.transpose(values, layout) if layout else values, _kept(values.dtype))
        forms, other, move = (self.first, self.plain, FIRST) if layout else (self.plain, self.first, LAST)
        if index not in forms:
            if index not in other:
                raise UnsupportedError(f"it uses {self.tensor(index).name!r} before that is computed")
            forms[index] = self.one("Transpose", other[index], perm=move)
        return forms[index]

    def real(self, index: int, layout: tuple[int, ...] = ()) -> str:
        """Name of the tensor's real value: dequantized if it holds quantized integers."""
        found, quantization = self.tensor(index), self.quantization(index)
        if quantization is None:
            name = self.stored(index, layout)
            return self.one("Cast", name, to=onnx.TensorProto.FLOAT) if found.dtype == "float16" else name
        axis = layout.index(quantization.axis) if layout and not quantization.per_tensor else quantization.axis
        return self.dequantize(self.stored(index, layout), found.dtype, quantization, axis)

    def dequantize(self, name: str, dtype: str, quantization: Quantization, axis: int) -> str:
        """Append a DequantizeLinear along `axis`; int16 and int32 in float arithmetic where it has no such form."""
        self.check_quantized(dtype)
        shape = () if quantization.per_tensor else quantization.scale.shape
        inputs = [name, self.literal(quantization.scale.reshape(shape), np.float32)]
        if dtype != "int32":
            # onnxruntime's change of int8 weights to uint8 (session.x64quantprecision) fails on a shared zero point
            inputs.append(self.literal(quantization.zero_point.reshape(shape), dtype, shared=False))
        elif quantization.zero_point.any():
            raise UnsupportedError("it has int32 values with a zero point")
        return self.one("DequantizeLinear", *inputs, **({} if quantization.per_tensor else {"axis": axis}))

    def quantize(self, name: str, index: int) -> str:
        """Append what stores the real value `name` as the tensor `index` does."""
        found, quantization = self.tensor(index), self.quantization(index)
        if quantization is None:
            return name
        self.check_quantized(found.dtype)
        scale = self.literal(quantization.scale.reshape(()), np.float32)
        return self.one("QuantizeLinear", name, scale, self.literal(quantization.zero_point.reshape(()), found.dtype))

    def check_quantized(self, dtype: str) -> None:
        """UnsupportedError for what is quantized otherwise than to 8 bits (and biases to 32)."""
        if dtype == "int16":
            raise UnsupportedError("its values are quantized to 16 bits (16x8), and only 8 are converted")
        if dtype not in ("int8", "uint8", "int32"):
            raise UnsupportedError(f"its values are quantized to {dtype}")

    def put(self, index: int, name: str, layout: tuple[int, ...] = ()) -> None:
        """The tensor's stored value is `name` from now on, in that layout."""
        (self.first if layout else self.plain)[index] = name

    def put_real(self, index: int, name: str, layout: tuple[int, ...] = (), activation: int = 0) -> None:
        """The tensor's real value is `name`, after a fused activation; stored as the file stores it."""
        self.put(index, self.quantize(self.activated(name, activation), index), layout)

    def activated(self, name: str, activation: int) -> str:
        """Append a fused activation."""
        if activation == RELU:
            return self.one("Relu", name)
        if activation in _CLIPS:
            low, high = _CLIPS[activation]
            return self.one("Clip", name, self.literal(low, np.float32), self.literal(high, np.float32))
        if activation == TANH:
            return self.one("Tanh", name)
        if activation:
            raise UnsupportedError(f"its fused activation {activation} is unknown")
        return name

    def layout_of(self, *indices: int) -> tuple[int, ...]:
        """`FIRST` if every computed one of the tensors has rank 4 and is at hand channels first, else ()."""
        computed = [index for index in indices if index >= 0 and self.constant(index) is None]
        known = computed and all(index in self.first for index in computed)
        return FIRST if known and all(len(self.tensor(index).shape) == 4 for index in computed) else ()


def _kept(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("=")


def described(operator: Operator, graph: Graph) -> str:
    """An operator for messages: its name and the tensor that it gives."""
    return f"{operator.name} ({graph.tensors[operator.outputs[0]].name})" if operator.outputs else operator.name
