"""Cross-layer equalization: scales move between neighbouring layers, so that int8 fits every channel.

Nagel et al., "Data-free quantization through weight equalization and bias correction" (2019, arXiv:1906.04721). A
channel between two layers can be multiplied by s > 0 where it is made and divided by s where it is used, if all that
lies between is positively homogeneous, f(s x) = s f(x). Here every s is a power of two: multiplying by it is exact in
floating point, so the equalized model computes what the reference computes bit for bit, short of over- and underflow.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from kit.model.graph import attribute, names_read, names_read_inside
from kit.model.quantize.base import Prepared
from kit.records import Float64Array, Int64Array

SWEEPS = 50
"""Most passes over all channel groups; the ranges of neighbouring layers settle in about ten."""

SETTLED = 0.01
"""Largest change of log2(s) in a pass that ends it; a hundredth of a power of two."""

LARGEST_EXPONENT = 30
"""No channel is moved by more than 2**30: far from the ends of float32's 2**-126 to 2**127."""


@dataclass(frozen=True, slots=True)
class Equalized:
    """An equalized model: how many channels moved, in how many groups that share scales, and what could not move.

    `fixed` says for each product whose output channels stay as they are why, ``operator name: why``.
    """

    prepared: Prepared
    groups: int
    channels: int
    fixed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Slice:
    """Values of a constant that belong to channels; `channel` has the channel of each, broadcast to its shape.

    An addend (a bias) moves with its channel, and does not count for its range.
    """

    constant: str
    channel: Int64Array
    addend: bool = False


@dataclass(slots=True)
class _Group:
    """Channels that must share their scales, the values that make them and those that use them."""

    size: int
    made_by: list[_Slice] = field(default_factory=list)
    used_by: list[_Slice] = field(default_factory=list)
    products: list[str] = field(default_factory=list)
    fixed: str = ""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a tensor keeps the channels of a group: along `axis`, each `repeat` times in a row."""

    group: int
    axis: int
    repeat: int = 1


def equalize(prepared: Prepared) -> Equalized:
    """`prepared` with scales moved between layers; the same function, bit for bit, short of over- and underflow."""
    proto = onnx.ModelProto.FromString(prepared.proto.SerializeToString())
    channels = _Channels(proto.graph)
    exponents = _solve(channels)
    moved = [int(np.count_nonzero(each)) for each in exponents.values()]
    for index, exponent in exponents.items():
        group = channels.groups[index]
        for slices, sign in ((group.made_by, 1), (group.used_by, -1)):
            for each in slices:
                values = channels.constants[each.constant]
                channels.constants[each.constant] = np.ldexp(values, (sign * exponent)[each.channel])
    for tensor in proto.graph.initializer:
        if tensor.name in channels.constants:
            tensor.CopyFrom(numpy_helper.from_array(channels.constants[tensor.name], tensor.name))
    fixed = tuple(f"{name}: {group.fixed}" for group in channels.live() if group.fixed for name in group.products)
    return Equalized(replace(prepared, proto=proto), sum(map(bool, moved)), sum(moved), fixed)


def _solve(channels: "_Channels") -> dict[int, Int64Array]:
    """log2 of the scale of every free channel: s = sqrt(range used / range made), repeated until it settles."""
    weights = {name: _magnitudes(values) for name, values in channels.constants.items()}
    free = {i: group for i, group in channels.numbered() if not group.fixed and group.made_by and group.used_by}
    total = {i: np.zeros(group.size) for i, group in free.items()}
    for _ in range(SWEEPS):
        largest = 0.0
        for i, group in free.items():
            step = _log_step(group, weights)
            total[i] += step
            largest = max(largest, float(np.abs(step).max(initial=0.0)))
            for slices, sign in ((group.made_by, 1.0), (group.used_by, -1.0)):
                for each in slices:
                    weights[each.constant] = weights[each.constant] * np.exp2(sign * step)[each.channel]
        if largest < SETTLED:
            break
    limit = LARGEST_EXPONENT
    return {i: np.clip(np.rint(step - np.median(step)), -limit, limit).astype(np.int64) for i, step in total.items()}


def _magnitudes(values: NDArray[Any]) -> Float64Array:
    """Absolute values, of a convolution's kernels the largest: channels do not depend on the place in a kernel."""
    magnitudes: Float64Array = np.abs(values.astype(np.float64))
    return magnitudes.max(axis=tuple(range(2, values.ndim)), keepdims=True) if magnitudes.size else magnitudes


def _log_step(group: _Group, weights: dict[str, Float64Array]) -> Float64Array:
    """log2 of the factor that makes each channel's two ranges equal; 0 where one of them is empty."""
    made = _ranges(group.size, [each for each in group.made_by if not each.addend], weights)
    used = _ranges(group.size, group.used_by, weights)
    usable = (made > 0) & (used > 0)
    return np.where(usable, 0.5 * np.log2(np.where(usable, used, 1) / np.where(usable, made, 1)), 0.0)


