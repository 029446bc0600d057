"""What each row loses under the measures that a profile names, kept so that any slice can be judged later."""

import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from kit.errors import UsageError
from kit.records import DatasetRecord, Float64Array, LossRecord, PredictionRecord
from kit.task import MEASURES_BY_NAME, Losses, Rows, UndefinedError, rows_of

LossFunction = Callable[[Any, Any, Rows], Any]
"""A user's measure: (truth, predictions, rows) to losses [rows], more is worse. See `own_measure`."""


def losses_of(
    dataset: DatasetRecord,
    reference: PredictionRecord,
    predictions: PredictionRecord,
    measures: Iterable[str],
    *,
    folder: Path = Path(),
) -> dict[str, LossRecord]:
    """Losses of `predictions` under each measure that is defined on the dataset, by its name.

    Args:
        dataset: the truth of every row.
        reference: the reference's answers, for measures of agreement.
        predictions: the answers that are looked at; the reference's own give the losses before optimization.
        measures: names of `kit.spec.measures`, or ``file.py:function``, a user's own beside the profile.
        folder: where the profile is.

    Raises:
        UsageError: a user's function cannot be loaded, fails, or gives something else than a finite loss a row.
    """
    found: dict[str, LossRecord] = {}
    rows = rows_of(dataset, predictions, reference)
    for name in dict.fromkeys(measures):
        try:
            losses = _losses(name, rows, folder)
        except UndefinedError:
            continue
        found[name] = LossRecord(
            measure=name,
            model_digest=predictions.model_digest,
            data_digest=predictions.data_digest,
            losses=losses.losses,
            sizes=losses.sizes,
            low=losses.low,
            high=losses.high,
            obtained=predictions.obtained,
        )
    return found


def _losses(name: str, rows: Rows, folder: Path) -> Losses:
    known = MEASURES_BY_NAME.get(name)
    if known is not None:
        return known.losses(rows)
    return Losses(_checked(name, own_measure(name, folder), rows), None, None, None)


def own_measure(name: str, folder: Path) -> LossFunction:
    """The function that ``file.py:function`` names, from a file beside the profile: this runs the user's code.

    It is called as ``function(truth, predictions, rows)``. truth: labels int64 [rows], targets float64 [rows, targets]
    where each row has one vector, else a list of float64 [items, width] a row. predictions: scores float32
    [rows, outputs], or such a list. rows: a `kit.task.Rows` with decisions, weights and classes.

    Raises UsageError, which names the file, if it is not there, is no file beside the profile, or has no such function.
    """
    path_text, _, function_name = name.rpartition(":")
    path = (folder / path_text).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        step = "put the file beside the profile, or correct the measure's name"
        raise UsageError(f"there is no file {path_text!r} beside the profile", where=name, next_step=step)
    spec = importlib.util.spec_from_file_location(f"measure_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _fails(name, error) from error
    finally:
        sys.dont_write_bytecode = keep
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UsageError(f"{path.name} has no function {function_name!r}", where=name, next_step="correct its name")
    return function  # type: ignore[no-any-return]


def _checked(name: str, function: LossFunction, rows: Rows) -> Float64Array:
    """What the function says of all rows, once it is a finite loss a row."""
    try:
        losses = np.array(function(_truth(rows), _predictions(rows), rows), dtype=np.float64)
    except (Exception, SystemExit) as error:
        raise _fails(name, error) from error
    if losses.shape != (len(rows),):
        what = f"it gives {list(losses.shape)}, not a loss for each of {len(rows)} rows"
        raise UsageError(what, where=name, next_step="return an array of one number a row, more being worse")
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        what = f"the loss of row {bad[0]} (from 0) is {losses[bad[0]]}"
        raise UsageError(what, where=name, next_step="return finite numbers")
    return losses


def _fails(name: str, error: BaseException) -> UsageError:
    words_of = " ".join(str(error).split())[:300]
    return UsageError(f"it fails: {type(error).__name__}: {words_of}", where=name, next_step="correct the function")


def _truth(rows: Rows) -> Any:
    if rows.targets is None:
        return rows.labels
    if rows.task in ("regression", "multilabel"):
        return rows.targets.values
    return np.split(rows.targets.values, rows.targets.offsets[1:-1])


def _predictions(rows: Rows) -> Any:
    return rows.scores if rows.items is None else np.split(rows.items.values, rows.items.offsets[1:-1])
