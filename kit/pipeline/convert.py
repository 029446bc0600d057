"""A source model to an ONNX file with its record beside it: planned before the work, whole or not at all."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kit import __version__
from kit.errors import StoreError, UsageError
from kit.model.convert import Converted, Options, Watcher, convert, converter_for, rows_from
from kit.model.metadata import properties
from kit.records import TensorInfo
from kit.spec import load_dataset
from kit.store.objects import write_atomically

RECORD_SUFFIX = ".convert.json"
SCHEMA = "edgeproof/convert/1"

_DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_INPUT = re.compile(r"(?P<name>.+?)=(?P<shape>[^:=]*)(?::(?P<dtype>\w+))?")
_DIMENSION = re.compile(r"[1-9][0-9]{0,8}|[A-Za-z_?][\w?]*")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be converted, and where to; `output` None is the source's name with .onnx in the current folder.

    inputs: ``NAME=1x3x224x224:float32`` each. factory: ``FILE.py:FUNCTION``. opset None is the default one,
    or as near as the model comes to it.
    """

    source: Path
    output: Path | None = None
    data: Path | None = None
    inputs: tuple[str, ...] = ()
    opset: int | None = None
    factory: str = ""
    scores: str | None = None
    trust_pickle: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """A conversion that is on disk."""

    converted: Converted
    output: Path
    record: Path


def convert_file(request: Request, watcher: Watcher) -> Outcome:
    """Convert, verify and write; nothing is written unless the result computes what its source does.

    Raises:
        UsageError: something is there already, or an option is wrong; before any work.
        EdgeproofError: as `kit.model.convert.convert`.
        StoreError: the files cannot be written.
    """
    converter_for(request.source)  # before anything is said of other files, whether this is a model at all
    output = _output(request)
    options = Options(
        opset=request.opset,
        inputs=tuple(parse_input(each) for each in request.inputs),
        factory=request.factory,
        trust_pickle=request.trust_pickle,
    )
    scores, rows = request.scores, None
    if request.data is not None:
        rows = rows_from(request.data)
        scores = scores or _named_output(request.data)
    converted = convert(
        request.source, rows=rows, rows_path=request.data, options=options, output=scores, watcher=watcher
    )
    outcome = Outcome(converted, output, record_path(output))
    _write(outcome, json.dumps(record_object(outcome), indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n")
    return outcome


def _named_output(data: Path) -> str | None:
    """The output of scores that a dataset's manifest names."""
    return load_dataset(data).output_name if data.suffix.lower() == ".toml" else None


def parse_input(text: str) -> TensorInfo:
    """``image=1x3x224x224:float32`` as a tensor; names are dynamic dimensions, as in ``tokens=batch,length:int64``.

    Dimensions are separated by commas, or by x where all are numbers or ``?``; float32 where no type is given.

    Raises:
        UsageError: it is nothing of that kind.
    """
    match = _INPUT.fullmatch(text)
    if match is None:
        raise _bad_input(text, "it has no NAME=SHAPE")
    shape, dtype = match["shape"], match["dtype"] or "float32"
    by_x = re.fullmatch(r"[0-9?x]+", shape)
    parts = [part.strip() for part in shape.split("x" if by_x else ",")] if shape else []
    wrong = next((part for part in parts if not _DIMENSION.fullmatch(part)), None)
    if wrong is not None:
        raise _bad_input(text, f"{wrong!r} is no dimension")
    if dtype not in (*_DTYPES, "bool"):
        raise _bad_input(text, f"{dtype!r} is no type of numbers")
    return TensorInfo(match["name"], np.dtype(dtype).name, tuple(int(p) if p.isdigit() else p for p in parts))


def _bad_input(text: str, why: str) -> UsageError:
    return UsageError(
        f"--input {text!r}: {why}", next_step="write NAME=1x3x224x224:float32, or NAME=batch,length:int64 for names"
    )


def record_path(output: Path) -> Path:
    """The record beside a converted model: ``net.onnx`` has ``net.convert.json``."""
    return output.with_name(output.name.removesuffix(".onnx") + RECORD_SUFFIX)


def _output(request: Request) -> Path:
    """Where to write; UsageError if that is taken, is the source itself, or has no folder."""
    output = request.output or Path(f"{request.source.stem}.onnx")
    if output.is_dir():
        output = output / f"{request.source.stem}.onnx"
    if output.exists() and request.source.exists() and output.samefile(request.source):
        raise UsageError("the result would replace the source", where=str(output), next_step="name another file: -o")
    if not output.parent.is_dir():
        raise UsageError("there is no such folder", where=str(output.parent), next_step="make it, or name another: -o")
    there = [each for each in (output, record_path(output)) if each.exists()]
    if there and not request.force:
        raise UsageError(
            "there is a file of that name", where=str(there[0]), next_step="--force replaces it; -o names another"
        )
    return output


def record_object(outcome: Outcome) -> dict[str, object]:
    """All that is known of a conversion, of the schema edgeproof/convert/1; sizes in B."""
    converted = outcome.converted
    proto = converted.model.proto
    assert converted.conversion is not None
    return {
        "schema": SCHEMA,
        "tool_version": __version__,
        "file": outcome.output.name,
        "conversion": asdict(converted.conversion),
        "producer": f"{proto.producer_name} {proto.producer_version}",
        "metadata": properties(proto),
        "notes": list(converted.notes),
    }


def _write(outcome: Outcome, record: bytes) -> None:
    try:
        write_atomically(outcome.output, outcome.converted.data)
        write_atomically(outcome.record, record)
    except OSError as error:
        raise StoreError(
            f"cannot be written: {error.strerror}",
            where=str(outcome.output),
            next_step="look at the space, the permissions and the path",
        ) from error
