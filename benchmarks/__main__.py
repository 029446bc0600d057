"""`python -m benchmarks [NAME] [--quick] [--json]`: exit code 1 if a goal does not hold."""

import importlib
import json
import platform
import sys

import click

from benchmarks.table import Row

NAMES = ("startup", "saturation", "dut", "link", "calibration", "search", "harness", "meters", "slices", "frugal")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--quick", is_flag=True, help="Fewer repeats: for a look, not for a claim.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def main(names: tuple[str, ...], quick: bool, as_json: bool) -> None:
    """Run benchmarks NAMES, or all of them."""
    rows: list[Row] = []
    for name in names or NAMES:
        rows += importlib.import_module(f"benchmarks.{name}").run(quick=quick)
    conditions = {"machine": platform.machine(), "system": platform.system(), "python": platform.python_version()}
    if as_json:
        print(
            json.dumps(
                {
                    "schema": "edgeproof/benchmark/1",
                    "conditions": conditions,
                    "rows": [row.as_object() for row in rows],
                },
                indent=2,
            )
        )
    else:
        print("conditions " + ", ".join(f"{key} {value}" for key, value in conditions.items()))
        for row in rows:
            print(row.as_text())
    sys.exit(0 if all(row.holds for row in rows) else 1)


if __name__ == "__main__":
    main()
