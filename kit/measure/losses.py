"""What each row loses under the measures that a profile names, kept so that any slice can be judged later."""

from collections.abc import Iterable
from pathlib import Path

from kit.measure.own import own_losses
from kit.records import DatasetRecord, LossRecord, PredictionRecord
from kit.task import MEASURES_BY_NAME, Losses, Rows, UndefinedError, rows_of


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
        UsageError: a user's function cannot be loaded, fails, takes too long or too much memory, or gives something
            else than a finite loss a row.
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
    return Losses(own_losses(name, folder, rows), None, None, None) if known is None else known.losses(rows)
