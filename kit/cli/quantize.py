"""`edgeproof quantize`: variants of a float model, with what each keeps and costs; or a search for the best one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.options import common_options, quiet_option
from kit.cli.output import print_json
from kit.errors import InterruptError

if TYPE_CHECKING:
    from kit.pipeline.material import Request

EXAMPLES = """\b
Examples:
  edgeproof quantize net.onnx --data watch.toml --profile wearable
  edgeproof quantize net.onnx --data rows.npz --recipe int8-per-channel-reduced -o small.onnx
  edgeproof quantize net.onnx --recipe fp16 --keep-float 'type:Softmax'
  edgeproof quantize net.onnx --data watch.toml --recipe int8-per-channel+percentile=99.9+equalize+bias
  edgeproof quantize net.onnx --data watch.toml --profile wearable --search --device my-board.toml
"""


@click.command("quantize", epilog=EXAMPLES)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Dataset manifest, or .npz or .npy with typical rows.")
@click.option("--profile", help="Conformance profile: its recipes are made and its requirements estimated.")
@click.option("--device", help="Device to try variants on: a name, a TOML file or a link.  [default: this host]")
@click.option("--recipe", "recipes", multiple=True, metavar="RECIPE", help="What to make; may be repeated.")
@click.option(
    "--keep-float", multiple=True, metavar="SELECTOR",
    help="Nodes that stay in float: a name, type:LSTM or name:/head/*; may be repeated.",
)  # fmt: skip
@click.option(
    "-o",
    "--out",
    type=click.Path(),
    help="Folder for several variants, or for one if it ends with a slash; else its file (.onnx is added).",
)
@click.option("--force", is_flag=True, help="Replace files that are there; with --search, start anew.")
@click.option("--search", "searching", is_flag=True, help="Search for the cheapest variant that meets the profile.")
@click.option(
    "--evaluations", type=click.IntRange(min=1), default=5, show_default=True, help="Most full evaluations (--search)."
)
@click.option("--time-limit", metavar="TIME", help='Longest to search, such as "10 min"; the best so far is kept.')
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of the search's rows.")
@click.option(
    "--arithmetic", type=click.Choice(["exact", "saturating"]),
    help="The target's int8 sums, where it is not attached (--search): saturating on x86 without VNNI.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the search in the folder of -o.")
@quiet_option
@common_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: Path,
    data: Path | None,
    profile: str | None,
    device: str | None,
    recipes: tuple[str, ...],
    keep_float: tuple[str, ...],
    out: str | None,
    force: bool,
    quiet: bool,
    as_json: bool,
    verbose: bool,
    searching: bool,
    **search: Any,
) -> int:
    """Make quantized variants of MODEL (a float ONNX file), and say what each keeps, costs and left in float.

    RECIPE is a base and what is changed about it: fp16, int8-per-tensor, int8-per-channel, int8-per-channel-reduced,
    int8-s8s8, int8-u8u8, int8-dynamic, int8-weights, int4-weights; then +minmax, +moving-average, +percentile=99.9,
    +entropy, +mse, +reduced, +per-channel, +equalize, +bias, +block=64.

    Figures are estimates; edgeproof certify gives the verdict. Exit code: 0 made (if only some could be, the last line
    says so, and not_made in JSON); 2 refused input; 4 the device failed; 6 none could be made.

    With --search, precision is given back where the profile needs it, and nowhere else; -o is a folder then, with
    best.onnx, search.json and every variant that was evaluated. Exit code: 0 one meets the profile, on other rows too;
    3 open: on the other rows an estimate is beyond its limit, a slice has too few rows to tell, or nothing was
    evaluated in the time; 1 none meets it, or the other rows contradict; 130 interrupted, and --resume goes on.
    """
    from kit.pipeline.material import Request

    del verbose
    request = Request(model, data, profile, device, recipes, keep_float)
    _check_options(ctx, searching)
    if searching:
        from kit.cli.search import run

        return run(request, Path(out) if out else None, force=force, quiet=quiet, as_json=as_json, **search)
    return _make(request, out, force=force, quiet=quiet, as_json=as_json)


def _check_options(ctx: click.Context, searching: bool) -> None:
    """Options of the one way that make no sense with the other."""
    theirs = ("recipes", "keep_float") if searching else ("evaluations", "time_limit", "seed", "arithmetic", "resume")
    given = [name for name in theirs if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    if given:
        option = "--" + given[0].replace("_", "-").replace("recipes", "recipe")
        why = "a search finds its recipes itself" if searching else "it is for --search"
        raise click.UsageError(f"{option} does not go with this: {why}.", ctx)
    if searching and ctx.params["force"] and ctx.params["resume"]:
        raise click.UsageError("--force starts anew and --resume goes on: give one.", ctx)


def _make(request: "Request", out: str | None, *, force: bool, quiet: bool, as_json: bool) -> int:
    from kit.cli.progress import Progress
    from kit.cli.quantize_text import outcome_object, tell_outcome
    from kit.pipeline.material import read_request
    from kit.pipeline.quantize import expected_seconds, quantize
    from kit.pipeline.variant_files import plan_files, write_variant

    material = read_request(request)
    recipes = [each.name for each in material.recipes]
    into = out is not None and out.endswith("/")
    files = plan_files(request.model, recipes, Path(out) if out else None, force=force, into=into)
    progress = Progress(expected_seconds(material), quiet=quiet)
    try:
        outcome = quantize(material, progress)
    except KeyboardInterrupt as interrupt:
        raise InterruptError("interrupted; nothing was written") from interrupt
    finally:
        progress.close()
    for made in outcome.variants:
        record = json.dumps(outcome_object(outcome, (made,), files), indent=2, allow_nan=False)
        write_variant(files[made.record.recipe.name], made.variant.data, record.encode())
    if as_json:
        print_json(outcome_object(outcome, outcome.variants, files))
    else:
        tell_outcome(outcome, files)
    return 0
