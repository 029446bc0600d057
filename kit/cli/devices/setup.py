"""`edgeproof devices setup`: make ready what a device needs on this machine."""

import click

from kit.cli.options import common_options
from kit.cli.output import print_json, say_aside, tell


@click.command("setup", epilog="\b\nExample:\n  edgeproof devices setup arm64-emulated")
@click.argument("device")
@common_options
@click.pass_context
def setup(ctx: click.Context, /, device: str, as_json: bool, verbose: bool) -> None:
    """Make ready what DEVICE needs on this machine: an emulated processor's system and runtime."""
    from kit.spec import load_device
    from kit.spec.link import link_kind

    del verbose
    spec = load_device(device)
    as_json = as_json or (ctx.parent is not None and ctx.parent.params["as_json"])
    root = None
    if link_kind(spec.link) == "aarch64":
        from kit.device.aarch64 import cpu_of
        from kit.device.aarch64 import setup as set_up

        root = str(set_up(say_aside, cpu=cpu_of(spec)))
    if as_json:
        print_json({"schema": "edgeproof/setup/1", "device": spec.name, "root": root})
    elif root is None:
        tell(f"{spec.name} needs nothing set up; look at it with: edgeproof devices show {device}")
    else:
        tell(f"{spec.name} is ready in {root}; look at it with: edgeproof devices show {device}")
