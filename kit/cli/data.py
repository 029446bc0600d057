"""`edgeproof data`: is a dataset what its manifest says?"""

from collections import Counter
from pathlib import Path

import click

from kit.cli.options import common_options
from kit.cli.output import print_json, say


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
        print_json(
            {
                "schema": "edgeproof/dataset-check/1",
                "name": dataset.name,
                "digest": dataset.digest,
                "parts": [{"role": p.role, "rows": p.record.rows, "digest": p.record.digest} for p in parts],
            }
        )
        return
    say(f"{dataset.name}: {dataset.description}")
    for part in parts:
        record = part.record
        clusters = len(set(record.cluster.tolist()))
        grouped = f"{clusters} clusters by {record.cluster_column}" if record.cluster_column else "independent rows"
        say(f"{part.role:<12} {record.rows} rows, {grouped}, {record.digest}")
        for name, column in record.columns.items():
            counts = Counter(column.codes.tolist())
            values = ", ".join(f"{value} {counts[code]}" for code, value in enumerate(column.values[:12]))
            say(f"    {name:<10} {values}{' ...' if len(column.values) > 12 else ''}")
    say("no problem found")
