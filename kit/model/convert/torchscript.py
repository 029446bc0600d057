"""TorchScript archives (traced or scripted), by way of an exported program.

PyTorch 2.13 exports no script module to ONNX by itself: ``dynamo=True`` refuses them, and the older exporter
(``dynamo=False``, deprecated) fails on dict outputs and on attention. So the graph is converted to an exported program
by PyTorch's own `TS2EPConverter`, with two steps added that it lacks: branches are decided on example inputs, and sizes
stay symbolic in integer arithmetic.
"""

import copy
import operator
import re
from pathlib import Path
from typing import Any

from kit.errors import ConversionError, ModelError
from kit.model.convert.base import Options, Source, library_versions
from kit.model.convert.torch_archive import Archive, checked, claimed_kind
from kit.model.convert.torch_export import Traced, source_of
from kit.model.convert.torch_inputs import (
    LIBRARIES,
    dynamic_shapes,
    examples_of,
    first_words,
    inputs_in_order,
    quiet_torch,
    refusing,
)
from kit.model.quiet import quiet_logging
from kit.records import TensorInfo

MAX_CODE_BYTES = 8 << 20
MAX_BRANCHES = 2000

_OUTSIDE = re.compile(
    rb"\b(?:torch|ops\.aten)\s*\.\s*(save|from_file|load)\b|\bops\s*\.\s*(?!aten\b|prim\b|quantized\b)(\w+)"
)
"""Operators that write or map files (``aten::save``, ``aten::from_file``), and those of other namespaces."""


class TorchScriptConverter:
    """The `Converter` of TorchScript.

    Loading unpickles tensors and script objects only, by PyTorch's C++ reader: no Python of the file's runs. But
    its TorchScript does, on loading (``__setstate__``) and on running, and that language can write and map files; an
    archive whose code does so is refused before it is loaded. What else the code can do, loop or fill memory, the
    limits of the converter's process end.
    """

    name = "torchscript"
    reads = "TorchScript archives (.pt, .pth, .ts)"
    extra = "torch"

    def claims(self, path: Path, start: bytes) -> bool:
        """By the archive's directory: code and constants."""
        return claimed_kind(path, start) == "script"

    def is_pickle(self, path: Path, start: bytes) -> bool:  # noqa: ARG002
        """Never: what it pickles is read by a reader that knows tensors and script objects only."""
        return False

    def version(self) -> str:
        """Versions of torch and onnxscript."""
        return library_versions(self.extra, "TorchScript models", LIBRARIES)

    def read(self, path: Path, options: Options) -> Source:
        """The archive's module in evaluation mode; the Protocol says what is raised."""
        archive = checked(path)
        _refuse_outside(archive)
        module, notes = _loaded(archive, path)
        arguments = [each.name for each in module.forward.schema.arguments[1:] if str(each.type) != "NoneType"]
        inputs = inputs_in_order(_required(module, arguments), options, str(path))
        examples = examples_of(inputs)
        _check_run(module, examples, path)
        program, branches = _program(_loaded(archive, path)[0], inputs, path)  # which changes it: so another copy
        note = (
            f"{branches} branches of its code were decided as they go for rows of the described shape."
            if branches
            else ""
        )
        said = (each for each in (*notes, note) if each)
        traced = Traced.of_inputs(program, module, "TorchScript", said, inputs)
        return source_of(path, traced, options)


def _refuse_outside(archive: Archive) -> None:
    for name in archive.sizes:
        found = _OUTSIDE.search(archive.read(name, MAX_CODE_BYTES)) if re.fullmatch(r"code/.*\.py", name) else None
        if found:
            raise ModelError(
                f"its code calls {found[0].decode(errors='replace')!r}, which is more than computing with tensors",
                where=f"{archive.path}: {name}",
                next_step="script the module without reading or writing files, and with PyTorch's own operators",
            )


def _loaded(archive: Archive, path: Path) -> tuple[Any, list[str]]:
    torch = quiet_torch()
    try:
        with quiet_logging():
            module = torch.jit.load(archive.repacked(), map_location="cpu")
    except Exception as error:
        raise ModelError(
            f"PyTorch {torch.__version__} cannot load the archive: {first_words(error)}",
            where=str(path),
            next_step="check that the file is complete, or save it again with the PyTorch that is installed here",
        ) from None
    if not hasattr(module, "forward"):
        raise ConversionError("it has no forward", where=str(path), next_step="script the module that is run on rows")
    training = bool(getattr(module, "training", False))
    module.eval()
    said = "It was saved in training mode; it is converted in evaluation mode (no dropout, fixed batch norm)."
    return module, [said] if training else []


