"""Every converter, and which one reads a file: a new one is a file beside these, and a row here."""

from pathlib import Path

from kit.errors import ModelError, UsageError
from kit.model.convert.base import Converter
from kit.model.convert.keras import KerasConverter
from kit.model.convert.lightgbm import LightGBMConverter
from kit.model.convert.onnx import OnnxConverter
from kit.model.convert.saved_model import SavedModelConverter
from kit.model.convert.sklearn import SklearnConverter
from kit.model.convert.state_dict import StateDictConverter
from kit.model.convert.tflite import TFLiteConverter
from kit.model.convert.torch import TorchExportConverter
from kit.model.convert.torchscript import TorchScriptConverter
from kit.model.convert.xgboost import XGBoostConverter
from kit.model.load import MAX_MODEL_BYTES, looks_like

CONVERTERS: tuple[Converter, ...] = (
    OnnxConverter(),
    TorchExportConverter(),
    TorchScriptConverter(),
    StateDictConverter(),
    SavedModelConverter(),
    KerasConverter(),
    TFLiteConverter(),
    SklearnConverter(),
    XGBoostConverter(),
    LightGBMConverter(),
)
"""In the order in which they are asked whether a file is theirs."""

_START_BYTES = 4096


def converter_named(name: str) -> Converter:
    """The converter whose class has that name; KeyError if there is none."""
    return {type(each).__name__: each for each in CONVERTERS}[name]


def converter_for(path: Path) -> Converter:
    """The converter that reads what is at `path`.

    Raises:
        ModelError: there is nothing there, or it cannot be read, is empty or too large.
        UsageError: no converter reads it; lists what is read.
    """
    start = start_of(path)
    converter = next((each for each in CONVERTERS if each.claims(path, start)), None)
    if converter is None:
        known = looks_like(start)
        what = f"it is {known[0]}, and" if known else f"{'a folder' if path.is_dir() else path.suffix or 'no suffix'}:"
        reads = "; ".join(each.reads for each in CONVERTERS)
        raise UsageError(f"no converter: {what} nothing here reads that", where=str(path), next_step=f"give {reads}")
    return converter


def start_of(path: Path) -> bytes:
    """The first bytes of a file; none of a folder. Raises ModelError where there is neither, or not for reading."""
    try:
        if path.is_dir():
            return b""
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "there is no such file"
            raise ModelError(what, where=str(path), next_step="check the path of the model")
        size_bytes = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(_START_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"cannot be read: {reason}", where=str(path), next_step="check the path") from None
    if not start:
        raise ModelError("the file is empty", where=str(path), next_step="export or download it again")
    if size_bytes > MAX_MODEL_BYTES:
        raise ModelError(
            f"the file is larger than {MAX_MODEL_BYTES >> 20} MiB, the most that is read",
            where=str(path),
            next_step="give a model that fits an edge device",
        )
    return start
