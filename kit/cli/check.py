"""`edgeproof check`: did accuracy hold after optimization, for every slice and group, and where nobody looked?"""

from pathlib import Path
from typing import Any

import click

from kit.cli.certify import absolute, certify, check_only_resumed, find_run, resumed_order
from kit.cli.options import device_option, run_options, trust_options
from kit.errors import UsageError

EXAMPLES = """\b
Examples:
  edgeproof check model.onnx model-int8.onnx --data watch.toml
  edgeproof check model.onnx model-int8.onnx --data watch.toml --profile wearable --device scanner --frugal
  edgeproof check model.onnx a.onnx b.onnx --data watch.toml --export slices.csv
"""


@click.command("check", epilog=EXAMPLES)
@click.argument("model", metavar="REFERENCE", type=click.Path(path_type=Path), required=False)
@click.argument("variants", metavar="VARIANT...", type=click.Path(path_type=Path), nargs=-1)
@click.option("--data", type=click.Path(path_type=Path), help="Dataset manifest (TOML) with a test part.")
@click.option("--profile", help="Conformance profile: a name or a TOML file. Left out: one is written for the dataset.")
@device_option
@click.option("--at-most", "whole", default="2 points", show_default=True, help="Drop allowed, without --profile.")
@click.option("--slice-at-most", "slices", default="5 points", show_default=True, help="The same for each slice.")
@click.option(
    "--largest",
    type=click.FloatRange(0, 1e50, min_open=True),
    metavar="ERROR",
    help="Of a regression, without --profile: no row errs by more.",
)
@click.option("--frugal", is_flag=True, help="Send rows to the device only until every requirement is decided.")
@click.option("--export", type=click.Path(path_type=Path), metavar="FILE", help="Write every slice (.csv or .json).")
@trust_options
@run_options
@click.pass_context
def command(
    ctx: click.Context, /, resume: str | None, runs: Path, as_json: bool, quiet: bool, verbose: bool, **options: Any
) -> int:
    """Check that each VARIANT is as good as REFERENCE on a dataset: accuracy, slices, groups, and what a search finds.

    Nothing is timed or metered: requirements on latency, memory and battery are left to certify. The exit code is the
    verdict: 0 pass, 1 fail, 3 inconclusive.
    """
    from kit.pipeline.order import Order
    from kit.store import Run

    del verbose
    export = _checked_export(options["export"])
    if resume is not None:
        check_only_resumed(ctx)
        run = Run.load(find_run(resume, runs), hold=True)
        order = resumed_order(run, options, "check")
        return certify(order, run, runs, as_json=as_json, quiet=quiet, export=export)
    for missing, key in (("REFERENCE", "model"), ("VARIANT", "variants"), ("--data", "data")):
        if not options[key]:
            raise click.UsageError(f"Missing {missing}.", ctx)
    _check_limits(ctx)
    order = Order(
        model=str(options["model"].absolute()),
        data=str(options["data"].absolute()),
        profile=absolute(options["profile"]) if options["profile"] else _usual(options, runs),
        device=absolute(options["device"]),
        trust_pickle=options["trust_pickle"],
        trust_measures=options["trust_measures"],
        given=tuple(str(path.absolute()) for path in options["variants"]),
        rows_only=True,
        frugal=options["frugal"],
    )
    return certify(order, None, runs, as_json=as_json, quiet=quiet, export=export)


def _check_limits(ctx: click.Context) -> None:
    """A profile has limits of its own. Raises UsageError."""
    given = click.core.ParameterSource.COMMANDLINE
    named = {"whole": "--at-most", "slices": "--slice-at-most", "largest": "--largest"}
    said = [option for name, option in named.items() if ctx.get_parameter_source(name) is given]
    if ctx.params["profile"] and said:
        what = f"{said[0]} is for a check without --profile, which has limits of its own"
        raise UsageError(what, next_step=f"leave out {said[0]}, or change the limit in the profile")


def _usual(options: dict[str, Any], runs: Path) -> str:
    from kit.pipeline.usual import write_usual
    from kit.spec import load_dataset

    asked = {name: options[name] for name in ("whole", "slices", "frugal", "largest")}
    path = write_usual(load_dataset(options["data"]), runs, **asked)
    click.echo(f"no --profile: asking what {path} says", err=True)
    return str(path.absolute())


def _checked_export(path: Path | None) -> Path | None:
    if path is not None and path.suffix not in (".csv", ".json"):
        raise UsageError(f"unknown kind of file {path.suffix!r}", where=str(path), next_step="name a .csv or .json")
    return path
