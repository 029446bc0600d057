"""Variants that were made elsewhere: files taken as they are, if they take what the reference takes."""

from collections.abc import Iterable
from pathlib import Path

from kit.errors import UsageError
from kit.model.load import LoadedModel, load_onnx
from kit.model.predict import run_limited
from kit.model.quantize import Variant
from kit.model.saturation import saturation_record
from kit.pipeline.added import read_added
from kit.records import ModelRecord, Recipe, VariantRecord
from kit.spec.types import Dataset

_NOTE = "made elsewhere: how, and on which rows, is not known"


def given_variants(files: Iterable[str], reference: LoadedModel, dataset: Dataset) -> dict[str, Variant]:
    """A variant for each file, by its file's name without the suffix (numbered where two have the same).

    Raises:
        ModelError: a file is no ONNX model, a malformed one, or cannot run a row within a limited process.
        UsageError: it takes or gives something else than the reference does.
    """
    made: dict[str, Variant] = {}
    for file in files:
        model = load_onnx(Path(file))
        _check_interface(model.record, reference.record, file)
        run_limited(model.data, dataset, dataset.test.inputs[:1])
        name = _free(Path(file).stem[:80] or "given", made)
        made[name] = _variant(name, model, reference, _says(Path(file), reference, dataset))
    return made


def _free(name: str, taken: dict[str, Variant]) -> str:
    names = (name, *(f"{name}-{number}" for number in range(2, 2 + len(taken))))
    return next(each for each in names if each not in taken)


def _says(file: Path, reference: LoadedModel, dataset: Dataset) -> str:
    """What is known of how a file was made: nothing, or what it says of itself, which anyone may have written."""
    try:
        added = read_added(file)
    except UsageError:  # it carries no recipe, or none of this tool's
        return _NOTE
    parent = "this reference" if added.parent == reference.record.digest else "another model"
    part = dataset.calibration
    if not added.calibration:
        rows = ""
    elif part is not None and added.calibration == part.record.data_digest:
        rows = ", calibrated on this dataset's calibration part"
    else:
        rows = ", calibrated on other rows"
    return f"its file says of itself, unchecked: made by {added.recipe.name} from {parent}{rows}"


def _variant(name: str, model: LoadedModel, reference: LoadedModel, note: str) -> Variant:
    same = model.record.digest == reference.record.digest
    saturation = saturation_record(model.proto)
    record = VariantRecord(
        recipe=Recipe(name, "fp32" if same else "given"),
        model=model.record,
        parent_digest=reference.record.digest,
        calibration_digest=None,
        calibration_rows=0,
        left_in_float=(),
        saturation=saturation,
        parent_size_bytes=reference.record.size_bytes,
        notes=() if same else (note,),
    )
    return Variant(model.data, record)


def _check_interface(model: ModelRecord, reference: ModelRecord, file: str) -> None:
    """Inputs of the same count, rank and dtypes: rows of one dataset must fit both."""
    next_step = "give a variant of this reference, with the same inputs"
    if len(model.inputs) != len(reference.inputs):
        what = f"it has {len(model.inputs)} inputs, and the reference has {len(reference.inputs)}"
        raise UsageError(what, where=file, next_step=next_step)
    for ours, theirs in zip(reference.inputs, model.inputs, strict=True):
        if ours.dtype != theirs.dtype or len(ours.shape) != len(theirs.shape):
            said = f"{theirs.dtype} {list(theirs.shape)}, and the reference's is {ours.dtype} {list(ours.shape)}"
            raise UsageError(f"its input {theirs.name!r} is {said}", where=file, next_step=next_step)
