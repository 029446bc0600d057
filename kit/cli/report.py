"""`edgeproof report`: a finished run again, from its stored records."""

from pathlib import Path

import click

from kit.cli.bench import show_bench
from kit.cli.certify import find_run, show
from kit.cli.options import common_options, runs_option
from kit.errors import UsageError


@click.command("report", epilog="\b\nExample:\n  edgeproof report 20260101 --html report.html")
@click.argument("run_name", metavar="RUN")
@runs_option
@click.option("--html", type=click.Path(path_type=Path), help="Also write the HTML report to this file.")
@common_options
def command(run_name: str, runs: Path, html: Path | None, as_json: bool, verbose: bool) -> None:
    """Show RUN (a folder, an id, or the start of one) in the terminal, as JSON, or as an HTML file.

    A run of bench is shown as bench showed it; it has no verdict, and no HTML report.
    """
    from kit.pipeline.bench_folder import PLAN
    from kit.pipeline.finish import reopen
    from kit.report import render_html
    from kit.store import Run, write_atomically

    run = Run.load(find_run(run_name, runs))
    if PLAN in run.steps:
        if html is not None:
            raise UsageError("a run of bench has no HTML report", where=str(run.path), next_step="leave --html out")
        show_bench(run, as_json=as_json, verbose=verbose)
        return
    outcome = reopen(run)
    if html is not None:
        write_atomically(html, render_html(outcome.view).encode())
    show(outcome, as_json=as_json)
