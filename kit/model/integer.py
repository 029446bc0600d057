"""What an x86 processor without VNNI computes: int8 products whose 16-bit pair sums saturate.

With AVX2 or AVX-512BW but without VNNI, onnxruntime multiplies unsigned activations by signed weights
with VPMADDUBSW, which adds two neighbouring products into one *saturating* 16-bit integer (Intel SDM,
volume 2, PMADDUBSW). The exact sum less what those pairs lose is the sum such a processor gets, so

    accumulator = exact integer product - sum over saturating pairs of (pair - clip(pair)).

Here are onnxruntime's fused int8 operators in that arithmetic; `kit.model.fused` runs a graph of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from kit.errors import ModelError

Array = NDArray[Any]
Int64Array = NDArray[np.int64]

PAIR_MIN, PAIR_MAX = -32768, 32767
"""Range of one VPMADDUBSW lane, a signed 16-bit integer (Intel SDM, volume 2, PMADDUBSW)."""

ACTIVATION_MAX = 255
"""Largest unsigned 8-bit activation."""

_BLOCK_ELEMENTS = 1 << 22
"""Pair sums held at once, which bounds memory to tens of megabytes."""

_MAX_WINDOW_ELEMENTS = 1 << 27
"""Activations gathered at once for one convolution; a larger one is refused."""


class NotModelledError(ModelError):
    """The graph holds something whose saturating arithmetic is not known here: no prediction, never a guess."""

    slug: ClassVar[str] = "not-modelled"


@dataclass(frozen=True, slots=True)
class NodePairs:
    """Pair sums of one fused int8 node: how many saturated and how many were added, over all rows."""

    name: str
    op_type: str
    saturated_pairs: int
    total_pairs: int


class PairProduct:
    """Unsigned rows times signed columns, as VPMADDUBSW pairs them: (0, 1), (2, 3), ... along K.

    Args:
        weights: (K, N) int8, or uint8, which other and exact kernels multiply.
        saturate: False gives the exact product.
    """

    def __init__(self, weights: Array, *, saturate: bool) -> None:
        self.weights = weights.astype(np.float64)
        self.pair_count = -(-len(weights) // 2)
        even_k = np.zeros((2 * self.pair_count, weights.shape[1]), np.int32)
        even_k[: len(weights)] = weights
        first, second = even_k[0::2], even_k[1::2]
        high = ACTIVATION_MAX * (np.maximum(first, 0) + np.maximum(second, 0))
        low = ACTIVATION_MAX * (np.minimum(first, 0) + np.minimum(second, 0))
        at_risk = (high > PAIR_MAX) | (low < PAIR_MIN)
        if not saturate or weights.dtype != np.int8:
            at_risk[:] = False
        self.column, self.pair = np.nonzero(at_risk.T)
        self.first, self.second = first[self.pair, self.column], second[self.pair, self.column]

    def __call__(self, rows: Array) -> tuple[Int64Array, int]:
        """(M, K) uint8 rows to (M, N) int64 sums, and the number of pair sums that saturated."""
        sums = np.rint(rows.astype(np.float64) @ self.weights).astype(np.int64)
        saturated = 0
        step = max(1, _BLOCK_ELEMENTS // max(1, len(self.pair)))
        for start in range(0, len(rows) if len(self.pair) else 0, step):
            block = slice(start, start + step)
            saturated += self._take_excess(rows[block], sums[block])
        return sums, saturated

    def _take_excess(self, rows: Array, sums: Int64Array) -> int:
        """Subtract what saturation loses from `sums` in place; the number of pair sums that saturated."""
        by_k = np.zeros((2 * self.pair_count, len(rows)), np.int32)
        by_k[: rows.shape[1]] = rows.T
        excess = by_k[2 * self.pair] * self.first[:, None] + by_k[2 * self.pair + 1] * self.second[:, None]
        excess -= np.clip(excess, PAIR_MIN, PAIR_MAX)
        columns, starts = np.unique(self.column, return_index=True)
        sums[:, columns] -= np.add.reduceat(excess, starts, axis=0, dtype=np.int64).T
        return int(np.count_nonzero(excess))


@dataclass(slots=True)
class QuantizedNode:
    """One node of the fused graph and the graph's constants; counts its pair sums as it is evaluated."""

    proto: onnx.NodeProto
    constants: dict[str, Array]
    saturate: bool
    cache: dict[object, PairProduct] = field(default_factory=dict)
    saturated: int = 0
    total: int = 0

    @property
    def label(self) -> str:
        """The node's name, or its output's where it has none."""
        return self.proto.name or self.proto.output[0]

    def attribute(self, name: str, default: Any) -> Any:
        """Value of an ONNX attribute; a string is bytes."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                return onnx.helper.get_attribute_value(attribute)
        return default

    def refuse(self, what: str) -> NotModelledError:
        """The error to raise where `what` is beyond this evaluator."""
        return NotModelledError(
            f"{self.proto.op_type} is not modelled: {what}",
            where=f"node {self.label!r}",
            next_step="measure this model on the processor itself; no prediction is made",
        )

    def constant(self, index: int) -> Array:
        """Input `index`, which must be a constant of the graph."""
        name = self.proto.input[index] if index < len(self.proto.input) else ""
        if name not in self.constants:
            raise self.refuse(f"its input {index} is not a constant")
        return self.constants[name]

    def optional(self, index: int) -> Array | None:
        """Input `index`, which may be left out but must otherwise be a constant."""
        present = index < len(self.proto.input) and self.proto.input[index]
        return self.constant(index) if present else None

    def scalar(self, index: int) -> Any:
        """A per-tensor scale or zero point."""
        value = self.constant(index)
        if value.size != 1:
            raise self.refuse(f"its input {index} is not per tensor")
        return value.reshape(-1)[0]

    def product(self, key: object, weights: Callable[[], Array]) -> PairProduct:
        """The prepared product under `key`, made at its first use."""
        if key not in self.cache:
            matrix = weights()
            if matrix.dtype not in (np.int8, np.uint8):
                raise self.refuse(f"its weights are {matrix.dtype}")
            self.cache[key] = PairProduct(matrix, saturate=self.saturate)
        return self.cache[key]

    def multiply(self, product: PairProduct, rows: Array, zero_a: Any, zero_b: Array) -> Int64Array:
        """Sums of (rows - zero_a) * (weights - zero_b): raw bytes are multiplied, zero points corrected after."""
        if rows.dtype != np.uint8:
            raise self.refuse(f"its activations are {rows.dtype}, not uint8")
        sums, saturated = product(rows)
        self.saturated += saturated
        self.total += len(rows) * product.pair_count * product.weights.shape[1]
        zero_a, zero_b = int(zero_a), zero_b.astype(np.int64).reshape(-1)
        column_sums = product.weights.sum(axis=0).astype(np.int64)
        row_sums = rows.sum(axis=1, dtype=np.int64)[:, None]
        return cast(Int64Array, sums - zero_a * column_sums - (row_sums - zero_a * rows.shape[1]) * zero_b)


def requantize(sums: Int64Array, scale: NDArray[np.float32], zero_point: Any) -> Array:
    """int32 sums to 8 bits as MLAS does: float32 product, round half to even, clip, add the zero point."""
    limits = np.iinfo(zero_point.dtype)
    scaled = np.rint(sums.astype(np.int32).astype(np.float32) * scale)
    zero = np.float32(zero_point)
    rounded: Array = np.clip(scaled, limits.min - zero, limits.max - zero) + zero
    return rounded.astype(zero_point.dtype)


def _qgemm(node: QuantizedNode, x: Array) -> Array:
    """com.microsoft.QGemm: inputs a, scale, zero, b, scale, zero, c, then y scale and zero or a float output."""
    rows = x.T if node.attribute("transA", 0) else x
    transposed = node.attribute("transB", 0)
    product = node.product("b", lambda: node.constant(3).T if transposed else node.constant(3))
    sums = node.multiply(product, rows, node.scalar(2), node.constant(5))
    bias = node.optional(6)
    sums = sums if bias is None else sums + bias
    alpha = np.float32(node.attribute("alpha", 1.0))
    scale = alpha * np.float32(node.scalar(1)) * node.constant(4).astype(np.float32)
    if node.optional(7) is None:
        return cast(Array, sums.astype(np.float32) * scale)
    return requantize(sums, scale / np.float32(node.scalar(7)), node.scalar(8))


def _matmul_rows(node: QuantizedNode, a: Array, weights_at: int) -> tuple[PairProduct, Array, tuple[int, ...]]:
    """Prepared product, 2-D rows and the output's shape of a product with a constant matrix."""
    if node.constant(weights_at).ndim != 2 or a.ndim < 2:
        raise node.refuse("only a matrix of weights is")
    product = node.product("b", lambda: node.constant(weights_at))
    return product, a.reshape(-1, a.shape[-1]), (*a.shape[:-1], product.weights.shape[1])


