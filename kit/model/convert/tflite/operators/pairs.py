"""Operators on two values, with numpy's broadcasting: arithmetic, comparison, logic, choice, products of matrices."""

from kit.model.convert.tflite.builder import Builder, UnsupportedError
from kit.model.convert.tflite.file import Operator
from kit.model.convert.tflite.operators.registry import handles

_BINARY = {
    "ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "POW": "Pow", "MAXIMUM": "Max", "MINIMUM": "Min",
    "EQUAL": "Equal", "NOT_EQUAL": "Equal", "LESS": "Less", "LESS_EQUAL": "LessOrEqual", "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterOrEqual", "PRELU": "PRelu",
}  # fmt: skip


def _pair(build: Builder, operator: Operator) -> tuple[str, str, tuple[int, ...]]:
    """Names of both real values, in channels first where both are at hand so (constants are moved)."""
    left, right = operator.inputs[:2]
    layout = build.layout_of(left, right)
    ranks = {len(build.tensor(index).shape) for index in (left, right)}
    if layout and not ranks <= {0, 4}:
        layout = ()
    names = [build.real(index, layout if len(build.tensor(index).shape) == 4 else ()) for index in (left, right)]
    return names[0], names[1], layout


@handles(*_BINARY)
def _binary(build: Builder, operator: Operator) -> None:
    left, right, layout = _pair(build, operator)
    result = operator.outputs[0]
    if operator.name == "DIV" and build.tensor(result).dtype.startswith("int"):
        raise UnsupportedError("it divides integers, which round towards zero")
    name = build.one(_BINARY[operator.name], left, right)
    if operator.name == "NOT_EQUAL":
        name = build.one("Not", name)
    build.put_real(result, name, layout, int(getattr(operator.options, "fusedActivationFunction", 0)))


@handles("SQUARED_DIFFERENCE")
def _squared_difference(build: Builder, operator: Operator) -> None:
    left, right, layout = _pair(build, operator)
    difference = build.one("Sub", left, right)
    build.put_real(operator.outputs[0], build.one("Mul", difference, difference), layout)


@handles("LOGICAL_AND", "LOGICAL_OR")
def _logical(build: Builder, operator: Operator) -> None:
    kind = {"LOGICAL_AND": "And", "LOGICAL_OR": "Or"}[operator.name]
    build.put(operator.outputs[0], build.one(kind, *(build.stored(index) for index in operator.inputs)))


@handles("SELECT", "SELECT_V2")
def _select(build: Builder, operator: Operator) -> None:
    condition, yes, no = operator.inputs
    shape = build.tensor(condition).shape
    if operator.name == "SELECT" and shape != build.tensor(yes).shape and shape not in ((), (1,)):
        raise UnsupportedError("its condition chooses whole rows")
    build.put_real(operator.outputs[0], build.one("Where", build.stored(condition), build.real(yes), build.real(no)))


@handles("BATCH_MATMUL")
def _matmul(build: Builder, operator: Operator) -> None:
    left, right = (_swapped(build, index, bool(swap)) for index, swap in zip(
        operator.inputs, (operator.options.adjX, operator.options.adjY), strict=True
    ))  # fmt: skip
    build.put_real(operator.outputs[0], build.one("MatMul", left, right))


def _swapped(build: Builder, index: int, swap: bool) -> str:
    """The real value, its last two dimensions swapped on request."""
    rank = len(build.tensor(index).shape)
    order = [*range(rank - 2), rank - 1, rank - 2]
    return build.one("Transpose", build.real(index), perm=order) if swap else build.real(index)
