"""Slices as expressions over metadata columns: ``age >= 65 and sex == "F"``, ``side in ("left", "right")``.

Comparisons of a column with numbers or texts, ``in``, ``and``, ``or``, ``not`` and parentheses, and nothing else: the
text is parsed as Python's grammar has it, held against what is allowed, and never run. A column whose name is no word
is written ``column("heart rate")``. `kit.spec.where` finds the rows.
"""

import ast
import math
import warnings
from dataclasses import dataclass
from typing import Literal

from kit.errors import SpecError
from kit.spec.text import shown

LENGTH_LIMIT = 2000
"""Characters of an expression, at most."""

DEPTH_LIMIT = 32
"""How deep its conditions may be nested."""

Operator = Literal["==", "<", "<=", ">", ">="]
Value = float | str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A column held against values: equal to any of them, or in an order with the one. `at`: its column, from 1."""

    column: str
    operator: Operator
    values: tuple[Value, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Negation:
    """What holds where `part` does not."""

    part: "Condition"


@dataclass(frozen=True, slots=True)
class Junction:
    """What holds where all of `parts` do, or any of them."""

    kind: Literal["and", "or"]
    parts: tuple["Condition", ...]


Condition = Comparison | Negation | Junction

_EXAMPLE = 'write it like age >= 65 and sex == "F"'
_LISTED = 'such as side in ("left", "right")'
_OPERATORS: dict[type[ast.cmpop], Operator] = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_MIRRORED: dict[Operator, Operator] = {"==": "==", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def parse_expression(text: str) -> Condition:
    """The condition that `text` is. Raises SpecError, without its place but with the column (from 1) of the mistake."""
    if len(text) > LENGTH_LIMIT:
        raise SpecError(f"an expression of {len(text):,} characters", next_step=f"write at most {LENGTH_LIMIT:,}")
    indent = len(text) - len(text.lstrip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's advice on Python
            tree = ast.parse(text.strip(), mode="eval").body
        return _Parser(text.strip(), indent).condition(tree)
    except SyntaxError as error:
        at = f" at column {indent + error.offset}" if error.offset else ""
        raise SpecError(f"not a valid expression{at}: {shown(error.msg)}", next_step=_EXAMPLE) from None
    except UnicodeEncodeError as error:
        what = f"not a valid expression at column {indent + error.start + 1}: half a character (a lone surrogate)"
        raise SpecError(what, next_step="write the whole character") from None
    except (ValueError, RecursionError, MemoryError):
        raise SpecError("not a valid expression: it is nested too deep", next_step=_EXAMPLE) from None


@dataclass(frozen=True, slots=True)
class _Parser:
    """Python's syntax tree of `text` to conditions; `indent`: characters before it in what the user wrote."""

    text: str
    indent: int

    def condition(self, node: ast.expr, depth: int = 0) -> Condition:
        """The condition that `node` says. Raises SpecError with its place for anything else."""
        if depth > DEPTH_LIMIT:
            raise self.error(node, f"nested more than {DEPTH_LIMIT} deep")
        match node:
            case ast.BoolOp(op=op, values=parts):
                kind: Literal["and", "or"] = "and" if isinstance(op, ast.And) else "or"
                return Junction(kind, tuple(self.condition(part, depth + 1) for part in parts))
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return Negation(self.condition(part, depth + 1))
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                found = [self.comparison(*each) for each in zip(sides, ops, others, strict=False)]
                return found[0] if len(found) == 1 else Junction("and", tuple(found))
        if (name := self.column(node)) is not None:
            raise self.error(node, f'"{shown(name)}" is a column, and no condition', f'such as {shown(name)} == "yes"')
        raise self.error(node, "neither a comparison nor and, or, not")

    def comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Condition:
        """One comparison; a value on the left changes sides with its operator."""
        if isinstance(op, ast.In | ast.NotIn):
            test: Condition = self.membership(left, right)
        else:
            operator, name, value = self.operator(op, left), self.column(left), right
            if name is None:
                operator, name, value = _MIRRORED[operator], self.column(right), left
            if name is None:
                raise self.error(left, "no column is compared here")
            test = self.test(name, operator, value, left)
        return Negation(test) if isinstance(op, ast.NotEq | ast.NotIn) else test

    def test(self, name: str, operator: Operator, value: ast.expr, left: ast.expr) -> Comparison:
        """A comparison, or a chain of them. Raises SpecError for anything else."""
        found = self.value(value)
        if found == "" and operator != "==":
            raise self.error(value, "an empty text has no order", 'write == "" for a missing value')
        return Comparison(name, operator, (found,), self.place(left))

    def membership(self, left: ast.expr, right: ast.expr) -> Comparison:
        """``column in (values)``."""
        name = self.column(left)
        if name is None:
            raise self.error(left, "before `in` comes a column", _LISTED)
        if not isinstance(right, ast.Tuple | ast.List | ast.Set) or not right.elts:
            raise self.error(right, "after `in` comes a list of values", _LISTED)
        return Comparison(name, "==", tuple(self.value(each) for each in right.elts), self.place(left))

    def operator(self, op: ast.cmpop, node: ast.expr) -> Operator:
        """Part of the condition that `node` says. Raises SpecError for anything else."""
        if isinstance(op, ast.Is | ast.IsNot):
            raise self.error(node, "`is` compares no values", "write == or !=")
        return _OPERATORS.get(type(op), "==")

    def column(self, node: ast.expr) -> str | None:
        """The column that `node` names, as a word or as ``column("heart rate")``; None for anything else."""
        match node:
            case ast.Name(id=name):
                return name
            case ast.Call(func=ast.Name(id="column"), args=[ast.Constant(value=str() as name)], keywords=[]):
                return name
        return None

    def value(self, node: ast.expr) -> Value:
        """A text or a finite number."""
        match node:
            case ast.Constant(value=str() as text):
                return text
            case ast.Constant(value=bool() as truth):
                raise self.error(node, f"{truth} is neither a number nor a text", f'such as "{str(truth).lower()}"')
            case ast.Constant(value=int() | float() as number):
                return self.finite(node, number)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)) if (
                number is not True
            ):
                return -self.finite(node, number)
            case ast.Name(id=name):
                raise self.error(node, f'"{name}" is no value', f'put a text in quotes: "{name}"')
        raise self.error(node, "neither a number nor a text in quotes")

    def finite(self, node: ast.expr, number: float) -> float:
        """Part of the condition that `node` says. Raises SpecError for anything else."""
        try:
            value = float(number)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self.error(node, "the number is too large")
        return value

    def place(self, node: ast.expr) -> int:
        """The column of `node`, in characters from 1; Python counts bytes."""
        return self.indent + len(self.text.encode()[: node.col_offset].decode()) + 1

    def error(self, node: ast.expr, what: str, next_step: str = _EXAMPLE) -> SpecError:
        """What is wrong at `node`, with its column."""
        return SpecError(f"at column {self.place(node)}: {what}", next_step=next_step)
