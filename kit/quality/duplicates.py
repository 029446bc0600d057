"""data.duplicates: rows of different clusters that are copies of each other, exact or near.

Copies within a cluster are no fault: rows of one cluster do not count as independent anyway.
"""

import numpy as np

from kit.quality.copies import copied_across, copy_codes
from kit.quality.near import Near, near_copies
from kit.quality.parts import clusters, examples, flat, kinds, named_rows
from kit.records import DataCheck
from kit.spec.types import DatasetPart


def duplicates(test: DatasetPart, rng: np.random.Generator) -> tuple[DataCheck, ...]:
    """Exact copies, and rows that differ from a row of another cluster by less than chance explains."""
    cluster = clusters(test.record)
    exact = copied_across(test.inputs, cluster)
    within = len(exact) - len(np.unique(copy_codes(test.inputs)))
    found = examples(exact)
    where = f", such as {named_rows(found)}" if found else ""
    whose = "a row of another cluster" if test.record.cluster_column else "another row"
    more = f" {within:,} rows repeat an earlier one, of any cluster." if test.record.cluster_column else ""
    sentence = f"{int(exact.sum()):,} of {len(exact):,} rows have the same inputs as {whose}{where}.{more}"
    first = DataCheck("data.duplicates", "exact copies", float(exact.mean()), len(exact), found, sentence)
    near = near_copies(flat(test), kinds(test.inputs), cluster, rng)
    return first, near_check("data.duplicates", "near copies", near, near.found & ~exact, whose)


def near_check(check: str, subject: str, near: Near, found: np.ndarray, whose: str) -> DataCheck:
    """What was found of near copies, or why they could not be looked for."""
    if near.why_not:
        return DataCheck(check, subject, None, len(found), (), f"Not looked at: {near.why_not}.")
    rows = examples(found)
    where = f", such as {named_rows(rows)}" if rows else ""
    apart = f"{near.distance:.2g}, where rows are {near.typical:.2g} apart (median), in standard deviations"
    sentence = (
        f"{int(found.sum()):,} of {len(found):,} rows nearly copy {whose}{where}: at most {apart}; "
        "about 2 in 100 such pairs are missed."
    )
    return DataCheck(check, subject, float(found.mean()), len(found), rows, sentence, near.chance)
