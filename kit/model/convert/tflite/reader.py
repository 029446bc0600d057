"""Read a TensorFlow Lite file that nobody vouches for: a flatbuffer, every offset and size of which is checked."""

import importlib
import struct
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kit.errors import ConversionError, EdgeproofError, ModelError
from kit.model.convert.tflite.file import DTYPES, MAGIC, File, Graph, Operator, Quantization, Tensor

MAX_GRAPHS, MAX_TENSORS, MAX_OPERATORS, MAX_RANK, MAX_ARGUMENTS = 64, 50_000, 50_000, 8, 4096
"""Most graphs, tensors and operators of a file, dimensions of a tensor, and inputs or outputs of an operator."""

_T = TypeVar("_T")


def schema() -> Any:
    """The generated reader of the schema, from ai-edge-litert."""
    return importlib.import_module("ai_edge_litert.schema_py_generated")


def parse(data: bytes) -> File:
    """The file in `data`.

    Raises:
        ModelError: it is cut, damaged, or holds more than the limits above.
        ConversionError: it holds something that has no form in ONNX (sparse tensors, strings).
    """
    if data[4:8] != MAGIC:
        raise ModelError("not a TensorFlow Lite model: its identifier TFL3 is missing", next_step="check the file")
    try:
        return _Reader(data).file()
    except EdgeproofError:
        raise
    except (struct.error, LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise ModelError(
            f"a damaged or cut TensorFlow Lite model: an offset or size in it is wrong ({type(error).__name__})",
            next_step="check that the file is complete, or convert it again",
        ) from None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._schema, self._size = schema(), len(data)
        self._model = self._schema.Model.GetRootAs(data, 0)
        self._operators = _by_value(self._schema.BuiltinOperator)
        self._types = _by_value(self._schema.TensorType)
        self._options = _by_value(self._schema.BuiltinOptions)
        self._options2 = _by_value(self._schema.BuiltinOptions2)

    def file(self) -> File:
        """Everything that the file says, each size and offset checked; ModelError where one is wrong."""
        count = _limited(self._model.SubgraphsLength(), MAX_GRAPHS, "graphs")
        if not count:
            raise ModelError("the TensorFlow Lite model has no graph", next_step="convert it again")
        graphs = tuple(self._graph(self._model.Subgraphs(index)) for index in range(count))
        return File(graphs, dict(self._names(len(graphs[0].tensors))))

    def _graph(self, graph: Any) -> Graph:
        tensors = tuple(_each(graph.Tensors, graph.TensorsLength(), MAX_TENSORS, "tensors", self._tensor))
        operators = tuple(_each(graph.Operators, graph.OperatorsLength(), MAX_OPERATORS, "operators", self._operator))
        inputs, outputs = (_indices(vector, len(tensors)) for vector in (graph.InputsAsNumpy(), graph.OutputsAsNumpy()))
        for operator in operators:
            _indices(operator.inputs, len(tensors), absent=True)
            _indices(operator.outputs, len(tensors))
        return Graph(tensors, operators, inputs, outputs)

    def _operator(self, operator: Any) -> Operator:
        codes = self._model.OperatorCodes(_below(operator.OpcodeIndex(), self._model.OperatorCodesLength(), "operator"))
        code = max(codes.BuiltinCode(), codes.DeprecatedBuiltinCode())
        name = self._operators.get(code, f"operator {code}")
        if name == "CUSTOM":
            name = f"CUSTOM {_text(codes.CustomCode())}"
        return Operator(
            name, _numbers(operator.InputsAsNumpy()), _numbers(operator.OutputsAsNumpy()), self._options_of(operator)
        )

    def _options_of(self, operator: Any) -> Any:
        kinds, kind, table = self._options, operator.BuiltinOptionsType(), operator.BuiltinOptions
        if not kind:
            kinds, kind, table = self._options2, operator.BuiltinOptions2Type(), operator.BuiltinOptions2
        found = table() if kind else None
        if found is None:
            return None
        name = kinds[kind]
        reader = getattr(self._schema, name)()
        reader.Init(found.Bytes, found.Pos)
        return getattr(self._schema, f"{name}T").InitFromObj(reader)

    def _tensor(self, tensor: Any) -> Tensor:
        name, kind = _text(tensor.Name()), self._types.get(tensor.Type(), f"type {tensor.Type()}")
        if tensor.Sparsity() is not None or kind not in DTYPES:
            what = "is sparse" if kind in DTYPES else f"is of type {kind}"
            raise ConversionError(
                f"the tensor {name!r} {what}, which has no form in ONNX", next_step="convert the model without it"
            )
        _limited(max(tensor.ShapeLength(), tensor.ShapeSignatureLength()), MAX_RANK, f"dimensions of {name!r}")
        shape = _numbers(tensor.ShapeAsNumpy())
        signature = _numbers(tensor.ShapeSignatureAsNumpy()) or shape
        if min(shape, default=0) < 0 or len(signature) != len(shape):
            raise ModelError(f"the tensor {name!r} has the shape {list(shape)}", next_step="convert the model again")
        dtype = DTYPES[kind]
        return Tensor(
            name,
            dtype,
            shape,
            signature,
            _quantization(tensor, name, shape),
            self._constant(tensor, name, dtype, shape),
        )

    def _constant(self, tensor: Any, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
        """The values of a constant: a view of the file, except for int4."""
        buffer = self._model.Buffers(_below(tensor.Buffer(), self._model.BuffersLength(), "buffer"))
        if buffer.Offset() > 1:
            raise ConversionError(
                f"the values of {name!r} lie behind the flatbuffer, as in models of more than 2 GB",
                next_step="give a model that fits an edge device",
            )
        stored = buffer.DataAsNumpy()
        if not isinstance(stored, np.ndarray) or dtype == "resource":
            return None
        count = int(np.prod(shape, dtype=object)) if shape else 1
        needed = (count + 1) // 2 if dtype == "int4" else count * np.dtype(dtype).itemsize
        if stored.nbytes != needed:
            raise ModelError(
                f"the constant {name!r} has {stored.nbytes} bytes, its shape {list(shape)} needs {needed}",
                next_step="check that the file is complete, or convert it again",
            )
        raw = np.ascontiguousarray(stored)
        if dtype == "int4":
            return _unpacked(raw)[:count].reshape(shape)
        return np.asarray(raw.view(np.dtype(dtype).newbyteorder("<"))).reshape(shape)

    def _names(self, tensors: int) -> Iterator[tuple[int, str]]:
        """Names of the first graph's inputs and outputs in the signature ``serving_default``, or the first."""
        found = [
            self._model.SignatureDefs(index) for index in range(min(self._model.SignatureDefsLength(), MAX_GRAPHS))
        ]
        main = sorted(
            (each for each in found if each.SubgraphIndex() == 0),
            key=lambda each: each.SignatureKey() != b"serving_default",
        )
        for signature in main[:1]:
            for get, length in (
                (signature.Outputs, signature.OutputsLength()),
                (signature.Inputs, signature.InputsLength()),
            ):
                for each in (get(index) for index in range(_limited(length, MAX_ARGUMENTS, "names"))):
                    yield _below(each.TensorIndex(), tensors, "tensor"), _text(each.Name())


def _quantization(tensor: Any, name: str, shape: tuple[int, ...]) -> Quantization | None:
    found = tensor.Quantization()
    if found is None or not found.ScaleLength():
        return None
    scale, axis = np.array(found.ScaleAsNumpy(), np.float32), int(found.QuantizedDimension())
    zero_point = np.zeros(scale.size, np.int64)
    if found.ZeroPointLength():
        zero_point = np.array(found.ZeroPointAsNumpy(), np.int64)
    fits = scale.size == 1 or (0 <= axis < len(shape) and shape[axis] == scale.size)
    if not fits or zero_point.size not in (1, scale.size) or not (np.isfinite(scale) & (scale >= 0)).all():
        raise ModelError(
            f"the tensor {name!r} has scales or zero points that do not fit it", next_step="convert the model again"
        )
    if scale.size == 1 and scale[0] == 0:  # what converters write for a tensor that they never saw
        return None
    return Quantization(scale, np.broadcast_to(zero_point, scale.shape), axis)


def _unpacked(packed: NDArray[Any]) -> NDArray[Any]:
    """int4 values, the low half of a byte first, as int8."""
    halves = np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1).astype(np.int8)
    return (halves ^ 8) - 8


def _by_value(enumeration: Any) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _each(get: Callable[[int], Any], count: int, most: int, what: str, read: Callable[[Any], _T]) -> Iterator[_T]:
    return (read(get(index)) for index in range(_limited(count, most, what)))


def _limited(count: int, most: int, what: str) -> int:
    if count > most:
        raise ModelError(f"{count} {what}; the most is {most}", next_step="give a model that fits an edge device")
    return count


def _below(index: int, count: int, what: str) -> int:
    if not 0 <= index < count:
        raise ModelError(f"a reference to {what} {index} of {count}", next_step="convert the model again")
    return index


def _numbers(vector: Any) -> tuple[int, ...]:
    """A vector of the schema as a tuple; absent ones are 0, not an array."""
    if not isinstance(vector, np.ndarray):
        return ()
    _limited(vector.size, MAX_ARGUMENTS, "numbers in one list")
    return tuple(int(number) for number in vector)


def _indices(vector: Any, tensors: int, *, absent: bool = False) -> tuple[int, ...]:
    numbers = vector if isinstance(vector, tuple) else _numbers(vector)
    return tuple(number if absent and number == -1 else _below(number, tensors, "tensor") for number in numbers)


def _text(raw: bytes | None) -> str:
    text = (raw or b"").decode("utf-8", "replace")[:200]
    return "".join(character if character.isprintable() else "?" for character in text)