def _ranges(size: int, slices: list[_Slice], weights: dict[str, Float64Array]) -> Float64Array:
    """Largest magnitude of each channel's values, over all slices."""
    largest = np.zeros(size)
    for each in slices:
        values = weights[each.constant]
        np.maximum.at(largest, np.broadcast_to(each.channel, values.shape).ravel(), values.ravel())
    return largest


class _Channels:
    """Which tensors and constants of a graph share channels: groups of them, found node by node in graph order."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.shapes = {value.name: _shape(value) for value in (*graph.value_info, *graph.input, *graph.output)}
        uses = Counter(names_read(graph))
        outputs = {value.name for value in graph.output}
        self.constants: dict[str, NDArray[Any]] = {
            name: numpy_helper.to_array(tensor)
            for name, tensor in self.initializers.items()
            if tensor.data_type == onnx.TensorProto.FLOAT and uses[name] == 1 and name not in outputs
        }
        self.groups: list[_Group] = []
        self.layouts: dict[str, _Layout] = {}
        for node in graph.node:
            rule = _RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if rule is None or not rule(self, node):
                for name in (*node.input, *names_read_inside(node)):
                    self.fix(name, f"{node.op_type} {node.name} uses it, through which no scale passes")
        for name in outputs:
            self.fix(name, "it makes an output of the model")

    def numbered(self) -> Iterator[tuple[int, _Group]]:
        """Every group that was not merged into another, with its number."""
        seen = {id(group): i for i, group in reversed(list(enumerate(self.groups)))}
        return ((i, self.groups[i]) for i in sorted(seen.values()))

    def live(self) -> list[_Group]:
        """Every group that was not merged into another."""
        return [group for _, group in self.numbered()]

    def fix(self, tensor: str, why: str) -> None:
        """The channels of `tensor` cannot move."""
        layout = self.layouts.get(tensor)
        if layout is not None and not self.groups[layout.group].fixed:
            self.groups[layout.group].fixed = why

    def makes(self, node: onnx.NodeProto, weight: _Slice, size: int, axis: int) -> None:
        """`node` makes `size` channels along `axis` of its output, from its weight and bias."""
        group = _Group(size, [weight], products=[f"{node.op_type} {node.name}"])
        self.layouts[node.output[0]] = _Layout(len(self.groups), axis)
        self.groups.append(group)
        bias = node.input[2] if len(node.input) > 2 else ""
        if not bias:
            return
        shape = self.constants[bias].shape if bias in self.constants else ()
        if shape[-1:] == (size,) and self.constants[bias].size == size:  # [N] or [1, N]; [N, 1] would be one a row
            group.made_by.append(_Slice(bias, np.arange(size).reshape(shape), addend=True))
        else:
            group.fixed = "its bias is not a constant of its own, one value a channel"

    def uses(self, tensor: str, axis: int, weight: str, features: Int64Array) -> None:
        """`weight` multiplies `tensor`; `features` has for each weight the position along `axis` that it meets."""
        layout = self.layouts.get(tensor)
        if layout is None:
            return
        if layout.axis != axis:
            self.fix(tensor, "the next product sums over another axis")
        else:
            self.groups[layout.group].used_by.append(_Slice(weight, features // layout.repeat))

    def merge(self, first: _Layout, second: _Layout) -> None:
        """Two groups become one: their tensors are added."""
        kept, gone = self.groups[first.group], self.groups[second.group]
        if kept is gone:
            return
        kept.made_by += gone.made_by
        kept.used_by += gone.used_by
        kept.products += gone.products
        kept.fixed = kept.fixed or gone.fixed
        self.groups = [kept if group is gone else group for group in self.groups]


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...] | None:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)


def _conv(channels: _Channels, node: onnx.NodeProto) -> bool:
    """Conv [M, C/g, ...] and ConvTranspose [C, M/g, ...], of any number of groups g: depthwise ones too."""
    weight = channels.constants.get(node.input[1])
    if weight is None or weight.ndim < 3:
        return False
    g = attribute(node, "group", 1)
    outer = np.arange(weight.shape[0]).reshape(-1, *[1] * (weight.ndim - 1))
    inner = np.arange(weight.shape[1]).reshape(1, -1, *[1] * (weight.ndim - 2))
    other = outer // max(1, weight.shape[0] // g) * weight.shape[1] + inner
    reads, writes = (other, outer) if node.op_type == "Conv" else (outer, other)
    channels.makes(node, _Slice(node.input[1], writes), int(writes.max()) + 1, axis=1)
    channels.uses(node.input[0], 1, node.input[1], reads)
    return True


def _matmul(channels: _Channels, node: onnx.NodeProto) -> bool:
    """Gemm, and MatMul with a constant of two axes on the right: sums over the last axis."""
    weight = channels.constants.get(node.input[1])
    shape = channels.shapes.get(node.input[0]) if node.op_type == "MatMul" else (None, None)
    if weight is None or weight.ndim != 2 or shape is None or len(shape) < 2 or attribute(node, "transA", 0):
        return False
    rows, columns = np.ogrid[: weight.shape[0], : weight.shape[1]]
    reads, writes = (columns, rows) if attribute(node, "transB", 0) else (rows, columns)
    channels.makes(node, _Slice(node.input[1], writes), writes.size, axis=len(shape) - 1)
    channels.uses(node.input[0], len(shape) - 1, node.input[1], reads)
    return True


def _passes(channels: _Channels, node: onnx.NodeProto) -> bool:
    """f(s x) = s f(x) for each value by itself."""
    layout = channels.layouts.get(node.input[0])
    if layout is not None:
        channels.layouts[node.output[0]] = layout
    return True


def _rectifies(channels: _Channels, node: onnx.NodeProto) -> bool:
    """PRelu with constant slopes; slopes made at run time would be scaled too."""
    return node.input[1] in channels.initializers and _passes(channels, node)


def _pools(channels: _Channels, node: onnx.NodeProto) -> bool:
    """Pooling over what comes after axis 1."""
    layout = channels.layouts.get(node.input[0])
    if layout is not None and layout != replace(layout, axis=1, repeat=1):
        return False
    return len(node.output) == 1 and _passes(channels, node)


def _reduces(channels: _Channels, node: onnx.NodeProto) -> bool:
    """A mean over axes after the channels'."""
    layout = channels.layouts.get(node.input[0])
    axes = attribute(node, "axes", None)
    if axes is None and len(node.input) > 1 and node.input[1] in channels.initializers:
        axes = numpy_helper.to_array(channels.initializers[node.input[1]]).tolist()
    shape = channels.shapes.get(node.input[0])
    if layout is None or not axes or shape is None or layout.repeat > 1:
        return layout is None
    return all(axis % len(shape) > layout.axis for axis in axes) and _passes(channels, node)