def _qlinear_matmul(node: QuantizedNode, x: Array) -> Array:
    """QLinearMatMul: inputs a, scale, zero, b, scale, zero, y scale, y zero."""
    product, rows, shape = _matmul_rows(node, x, 3)
    sums = node.multiply(product, rows, node.scalar(2), node.constant(5))
    scale = np.float32(node.scalar(1)) * node.constant(4).reshape(-1) / np.float32(node.scalar(6))
    return requantize(sums, scale, node.scalar(7)).reshape(shape)


def _matmul_integer(node: QuantizedNode, x: Array) -> Array:
    """MatMulInteger: inputs a, b, and optional zero points, int32 output."""
    product, rows, shape = _matmul_rows(node, x, 1)
    zero_a, zero_b = node.optional(2), node.optional(3)
    zero = np.zeros(1, np.int64)
    sums = node.multiply(product, rows, 0 if zero_a is None else node.scalar(2), zero if zero_b is None else zero_b)
    return sums.astype(np.int32).reshape(shape)


def _matmul_to_float(node: QuantizedNode, x: Array) -> Array:
    """com.microsoft.MatMulIntegerToFloat: inputs a, b, scales, zero points, and an optional float bias."""
    product, rows, shape = _matmul_rows(node, x, 1)
    zero_b = node.optional(5)
    zero_a = 0 if node.optional(4) is None else node.scalar(4)
    sums = node.multiply(product, rows, zero_a, np.zeros(1, np.int64) if zero_b is None else zero_b)
    result = sums.astype(np.float32) * (np.float32(node.scalar(2)) * node.constant(3).reshape(-1))
    bias = node.optional(6)
    return cast(Array, result if bias is None else result + bias).reshape(shape)


