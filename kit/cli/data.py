"""`edgeproof data`: is a dataset what its manifest says?"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.options import common_options
from kit.cli.output import print_json, say
from kit.words import count, number

if TYPE_CHECKING:
    from kit.spec.types import Dataset, DatasetPart


@click.group("data", epilog="\b\nExample:\n  edgeproof data check watch.toml")
def command() -> None:
    """Check a dataset manifest and its files."""


@command.command("check")
@click.argument("manifest", type=click.Path(path_type=Path))
@common_options
def check(manifest: Path, as_json: bool, verbose: bool) -> None:
    """Read MANIFEST and every row of its files: digests, schema, missing and wrong values, leaks."""
    from kit.spec import load_dataset

    del verbose
    dataset = load_dataset(manifest)
    parts = [part for part in (dataset.test, dataset.calibration, dataset.selection, dataset.train) if part is not None]
    if as_json:
        print_json(_object(dataset, parts))
        return
    say(f"{dataset.name}: {dataset.description}")
    classes = dataset.test.record.classes
    say(f"task         {dataset.task}" + (f", {count(len(classes), 'class', 'classes')}" if classes else ""))
    for part in parts:
        for line in _lines(part):
            say(line)
    say("no problem found")


def _lines(part: "DatasetPart") -> Iterator[str]:
    """A part: its rows, then a line for every column."""

    record = part.record
    clusters = len(set(record.cluster.tolist()))
    grouped = f"{clusters} clusters by {record.cluster_column}" if record.cluster_column else "independent rows"
    yield f"{part.role:<12} {record.rows} rows, {grouped}, {record.digest}"
    for name, column in record.columns.items():
        counts = Counter(column.codes.tolist())
        values = ", ".join(f"{value} {counts[code]}" for code, value in enumerate(column.values[:12]))
        more = " ..." if len(column.values) > 12 else ""
        yield f"    {name:<10} {values}{more}{' (sensitive)' if name in record.sensitive else ''}"
    weights = {} if record.weights is None else {"weights": record.weights}
    for name, values_of in (record.numbers | weights).items():
        known = values_of[values_of == values_of]  # missing numbers are NaN
        ends = f"{number(known.min(), 4)} to {number(known.max(), 4)}" if len(known) else "no value"
        missing = len(values_of) - len(known)
        yield f"    {name:<10} {ends}{f', {missing} missing' if missing else ''}"


def _object(dataset: "Dataset", parts: "Sequence[DatasetPart]") -> dict[str, Any]:
    return {
        "schema": "edgeproof/dataset-check/1",
        "name": dataset.name,
        "task": dataset.task,
        "classes": list(dataset.test.record.classes),
        "digest": dataset.digest,
        "parts": [
            {
                "role": part.role,
                "rows": part.record.rows,
                "digest": part.record.digest,
                "cluster_column": part.record.cluster_column,
                "columns": {name: list(column.values) for name, column in part.record.columns.items()},
                "sensitive": list(part.record.sensitive),
                "numbers": list(part.record.numbers),
                "has_weights": part.record.weights is not None,
            }
            for part in parts
        ],
    }