def _clip(channels: _Channels, node: onnx.NodeProto) -> bool:
    """Only the clip that is a rectifier: from 0, without an upper end."""
    low = channels.initializers.get(node.input[1]) if len(node.input) > 1 else None
    if low is None or (len(node.input) > 2 and node.input[2]) or numpy_helper.to_array(low).any():
        return False
    return _passes(channels, node)


def _add(channels: _Channels, node: onnx.NodeProto) -> bool:
    """Two tensors that then share scales, or a tensor and a constant with a value a channel."""
    layouts = [channels.layouts.get(name) for name in node.input]
    constant = next((name for name in node.input if name in channels.initializers), None)
    if layouts == [None, None]:
        return True
    if constant is not None:
        return _add_constant(channels, node, constant)
    shapes = [channels.shapes.get(name) for name in node.input]
    first, second = layouts
    if first is None or second is None or shapes[0] is None or shapes[0] != shapes[1]:
        return False
    if (first.axis, first.repeat) != (second.axis, second.repeat):
        return False
    channels.merge(first, second)
    return _passes(channels, node)


def _add_constant(channels: _Channels, node: onnx.NodeProto, constant: str) -> bool:
    tensor = next(name for name in node.input if name != constant)
    layout, shape, values = channels.layouts[tensor], channels.shapes.get(tensor), channels.constants.get(constant)
    if shape is None or values is None:
        return False
    group, axis = channels.groups[layout.group], layout.axis - len(shape) + values.ndim
    if axis < 0 or values.ndim > len(shape) or values.shape[axis] != group.size * layout.repeat:
        return False
    channel = np.arange(values.shape[axis]) // layout.repeat
    index = channel.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
    group.made_by.append(_Slice(constant, index, addend=True))
    channels.layouts[node.output[0]] = layout
    return True


def _reshapes(channels: _Channels, node: onnx.NodeProto) -> bool:
    """Rows stay rows, and what is in a row keeps its order: channels stay, or are flattened with what follows them."""
    layout = channels.layouts.get(node.input[0])
    if layout is None:
        return True
    before, after = (channels.shapes.get(name) for name in (node.input[0], node.output[0]))
    if layout.axis != 1 or not before or not after or None in before[1:] or None in after[1:]:
        return False
    sizes = [int(np.prod([size or 0 for size in shape[1:]])) for shape in (before, after)]
    if len(after) < 2 or sizes[0] != sizes[1]:
        return False
    if after[1] == before[1]:
        return _passes(channels, node)
    repeat = layout.repeat * sizes[0] // (before[1] or 1)
    channels.layouts[node.output[0]] = replace(layout, repeat=repeat)
    return len(after) == 2


def _transposes(channels: _Channels, node: onnx.NodeProto) -> bool:
    layout, perm = channels.layouts.get(node.input[0]), attribute(node, "perm", None)
    if layout is not None and perm is not None:
        channels.layouts[node.output[0]] = replace(layout, axis=list(perm).index(layout.axis))
    return layout is None or perm is not None


_Rule = Callable[[_Channels, onnx.NodeProto], bool]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("Conv", "ConvTranspose"), _conv),
    **dict.fromkeys(("Gemm", "MatMul"), _matmul),
    **dict.fromkeys(("Relu", "LeakyRelu", "Identity"), _passes),
    "PRelu": _rectifies,
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), _pools),
    **dict.fromkeys(("Add", "Sub"), _add),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _reshapes),
    "ReduceMean": _reduces,
    "Clip": _clip,
    "Transpose": _transposes,
}
"""What each operator does with channels; False: no scale passes through this one."""
