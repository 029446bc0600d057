"""Structural checks of an untrusted ONNX graph, before any runtime sees it."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain

import onnx

from kit.errors import ModelError
from kit.model.metadata import free_inputs, tensor_info

KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operator sets that onnxruntime's CPU provider carries."""

MAX_ELEMENTS = 1 << 28
"""Most elements of one tensor: a gigabyte of float32, more than any edge model holds."""

MAX_NODES = 100_000
"""Most nodes, functions put in place: a large edge model has a thousand."""

MAX_NESTING = 16
"""Deepest control flow: each level is a graph inside a node of the one above."""

_ONE_FILE = "save it as one file: onnx.save(onnx.load('model.onnx'), 'single.onnx')"


def check_structure(model: onnx.ModelProto, data: bytes) -> None:
    """Refuse a graph that is malformed, unsafe or of operators that are not known; `data` are its bytes.

    Raises:
        ModelError: with what is wrong, and in `where` the node or tensor.
    """
    graphs = list(graphs_of(model))
    for graph in graphs:
        _check_tensors(graph)
    _check_domains(model)
    _check_functions(model)
    _check_interface(model.graph)
    _check_with_onnx(data)


def graphs_of(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and every graph inside a node, those of functions too; ModelError if nested too deep."""
    functions = [
        attribute.g for node in _function_nodes(model) for attribute in node.attribute if attribute.HasField("g")
    ]
    pending = [(graph, 1) for graph in (model.graph, *functions)]
    while pending:
        graph, depth = pending.pop()
        if depth > MAX_NESTING:
            raise ModelError(f"graphs are nested more than {MAX_NESTING} deep", next_step="flatten its control flow")
        yield graph
        for attribute in chain.from_iterable(node.attribute for node in graph.node):
            inner = [attribute.g] if attribute.HasField("g") else []
            pending += [(graph, depth + 1) for graph in (*inner, *attribute.graphs)]


def _function_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return chain.from_iterable(function.node for function in model.functions)


def _check_tensors(graph: onnx.GraphProto) -> None:
    for sparse_tensor in graph.sparse_initializer:
        if math.prod(sparse_tensor.dims) > MAX_ELEMENTS or any(size < 0 for size in sparse_tensor.dims):
            where = f"sparse initializer {sparse_tensor.values.name!r}"
            raise ModelError(f"absurd size: shape {list(sparse_tensor.dims)[:8]}", where=where)
    sparse = chain.from_iterable((tensor.values, tensor.indices) for tensor in graph.sparse_initializer)
    for tensor in chain(graph.initializer, sparse):
        _check_tensor(tensor, f"initializer {tensor.name!r}")
    for node in graph.node:
        for attribute in node.attribute:
            tensors = chain([attribute.t] if attribute.HasField("t") else [], attribute.tensors)
            for tensor in tensors:
                _check_tensor(tensor, f"node {node.name or node.op_type!r}, attribute {attribute.name!r}")


def _check_tensor(tensor: onnx.TensorProto, where: str) -> None:
    """Refuse data outside the file, sizes without end, and sizes that the stored bytes do not fill."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "?")
        raise ModelError(f"its data lie outside the file, in {location!r}", where=where, next_step=_ONE_FILE)
    if any(size < 0 for size in tensor.dims):
        raise ModelError(f"negative dimension in its shape {list(tensor.dims)}", where=where)
    elements = math.prod(tensor.dims)
    if elements > MAX_ELEMENTS:
        raise ModelError(f"absurd size: shape {list(tensor.dims)[:8]} has {elements} elements", where=where)
    if tensor.HasField("segment"):
        raise ModelError("it is one segment of a tensor, and no runtime joins them", where=where, next_step=_ONE_FILE)
    if tensor.HasField("raw_data"):
        _check_raw_size(tensor, elements, where)


def _check_raw_size(tensor: onnx.TensorProto, elements: int, where: str) -> None:
    try:
        bits = _BITS.get(tensor.data_type) or onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
    except (KeyError, ValueError, TypeError):
        raise ModelError(f"unknown data type {tensor.data_type}", where=where) from None
    needed = -(-elements * bits // 8)
    if len(tensor.raw_data) != needed:
        raise ModelError(
            f"its shape {list(tensor.dims)} needs {needed} bytes, but it holds {len(tensor.raw_data)}", where=where
        )


_BITS = {
    getattr(onnx.TensorProto, name): bits
    for name, bits in (("INT4", 4), ("UINT4", 4), ("FLOAT4E2M1", 4), ("INT2", 2), ("UINT2", 2))
    if hasattr(onnx.TensorProto, name)
}
"""Data types packed into less than a byte."""


def _check_domains(model: onnx.ModelProto) -> None:
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        if versions.setdefault(entry.domain, entry.version) != entry.version:
            raise ModelError(f"operator set {entry.domain or 'ai.onnx'!r} is imported in two versions")
    if not versions:
        raise ModelError("it imports no operator set: the file is cut or was written by a broken exporter")
    newest = onnx.defs.onnx_opset_version()
    if max(versions.get("", 0), versions.get("ai.onnx", 0)) > newest:
        raise ModelError(
            f"its opset {max(versions.values())} is newer than {newest}, the newest that is known here",
            next_step="export it with opset 17, or install newer onnx and onnxruntime",
        )
    own = {function.domain for function in model.functions}
    for node in chain(_function_nodes(model), *(graph.node for graph in graphs_of(model))):
        if node.domain not in KNOWN_DOMAINS | own:
            raise ModelError(
                f"operator {node.op_type!r} is of the unknown domain {node.domain!r}",
                where=f"node {node.name or node.op_type!r}",
                next_step="export it with standard ONNX operators; custom operators run on no device here",
            )


def _check_functions(model: onnx.ModelProto) -> None:
    """Refuse functions that call themselves, directly or around a loop, or grow beyond measure when put in place."""
    calls = {(function.domain, function.name): _operators(function.node) for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    while left := calls.keys() - sizes.keys():
        leaves = [name for name in left if left.isdisjoint(calls[name])]
        if not leaves:
            raise ModelError("functions of the model call each other without end", where=f"function {min(left)[1]!r}")
        for name in leaves:
            sizes[name] = _expanded(calls[name], sizes)
    total = _expanded(_operators(model.graph.node), sizes)
    if total > MAX_NODES:
        raise ModelError(f"it has {total:,} nodes once its functions are put in place; {MAX_NODES:,} are the most")


def _operators(nodes: Iterable[onnx.NodeProto]) -> Counter[tuple[str, str]]:
    """How often each operator stands in `nodes` and in the graphs inside them, which are nested a few deep at most."""
    found: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        found[node.domain, node.op_type] += 1
        for attribute in node.attribute:
            for graph in [attribute.g] if attribute.HasField("g") else [*attribute.graphs]:
                found += _operators(graph.node)
    return found


def _expanded(operators: Counter[tuple[str, str]], sizes: dict[tuple[str, str], int]) -> int:
    return min(1 << 60, sum(count * sizes.get(name, 1) for name, count in operators.items()))


def _check_interface(graph: onnx.GraphProto) -> None:
    inputs = free_inputs(graph)
    if not inputs or not graph.output:
        raise ModelError(f"the graph has no {'outputs' if inputs else 'inputs'}")
    for value in (*inputs, *graph.output):
        info = tensor_info(value)
        sizes = [size for size in info.shape if isinstance(size, int)]
        if any(size < 0 for size in sizes) or math.prod(sizes) > MAX_ELEMENTS:
            raise ModelError(f"{value.name!r} has an absurd shape {list(info.shape)[:8]}")


def _check_with_onnx(data: bytes) -> None:
    """The ONNX project's own checker: types, attributes, order of nodes (so cycles), names given twice."""
    try:
        onnx.checker.check_model(data)
    except Exception as error:
        reason = " ".join(str(error).split("==> Context")[0].split())[:300]
        raise ModelError(f"not valid ONNX: {reason}", next_step="export the model again") from None
