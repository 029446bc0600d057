"""`edgeproof verify`: does a certificate say what its evidence says?"""

import sys
from pathlib import Path

import click

from kit.cli.certify import find_run
from kit.cli.options import common_options, runs_option
from kit.cli.output import print_json, tell, use_ascii


@click.command("verify", epilog="\b\nExample:\n  edgeproof verify runs/20260101-120000-ab12cd/certificate.json")
@click.argument("certificate", metavar="CERTIFICATE|RUN")
@runs_option
@common_options
def command(certificate: str, runs: Path, as_json: bool, verbose: bool) -> int:
    """Check a certificate against its run folder: every digest, and every verdict judged again from the records.

    The exit code is 0 if all of it holds, whatever the verdict is, and 1 if anything does not.
    """
    from kit.pipeline.finish import CERTIFICATE
    from kit.pipeline.verify import verify

    del verbose
    path = Path(certificate)
    path = path if path.exists() else path.parent if path.name == CERTIFICATE else path
    result = verify(path if path.exists() else find_run(certificate, runs))
    if as_json:
        print_json(
            {
                "schema": "edgeproof/verification/1",
                "holds": result.holds,
                "verdict": result.verdict,
                "checks": [
                    {"name": name, "holds": problem is None, "problem": problem}
                    for name, problem in result.checks.items()
                ],
            }
        )
    else:
        good, bad = ("ok", "NO") if use_ascii(sys.stdout) else ("✓", "✕")
        for name, problem in result.checks.items():
            tell(name + (f": {problem}" if problem else ""), f"{good if problem is None else bad}  ")
        tell(result.statement if result.holds else "DOES NOT HOLD: do not rely on this certificate.")
        tell("this shows that certificate, records and plan agree, not who measured", "unsigned  ")
    return 0 if result.holds else 1
