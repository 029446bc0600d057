"""Weights of PyTorch (a state dict) and a factory, which builds the module that they fill."""

import copy
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kit.errors import ConversionError, ModelError, UsageError
from kit.model.convert.base import Options, Source, library_versions
from kit.model.convert.torch import tensors_only
from kit.model.convert.torch_archive import Archive, checked, claimed_kind, directory, pickled_members
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

_WRAPPED = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Keys under which checkpoints keep the weights, beside an optimizer's state and the like."""

_SHOWN = 3
_FACTORY = "give --factory file.py:function, a function without arguments that returns the module"


class StateDictConverter:
    """The `Converter` of weights, opened with ``weights_only=True``: tensors, and nothing that runs.

    The factory is the user's own Python and runs as such. A whole pickled module is opened only where pickles are
    trusted, since unpickling it runs whatever its file says.
    """

    name = "state_dict"
    reads = "PyTorch weights (.pt, .pth) with --factory file.py:function"
    extra = "torch"

    def claims(self, path: Path, start: bytes) -> bool:
        """By the archive's directory: a pickle without code; also the older pickles, which `read` refuses."""
        return claimed_kind(path, start) == "weights"

    def is_pickle(self, path: Path, start: bytes) -> bool:  # noqa: ARG002
        """Whether the pickle names anything but tensors; it is looked through, not executed."""
        try:
            return bool(pickled_members(directory(path)))
        except ModelError:
            return False  # no archive: `read` says what is wrong, and opens nothing

    def version(self) -> str:
        """Versions of torch and onnxscript."""
        return library_versions(self.extra, "PyTorch weights", LIBRARIES)

    def read(self, path: Path, options: Options) -> Source:
        """The factory's module with these weights, in evaluation mode; the Protocol says what is raised."""
        found = _opened(checked(path), options)
        torch = quiet_torch()
        if isinstance(found, torch.nn.Module):
            module, notes = found, list[str]()
        else:
            weights, notes = _weights(found, path)
            module = _made(options.factory, path)
            _fill(module, weights, options.factory, path)
        return source_of(path, _traced(module.eval(), options, notes, path), options)


def _opened(archive: Archive, options: Options) -> Any:
    torch = quiet_torch()
    foreign = pickled_members(archive)
    if foreign and not options.trust_pickle:
        raise UsageError(
            f"it is a pickle that calls {next(iter(foreign.values()))}, and opening it would run that",
            where=str(archive.path),
            next_step="save the weights alone: torch.save(model.state_dict(), 'weights.pt'), and give --factory",
        )
    try:
        with quiet_logging():
            if foreign:
                return torch.load(archive.repacked(), map_location="cpu", weights_only=False)
            with tensors_only():
                return torch.load(archive.repacked(), map_location="cpu", weights_only=True)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"its pickle needs a class that is not here: {first_words(error)}",
            where=str(archive.path),
            next_step="save the weights alone: torch.save(model.state_dict(), 'weights.pt'), and give --factory",
        ) from None
    except BaseException as error:  # a trusted pickle may raise anything, SystemExit too
        raise ModelError(
            f"PyTorch {torch.__version__} cannot load it: {first_words(error)}",
            where=str(archive.path),
            next_step="check that the file is complete: torch.load('weights.pt', weights_only=True)",
        ) from None


def _weights(found: Any, path: Path) -> tuple[dict[str, Any], list[str]]:
    """Tensors by name out of a state dict, or of a checkpoint that keeps one among other things."""
    torch = quiet_torch()
    notes = []
    if isinstance(found, Mapping) and not _is_state(found, torch):
        key = next((key for key in _WRAPPED if _is_state(found.get(key), torch)), None)
        if key is not None:
            found = found[key]
            notes.append(f"The weights are those under {key!r}; whatever lies beside them is left out.")
    if not _is_state(found, torch):
        held = (
            f"a dict of {', '.join(map(repr, list(found)[:_SHOWN]))}"
            if isinstance(found, Mapping)
            else type(found).__name__
        )
        raise ModelError(
            f"it holds {held}, not weights by name",
            where=str(path),
            next_step="save them with torch.save(model.state_dict(), 'weights.pt')",
        )
    weights = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    if all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
        notes.append("The names lost the prefix 'module.', which training on several devices adds.")
    return weights, notes


