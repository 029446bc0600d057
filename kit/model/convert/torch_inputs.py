"""What PyTorch's models take: the user's description and the program's own, as example tensors and dynamic sizes."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.errors import ConversionError, ModelError, UsageError
from kit.model.convert.base import Options
from kit.model.quiet import quiet_logging
from kit.records import TensorInfo

LIBRARIES = {"torch": "torch", "onnxscript": "onnxscript"}
_SIZES = (3, 5, 7, 11, 13)
"""What dynamic dimensions are while a model is exported: prime, so that no other size equals them by chance."""


def quiet_torch() -> Any:
    """torch with one thread, and the same numbers each time."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    return torch


@contextmanager
def refusing(what: str, where: str, next_step: str) -> Iterator[None]:
    """Make any error of PyTorch a ConversionError with its own first words."""
    try:
        with quiet_logging():
            yield
    except (ConversionError, ModelError, UsageError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit too: code of a model must not end the command as if all were well
        raise ConversionError(f"{what}: {first_words(error)}", where=where, next_step=next_step) from None


def first_words(error: BaseException) -> str:
    """What an error was first caused by, its type and the beginning of its message, one printable line."""
    while error.__cause__ is not None:
        error = error.__cause__
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error)[:2000])
    text = "".join(character if character.isprintable() else " " for character in plain)
    return f"{type(error).__name__}: {' '.join(text.split())}"[:300].rstrip(": ")


def _example_of(info: TensorInfo, sizes: Mapping[str, int]) -> Any:
    """A tensor as `info` describes; dynamic dimensions are of the given sizes."""
    torch = quiet_torch()
    shape = [size if isinstance(size, int) else sizes[size] for size in info.shape]
    dtype = getattr(torch, "bool" if info.dtype == "bool" else info.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise UsageError(
            f"input {info.name!r} is of the unknown type {info.dtype!r}",
            where=f"--input {info.name}",
            next_step="give one as float32",
        )
    return torch.randn(shape).to(dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)


def examples_of(inputs: tuple[TensorInfo, ...]) -> tuple[Any, ...]:
    """A tensor for each of `inputs`; dimensions of the same name are of the same size."""
    sizes = _dynamic_sizes(inputs)
    return tuple(_example_of(each, sizes) for each in inputs)


def _dynamic_sizes(inputs: tuple[TensorInfo, ...]) -> dict[str, int]:
    """A size for each named dimension of `inputs`, each another one; UsageError if there are absurdly many."""
    names = list(dict.fromkeys(size for each in inputs for size in each.shape if isinstance(size, str)))
    if len(names) > len(_SIZES):
        raise UsageError(f"{len(names)} dynamic dimensions", next_step=f"give at most {len(_SIZES)} of them a name")
    return dict(zip(names, _SIZES, strict=False))


def dynamic_shapes(inputs: tuple[TensorInfo, ...]) -> tuple[dict[int, Any], ...]:
    """For `torch.export.export`: a dimension of the same name is the same size everywhere."""
    torch = quiet_torch()
    dims = {name: torch.export.Dim(re.sub(r"\W", "_", f"d_{name}")) for name in _dynamic_sizes(inputs)}
    return tuple({axis: dims[size] for axis, size in enumerate(each.shape) if isinstance(size, str)} for each in inputs)


def given_symbols(inputs: tuple[TensorInfo, ...]) -> dict[tuple[int, int], str]:
    """The names that the user gave to dimensions, by input's position and axis."""
    return {
        (position, axis): size
        for position, each in enumerate(inputs)
        for axis, size in enumerate(each.shape)
        if isinstance(size, str)
    }


def inputs_in_order(wanted: list[str], options: Options, where: str) -> tuple[TensorInfo, ...]:
    """The inputs that the user described, in the order of the arguments `wanted` of the model.

    They are matched by name where all names agree, else taken in the order given.

    Raises:
        UsageError: none were given, or more than there are arguments.
    """
    inputs = options.inputs
    if wanted and len(inputs) == 1 and not inputs[0].name:
        inputs = (TensorInfo(wanted[0], inputs[0].dtype, inputs[0].shape),)
    given = {each.name: each for each in inputs}
    if not given or len(given) > len(wanted):
        what = f"{len(given)} inputs were given, and it has {len(wanted)}" if given else "it does not say what it takes"
        raise UsageError(
            what,
            where=where,
            next_step="describe each input: "
            + " ".join(f"--input {name}=batchx3x32x32:float32" for name in wanted or ["x"])
            + " (a word for a dimension makes it dynamic), or give --data with an array for each",
        )
    return tuple(given[name] for name in wanted) if given.keys() == set(wanted) else tuple(given.values())


def example_inputs(program: Any) -> list[Any]:
    """A tensor for every tensor that the program takes, of sizes that it allows."""
    torch = quiet_torch()
    by_symbol: dict[str, int] = {}
    examples = []
    for value in placeholders(program).values():
        shape = []
        for size in value.shape:
            symbol = str(size)
            if not isinstance(size, int) and symbol not in by_symbol:
                limits = program.range_constraints.get(size.node.expr)
                low = max(_SIZES[len(by_symbol) % len(_SIZES)], int(limits.lower) if limits else 0)
                by_symbol[symbol] = low if not limits else min(low, _highest(limits))
            shape.append(size if isinstance(size, int) else by_symbol[symbol])
        dtype = value.dtype
        examples.append(torch.randn(shape).to(dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype))
    return examples


def _highest(limits: Any) -> int:
    try:
        return int(limits.upper)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return max(_SIZES)


def placeholders(program: Any) -> dict[str, Any]:
    """The tensors that a caller gives, by name, as fake tensors with symbolic sizes."""
    wanted = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    torch = quiet_torch()
    return {name: values[name] for name in wanted if isinstance(values.get(name), torch.Tensor)}


def input_names(program: Any, path: Path) -> tuple[str, ...]:
    """The program's own names of its tensors, cleaned; ConversionError if it takes none, or two of one name."""
    names = tuple(cleaned(name) for name in placeholders(program))
    if not names or len(set(names)) < len(names):
        raise ConversionError(
            "it takes no tensor" if not names else "two of its inputs have the same name",
            where=str(path),
            next_step="export a module whose forward takes tensors",
        )
    return names


def cleaned(name: str) -> str:
    """A name of letters, digits and underscores."""
    return re.sub(r"\W+", "_", name).strip("_") or "x"
