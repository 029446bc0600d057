"""Streaming models keep variables between calls; ONNX has none, so each becomes an input and an output."""

import importlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.errors import ConversionError
from kit.model.convert.tflite.file import File, Graph, Operator
from kit.model.convert.tflite.reader import schema

NEXT = "_next"
"""What the name of a state's output has more than that of its input."""

_VARIABLES = frozenset(("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"))


@dataclass(frozen=True, slots=True)
class State:
    """A variable: its name, the tensors that are read from and assigned to it, and its value at the start."""

    name: str
    read: int
    assigned: int
    initial: NDArray[Any]


def states_of(file: File) -> tuple[State, ...]:
    """The variables of the main graph, in the order in which they are read.

    Raises:
        ConversionError: one is not read and then assigned exactly once, or does not say how it starts.
    """
    main = file.main
    handles = _handles(main)
    initial = {name: value for graph in file.graphs[1:] for name, value in _initial(graph).items()}
    reads: dict[str, int] = {}
    assigned: dict[str, int] = {}
    for operator in main.operators:
        if operator.name == "READ_VARIABLE" and handles.get(operator.inputs[0]) not in (None, *reads, *assigned):
            reads[handles[operator.inputs[0]]] = operator.outputs[0]
        elif operator.name == "ASSIGN_VARIABLE" and handles.get(operator.inputs[0]) not in (None, *assigned):
            assigned[handles[operator.inputs[0]]] = operator.inputs[1]
        elif operator.name in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
            raise ConversionError("a variable is read or assigned more than once", next_step=_STREAM)
    if not reads.keys() == assigned.keys() <= initial.keys():
        raise ConversionError("a variable is only read, only assigned, or has no initial value", next_step=_STREAM)
    return tuple(State(name, index, assigned[name], initial[name]) for name, index in reads.items())


_STREAM = "export the model so that each state is read once, then assigned once"


def _handles(graph: Graph) -> dict[int, str]:
    """Names of variables by the tensor of their handle."""
    return {operator.outputs[0]: _name(operator) for operator in graph.operators if operator.name == "VAR_HANDLE"}


def _name(operator: Operator) -> str:
    shared = getattr(operator.options, "sharedName", None) or b""
    return shared.decode("utf-8", "replace") if isinstance(shared, bytes) else str(shared)


def _initial(graph: Graph) -> dict[str, NDArray[Any]]:
    """What an initializing graph assigns, where that is constant."""
    handles = _handles(graph)
    found: dict[str, NDArray[Any]] = {}
    for operator in graph.operators:
        values = graph.tensors[operator.inputs[1]].data if operator.name == "ASSIGN_VARIABLE" else None
        if values is not None and operator.inputs[0] in handles:
            found[handles[operator.inputs[0]]] = values
    return found


def without_variables(file: File, states: tuple[State, ...]) -> File:
    """The same file with every state as an input and an output of the main graph."""
    main = file.main
    graph = replace(
        main,
        operators=tuple(operator for operator in main.operators if operator.name not in _VARIABLES),
        inputs=main.inputs + tuple(state.read for state in states),
        outputs=main.outputs + tuple(state.assigned for state in states),
    )
    names = {state.read: state.name for state in states} | {state.assigned: state.name + NEXT for state in states}
    return file.with_main(graph, names)


def rewritten(data: bytes, states: tuple[State, ...]) -> bytes:
    """The file itself, rewritten in the same way, so that the interpreter can be given a state.

    Its operators, constants and order stay as they are; only those that handle variables are left out.
    """
    reader = schema()
    model = reader.ModelT.InitFromObj(reader.Model.GetRootAs(data, 0))
    main = model.subgraphs[0]
    values = {value for name, value in vars(reader.BuiltinOperator).items() if name in _VARIABLES}
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    main.operators = [each for each in main.operators if codes[each.opcodeIndex] not in values]
    main.inputs = np.array([*main.inputs, *(state.read for state in states)], np.int32)
    main.outputs = np.array([*main.outputs, *(state.assigned for state in states)], np.int32)
    model.subgraphs, model.signatureDefs = [main], []
    builder = importlib.import_module("flatbuffers").Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
