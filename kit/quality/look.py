"""Every check of a dataset's parts, in one go."""

import numpy as np

from kit.quality.duplicates import duplicates
from kit.quality.lag import lagged
from kit.quality.leaked import leaked
from kit.quality.missing import missing
from kit.quality.shift import shifted
from kit.quality.wrong import wrong
from kit.records import DataCheck, DataRecord
from kit.spec.types import Dataset


def look_through(dataset: Dataset, seed: int) -> DataRecord:
    """What is wrong with the test part, by itself and against the parts that made the model.

    `seed` draws rows, projections and permutations: the same seed sees the same.
    """
    test, seeds = dataset.test, np.random.SeedSequence(seed).spawn(4)
    rngs = [np.random.default_rng(each) for each in seeds]
    makers = tuple(part for part in (dataset.calibration, dataset.train) if part is not None)
    others = (*makers, *((dataset.selection,) if dataset.selection is not None else ()))
    usual = dataset.train or dataset.calibration
    checks = [
        *missing(test),
        *wrong(test, usual, dataset.input_minimum, dataset.input_maximum),
        *duplicates(test, rngs[0]),
        *leaked(test, others, rngs[1]),
    ]
    for other in makers:
        checks += shifted(test, other, rngs[2])
    if usual is not None:
        checks += lagged(test, usual, rngs[3])
    if not makers:
        checks += [_nothing_to_compare(name, test.record.rows) for name in ("data.shifted", "data.lagged")]
    return DataRecord(test.record.data_digest, tuple(checks))


def _nothing_to_compare(check: str, rows: int) -> DataCheck:
    why = "Not looked at: there is no train or calibration part to compare with."
    return DataCheck(check, "test", None, rows, (), why)
