"""The profile of a check where none is given: what anyone would ask of an optimized model, in a file to be edited."""

from pathlib import Path

from kit.digest import digest_bytes, short
from kit.errors import StoreError
from kit.spec.measures import USUAL_MEASURES
from kit.spec.types import Dataset
from kit.store import write_atomically

LEAST_ROWS = 100
"""Of a combination of columns that is searched for, in the usual profile; a tenth of the rows if that is more."""

HEAD = """\
# Written by edgeproof check for dataset {name}: what it asks where no profile is given.
# Copy it, put your own limits and reasons in, and give it with --profile.

[profile]
name = "usual"
description = "No worse than the reference: as a whole, on every slice, for every group, and where nobody looked."
confidence = 0.95   # each verdict is wrong at most once in twenty

[[require]]
id = "accuracy"
metric = "{drop}"{measure}
at_most = "{whole}"
why = "{meaning}"
"""

WRONG = "As a whole, the optimized model may be wrong on so many rows in a hundred more than the reference."
LOST = "As a whole, the optimized model may be so much worse than the reference, by {}."

SLICES = """
[[require]]
id = "slices"
metric = "{drop}"{measure}
by = [{columns}]
at_most = "{slices}"
why = "No value of any column may pay for the optimization."
"""

FOUND = """
[[require]]
id = "found"
metric = "slices.found"{measure}
at_most = "{slices}"
minimum_rows = {least}   # of a combination: fewer rows cannot show so little
why = "Nor any combination of up to three columns that nobody thought to name."
"""

GROUPS = """
[[require]]
id = "fairness"
metric = "fairness.gap_change"{measure}
by = [{columns}]
at_most = "{slices}"
why = "The gap between groups of people may not widen by more."
"""


def usual_text(dataset: Dataset, whole: str, slices: str, *, frugal: bool = False) -> str:
    """A profile (TOML) for `dataset`: its slices and its sensitive columns, with limits as written ("2 points").

    `frugal` leaves out what some of the rows cannot decide: the search, and gaps between groups.
    """
    columns, sensitive = dataset.slice_columns, dataset.test.record.sensitive
    parts = [SLICES] * bool(columns) + [FOUND] * (not frugal) + [GROUPS] * (bool(sensitive) and not frugal)
    rows = dataset.test.record.rows
    measure = USUAL_MEASURES.get(dataset.task, "")
    asked = {"drop": "quality.loss" if measure else "accuracy.drop", "measure": ""}
    if measure:
        asked["measure"] = f'\nmeasure = "{measure}"'
    text = HEAD.format(name=dataset.name, whole=whole, meaning=LOST.format(measure) if measure else WRONG, **asked)
    for part in parts:
        names = sensitive if part is GROUPS else columns
        text += part.format(
            columns=", ".join(f'"{_escaped(name)}"' for name in names), slices=slices,
            least=max(LEAST_ROWS, rows // 10),
            **asked,
        )  # fmt: skip
    return text


def write_usual(dataset: Dataset, folder: Path, *, whole: str, slices: str, frugal: bool) -> Path:
    """The file of `usual_text` in `folder`, named by its content. Raises StoreError where it cannot be written."""
    data = usual_text(dataset, whole, slices, frugal=frugal).encode()
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
