"""The profile of a check where none is given: what anyone would ask of an optimized model, in a file to be edited."""

from pathlib import Path

from kit.digest import digest_bytes, short
from kit.errors import StoreError, UsageError
from kit.spec.measures import MEASURES, USUAL_MEASURES
from kit.spec.types import Dataset
from kit.store import write_atomically

LEAST_ROWS = 100
"""Of a combination of columns that is searched for, in the usual profile; a tenth of the rows if that is more."""

HEAD = """\
# Written by edgeproof check for dataset {name}: what it asks where no profile is given.
# Copy it, put your own limits and reasons in, and give it with --profile.

[profile]
name = "usual"
description = "No worse than the reference: {said}."
confidence = 0.95   # each verdict is wrong at most once in twenty
"""

WRONG = "As a whole, the optimized model may be wrong on so many rows in a hundred more than the reference."
LOST = "As a whole, the optimized model may be so much worse than the reference, by {}."

PAID = "No value of any column may pay for the optimization."
UNSEEN = "Nor any combination of up to three columns that nobody thought to name."
WIDER = "The gap between groups of people may not widen by more."


def usual_text(dataset: Dataset, whole: str, slices: str, *, frugal: bool = False, largest: float | None = None) -> str:
    """A profile (TOML) for `dataset`: its slices and its sensitive columns, with limits as written ("2 points").

    `frugal` leaves out what some of the rows cannot decide: the search, and gaps between groups. `largest` is the most
    that a row can lose; UsageError where the task's usual measure says that itself.
    """
    columns, sensitive = dataset.slice_columns, dataset.test.record.sensitive
    measure = USUAL_MEASURES.get(dataset.task, "")
    drop = "quality.loss" if measure else "accuracy.drop"
    if largest is not None and (not measure or MEASURES[measure].has_end):
        what = f"--largest says what a row can lose at most, which is known of {measure or 'accuracy'} ({dataset.task})"
        raise UsageError(what, where=dataset.path, next_step="leave out --largest")
    why = LOST.format(measure) if measure else WRONG
    parts = [_requirement("accuracy", drop, measure, whole, why, largest=largest)]
    if columns:
        parts.append(_requirement("slices", drop, measure, slices, PAID, by=columns, largest=largest))
    if not frugal and (not measure or MEASURES[measure].is_mean):
        least = max(LEAST_ROWS, dataset.test.record.rows // 10)
        parts.append(_requirement("found", "slices.found", measure, slices, UNSEEN, least=least))
    if sensitive and not frugal:
        parts.append(
            _requirement("fairness", "fairness.gap_change", measure, slices, WIDER, by=sensitive, largest=largest)
        )
    return HEAD.format(name=dataset.name, said=_said(parts)) + "".join(parts)


def _said(parts: list[str]) -> str:
    """What is asked, in a few words."""
    words = {"slices": "on every slice", "found": "where nobody looked", "fairness": "for every group of people"}
    return ", ".join(["as a whole", *(told for name, told in words.items() if f'id = "{name}"' in "".join(parts))])


def _requirement(
    name: str, metric: str, measure: str, at_most: str, why: str, *, by: tuple[str, ...] = (), least: int = 0,
    largest: float | None = None,
) -> str:  # fmt: skip
    """One table of a profile, after an empty line; `least` is the rows that a combination must have."""
    lines = ["", "[[require]]", f'id = "{name}"', f'metric = "{metric}"']
    if measure:
        lines.append(f'measure = "{measure}"')
    if by:
        lines.append("by = [" + ", ".join(f'"{_escaped(column)}"' for column in by) + "]")
    lines.append(f'at_most = "{at_most}"')
    if largest is not None:
        lines.append(f"largest = {largest!r}   # no row errs by more: what can be read, what the output can be")
    if least:
        lines.append(f"minimum_rows = {least}   # of a combination: fewer rows cannot show so little")
    return "\n".join([*lines, f'why = "{why}"', ""])


def write_usual(
    dataset: Dataset, folder: Path, *, whole: str, slices: str, frugal: bool, largest: float | None
) -> Path:
    """The file of `usual_text` in `folder`, named by its content. Raises StoreError where it cannot be written."""
    data = usual_text(dataset, whole, slices, frugal=frugal, largest=largest).encode()
    path = folder / f"usual-{short(digest_bytes(data))}.toml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        what = f"cannot be written: {error.strerror}"
        raise StoreError(what, where=str(path), next_step="name another folder with --runs") from error
    return path


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')
