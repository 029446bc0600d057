"""`edgeproof bench`: what models cost on a device, and whether the figures can be trusted."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.keeping import keeping
from kit.cli.options import device_option, run_options
from kit.cli.output import print_json
from kit.errors import MeasurementError

if TYPE_CHECKING:
    from kit.pipeline.bench_plan import BenchOrder
    from kit.records import Workload
    from kit.store import Run

EXAMPLES = """\b
Examples:
  edgeproof bench net.onnx --device my-board.toml
  edgeproof bench float.onnx int8.onnx --device local --data watch.toml --stable
  edgeproof bench net.onnx --scenario periodic --period 20ms --windows 10
  edgeproof bench net.onnx --scenario offline --batch 64 --no-memory --no-energy
  edgeproof bench --resume 20260101
"""

LEAST_ENERGY_WINDOW_S = 0.05
"""In a shorter one, the first inferences after a pause and one turn of other work are most of what is measured."""

SCENARIOS = ("single stream", "periodic", "burst", "offline", "multi-stream")


@click.command("bench", epilog=EXAMPLES)
@click.argument("models", metavar="MODEL...", type=click.Path(path_type=Path), nargs=-1)
@device_option
@click.option(
    "--data", type=click.Path(path_type=Path),
    help="Dataset manifest whose test rows are run.  [default: random rows made from the model's input]",
)  # fmt: skip
@click.option("--scenario", type=click.Choice(SCENARIOS), default=SCENARIOS[0], show_default=True,
              help="How inferences follow each other.")  # fmt: skip
@click.option("--period", metavar="TIME", help="From start to start (periodic, burst), such as 100ms.")
@click.option("--burst", type=click.IntRange(1, 10_000), metavar="N", help="Inferences back to back every period.")
@click.option("--batch", type=click.IntRange(1, 10_000), metavar="N", help="Rows in one call (offline).")
@click.option("--streams", type=click.IntRange(1, 64), metavar="N", help="Threads side by side (multi-stream).")
@click.option("--windows", type=click.IntRange(1, 100), metavar="N",
              help="Windows a model, in turn between models.  [default: 5; 10 for several models]")  # fmt: skip
@click.option("--window-time", default="2s", show_default=True, metavar="TIME", help="Least time of a window.")
@click.option("--min-count", type=click.IntRange(1, 1_000_000), metavar="N",
              help="Least samples of a window.  [default: 64; where a period sets the pace, what fits]")  # fmt: skip
@click.option("--memory/--no-memory", default=True, help="Peak and steady memory.  [default: memory]")
@click.option("--energy/--no-energy", default=None, help="Energy.  [default: where the device has a meter]")
@click.option("--memory-sessions", type=click.IntRange(1, 1000), metavar="N",
              help="Fresh processes for memory.  [default: 7]")  # fmt: skip
@click.option("--energy-windows", type=click.IntRange(1, 10_000), metavar="N",
              help="Busy windows that the meter watches.  [default: 10]")  # fmt: skip
@click.option("--energy-window-time", metavar="TIME",
              help="Time of each of those, 50ms to 1h.  [default: 0.5s]")  # fmt: skip
@click.option("--cold", is_flag=True, help="Also fresh processes, from nothing to the first answer.")
@click.option("--operators", is_flag=True, help="Also the time of each operator, in runs of their own.")
@click.option("--audit/--no-audit", default=True, help="Check that what is timed is what is scored.  [default: audit]")
@click.option("--audit-time", metavar="TIME",
              help="Longest time of an audit that is not decided sooner.  [default: 8 windows' time]")  # fmt: skip
@click.option(
    "--stable", is_flag=True, help="Wait until the device is calm and as at the start; take unstable windows again."
)
@click.option("--patience", metavar="TIME", help="Longest wait before a window (--stable).  [default: 60s]")
@click.option("--budget", metavar="TIME", help="Begin nothing that would end later; --resume does the rest.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of rows and turns.")
@run_options
@click.pass_context
def command(
    ctx: click.Context, /, resume: str | None, runs: Path, budget: str | None, as_json: bool, quiet: bool,
    verbose: bool, **options: Any,
) -> int:  # fmt: skip
    """Measure latency, memory and energy of each MODEL (ONNX) on a device, in turn, and store every sample.

    Exit code: 0 measured (warnings say where a figure cannot be trusted); 4 the device failed; 5 invalid: an audit
    failed, or a window stayed unstable under --stable; 130 interrupted, and --resume goes on.
    """
    from kit.cli.certify import find_run
    from kit.pipeline.bench_folder import command_words, new_run, require_same, resumed_order
    from kit.pipeline.bench_plan import read_bench
    from kit.store import Run

    budget_s = None if budget is None else _seconds(budget, "--budget")
    if resume is not None:
        _check_resume(ctx)
        run = Run.load(find_run(resume, runs), hold=True)
        inputs = read_bench(resumed_order(run))
        require_same(inputs, run.record)
    else:
        inputs = read_bench(_order(ctx, **options))
        run = new_run(inputs, command_words(inputs.order), runs)
    try:
        return _bench(inputs, run, budget_s, as_json=as_json, quiet=quiet, verbose=verbose)
    finally:
        run.release()


def _check_resume(ctx: click.Context) -> None:
    """A run has its options in its folder: none can be given again."""
    kept = ("resume", "runs", "budget", "as_json", "quiet", "verbose")
    given = [name for name in ctx.params if name not in kept
             and ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]  # fmt: skip
    if given:
        name = "MODEL" if given[0] == "models" else "--" + given[0].replace("_", "-")
        raise click.UsageError(f"--resume goes on with what the run was asked: leave {name} out.", ctx)


def _order(ctx: click.Context, /, **options: Any) -> "BenchOrder":
    from kit.pipeline.bench_plan import BenchOrder

    models: tuple[Path, ...] = options["models"]
    if not models:
        raise click.UsageError("Missing MODEL.", ctx)
    if options["patience"] and not options["stable"]:
        raise click.UsageError("--patience is for --stable.", ctx)
    _check_needless(ctx)
    if len(models) > 1 and options["windows"] in (1, 2):
        raise click.UsageError("Several models need 3 windows or more: leave --windows out, or bench each alone.", ctx)
    workload, window_s = _workload(ctx), _seconds(options["window_time"], "--window-time")
    return BenchOrder(
        models=tuple(str(path.absolute()) for path in models),
        device=_absolute(options["device"]),
        data=None if options["data"] is None else str(options["data"].absolute()),
        workload=workload,
        windows=options["windows"] or (10 if len(models) > 1 else 5),
        window_s=window_s,
        patience_s=_seconds(options["patience"] or "60s", "--patience"),
        min_count=options["min_count"] or _usual_count(workload, window_s),
        audit_s=_optional_seconds(ctx, "audit_time", least_s=0.01),
        **_given(
            memory_sessions=options["memory_sessions"],
            energy_windows=options["energy_windows"],
            energy_window_s=_optional_seconds(ctx, "energy_window_time", least_s=LEAST_ENERGY_WINDOW_S),
        ),
        **{name: options[name] for name in ("memory", "energy", "cold", "operators", "audit", "stable", "seed")},
    )


def _check_needless(ctx: click.Context) -> None:
    """An option about what is not measured is a mistake."""
    for name, about in (("memory_sessions", "memory"), ("energy_windows", "energy"),
                        ("energy_window_time", "energy"), ("audit_time", "audit")):  # fmt: skip
        if ctx.params[name] is not None and ctx.params[about] is False:
            raise click.UsageError(f"--{name.replace('_', '-')} is of no use with --no-{about}.", ctx)


def _given(**options: Any) -> dict[str, Any]:
    """Those that are given: the others keep their defaults."""
    return {name: value for name, value in options.items() if value is not None}


def _usual_count(workload: "Workload", window_s: float) -> int:
    """64 samples, or what fits into the window where a period sets the pace, but 8 at least."""
    if not workload.period_ns:
        return 64
    return min(64, max(8, int(window_s * 1e9 / workload.period_ns) * workload.burst))


def _workload(ctx: click.Context) -> "Workload":
    """The scenario with the options that it needs; one that does not belong to it is refused."""
    from kit.records import Workload

    options, scenario = ctx.params, ctx.params["scenario"]
    needed = {
        "periodic": ("period",),
        "burst": ("period", "burst"),
        "offline": ("batch",),
        "multi-stream": ("streams",),
    }
    for name in ("period", "burst", "batch", "streams"):
        is_needed = name in needed.get(scenario, ())
        if (options[name] is not None) is not is_needed:
            what = f"needs --{name}" if is_needed else f"takes no --{name}"
            raise click.UsageError(f"The scenario {scenario!r} {what}.", ctx)
    period_s = _seconds(options["period"], "--period") if options["period"] else 0.0
    return Workload(
        scenario, round(1e9 * period_s), options["burst"] or 1, options["batch"] or 1, options["streams"] or 1
    )


def _seconds(text: str, name: str) -> float:
    from kit.spec.units import parse

    return parse(text, "time", name)


def _optional_seconds(ctx: click.Context, name: str, *, least_s: float) -> float | None:
    text = ctx.params[name]
    if text is None:
        return None
    found = _seconds(text, "--" + name.replace("_", "-"))
    if not least_s <= found <= 3600:
        raise click.UsageError(f"--{name.replace('_', '-')} is from {1000 * least_s:g}ms to 1h, not {text}.", ctx)
    return found


def _absolute(name: str) -> str:
    """A name stays a name; a path is made absolute so that a run can be resumed from anywhere."""
    return str(Path(name).absolute()) if Path(name).suffix == ".toml" else name


def _bench(inputs: Any, run: "Run", budget_s: float | None, *, as_json: bool, quiet: bool, verbose: bool) -> int:
    from kit.cli.progress import Progress
    from kit.pipeline.bench import run_bench
    from kit.pipeline.bench_folder import resume_words
    from kit.pipeline.bench_plan import expected_seconds, step_words

    expected_s = {step_words(inputs, step): seconds for step, seconds in expected_seconds(inputs).items()}
    progress = Progress(expected_s, quiet=quiet)
    try:
        with keeping(lambda: _kept(inputs, run), run.path, f"go on with it: {resume_words(run)}"):
            run_bench(inputs, run, progress, budget_s=budget_s)
    finally:
        progress.close()
    return show_bench(run, as_json=as_json, verbose=verbose)


def _kept(inputs: Any, run: "Run") -> str:
    from kit.pipeline.bench import missing
    from kit.pipeline.bench_folder import resume_words
    from kit.pipeline.bench_plan import expected_seconds

    steps = len(expected_seconds(inputs))
    return f"{steps - len(missing(inputs, run))}/{steps} steps; {resume_words(run)}"


def show_bench(run: "Run", *, as_json: bool, verbose: bool = False) -> int:
    """Print what a run's records say, as text or as one JSON object; the exit code."""
    from kit.cli.bench_object import bench_object
    from kit.cli.bench_text import tell_bench
    from kit.pipeline.bench_figures import read_report
    from kit.pipeline.bench_trust import trust_of

    report = read_report(run)
    trust = trust_of(report)
    if as_json:
        print_json(bench_object(report, trust))
    else:
        tell_bench(report, trust, verbose=verbose)
    return 0 if trust.is_valid else MeasurementError.exit_code
