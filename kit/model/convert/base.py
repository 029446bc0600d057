"""What a converter is: one file, one Protocol. It runs in a process of its own, since a source model is untrusted."""

import importlib.metadata
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from kit.errors import MissingExtraError
from kit.records import ModelRecord, TensorInfo

Arrays = Mapping[str, NDArray[Any]]
"""By name of an input or output: [rows, *shape]."""

DEFAULT_OPSET = 17
"""Old enough for the onnxruntime of most devices (1.13 and later), new enough for every recipe."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may say about a conversion.

    opset: of the ONNX model, which is then of no other; None is `DEFAULT_OPSET`, or the source's own or the exporter's
    oldest where that is newer and cannot be lowered. inputs: what the model takes, for sources that do not say (shape
    with names for dynamic dimensions; an input without a name has the model's own). factory: ``file.py:function`` that
    builds the module which a state dict fills. trust_pickle: a pickle may be opened.
    """

    opset: int | None = None
    inputs: tuple[TensorInfo, ...] = ()
    factory: str = ""
    trust_pickle: bool = False

    @property
    def target_opset(self) -> int:
        """The opset to aim for."""
        return DEFAULT_OPSET if self.opset is None else self.opset


@dataclass(frozen=True, slots=True)
class Source:
    """A source model, ready to run and to convert.

    record: its inputs and outputs are the ONNX model's too, in names, dtypes and dynamic dimensions.
    predict: the source itself in its own library, inputs by name to outputs by name. It is called with what `record`
    says it takes, as onnxruntime would be: as many rows at once as fit where the first dimension is dynamic, one where
    it is 1. export: the ONNX model's bytes; metadata are added to them afterwards.
    notes: what was decided for the user (a label output dropped, a dimension made dynamic), a sentence each.
    tolerances: by output, the largest absolute difference that is rounding, where the source's own arithmetic says
    so (one step of a quantized output); the others follow the rule of `kit.model.convert.verify`.
    """

    record: ModelRecord
    predict: Callable[[Arrays], dict[str, NDArray[Any]]]
    export: Callable[[], bytes]
    notes: tuple[str, ...] = field(default=())
    tolerances: Mapping[str, float] = field(default_factory=dict)


class Converter(Protocol):
    """Reads one family of source models."""

    name: str
    """Short name, such as ``torch.export``."""

    reads: str
    """What it reads, for messages: "PyTorch exported programs (.pt2)"."""

    extra: str
    """The extra that installs its libraries: ``pip install 'edgeproof[EXTRA]'``."""

    def claims(self, path: Path, start: bytes) -> bool:
        """Whether this file or folder is its kind, by suffix and by its first bytes (b"" for a folder).

        Imports no library, and opens nothing but what `path` is.
        """
        ...

    def is_pickle(self, path: Path, start: bytes) -> bool:
        """Whether opening this very file can run code that lies in it; it is then refused without trust."""
        ...

    def version(self) -> str:
        """Names and versions of the libraries that convert; MissingExtraError if they are not installed.

        Called in the parent process: it imports none of them (see `library_versions`).
        """
        ...

    def read(self, path: Path, options: Options) -> Source:
        """The source model at `path`. Called in the converter's own process.

        Raises:
            ModelError: the file is damaged, unsafe or holds something else.
            UsageError: the options lack something that this kind needs (inputs, a factory).
            ConversionError: it is a model that this converter cannot convert.
        """
        ...


def library_versions(extra: str, what: str, libraries: Mapping[str, str]) -> str:
    """``skl2onnx 1.20.0, scikit-learn 1.9.1`` without an import; `libraries` has distributions by module.

    Distributions that are alternatives are separated by ``|``, as in ``xgboost-cpu|xgboost``.

    Raises:
        MissingExtraError: a module is not installed; `what` ("scikit-learn models") needs them.
    """
    found = {names: _version_of(names) for module, names in libraries.items() if importlib.util.find_spec(module)}
    if len(found) < len(libraries):
        needed = " and ".join(names.split("|")[0] for names in libraries.values())
        raise MissingExtraError(f"{what} need {needed}", next_step=f"pip install 'edgeproof[{extra}]'")
    return ", ".join(f"{names.split('|')[0]} {version}" for names, version in found.items())


def _version_of(names: str) -> str:
    for name in names.split("|"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of unknown version"
