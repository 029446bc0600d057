"""Exported programs of PyTorch, looked through before they are loaded: loading one evaluates text that lies in it.

`torch.export.load` (PyTorch 2.13) would run code from a crafted file in five ways, and each is closed here:

- pickles: weights marked ``use_pickle``, sample inputs and the older layouts go to ``torch.load(weights_only=False)``,
  custom objects to ``pickle.loads``. Objects are refused, the others forced to tensors (`torch.tensors_only`).
- shapes: ``expr_str`` goes to ``sympy.sympify``, which is Python's ``eval``. Only arithmetic of symbols passes.
- operators: ``target`` may name anything inside the package ``torch``. Only operators of tensors and integers pass.
- guards: ``guards_code`` becomes Python source. It is dropped, since the rows are checked anyway.
- structures: tree specs import the module of a default factory. Only tuples, lists and dicts pass.
"""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from kit.errors import ModelError
from kit.model.convert.torch_archive import Archive

MAX_PROGRAM_BYTES = 256 << 20
_MAX_SIZE_TEXT = 2000
_FUNCTIONS = frozenset(
    [
        *(
            "Symbol",
            "Integer",
            "Rational",
            "Add",
            "Mul",
            "Pow",
            "Max",
            "Min",
            "Mod",
            "PythonMod",
            "FloorDiv",
            "CleanDiv",
        ),
        *("CeilDiv", "ModularIndexing", "CeilToInt", "FloorToInt", "IntTrueDiv", "FloatTrueDiv", "TruncToInt"),
        *("ToFloat", "RoundToInt", "PowByNatural", "Where", "Identity", "Not", "And", "Or", "true", "false"),
        *("Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "Eq", "Ne"),
    ]
)
"""What sizes are computed with: functions of SymPy and of `torch.utils._sympy.functions`."""

_ARITHMETIC = (ast.Expression, ast.Call, ast.keyword, ast.Constant, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp,
               ast.Compare, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.USub, ast.Eq, ast.NotEq, ast.Lt,
               ast.LtE, ast.Gt, ast.GtE)  # fmt: skip
_MAX_EXPONENT = 4
_SYMBOL = re.compile(r"[a-z]{1,4}\d+")
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prim|prims)\.(?!from_file|__|save)\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|associative_scan|map_impl|wrap_with_set_grad_enabled"
    r"|wrap_with_autocast)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem|lshift|rshift)"
    r"|math\.(ceil|floor|trunc|sqrt|pow)|torch\.(sym_(int|float|max|min|not|ite|sum|sqrt)|_sym_sqrt)"
)
_STRUCTURES = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
_UNSAFE = "export the model again, and give the file to nobody who would change it"


def safe_program(archive: Archive) -> dict[str, bytes]:
    """The program's own members that must take the place of the archive's, after every check.

    Raises:
        ModelError: it has parts that are no program, or text in it is more than shapes, operators and structures.
    """
    where = str(archive.path)
    _refuse_parts(archive)
    program = _parsed(archive, "models/model.json")
    for name in ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json"):
        _check_payloads(_parsed(archive, name), where)
    for key, value in _entries(program):
        problem = _problem(key, value)
        if problem:
            raise ModelError(problem, where=f"{where}: models/model.json", next_step=_UNSAFE)
    program["guards_code"] = []
    return {"models/model.json": json.dumps(program).encode()}


def _refuse_parts(archive: Archive) -> None:
    where = str(archive.path)
    for name in archive.sizes:
        if name.startswith("data/aotinductor/"):
            raise ModelError(
                "it holds machine code (a model compiled by AOTInductor), which is not run",
                where=f"{where}: {name}",
                next_step="give the program that it was compiled from: torch.export.save(program, 'model.pt2')",
            )
    if "models/model.json" not in archive.sizes:
        raise ModelError(
            "it holds no exported program in the layout of PyTorch 2.8 and later",
            where=where,
            next_step="save it again: torch.export.save(program, 'model.pt2')",
        )


def _parsed(archive: Archive, name: str) -> Any:
    try:
        found = json.loads(archive.read(name, MAX_PROGRAM_BYTES))
        if isinstance(found, dict):
            return found
        reason = f"{type(found).__name__} instead of an object"
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200]
    raise ModelError(
        f"damaged: {reason}",
        where=f"{archive.path}: {name}",
        next_step="check that the file is complete, or export it again",
    )


def _check_payloads(config: dict[str, Any], where: str) -> None:
    """Weights lie in members of the names that PyTorch gives them; everything else is refused."""
    for name, payload in config.get("config", {}).items():
        path = payload.get("path_name") if isinstance(payload, dict) else None
        if not isinstance(path, str) or not re.fullmatch(r"(weight|tensor|constant)_\d+", path):
            raise ModelError(
                f"the constant {name!r} is no tensor ({path!r})",
                where=where,
                next_step="export a model whose state is tensors alone",
            )


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of nested objects."""
    pending = [value]
    while pending:
        found = pending.pop()
        if isinstance(found, dict):
            yield from found.items()
            pending.extend(found.values())
        elif isinstance(found, list):
            pending.extend(found)


def _problem(key: str, value: Any) -> str:
    """What is unsafe about an entry of the program; empty if nothing is."""
    if key == "expr_str" and not _is_arithmetic(value):
        return f"a size in it is no arithmetic but text that PyTorch would evaluate as Python: {str(value)[:80]!r}"
    if key == "target" and isinstance(value, str) and "." in value and not _OPERATOR.fullmatch(value):
        return f"the operator {value[:80]!r} is none that computes with tensors"
    if key in ("in_spec", "out_spec"):
        return _structure_problem(value)
    return ""


def _is_arithmetic(text: Any) -> bool:
    """Whether `text` is numbers, symbols such as ``s17`` and functions of them, and takes no time to compute."""
    try:
        nodes = list(ast.walk(ast.parse(text[: _MAX_SIZE_TEXT + 1], mode="eval")))
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return False
    return len(text) <= _MAX_SIZE_TEXT and all(map(_is_harmless, nodes))


def _is_harmless(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        powers = isinstance(node.func, ast.Name) and node.func.id in ("Pow", "PowByNatural")
        return isinstance(node.func, ast.Name) and (not powers or _is_small_power(node))
    if isinstance(node, ast.Name):
        return node.id in _FUNCTIONS or bool(_SYMBOL.fullmatch(node.id))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return bool(_SYMBOL.fullmatch(node.value))
    return isinstance(node, _ARITHMETIC)


def _is_small_power(node: ast.Call) -> bool:
    """A symbol to the power of a small number: powers of powers take forever."""
    match node.args:
        case [
            ast.Call(func=ast.Name(id="Symbol")),
            ast.Call(func=ast.Name(id="Integer"), args=[ast.Constant(value=int(exponent))]),
        ]:
            return exponent <= _MAX_EXPONENT
    return False


def _structure_problem(text: Any) -> str:
    try:
        specs = list(_entries(json.loads(text)))
        contexts = [json.loads(value) for key, value in specs if key == "context" and value]
    except (ValueError, TypeError, RecursionError):
        return f"a structure in it is damaged: {str(text)[:80]!r}"
    foreign = [value for key, value in specs if key == "type" and value not in _STRUCTURES]
    foreign += [value for key, value in _entries(contexts) if key == "__enum__"]
    return f"it takes or gives a structure of the type {str(foreign[0])[:80]!r}" if foreign else ""
