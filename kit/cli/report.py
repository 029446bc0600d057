"""`edgeproof report`: a finished run again, from its stored records."""

from pathlib import Path

import click

from kit.cli.certify import find_run, show
from kit.cli.output import common_options, runs_option


@click.command("report", epilog="\b\nExample:\n  edgeproof report 20260101 --html report.html")
@click.argument("run_name", metavar="RUN")
@runs_option
@click.option("--html", type=click.Path(path_type=Path), help="Also write the HTML report to this file.")
@common_options
def command(run_name: str, runs: Path, html: Path | None, as_json: bool, verbose: bool) -> None:
    """Show RUN (a folder, an id, or the start of one) in the terminal, as JSON, or as an HTML file."""
    from kit.pipeline.finish import reopen
    from kit.report import render_html
    from kit.store import Run, write_atomically

    del verbose
    outcome = reopen(Run.load(find_run(run_name, runs)))
    if html is not None:
        write_atomically(html, render_html(outcome.view).encode())
    show(outcome, as_json=as_json)
