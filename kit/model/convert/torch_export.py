"""What PyTorch's converters share: an exported program becomes a source with deliberate names, sizes and opset."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from kit.digest import digest_bytes
from kit.errors import ConversionError
from kit.model.convert.base import Arrays, Options, Source
from kit.model.convert.torch_inputs import cleaned, example_inputs, given_symbols, input_names, quiet_torch, refusing
from kit.model.convert.torch_opset import EXPORTED, lowered
from kit.model.convert.torch_state import mode_notes, stateless
from kit.model.graph import drop_unused_domains
from kit.model.inspect import graphs_of
from kit.model.metadata import record_of, serialized
from kit.model.quiet import quiet_logging
from kit.records import ModelRecord, TensorInfo

ROWS = "rows"
"""Name of the dimension that counts rows, where nobody gave it one."""


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

    @classmethod
    def of_inputs(
        cls, program: Any, run: Callable[..., Any], described: str, notes: Iterable[str], inputs: tuple[TensorInfo, ...]
    ) -> "Traced":
        """One whose inputs and dynamic dimensions have the names that the user gave them."""
        names = tuple(each.name for each in inputs)
        return cls(program, run, described, tuple(notes), names, given_symbols(inputs))


def source_of(path: Path, traced: Traced, options: Options) -> Source:
    """The source that `traced` is, exported already, so that its record is what the ONNX model has.

    Raises:
        ConversionError: it is in training mode, takes or gives something else than tensors, or cannot be exported.
    """
    torch = quiet_torch()
    names = traced.input_names or input_names(traced.program, path)
    examples = example_inputs(traced.program)
    run = stateless(traced.program, traced.run)
    with torch.no_grad():
        outputs = _named_outputs(run(*examples), path)
    notes = (*traced.notes, *mode_notes(traced.program, path))
    model, kept = _exported(traced, list(names), list(outputs), options, path)
    proto = record_of(model, b"", path.name)
    data = path.read_bytes()
    record = ModelRecord(path.name, digest_bytes(data), len(data), traced.format, None, proto.inputs, proto.outputs)
    return Source(
        record, lambda feeds: _predict(run, names, list(outputs), feeds), lambda: serialized(model), notes + kept
    )


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
    text = cleaned("_".join(parts))
    return text if not text[0].isdigit() else "output" if count == 1 else f"output_{text}"


def _predict(
    run: Callable[..., Any], names: tuple[str, ...], outputs: list[str], feeds: Arrays
) -> dict[str, NDArray[Any]]:
    torch = quiet_torch()
    with torch.no_grad(), quiet_logging():
        result = run(*(torch.tensor(np.ascontiguousarray(feeds[name])) for name in names))
    leaves = [value for value in torch.utils._pytree.tree_leaves(result) if isinstance(value, torch.Tensor)]
    return {name: value.detach().numpy() for name, value in zip(outputs, leaves, strict=True)}


def _exported(
    traced: Traced, inputs: list[str], outputs: list[str], options: Options, path: Path
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The ONNX model, and what is to be said about its opset; ConversionError if it cannot be the one asked for."""
    opset = options.target_opset
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
    if reason and options.opset is not None:
        raise ConversionError(
            f"it cannot be made of opset {opset}: {reason}",
            where=str(path),
            next_step="leave --opset out: the oldest from 17 on that is possible is then taken",
        )
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
