"""What a recipe left in float, and the true reason for each product; and what to say where it could do nothing."""

from collections.abc import Callable, Iterator

import onnx

from kit.errors import ConversionError, EdgeproofError
from kit.model.graph import PRODUCTS, RECURRENT, constants_of, inner_graphs, typed_tensors
from kit.model.quantize.base import Prepared
from kit.model.session import reason_of

_PLUMBING = frozenset(("QuantizeLinear", "DequantizeLinear", "Constant", "Identity", "Cast", "Shape", "Dropout")) | {
    "If", "Loop", "Scan",
}  # fmt: skip
"""What computes nothing itself."""

_KEPT = "the recipe keeps it"
_HEAD = "it turns the last sums into scores, and scores in 8 bits would tie"
_UNKNOWN = "the quantizer has no int8 form of this operator"


def attempt(what: str, where: str, action: Callable[[], onnx.ModelProto]) -> onnx.ModelProto:
    """The result of third-party code, whose every failure becomes a ConversionError with its own words."""
    try:
        return action()
    except EdgeproofError:
        raise
    except Exception as error:
        raise ConversionError(
            f"{what} failed: {type(error).__name__}: {reason_of(error)}",
            where=where,
            next_step="use the recipe fp32 for this model, or export it with a newer opset",
        ) from None


def refuse_nothing(
    prepared: Prepared, left: tuple[str, ...], what: str, kinds: tuple[str, ...] = PRODUCTS
) -> ConversionError:
    """The error where none of the operators `kinds` took the form `what`: with the first reason, or what there is."""
    reason = next((line for line in left if line.startswith((*kinds, *RECURRENT))), None)
    if reason is None:
        present = ", ".join(sorted({node.op_type for node in prepared.proto.graph.node}))
        reason = f"{what} is for {', '.join(kinds)}, and this model has only {present}"
    return ConversionError(
        f"nothing can be quantized: {reason}",
        where=prepared.where,
        next_step="use the recipe fp32 alone, or export the model with standard operators",
    )


def static_leftovers(
    graph: onnx.GraphProto, prepared: Prepared, kept: frozenset[str], quantizable: frozenset[str]
) -> tuple[tuple[str, ...], int]:
    """What of a QDQ graph is in float, each as ``operator name: why``, and how many products are int8.

    `quantizable` are the operators that the quantizer knows.
    """
    dequantized = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    why_float = WhyFloat(prepared, kept)
    left: list[str] = []
    converted = 0
    for node in graph.node:
        why = ""
        if node.op_type in PRODUCTS and dequantized.issuperset(node.input[:2]):
            converted += 1
        elif node.name in prepared.head and node.name not in kept:
            why = _HEAD if node.op_type in quantizable else ""
        elif node.op_type in (*PRODUCTS, *RECURRENT) or node.name in kept:
            why = why_float(node)
        elif node.op_type not in quantizable | _PLUMBING:
            why = _UNKNOWN
        left += [f"{node.op_type} {node.name}: {why}"] * bool(why)
        left += products_inside(node)
    return tuple(left), converted


class WhyFloat:
    """Says why a product stayed in float."""

    def __init__(self, prepared: Prepared, kept: frozenset[str]) -> None:
        self.kept = kept
        graph = prepared.proto.graph
        self.constants, self.typed = constants_of(graph), typed_tensors(graph)
        self.floats = (onnx.TensorProto.FLOAT,)

    def __call__(self, node: onnx.NodeProto, otherwise: str = "the quantizer left it, without a reason") -> str:
        """The reason; `otherwise` where none of the known ones holds."""
        if node.name in self.kept:
            return _KEPT
        if node.op_type in RECURRENT:
            return _UNKNOWN
        weights = [self.constants[name] for name in node.input if name in self.constants]
        if any(tensor.data_type not in self.floats for tensor in weights):
            return "its weights are not float32"
        if not self.typed.issuperset(name for name in node.input if name):
            return "the type of its input is not known, since an operator before it has none"
        return otherwise


def products_inside(node: onnx.NodeProto) -> Iterator[str]:
    """Products inside the graphs of a node (If, Loop, Scan), which no quantizer here enters."""
    for graph in inner_graphs(node):
        for inner in graph.node:
            if inner.op_type in (*PRODUCTS, *RECURRENT):
                yield f"{inner.op_type} {inner.name or inner.output[0]}: it is inside {node.op_type} {node.name}"
            yield from products_inside(inner)
