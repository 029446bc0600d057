"""data.leaked: test rows, or whole clusters, that the model was trained or calibrated on."""

import numpy as np

from kit.quality.copies import copied_from
from kit.quality.duplicates import near_check
from kit.quality.near import Near, near_copies
from kit.quality.parts import BoolArray, examples, flat, kinds, named_rows
from kit.records import DataCheck
from kit.spec.types import DatasetPart

NEAR_VALUES = 1 << 29
"""Near copies are looked for where both parts together hold at most so many values: they stand side by side then."""


def leaked(test: DatasetPart, others: tuple[DatasetPart, ...], rng: np.random.Generator) -> tuple[DataCheck, ...]:
    """Exact copies, near copies and shared clusters, against each other part."""
    if not others:
        why = "Not looked at: there is no train, calibration or selection part to compare with."
        return (DataCheck("data.leaked", "copies", None, test.record.rows, (), why),)
    return tuple(check for other in others for check in _against(test, other, rng))


def _against(test: DatasetPart, other: DatasetPart, rng: np.random.Generator) -> tuple[DataCheck, ...]:
    exact = copied_from(test.inputs, other.inputs)
    whose = f"a row of the {other.role} part"
    first = _check(f"exact copies in {other.role}", exact, f"have the same inputs as {whose}")
    near = _near(test, other, rng)
    second = near_check("data.leaked", f"near copies in {other.role}", near, near.found & ~exact, whose)
    return first, second, *_clusters(test, other)


def _check(subject: str, found: BoolArray, what: str) -> DataCheck:
    rows = examples(found)
    where = f", such as {named_rows(rows)}" if rows else ""
    sentence = f"{int(found.sum()):,} of {len(found):,} rows {what}{where}."
    return DataCheck("data.leaked", subject, float(found.mean()), len(found), rows, sentence)


def _near(test: DatasetPart, other: DatasetPart, rng: np.random.Generator) -> Near:
    one, two = flat(test), flat(other)
    nothing = np.zeros(len(one), dtype=np.bool_)
    if one.shape[1] != two.shape[1]:
        return Near(nothing, 0.0, 0.0, 0.0, "rows of the two parts have other shapes")
    if one.size + two.size > NEAR_VALUES:
        return Near(nothing, 0.0, 0.0, 0.0, f"both parts together hold more than {NEAR_VALUES:,} values")
    group = np.repeat(np.arange(2), [len(one), len(two)])
    near = near_copies(np.concatenate([one, two]), kinds(test.inputs), group, rng)
    return Near(near.found[: len(one)], near.distance, near.typical, near.chance, near.why_not)


def _clusters(test: DatasetPart, other: DatasetPart) -> tuple[DataCheck, ...]:
    """Rows of clusters that the other part has too, where the cluster is a column with names in both."""
    name = test.record.cluster_column
    ours = test.record.columns.get(name) if name else None
    theirs = other.record.columns.get(name) if name else None
    if ours is None or theirs is None:
        return ()
    shared = np.isin(ours.values, [theirs.values[code] for code in np.unique(theirs.codes)])
    return (_check(f"clusters in {other.role}", shared[ours.codes], f"are of a {name} that the {other.role} part has"),)