def _windows(node: QuantizedNode, x: Array, kernel: tuple[int, ...], zero_point: Any) -> Array:
    """(N, C, *output, *kernel) view of `x` (N, C, *space), padded with its zero point."""
    rank = len(kernel)
    if node.attribute("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise node.refuse("automatic padding")
    pads = node.attribute("pads", [0] * 2 * rank)
    strides, dilations = node.attribute("strides", [1] * rank), node.attribute("dilations", [1] * rank)
    around = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    if _volume(size + sum(pair) for size, pair in zip(x.shape, around, strict=True)) > _MAX_WINDOW_ELEMENTS:
        raise node.refuse("so much padding")
    padded = np.pad(x, around, constant_values=zero_point)
    reach = tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=tuple(range(2, 2 + rank)))
    steps = [slice(None, None, step) for step in (*strides, *dilations)]
    windows = view[(slice(None), slice(None), *steps)]
    if windows.size > _MAX_WINDOW_ELEMENTS:
        raise node.refuse("so large a convolution; take fewer rows at once")
    return windows


def _volume(sizes: Iterable[int]) -> int:
    """Product in Python's integers, which do not overflow."""
    return prod(int(size) for size in sizes)


def _depthwise_sums(windows: Array, weights: Array, zero_x: Any, zero_w: Array) -> Int64Array:
    """Exact sums (N, C, *output) of one filter per channel: those kernels widen to 32 bits before they add."""
    channels, taps = weights.shape[0], int(np.prod(weights.shape[2:]))
    rank = weights.ndim - 2
    taps_last = windows.reshape(*windows.shape[: 2 + rank], taps)
    filters = weights.reshape(channels, taps).astype(np.int64) - zero_w.astype(np.int64).reshape(-1, 1)
    sums = np.zeros(taps_last.shape[:-1], np.int64)
    for tap in range(taps):
        per_channel = filters[:, tap].reshape(1, channels, *[1] * rank)
        sums += (taps_last[..., tap].astype(np.int64) - int(zero_x)) * per_channel
    return sums


