"""`edgeproof certify`: everything, one command."""

import sys
from pathlib import Path
from typing import Any

import click

from kit.cli.keeping import keeping
from kit.cli.options import device_option, run_options, trust_options
from kit.cli.output import VERDICT_EXIT_CODES, columns, print_json, use_ascii, use_color
from kit.errors import UsageError

WIDEST = 120
"""Columns of a result's lines at most, on however wide a terminal: longer ones are hard to read."""

EXAMPLES = """\b
Examples:
  edgeproof certify model.onnx --data watch.toml --profile wearable
  edgeproof quantize model.onnx --data watch.toml --profile wearable --search -o found
  edgeproof certify model.onnx --data watch.toml --profile wearable --recipe-from found/best.onnx
"""


@click.command("certify", epilog=EXAMPLES)
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--data", type=click.Path(path_type=Path), help="Dataset manifest (TOML) with a test part.")
@click.option("--profile", default="basic", show_default=True, help="Conformance profile: a name or a TOML file.")
@device_option
@click.option("--variant", "variants", multiple=True, help="Only this variant of the profile's; may be repeated.")
@click.option(
    "--recipe-from",
    "recipes_from",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE.onnx",
    help="Also a variant by the recipe that this file carries, such as a search's best.onnx: it is made again and must "
    "have the same bytes. With --variant and its name it competes alone. May be repeated.",
)
@click.option("--frugal", is_flag=True, help="Send rows to the device only until every requirement on rows is decided.")
@trust_options
@run_options
@click.pass_context
def command(
    ctx: click.Context, /, resume: str | None, runs: Path, as_json: bool, quiet: bool, verbose: bool, **options: Any
) -> int:
    """Prove that MODEL, optimized, holds on a device: convert, quantize, deploy, measure, judge, certify.

    The exit code is the verdict: 0 pass, 1 fail, 3 inconclusive.
    """
    from kit.pipeline.added import read_added
    from kit.pipeline.order import Order
    from kit.store import Run

    del verbose
    if resume is not None:
        check_only_resumed(ctx)
        run = Run.load(find_run(resume, runs), hold=True)
        return certify(resumed_order(run, options, "certify"), run, runs, as_json=as_json, quiet=quiet)
    if options["model"] is None or options["data"] is None:
        missing = "MODEL" if options["model"] is None else "--data"
        raise click.UsageError(f"Missing {missing}.", ctx)
    order = Order(
        model=str(options["model"].absolute()),
        data=str(options["data"].absolute()),
        profile=absolute(options["profile"]),
        device=absolute(options["device"]),
        variants=options["variants"],
        trust_pickle=options["trust_pickle"],
        trust_measures=options["trust_measures"],
        added=tuple(map(read_added, options["recipes_from"])),
        frugal=options["frugal"],
    )
    return certify(order, None, runs, as_json=as_json, quiet=quiet)


WITH_RESUME = ("resume", "runs", "as_json", "quiet", "verbose", "trust_pickle", "trust_measures", "export")
"""What may be said beside --resume: anything else was said when the run began."""


def check_only_resumed(ctx: click.Context) -> None:
    """Nothing may be asked for anew beside --resume: the run would be judged as it was asked. Raises UsageError."""
    given = click.core.ParameterSource.COMMANDLINE
    for parameter in ctx.command.params:
        name = parameter.name or ""
        if name not in WITH_RESUME and ctx.get_parameter_source(name) is given and ctx.params.get(name):
            said = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.make_metavar(ctx)
            raise UsageError(
                f"--resume goes on with what the run was asked for, and {said} asks anew",
                next_step="leave it out, or leave out --resume for a new run",
            )


def resumed_order(run: Any, options: dict[str, Any], command: str) -> Any:
    """What the run was asked to do; trust is not inherited, since a run folder may come from anyone."""
    from dataclasses import replace

    from kit.pipeline.order import Order

    _check_command(run, command)
    order = run.get("plan/order", Order)
    click.echo(f"resuming {order.model} with {order.data}, profile {order.profile}, device {order.device}", err=True)
    return replace(order, trust_pickle=options["trust_pickle"], trust_measures=options["trust_measures"])


