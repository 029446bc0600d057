"""The ONNX model of a TensorFlow Lite graph: every operator converted, and the interface named."""

import json

import numpy as np
import onnx
from onnx import helper

from kit.errors import ConversionError, ModelError
from kit.model.convert.tflite.builder import Builder, UnsupportedError, described
from kit.model.convert.tflite.file import File, Graph
from kit.model.convert.tflite.operators import HANDLERS
from kit.model.convert.tflite.state import NEXT, State
from kit.model.metadata import PREFIX, with_properties
from kit.records import TensorInfo


def converted(
    file: File,
    inputs: tuple[TensorInfo, ...],
    outputs: tuple[TensorInfo, ...],
    states: tuple[State, ...],
    name: str,
    opset: int,
) -> onnx.ModelProto:
    """The ONNX model; ConversionError names every operator that has no counterpart."""
    main = file.main
    build = Builder(main, opset)
    for index, info in zip(main.inputs, inputs, strict=True):
        build.put(index, info.name)
    _refuse_unknown(main)
    for operator in main.operators:
        try:
            HANDLERS[operator.name](build, operator)
        except UnsupportedError as error:
            raise _unsupported(f"{described(operator, main)}: {error}") from None
    nodes = _with_outputs(build, main, inputs, outputs)
    graph = helper.make_graph(
        nodes,
        name,
        [_value(info) for info in inputs],
        [_value(info) for info in outputs],
        [*build.initializers.values()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="edgeproof")
    proto.ir_version = min(proto.ir_version, helper.find_min_ir_version_for(list(proto.opset_import)))
    return with_properties(proto, _about_states(states)) if states else proto


def _refuse_unknown(graph: Graph) -> None:
    unknown = sorted({operator.name for operator in graph.operators} - HANDLERS.keys())
    if unknown:
        raise _unsupported(", ".join(unknown))


def _unsupported(what: str) -> ConversionError:
    return ConversionError(
        f"TensorFlow Lite operators without a form in ONNX: {what}",
        next_step="convert the model that this file was made from, if you have it",
    )


def _with_outputs(
    build: Builder, graph: Graph, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]
) -> list[onnx.NodeProto]:
    """The nodes, with the results called as `outputs` are; what is no node's result goes through an Identity."""
    try:
        values = [build.stored(index) for index in graph.outputs]
    except UnsupportedError as error:
        raise ModelError(f"an output is never computed: {error}", next_step="convert the model again") from None
    fixed = {info.name for info in inputs} | {proto.name for proto in build.initializers.values()}
    renamed: dict[str, str] = {}
    for value, info in zip(values, outputs, strict=True):
        if value in fixed or value in renamed:
            build.nodes.append(helper.make_node("Identity", [value], [info.name], f"Identity_{len(build.nodes)}"))
        else:
            renamed[value] = info.name
    for node in build.nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    return build.nodes


def _value(info: TensorInfo) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(info.name, helper.np_dtype_to_tensor_dtype(np.dtype(info.dtype)), info.shape)


def _about_states(states: tuple[State, ...]) -> dict[str, str]:
    """Property ``edgeproof.state``: each state's output, and its value at the start (one number if all are equal)."""
    about = {
        state.name: {
            "output": state.name + NEXT,
            "initial": state.initial.flat[0].item() if np.ptp(state.initial) == 0 else state.initial.tolist(),
        }
        for state in states
    }
    return {f"{PREFIX}state": json.dumps(about)}