def _grouped_sums(
    node: QuantizedNode, windows: Array, weights: Array, zero_x: Any, zero_w: Array, groups: int
) -> Int64Array:
    """Sums (N, OC, *output) with K in channels-last order (*kernel, channel), which is how MLAS pairs it."""
    inputs, outputs, rank = weights.shape[1], weights.shape[0] // groups, weights.ndim - 2
    order = (0, *range(2, 2 + 2 * rank), 1)
    space = (windows.shape[0], *windows.shape[2 : 2 + rank])

    def filters(group: int) -> Array:
        part = weights[group * outputs : (group + 1) * outputs]
        return part.transpose(*range(2, 2 + rank), 1, 0).reshape(-1, outputs)

    parts = []
    for group in range(groups):
        part = windows[:, group * inputs : (group + 1) * inputs].transpose(order)
        rows = part.reshape(int(np.prod(space)), -1)
        product = node.product(group, lambda group=group: filters(group))  # type: ignore[misc]
        zero = zero_w if zero_w.size == 1 else zero_w.reshape(-1)[group * outputs : (group + 1) * outputs]
        parts.append(node.multiply(product, rows, zero_x, zero))
    return np.moveaxis(np.concatenate(parts, axis=1).reshape(*space, -1), -1, 1)


def _qlinear_conv(node: QuantizedNode, x: Array) -> Array:
    """QLinearConv: inputs x, scale, zero, w, scale, zero, y scale, y zero, optional int32 bias."""
    weights, zero_x, zero_w = node.constant(3), node.scalar(2), node.constant(5)
    if node.attribute("channels_last", 0) or weights.ndim < 3 or x.ndim != weights.ndim:
        raise node.refuse("this layout")
    groups = node.attribute("group", 1)
    windows = _windows(node, x, weights.shape[2:], zero_x)
    if weights.shape[1] == 1 and weights.shape[0] == groups:
        sums = _depthwise_sums(windows, weights, zero_x, zero_w)
    else:
        sums = _grouped_sums(node, windows, weights, zero_x, zero_w, groups)
    per_channel = (-1, *[1] * (weights.ndim - 2))
    bias = node.optional(8)
    sums = sums if bias is None else sums + bias.reshape(per_channel)
    scale = np.float32(node.scalar(1)) * node.constant(4).reshape(-1) / np.float32(node.scalar(6))
    return requantize(sums, scale.reshape(per_channel), node.scalar(7))


Operator = Callable[[QuantizedNode, Array], Array]
"""Evaluates a node on its first input, the activations, to its only output."""

MODELLED: dict[tuple[str, str], Operator] = {
    ("com.microsoft", "QGemm"): _qgemm,
    ("com.microsoft", "MatMulIntegerToFloat"): _matmul_to_float,
    ("", "QLinearMatMul"): _qlinear_matmul,
    ("", "MatMulInteger"): _matmul_integer,
    ("", "QLinearConv"): _qlinear_conv,
}
"""Operators evaluated here, by domain and type."""