def _is_state(found: Any, torch: Any) -> bool:
    return isinstance(found, Mapping) and bool(found) and any(isinstance(each, torch.Tensor) for each in found.values())


def _made(factory: str, path: Path) -> Any:
    """What the factory returns, a module."""
    torch = quiet_torch()
    if not factory:
        raise UsageError("weights alone do not say which module they belong to", where=str(path), next_step=_FACTORY)
    file, _, name = factory.rpartition(":")
    source = Path(file)
    if not file or not name.isidentifier() or not source.is_file():
        what = (
            f"there is no file {file!r}" if file and name.isidentifier() else "it is not of the form file.py:function"
        )
        raise UsageError(what, where=f"--factory {factory}", next_step=_FACTORY)
    function = _function(source, name, factory)
    with refusing("the factory fails", f"--factory {factory}", "run it by itself: it takes no arguments"):
        module = function()
    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            f"the factory returns {type(module).__name__}, not a torch.nn.Module",
            where=f"--factory {factory}",
            next_step=_FACTORY,
        )
    return module


def _function(source: Path, name: str, factory: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"edgeproof_factory_{source.stem}", source)
    if spec is None or spec.loader is None:
        raise UsageError("it is no Python file", where=f"--factory {factory}", next_step=_FACTORY)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(source.resolve().parent))  # as ``python file.py`` would: it may import its neighbours
    with refusing("the factory's file fails", f"--factory {factory}", f"run it by itself: python {source}"):
        spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"there is no function {name!r} in it", where=f"--factory {factory}", next_step=_FACTORY)
    return function


def _fill(module: Any, weights: dict[str, Any], factory: str, path: Path) -> None:
    """Load the weights; every one must have its place and its shape."""
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    missing = [f"{name} {list(wanted[name])}" for name in wanted if name not in given and not _is_counter(name)]
    unexpected = [f"{name} {list(given[name])}" for name in given if name not in wanted and not _is_counter(name)]
    other = [
        f"{name} {list(given[name])} instead of {list(wanted[name])}"
        for name in wanted
        if name in given and wanted[name] != given[name]
    ]
    problems = [
        f"{what}: {', '.join(names[:_SHOWN])}" + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", other))
        if names
    ]
    if problems:
        raise ConversionError(
            f"the weights do not fit the factory's module; {'; '.join(problems)}",
            where=str(path),
            next_step=f"give the factory of the module that was trained, not {factory}",
        )
    with refusing("the weights cannot be loaded", str(path), "save them again with model.state_dict()"):
        module.load_state_dict({name: value for name, value in weights.items() if name in wanted}, strict=False)


def _is_counter(name: str) -> bool:
    """Batch norm's count of batches, which older files lack and evaluation does not use."""
    return name.rsplit(".", 1)[-1] == "num_batches_tracked"


def _traced(module: Any, options: Options, notes: list[str], path: Path) -> Traced:
    torch = quiet_torch()
    inputs = inputs_in_order(_arguments(module), options, str(path))
    examples = examples_of(inputs)
    shapes = ", ".join(str(list(each.shape)) for each in examples)
    next_step = "describe its inputs as its forward takes them: --input NAME=SHAPE:DTYPE"
    with torch.no_grad(), refusing(f"the module does not run on inputs of shape {shapes}", str(path), next_step):
        copy.deepcopy(module)(*examples)  # a call may change its state
    next_step = (
        "give a number for a dimension that the message calls fixed, and see that forward has no branches on data"
    )
    with torch.no_grad(), refusing("PyTorch cannot export the module", str(path), next_step):
        program = torch.export.export(module, examples, dynamic_shapes=_by_argument(module, dynamic_shapes(inputs)))
    return Traced.of_inputs(program, module, f"PyTorch {type(module).__name__} with weights", notes, inputs)


def _by_argument(module: Any, shapes: tuple[dict[int, Any], ...]) -> Any:
    """The shapes as `torch.export` wants them: nested where forward takes ``*args``."""
    kinds = [each.kind for each in inspect.signature(module.forward).parameters.values()]
    return (shapes,) if kinds[:1] == [inspect.Parameter.VAR_POSITIONAL] else shapes


def _arguments(module: Any) -> list[str]:
    """Names of forward's arguments that have no default."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = [each for each in inspect.signature(module.forward).parameters.values() if each.kind in positional]
    return [each.name for each in found if each.default is inspect.Parameter.empty] or [each.name for each in found]
