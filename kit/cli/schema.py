"""`edgeproof schema`: the JSON Schema of a TOML file, for editors and CI."""

import click

from kit.cli.output import print_json


@click.command("schema", epilog="\b\nExample:\n  edgeproof schema profile > profile.schema.json")
@click.argument("kind", type=click.Choice(["profile", "device", "dataset"]))
def command(kind: str) -> None:
    """Print the JSON Schema of a profile, a device file or a dataset manifest."""
    from kit.spec.schema import json_schema

    print_json(json_schema(kind))
