"""What PyTorch's converters share: an exported program becomes a source with deliberate names, sizes and opset."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kit.digest import digest_bytes
from kit.errors import ConversionError, ModelError, UsageError
from kit.model.convert.base import Arrays, Options, Source
from kit.model.convert.torch_opset import EXPORTED, lowered
from kit.model.graph import drop_unused_domains
from kit.model.inspect import graphs_of
from kit.model.metadata import record_of, serialized
from kit.model.quiet import quiet_logging
from kit.records import ModelRecord, TensorInfo

ROWS = "rows"
"""Name of the dimension that counts rows, where nobody gave it one."""

LIBRARIES = {"torch": "torch", "onnxscript": "onnxscript"}
_SIZES = (3, 5, 7, 11, 13)
"""What dynamic dimensions are while a model is exported: prime, so that no other size equals them by chance."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A model of PyTorch that can be run and exported.

    program: a `torch.export.ExportedProgram`. run: the source itself, input tensors in the program's order to
    whatever it returns. symbols: names of dynamic dimensions, by input's position and axis.
    """

    program: Any
    run: Callable[..., Any]
    format: str
    notes: tuple[str, ...] = ()
    input_names: tuple[str, ...] = ()
    symbols: Mapping[tuple[int, int], str] | None = None


def source_of(path: Path, traced: Traced, options: Options) -> Source:
    """The source that `traced` is, exported already, so that its record is what the ONNX model has.

    Raises:
        ConversionError: it is in training mode, takes or gives something else than tensors, or cannot be exported.
    """
    torch = quiet_torch()
    names = traced.input_names or _input_names(traced.program, path)
    examples = example_inputs(traced.program)
    run = _stateless(traced.program, traced.run)
    with torch.no_grad():
        outputs = _named_outputs(run(*examples), path)
    notes = (*traced.notes, *_mode_notes(traced.program, path))
    model, kept = _exported(traced, list(names), list(outputs), options.opset, path)
    proto = record_of(model, b"", path.name)
    data = path.read_bytes()
    record = ModelRecord(path.name, digest_bytes(data), len(data), traced.format, None, proto.inputs, proto.outputs)
    return Source(
        record, lambda feeds: _predict(run, names, list(outputs), feeds), lambda: serialized(model), notes + kept
    )


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


def example_of(info: TensorInfo, sizes: Mapping[str, int]) -> Any:
    """A tensor as `info` describes; dynamic dimensions are of the given sizes."""
    torch = quiet_torch()
    shape = [size if isinstance(size, int) else sizes[size] for size in info.shape]
    dtype = getattr(torch, "bool" if info.dtype == "bool" else info.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise UsageError(f"input {info.name!r} is of the unknown type {info.dtype!r}", next_step="give one as float32")
    return torch.randn(shape).to(dtype) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)


def dynamic_sizes(inputs: tuple[TensorInfo, ...]) -> dict[str, int]:
    """A size for each named dimension of `inputs`, each another one; UsageError if there are absurdly many."""
    names = list(dict.fromkeys(size for each in inputs for size in each.shape if isinstance(size, str)))
    if len(names) > len(_SIZES):
        raise UsageError(f"{len(names)} dynamic dimensions", next_step=f"give at most {len(_SIZES)} of them a name")
    return dict(zip(names, _SIZES, strict=False))


def dynamic_shapes(inputs: tuple[TensorInfo, ...]) -> tuple[dict[int, Any], ...]:
    """For `torch.export.export`: a dimension of the same name is the same size everywhere."""
    torch = quiet_torch()
    dims = {name: torch.export.Dim(re.sub(r"\W", "_", f"d_{name}")) for name in dynamic_sizes(inputs)}
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
    given = {each.name: each for each in options.inputs}
    if not given or len(given) > len(wanted):
        what = f"{len(given)} inputs were given, and it has {len(wanted)}" if given else "it does not say what it takes"
        raise UsageError(
            what,
            where=where,
            next_step="describe each input: "
            + " ".join(f"--input {name}=batchx3x32x32:float32" for name in wanted or ["x"])
            + " (a word for a dimension makes it dynamic)",
        )
    return tuple(given[name] for name in wanted) if given.keys() == set(wanted) else tuple(given.values())


def example_inputs(program: Any) -> list[Any]:
    """A tensor for every tensor that the program takes, of sizes that it allows."""
    torch = quiet_torch()
    by_symbol: dict[str, int] = {}
    examples = []
    for value in _placeholders(program).values():
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


def _placeholders(program: Any) -> dict[str, Any]:
    """The tensors that a caller gives, by name, as fake tensors with symbolic sizes."""
    wanted = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    torch = quiet_torch()
    return {name: values[name] for name in wanted if isinstance(values.get(name), torch.Tensor)}


def _input_names(program: Any, path: Path) -> tuple[str, ...]:
    names = tuple(_clean(name) for name in _placeholders(program))
    if not names or len(set(names)) < len(names):
        raise ConversionError(
            "it takes no tensor" if not names else "two of its inputs have the same name",
            where=str(path),
            next_step="export a module whose forward takes tensors",
        )
    return names


def _clean(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_") or "x"


def _named_outputs(result: Any, path: Path) -> dict[str, Any]:
    """Tensors of a result, by key where it has keys, else numbered; a single one is ``output``."""
    torch = quiet_torch()
    leaves = torch.utils._pytree.tree_flatten_with_path(result)[0]
    tensors = [(keys, value) for keys, value in leaves if isinstance(value, torch.Tensor)]
    if not tensors or len(tensors) < len([value for _, value in leaves if value is not None]):
        raise ConversionError(
            f"it returns {type(result).__name__} with something else than tensors",
            where=str(path),
            next_step="export a module that returns a tensor, or a tuple or dict of tensors",
        )
    names = [_output_name(keys, len(tensors)) for keys, _ in tensors]
    unique = names if len(set(names)) == len(names) else [f"output_{number}" for number in range(len(names))]
    return dict(zip(unique, (value for _, value in tensors), strict=True))


def _output_name(keys: Any, count: int) -> str:
    if not keys:
        return "output"
    parts = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in keys]
    text = _clean("_".join(parts))
    return text if not text[0].isdigit() else "output" if count == 1 else f"output_{text}"


def _predict(
    run: Callable[..., Any], names: tuple[str, ...], outputs: list[str], feeds: Arrays
) -> dict[str, NDArray[Any]]:
    torch = quiet_torch()
    with torch.no_grad(), quiet_logging():
        result = run(*(torch.tensor(np.ascontiguousarray(feeds[name])) for name in names))
    leaves = [value for value in torch.utils._pytree.tree_leaves(result) if isinstance(value, torch.Tensor)]
    return {name: value.detach().numpy() for name, value in zip(outputs, leaves, strict=True)}


def _stateless(program: Any, run: Callable[..., Any]) -> Callable[..., Any]:
    """`run`, which may be given the same buffers each time only if it leaves them alone."""
    return run if not program.graph_signature.buffers_to_mutate else _restoring(run)


def _restoring(run: Callable[..., Any]) -> Callable[..., Any]:
    """`run` with its buffers put back before every call, as the ONNX model starts from the saved state every time."""
    torch = quiet_torch()
    module: Any = getattr(run, "__self__", run)
    saved = {name: buffer.clone() for name, buffer in module.named_buffers()}

    def restored(*inputs: Any) -> Any:
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                buffer.copy_(saved[name])
        return run(*inputs)

    return restored


_TRAINING_ARGUMENT = {
    **dict.fromkeys(("dropout", "native_dropout", "feature_dropout", "alpha_dropout"), ("train", 2)),
    **dict.fromkeys(("batch_norm", "native_batch_norm", "_native_batch_norm_legit"), ("training", 5)),
    "rrelu": ("training", 3),
}
"""Operators that behave differently in training: the argument that says so, by name and position."""

_RANDOM = {"rand", "randn", "randint", "rand_like", "randn_like", "bernoulli", "multinomial", "normal", "randperm"}


def _mode_notes(program: Any, path: Path) -> tuple[str, ...]:
    """What state a program keeps; ConversionError if it is in training mode or draws random numbers."""
    for node in program.graph.nodes:
        name = str(node.target).split(".")
        operator = name[1] if node.op == "call_function" and name[0] == "aten" and len(name) > 1 else ""
        if _trains(operator.rstrip("_"), node):
            raise ConversionError(
                f"it was exported in training mode: {operator} (node {node.name!r}) is active",
                where=str(path),
                next_step="call model.eval() before it is exported, traced or saved",
            )
        if operator.rstrip("_") in _RANDOM:
            raise ConversionError(
                f"it draws random numbers ({operator}, node {node.name!r}), so no two runs agree",
                where=str(path),
                next_step="call model.eval() before it is exported, or take the random part out of forward",
            )
    mutated = sorted(set(program.graph_signature.buffers_to_mutate.values()))
    if not mutated:
        return ()
    return (
        f"It changes its own state in each call ({', '.join(mutated[:3])}); the ONNX model starts from the saved state "
        "every time.",
    )


def _trains(operator: str, node: Any) -> bool:
    argument, position = _TRAINING_ARGUMENT.get(operator, ("", 0))
    given = node.args[position] if len(node.args) > position else node.kwargs.get(argument, False)
    statistics = (
        operator.endswith("dropout") or operator == "rrelu" or (len(node.args) > 3 and node.args[3] is not None)
    )
    return bool(argument) and given is True and statistics


def _exported(
    traced: Traced, inputs: list[str], outputs: list[str], opset: int, path: Path
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The ONNX model, and what is to be said about its opset."""
    torch = quiet_torch()
    from torch.onnx import export

    with refusing("PyTorch cannot export it to ONNX", str(path), "replace the operator that the message names"):
        made: Any = export(
            traced.program,
            dynamo=True,
            opset_version=max(opset, EXPORTED),
            input_names=inputs,
            output_names=outputs,
            external_data=False,
            optimize=True,
            report=False,
            verify=False,
            verbose=False,
        )
        model: onnx.ModelProto = made.model_proto
    found = [value.name for value in model.graph.output]
    if [value.name for value in model.graph.input] != inputs or found != outputs:
        raise ConversionError(
            f"PyTorch {torch.__version__} made a model with the outputs {', '.join(found)} instead of "
            f"{', '.join(outputs)}",
            where=str(path),
            next_step="export a module that takes tensors and returns tensors, each once",
        )
    _tidy(model, traced)
    reason = lowered(model, opset) if opset < EXPORTED else ""
    _state_versions(model)
    return model, (f"Opset {EXPORTED} instead of {opset}: {reason}.",) if reason else ()