def _check_command(run: Any, command: str) -> None:
    from kit.pipeline.plan import resume_words

    began = run.record.command[1]
    if began == "bench" and command == "certify":
        what = "this is a run of edgeproof bench: it measures, and gives no verdict"
        raise UsageError(what, where=str(run.path), next_step=f"edgeproof report {run.path}, or bench --resume")
    if began != command:
        what = f"this is a run of edgeproof {began}, not of {command}"
        raise UsageError(what, where=str(run.path), next_step=resume_words(run))


def find_run(name: str, runs: Path) -> Path:
    """The folder of a run given as a path, an id, or the start of an id that fits only one."""
    for path in (Path(name), runs / name):
        if (path / "run.json").is_file():
            return path
    found = [path.parent for path in runs.glob("*/run.json") if path.parent.name.startswith(name)] if name else []
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} runs begin with {name!r}" if found else f"no run {name!r}"
    known = ", ".join(sorted(path.parent.name for path in runs.glob("*/run.json"))[-5:])
    raise UsageError(what, where=str(runs), next_step=f"the latest are: {known}" if known else "certify a model first")


def certify(order: Any, run: Any, runs: Path, *, as_json: bool, quiet: bool, export: Path | None = None) -> int:
    """Do what `order` asks for, or what `run` still lacks of it, and show it; returns the verdict's exit code."""
    from kit.cli.progress import Progress
    from kit.pipeline.certify import expected_seconds, measure
    from kit.pipeline.finish import finish
    from kit.pipeline.order import read_inputs
    from kit.pipeline.plan import new_run, require_same_inputs

    if run is not None:
        require_same_inputs(order, run.record)
    inputs = read_inputs(order)
    run = run or new_run(order, inputs, runs)
    progress = Progress(expected_seconds(inputs), quiet=quiet)
    try:
        with keeping(lambda: _kept(run, inputs), run.path):
            measure(inputs, run, progress)
            outcome = finish(run)
    finally:
        progress.close()
    if export is not None:
        write_rows(outcome, export)
    show(outcome, as_json=as_json)
    return VERDICT_EXIT_CODES[outcome.judgement.verdict.value]


def write_rows(outcome: Any, path: Path) -> None:
    """Every slice of every variant as a table, CSV or JSON by the file's suffix."""
    from kit.report.export import rows_table, to_csv, to_json
    from kit.store import write_atomically

    rows = rows_table(outcome.judgement)
    write_atomically(path, (to_json if path.suffix == ".json" else to_csv)(rows).encode())


def absolute(name: str) -> str:
    """A name stays a name; a path is made absolute so that a run can be resumed from anywhere."""
    return str(Path(name).absolute()) if Path(name).suffix == ".toml" else name


def _kept(run: Any, inputs: Any) -> str:
    from kit.pipeline.certify import expected_seconds
    from kit.pipeline.plan import resume_words

    if not (run.path / "run.json").exists():
        return ""
    steps = expected_seconds(inputs)
    done = sum(step in run.steps for step in steps)
    same = "" if "device/identity" in run.steps or inputs.device.path else ", for this link as it is"
    return f"{done}/{len(steps)} steps{same}; {resume_words(run)}"


def show(outcome: Any, *, as_json: bool) -> None:
    """Print a finished run: one screen, or one JSON object."""
    from kit.report import render_text

    if as_json:
        files = {"report": str(outcome.report)}
        files |= {"certificate": str(outcome.certificate)} if outcome.certificate else {}
        print_json(outcome.view.summary | {"files": files})
        return
    width = min(columns(), WIDEST)
    click.echo(render_text(outcome.view, width=width, color=use_color(sys.stdout), ascii=use_ascii(sys.stdout)))
    if outcome.certificate:
        click.echo(f"certificate {outcome.certificate}")
    click.echo(f"report {outcome.report}")
