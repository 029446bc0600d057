"""What a recipe left in float, and the true reason for each product; and what to say where it could do nothing."""

from collections.abc import Callable, Iterator, Mapping

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


def attempt(what: str, where: str, action: Callable[[], onnx.ModelProto], otherwise: str = "") -> onnx.ModelProto:
    """The result of third-party code, whose every failure becomes a ConversionError with its own words.

    `otherwise` is what to do then.
    """
    try:
        return action()
    except EdgeproofError:
        raise
    except Exception as error:
        raise ConversionError(
            f"{what} failed: {type(error).__name__}: {reason_of(error)}",
            where=where,
            next_step=otherwise or "use the recipe fp32 for this model, or export it with a newer opset",
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
    graph: onnx.GraphProto,
    prepared: Prepared,
    kept: frozenset[str],
    quantizable: frozenset[str],
    changed: Mapping[str, str],
) -> tuple[tuple[str, ...], int]:
    """What of a QDQ graph is in float, each as ``operator name: why``, and how many products are int8.

    `quantizable` are the operators that the quantizer knows; `changed` has the reasons of products kept from it.
    """
    dequantized = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    known, own = _Known(prepared, kept), {node.name for node in prepared.proto.graph.node}
    left: list[str] = []
    converted = 0
    for node in graph.node:
        why = ""
        if node.op_type in PRODUCTS and dequantized.issuperset(node.input[:2]):
            converted += 1
        elif node.name in kept:
            why = _KEPT
        elif node.name in prepared.head:
            why = _HEAD if node.op_type in quantizable else ""
        elif node.op_type in PRODUCTS:
            why = changed.get(node.name) or known.reason(node) or "the quantizer left it, without a reason"
        elif node.op_type not in quantizable | _PLUMBING and node.name in own:
            why = _UNKNOWN
        left += [f"{node.op_type} {node.name}: {why}"] * bool(why)
        left += products_inside(node)
    return tuple(left), converted


def products_left(graph: onnx.GraphProto, prepared: Prepared, kept: frozenset[str], unknown: str) -> tuple[str, ...]:
    """Products that are float in `graph`, made by a recipe for constant weights, each as ``operator name: why``.

    `unknown` is the reason where no other holds: the recipe has no form of the operator.
    """
    known = _Known(prepared, kept, constants_of(graph))
    left: list[str] = []
    for node in graph.node:
        if node.op_type in (*PRODUCTS, *RECURRENT):
            left.append(f"{node.op_type} {node.name}: {known.reason(node) or known.variable(node) or unknown}")
        left += products_inside(node)
    return tuple(left)


class _Known:
    """Reasons why a product stays in float that hold for any recipe."""

    def __init__(
        self, prepared: Prepared, kept: frozenset[str], constants: dict[str, onnx.TensorProto] | None = None
    ) -> None:
        self.kept = kept
        self.constants = constants_of(prepared.proto.graph) | (constants or {})
        self.typed = typed_tensors(prepared.proto.graph) | self.constants.keys()

    def reason(self, node: onnx.NodeProto) -> str:
        """The reason, empty where none is known."""
        if node.name in self.kept:
            return _KEPT
        weights = [self.constants[name] for name in node.input if name in self.constants]
        if any(tensor.data_type == onnx.TensorProto.DOUBLE for tensor in weights):
            return "its weights are float64, not float32"
        if not self.typed.issuperset(name for name in node.input if name):
            return "the type of its input is not known, since an operator before it has none"
        return ""

    def variable(self, node: onnx.NodeProto) -> str:
        """The reason of a node whose weights are made at run time; empty where they are constant."""
        return "" if node.input[1] in self.constants else "its weights are made at run time"


def products_inside(node: onnx.NodeProto) -> Iterator[str]:
    """Products inside the graphs of a node (If, Loop, Scan), which int8 quantizers do not enter."""
    for graph in inner_graphs(node):
        for inner in graph.node:
            if inner.op_type in (*PRODUCTS, *RECURRENT):
                yield f"{inner.op_type} {inner.name or inner.output[0]}: it is inside {node.op_type} {node.name}"
            yield from products_inside(inner)