def _state_versions(model: onnx.ModelProto) -> None:
    drop_unused_domains(model)
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)


def _tidy(model: onnx.ModelProto, traced: Traced) -> None:
    """Drop the exporter's traces (places in the author's source files), and name dynamic dimensions."""
    names = _dimension_names(model, traced.symbols or {})
    del model.metadata_props[:]
    model.doc_string = ""
    for graph in graphs_of(model):
        del graph.metadata_props[:]
        graph.doc_string = ""
        for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
            del part.metadata_props[:]
            part.doc_string = ""
        for value in (*graph.value_info, *graph.input, *graph.output):
            for dim in value.type.tensor_type.shape.dim:
                _rename(dim, names)


def _dimension_names(model: onnx.ModelProto, given: Mapping[tuple[int, int], str]) -> dict[str, str]:
    """Names for the exporter's symbols (``s77``): the user's, ``rows`` for a first axis, else input and axis."""
    names: dict[str, str] = {}
    for position, value in enumerate(model.graph.input):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            symbol = dim.dim_param
            if not re.fullmatch(r"[a-z]+\d+", symbol) or symbol in names:
                continue
            free = ROWS if axis == 0 and ROWS not in names.values() else f"{value.name}_{axis}"
            names[symbol] = given.get((position, axis), free)
    return names


def _rename(dim: onnx.TensorShapeProto.Dimension, names: Mapping[str, str]) -> None:
    if dim.dim_param.isdigit():
        dim.dim_value = int(dim.dim_param)
    elif dim.dim_param:
        dim.dim_param = re.sub(r"[a-z]+\d+", lambda found: names.get(found[0], found[0]), dim.dim_param)
