"""Look through a TensorFlow graph before it is loaded: what it could do besides arithmetic is refused."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kit.errors import ModelError

MAX_NODES = 500_000
"""Most nodes of a graph and its functions together; a network for an edge device has thousands."""

_HARMLESS_STATE = re.compile(
    r"Assert|Case|If|While|CheckNumerics(V2)?|(Stateful)?PartitionedCall|StatelessRandomGetAlg|RngReadAndSkip|RngSkip"
    r"|(VarHandle|VarIsInitialized|ReadVariable|Assign(Add|Sub)?Variable)Op|Variable(V2|Shape)?|DisableCopyOnRead"
    r"|Empty|DeepCopy|GuaranteeConst|TemporaryVariable|Resource(Sparse)?(Gather|Scatter|Apply|StridedSliceAssign)\w*"
    r"|TensorArray\w*|Stack\w*|Random\w+|Stateful(Random|Standard|Truncated|Uniform)\w*|TruncatedNormal|Multinomial"
    r"|ParameterizedTruncatedNormal|NonDeterministicInts|CudnnRNN\w*|_Arg|_Retval|_If|_While"
    r"|Mutable(Dense)?HashTable\w*|(Anonymous)?HashTable(V2)?|LookupTable\w+|InitializeTableV2"
)
"""Operators that TensorFlow calls stateful, and whose state stays in memory."""

_OUTSIDE = re.compile(
    r"ReadFile|WriteFile|MatchingFiles|InitializeTableFromTextFile(V2)?|PyFunc\w*|EagerPyFunc|Debug\w*|.*Dataset.*"
    r"|.*Iterator.*|.*Reader.*|Save(V2|Slices)?|Restore(V2|Slice)?|MergeV2Checkpoints|Sharded\w+|.*Rpc.*|XlaHostCompute"
)
"""Operators without state, to TensorFlow, that read, write, print or run something all the same."""

_CHECKPOINT = frozenset(("SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename", "ShardedFilespec"))
"""Operators of every SavedModel's saving and restoring part, which its signatures must not reach."""

_WRITES = frozenset(("SaveV2", "MergeV2Checkpoints"))


@dataclass(frozen=True, slots=True)
class _Body:
    """A graph, or one of its functions: node by name, and names of the functions that it calls."""

    name: str
    nodes: dict[str, Any]
    calls: set[str] = field(default_factory=set)


def refuse_unsafe_graph(data: bytes, where: str) -> None:
    """Refuse a ``saved_model.pb`` that can do more than compute.

    Every node of the graph and of every function is looked at, reachable or not: custom operators, and operators
    that touch files, processes, the network or Python, are refused. Those that write and read checkpoints are
    allowed only in the part that saves and restores.

    Raises:
        ModelError: the graph is unreadable, too large, or unsafe; the message names function, node and operator.
    """
    for graph in _meta_graphs(data, where):
        bodies = _bodies(graph.graph_def, where)
        serving = _serving(graph, bodies)
        restoring = _reached(bodies, [graph.saver_def.restore_op_name], set())
        for body in bodies.values():
            for node in body.nodes.values():
                place = (body.name, node.name)
                reason = "" if node.op in bodies else _reason(node.op, place in serving, place in restoring)
                if reason:
                    raise ModelError(
                        f"the node {node.name!r}{_inside(body)} is of type {node.op}, {reason}",
                        where=where,
                        next_step="save the model for serving, without what the message names",
                    )


def without_optimizer_slots(data: bytes) -> bytes:
    """The graph without optimizers' slots: training state, which a TensorFlow without that optimizer cannot load."""
    proto = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2")
    model = proto.SavedModel.FromString(data)
    for graph in model.meta_graphs:
        for node in graph.object_graph_def.nodes:
            del node.slot_variables[:]
    return bytes(model.SerializeToString())


def _inside(body: _Body) -> str:
    return f" of the function {body.name!r}" if body.name else ""


def _reason(operator: str, serving: bool, restoring: bool) -> str:
    registry = importlib.import_module("tensorflow.python.framework.op_def_registry")
    definition = registry.get(operator)
    if definition is None:
        return "a custom operator, which only a library of its own can run"
    if operator in _CHECKPOINT:
        inside = "which reads or writes files, in the part that predicts" if serving else ""
        return inside or ("which writes files where the model is restored" if restoring and operator in _WRITES else "")
    if _OUTSIDE.fullmatch(operator):
        return "which reads or writes files, or runs code, outside the model"
    if definition.is_stateful and not _HARMLESS_STATE.fullmatch(operator):
        return "whose effects reach outside the model"
    return ""


def _meta_graphs(data: bytes, where: str) -> list[Any]:
    proto = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2")
    try:
        graphs = list(proto.SavedModel.FromString(data).meta_graphs)
    except Exception:  # protobuf's implementations raise different ones
        graphs = []
    if not graphs:
        raise ModelError(
            "no SavedModel, or a damaged or cut one: it does not parse",
            where=where,
            next_step="check that the folder is complete, or save the model again",
        )
    return graphs


def _bodies(graph: Any, where: str) -> dict[str, _Body]:
    bodies = {"": _Body("", {node.name: node for node in graph.node})}
    functions = graph.library.function
    total = len(graph.node) + sum(len(function.node_def) for function in functions)
    if total > MAX_NODES:
        raise ModelError(
            f"its graph has {total} nodes, the most is {MAX_NODES}",
            where=where,
            next_step="save the part of it that the device is to run",
        )
    for function in functions:
        name = function.signature.name
        bodies[name] = _Body(name, {node.name: node for node in function.node_def})
    for body in bodies.values():
        body.calls.update(name for node in body.nodes.values() for name in _called(node))
    return bodies


def _called(node: Any) -> Iterator[str]:
    """Functions that a node names in its attributes."""
    for value in node.attr.values():
        for each in (value.func, *value.list.func):
            if each.name:
                yield each.name
    yield node.op  # a function can be called as if it were an operator


def _serving(graph: Any, bodies: dict[str, _Body]) -> set[tuple[str, str]]:
    """What signatures, initializers and the functions of objects reach: all that loading and predicting may run."""
    tensors = [
        tensor.name
        for signature in graph.signature_def.values()
        for tensor in (*signature.outputs.values(), *signature.inputs.values())
    ]
    tensors += [name for nodes in graph.collection_def.values() for name in nodes.node_list.value]
    return _reached(bodies, tensors, set(graph.object_graph_def.concrete_functions))


def _reached(bodies: dict[str, _Body], tensors: list[str], functions: set[str]) -> set[tuple[str, str]]:
    """(function, node) of every node that tensors of the graph depend on, and of every function called on the way."""
    found: set[tuple[str, str]] = set()
    main, pending = bodies[""], [_node_of(name) for name in tensors]
    called = set(functions)
    while pending:
        node = main.nodes.get(pending.pop())
        if node is not None and ("", node.name) not in found:
            found.add(("", node.name))
            pending += [_node_of(name) for name in node.input]
            called.update(_called(node))
    waiting, entered = list(called), set[str]()
    while waiting:
        name = waiting.pop()
        if name in bodies and name not in entered:
            entered.add(name)
            found.update((name, node) for node in bodies[name].nodes)
            waiting += bodies[name].calls
    return found


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").split(":")[0]
