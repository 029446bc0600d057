"""What a TensorFlow Lite file holds, in the terms of its schema: graphs of operators on tensors.

The schema is tensorflow/compiler/mlir/lite/schema/schema.fbs; what scales and zero points mean is said by TensorFlow
Lite's 8-bit quantization specification.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"TFL3"
"""File identifier at byte 4 (``file_identifier`` of the schema)."""

DTYPES = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "FLOAT64": "float64",
    "INT32": "int32",
    "UINT8": "uint8",
    "INT64": "int64",
    "BOOL": "bool",
    "INT16": "int16",
    "INT8": "int8",
    "UINT32": "uint32",
    "UINT16": "uint16",
    "UINT64": "uint64",
    "INT4": "int4",
    "RESOURCE": "resource",
}
"""numpy's names of the schema's tensor types; int4 are two values a byte, a resource is a variable."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """real = scale * (stored - zero_point); one scale, or one for each index of dimension `axis`."""

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int

    @property
    def per_tensor(self) -> bool:
        """Whether the whole tensor has one scale."""
        return self.scale.size == 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantization) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("scale", "zero_point")
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor: `shape` as the file was converted, `signature` with -1 where a size is dynamic; constants have data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    quantization: Quantization | None = None
    data: NDArray[Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator: the schema's name, tensors by index (-1 for an absent one), and its options."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any = None


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph of a file, its operators in order of execution."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class File:
    """A file: its graphs, the first of which predicts, and the names that its signature gives to tensors."""

    graphs: tuple[Graph, ...]
    names: dict[int, str]

    @property
    def main(self) -> Graph:
        """The graph that predicts."""
        return self.graphs[0]

    def with_main(self, graph: Graph, names: dict[int, str]) -> "File":
        """The same file with another main graph."""
        return replace(self, graphs=(graph, *self.graphs[1:]), names={**self.names, **names})
