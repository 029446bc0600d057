"""Gemm written as the MatMul that more recipes have a form for."""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from kit.model.graph import names_of, untaken


def gemms_as_matmuls(model: onnx.ModelProto, kept: frozenset[str]) -> onnx.ModelProto:
    """A copy in which Gemm is MatMul and Add, where that is the same sum: constant weights, no factors, A as it is.

    The MatMul takes the Gemm's name. Nodes named in `kept` stay.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    taken = names_of(graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        plain = node.op_type == "Gemm" and node.name not in kept and _is_plain(node, constants)
        nodes += _rewritten(node, graph, constants, taken) if plain else [node]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return copy


def _is_plain(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    factors = (values.get("alpha", 1.0), values.get("beta", 1.0), values.get("transA", 0))
    return factors == (1.0, 1.0, 0) and node.input[1] in constants


def _rewritten(
    node: onnx.NodeProto, graph: onnx.GraphProto, constants: dict[str, onnx.TensorProto], taken: set[str]
) -> list[onnx.NodeProto]:
    weights = node.input[1]
    if any(attribute.name == "transB" and attribute.i for attribute in node.attribute):
        transposed = np.ascontiguousarray(numpy_helper.to_array(constants[weights]).T)
        weights = untaken(weights, taken)
        graph.initializer.append(numpy_helper.from_array(transposed, weights))
    biased = len(node.input) > 2 and node.input[2] != ""
    product = untaken(node.output[0], taken) if biased else node.output[0]
    matmul = helper.make_node("MatMul", [node.input[0], weights], [product], node.name)
    if not biased:
        return [matmul]
    dtype = constants[node.input[1]].data_type
    graph.value_info.append(helper.make_tensor_value_info(product, dtype, None))
    return [matmul, helper.make_node("Add", [product, node.input[2]], [node.output[0]], untaken(node.name, taken))]