def _required(module: Any, names: list[str]) -> list[str]:
    optional = {each.name for each in module.forward.schema.arguments if each.has_default_value()}
    return [name for name in names if name not in optional] or names


def _check_run(module: Any, examples: tuple[Any, ...], path: Path) -> None:
    torch = quiet_torch()
    shapes = ", ".join(str(list(each.shape)) for each in examples)
    next_step = "describe its inputs as it takes them: --input NAME=SHAPE:DTYPE"
    with torch.no_grad(), refusing(f"it does not run on inputs of shape {shapes}", str(path), next_step):
        copy.deepcopy(module)(*examples)  # a call may change its state


def _program(module: Any, inputs: tuple[TensorInfo, ...], path: Path) -> tuple[Any, int]:
    """The module as an exported program with the named dimensions dynamic, and how many branches were decided."""
    torch = quiet_torch()
    from torch._export.converter import TS2EPConverter

    examples, shapes = examples_of(inputs), dynamic_shapes(inputs)

    class Converter(TS2EPConverter):
        """Retraces with our dynamic dimensions, where PyTorch's own makes every dimension dynamic."""

        def retrace_as_exported_program(self, gm: Any, _name_to_constant: dict[str, Any]) -> Any:
            _keep_sizes_symbolic(gm)
            return torch.export.export(gm, examples, dynamic_shapes=shapes, strict=False)

    next_step = (
        "give every dimension a number if it says that one is fixed, or export the module with torch.export.save"
    )
    with torch.no_grad(), refusing("PyTorch cannot make an exported program of it", str(path), next_step):
        with torch.enable_grad():  # without gradients, attention takes a fused operator that ONNX does not have
            branches = _decide_branches(module, examples)
        return Converter(module, examples, None).convert(), branches


def _decide_branches(module: Any, examples: tuple[Any, ...]) -> int:
    """Replace each ``if`` of the module's graph by the branch that the examples take, as tracing does."""
    torch = quiet_torch()
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    graph, scratch = module.graph, copy.deepcopy(module)
    torch._C._jit_pass_inline(graph)
    for value, example in zip(list(graph.inputs())[1:], examples, strict=False):
        value.setType(torch._C.TensorType.get().with_sizes([None] * example.dim()))
    decided = 0
    while decided < MAX_BRANCHES:
        torch._C._jit_pass_peephole(graph, True)
        torch._C._jit_pass_constant_propagation(graph)
        torch._C._jit_pass_dce(graph)
        node = _first_branch(graph)
        if node is None:
            break
        constant = graph.insertConstant(_condition(graph, scratch, examples))
        constant.node().moveBefore(node)
        node.replaceInput(0, constant)
        decided += 1
    return decided


def _first_branch(graph: Any) -> Any:
    return next((node for node in graph.nodes() if node.kind() == "prim::If"), None)


def _condition(graph: Any, module: Any, examples: tuple[Any, ...]) -> bool:
    """What the first branch of `graph` depends on, computed on the examples."""
    torch = quiet_torch()
    probe = graph.copy()
    wanted = next(_first_branch(probe).inputs())
    for _ in range(len(list(probe.outputs()))):
        probe.eraseOutput(0)
    probe.registerOutput(wanted)
    torch._C._jit_pass_dce(probe)
    return bool(torch._C._create_function_from_graph("probe", probe)(module._c, *examples))


_PYTHON = {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv,
           "remainder": operator.mod, "neg": operator.neg}  # fmt: skip


def _keep_sizes_symbolic(module: Any) -> None:
    """Integer operators as Python's: PyTorch's own would fix every size that they are given."""
    for node in module.graph.nodes:
        name = str(node.target).split(".")
        if node.op == "call_function" and len(name) == 3 and name[0] == "aten" and name[2] == "int":
            node.target = _PYTHON.get(name[1], node.target)
    module.graph.eliminate_dead_code()
    module.recompile()
