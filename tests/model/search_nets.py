"""Small networks on scikit-learn's digits that plain int8 treats in different ways, and requirements on them."""

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kit.model.load import LoadedModel, load_onnx_bytes
from kit.model.quantize import Variant, VariantMaker
from kit.model.search import Evaluation, Selection
from kit.model.session import HostSession
from kit.records import Float32Array, Int64Array, SearchGap

DATA = "sha256:" + "c" * 64
Layers = list[tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Weights [inputs, outputs] and bias [outputs] of each layer."""


def network(layers: Layers, sigma: float = 0.0, *, fixed: bool = False, op_type: str = "Gemm") -> LoadedModel:
    """Dense layers with rectifiers between them, as ONNX.

    Args:
        layers: of the network.
        sigma: hidden features are multiplied by log-normal factors of that spread, which the next layer divides by.
        fixed: hidden features are outputs of the model too, so that no scale can be moved through them; then the
            first ones alone are multiplied.
        op_type: Gemm, or MatMul with an Add.
    """
    random = np.random.default_rng(0)
    nodes, constants, outputs, source, scale = [], [], [], "x", np.ones(len(layers[0][0]))
    for number, (weights, bias) in enumerate(layers):
        last = number == len(layers) - 1
        even = last or (fixed and number > 0)
        factors = np.ones(len(bias)) if even else np.exp(random.normal(0, sigma, len(bias)))
        names = f"w{number}", f"b{number}"
        for name, values in zip(names, (weights / scale[:, None] * factors, bias * factors), strict=True):
            constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        made = "logits" if last else f"sum{number}"
        if op_type == "Gemm":
            nodes.append(helper.make_node("Gemm", [source, *names], [made], f"dense{number}"))
        else:
            nodes.append(helper.make_node("MatMul", [source, names[0]], [f"m{number}"], f"dense{number}"))
            nodes.append(helper.make_node("Add", [f"m{number}", names[1]], [made], f"add{number}"))
        if not last:
            nodes.append(helper.make_node("Relu", [made], [f"hidden{number}"], f"relu{number}"))
            outputs += [(f"hidden{number}", len(bias))] if fixed else []
        source, scale = f"hidden{number}", factors
    shown = [("logits", len(layers[-1][1])), *outputs]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in shown]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", len(layers[0][0])])]
    graph = helper.make_graph(nodes, "digits", inputs, values, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return load_onnx_bytes(model.SerializeToString(), "digits.onnx")


@dataclass
class Asked:
    """A model, rows to select on, and what must hold overall and for each digit; it counts what it is asked."""

    model: LoadedModel
    calibration: NDArray[np.float32]
    rows: NDArray[np.float32]
    labels: Int64Array
    max_drop: float = 0.01
    max_slice_drop: float = 0.05
    evaluated: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reference: Float32Array = HostSession(self.model.data).predict(self.rows, "logits")
        self.right = self.reference.argmax(axis=1) == self.labels

    def maker(self) -> VariantMaker:
        """A new maker, with nothing prepared."""
        return VariantMaker(self.model, self.calibration, DATA)

    def selection(self) -> Selection:
        """All rows; digits are the slices."""
        return Selection({"x": self.rows}, "logits", self.labels, self.reference, self.labels, self.gaps)

    def gaps(self, decisions: Int64Array, rows: Int64Array) -> tuple[SearchGap, ...]:
        """Overall, and for each digit."""
        lost, labels = self.right[rows].astype(float) - (decisions == self.labels[rows]), self.labels[rows]
        overall = SearchGap("drop", "", float(lost.mean()), self.max_drop, "points", _spread(lost))
        return (overall, *(self._slice(int(digit), lost[labels == digit]) for digit in np.unique(labels)))

    def _slice(self, digit: int, lost: NDArray[np.float64]) -> SearchGap:
        return SearchGap("slices", f"digit={digit}", float(lost.mean()), self.max_slice_drop, "points", _spread(lost))

    def evaluate(self, variant: Variant) -> Evaluation:
        """In exact integer arithmetic; the cost is the file's size."""
        self.evaluated.append(variant.record.recipe.name)
        scores = HostSession(variant.data, exact=True).predict(self.rows, "logits")
        gaps = self.gaps(scores.argmax(axis=1), np.arange(len(self.rows)))
        return Evaluation(scores, gaps, float(variant.record.model.size_bytes), "B")


def _spread(lost: NDArray[np.float64]) -> float:
    return float(lost.std() / len(lost) ** 0.5)
