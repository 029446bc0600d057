"""What a converter is: one file, one Protocol."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kit.records import ModelRecord


@dataclass(frozen=True, slots=True)
class Source:
    """A source model, ready to run and to convert.

    predict: the model itself, inputs [rows, *shape] to scores float [rows, classes].
    export: the ONNX model's bytes.
    """

    record: ModelRecord
    predict: Callable[[NDArray[Any]], NDArray[np.floating[Any]]]
    export: Callable[[], bytes]


class Converter(Protocol):
    """Reads one family of source models. `suffixes` are what their files end with, in lower case."""

    name: str
    suffixes: tuple[str, ...]
    pickled: bool
    """Whether opening such a file can run code that lies in it."""

    def version(self) -> str:
        """Names and versions of the libraries that convert; MissingExtraError if they are not installed."""
        ...

    def read(self, path: Path, data: bytes) -> Source:
        """The source model in `data`, the content of `path`.

        Raises:
            ModelError: the file is damaged or holds something else.
            ConversionError: it is a model that this converter cannot convert.
        """
        ...
