"""`edgeproof deploy`: a model on a device, by digest, sending only what is not there yet."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kit.cli.options import common_options, quiet_option
from kit.cli.output import print_json, say, tell, waiting
from kit.errors import EdgeproofError, InterruptError

if TYPE_CHECKING:
    from kit.cli.transfer import Transfer
    from kit.pipeline.deploy import Deployment

EXAMPLES = """\b
Examples:
  edgeproof deploy net.onnx --device local
  edgeproof deploy net.onnx --device /dev/ttyUSB0?baud=921600
"""


@click.command("deploy", epilog=EXAMPLES)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--device", required=True, help="Device: a name, a TOML file or a link.")
@quiet_option
@common_options
def command(model: Path, device: str, quiet: bool, as_json: bool, verbose: bool) -> int:
    """Put MODEL (ONNX) on a device. What is there already is not sent again; what was cut off is resumed.

    The device verifies the digest of the whole before it takes it.
    """
    from kit.cli.transfer import Transfer
    from kit.pipeline.deploy import deploy
    from kit.pipeline.watcher import waiting_for
    from kit.spec import load_device

    del verbose
    spec = load_device(device)
    transfer = Transfer(model.name, quiet=quiet)
    again = f"edgeproof deploy {model} --device {device}"
    try:
        with waiting(waiting_for(spec)) as is_there:

            def progress(done_bytes: int, total_bytes: int) -> None:
                is_there()
                transfer(done_bytes, total_bytes)

            done = deploy(model, spec, progress)
    except KeyboardInterrupt as interrupt:
        raise InterruptError(str(interrupt) or "interrupted", kept=_kept(transfer, again)) from interrupt
    except EdgeproofError as error:
        error.kept = error.kept or _kept(transfer, again)
        raise
    finally:
        transfer.close()
    if as_json:
        print_json(_object(done))
    else:
        _tell(done)
    return 0


def _kept(transfer: "Transfer", again: str) -> str:
    """What the device keeps, which may be more than it has told of."""
    from kit.cli.figures import bytes_text

    if not transfer.has_begun:
        return ""
    there = f"{bytes_text(transfer.done_bytes)} are" if transfer.done_bytes else "what has arrived is"
    return f"{there} on the device; go on with: {again}"


def _object(done: "Deployment") -> dict[str, Any]:
    return {
        "schema": "edgeproof/deployment/1",
        "digest": done.model.digest,
        "size_bytes": done.model.size_bytes,
        "had_bytes": done.had_bytes,
        "sent_bytes": done.sent_bytes,
        "line_bytes": done.line_bytes,
        "duration_s": done.duration_s,
        "device": asdict(done.device),
    }


def _tell(done: "Deployment") -> None:
    from kit.cli.figures import bytes_text, duration, rate

    size, device = done.model.size_bytes, done.device
    if device.emulated:
        say(f"EMULATED: {', '.join(device.emulated)}")
    tell(f"{done.model.name} is on {device.name}: {bytes_text(size)}, digest verified there")
    say(f"digest  {done.model.digest}")
    if not done.sent_bytes:
        say("sent    nothing: it was there already")
        return
    resumed = f", resumed at {bytes_text(done.had_bytes)}" if done.had_bytes else ""
    took = f"{duration(done.duration_s)}, {rate(done.sent_bytes / done.duration_s)}"
    tell(f"{bytes_text(done.sent_bytes)} of {bytes_text(size)} in {took}{resumed}", "sent    ")
    if done.line_bytes is not None:
        share = done.line_bytes / done.sent_bytes
        how = f"compressed to {100 * share:.0f} %" if share < 0.98 else f"{100 * (share - 1):.2g} % more than the model"
        say(f"line    {bytes_text(done.line_bytes)}, {how}")
