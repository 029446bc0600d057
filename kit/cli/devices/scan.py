"""`edgeproof devices scan`: what is attached to this machine, and the word that each goes by."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kit.cli.options import common_options
from kit.cli.output import indented, print_json, say

if TYPE_CHECKING:
    from kit.device.scan import Found


@click.command("scan", epilog="\b\nExample:\n  edgeproof devices scan")
@common_options
@click.pass_context
def scan(ctx: click.Context, /, as_json: bool, verbose: bool) -> None:
    """Find serial ports, agents and Android devices on this machine, with the word to give to --device."""
    from kit.device.scan import scan as find

    del verbose
    found = find()
    if as_json or (ctx.parent is not None and ctx.parent.params["as_json"]):
        print_json({"schema": "edgeproof/scan/1", "found": [asdict(each) for each in found]})
    else:
        _table(found)


def _table(found: "list[Found]") -> None:
    if not found:
        say("nothing found: no serial port, no agent that listens here, no Android device")
        indented("Plug one in, or start an agent: edgeproof agent run --tcp 127.0.0.1:7431")
        return
    width = max(len("--device"), *(len(each.url) for each in found if len(each.url) <= 40))
    kinds = max(len("kind"), *(len(each.kind) for each in found))
    say(f"{'--device':<{width}}  {'kind':<{kinds}}  state")
    for each in found:
        say(f"{each.url:<{width}}  {each.kind:<{kinds}}  {each.state}")
        indented("; ".join(text for text in (each.description, each.detail) if text))
