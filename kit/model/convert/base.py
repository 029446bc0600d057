"""What a converter is: one file, one Protocol. It runs in a process of its own, since a source model is untrusted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from kit.records import ModelRecord, TensorInfo

Arrays = Mapping[str, NDArray[Any]]
"""By name of an input or output: [rows, *shape]."""

DEFAULT_OPSET = 17
"""Old enough for the onnxruntime of most devices (1.13 and later), new enough for every recipe."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may say about a conversion.

    opset: of the ONNX model. inputs: what the model takes, for sources that do not say (shape with names for dynamic
    dimensions). factory: ``file.py:function`` that builds the module which a state dict fills. classes: names of the
    classes, where the user gives them. trust_pickle: a pickle may be opened.
    """

    opset: int = DEFAULT_OPSET
    inputs: tuple[TensorInfo, ...] = ()
    factory: str = ""
    trust_pickle: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A source model, ready to run and to convert.

    predict: the source itself in its own library, inputs by name [rows, *shape] to outputs by name; the names are
    those of `record`, which are the ONNX model's too. export: the ONNX model's bytes.
    notes: what was decided for the user (a label output dropped, a dimension made dynamic), a sentence each.
    """

    record: ModelRecord
    predict: Callable[[Arrays], dict[str, NDArray[Any]]]
    export: Callable[[], bytes]
    notes: tuple[str, ...] = field(default=())


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
        """Names and versions of the libraries that convert; MissingExtraError if they are not installed."""
        ...

    def read(self, path: Path, options: Options) -> Source:
        """The source model at `path`. Called in the converter's own process.

        Raises:
            ModelError: the file is damaged, unsafe or holds something else.
            UsageError: the options lack something that this kind needs (inputs, a factory).
            ConversionError: it is a model that this converter cannot convert.
        """
        ...
