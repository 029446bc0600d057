"""`edgeproof devices`: which devices there are, who one is when it is asked, and whether it and its link are well."""

import click

from kit.cli.devices.check import check
from kit.cli.devices.scan import scan
from kit.cli.devices.setup import setup
from kit.cli.devices.show import show
from kit.cli.options import common_options
from kit.cli.output import indented, print_json, say, say_aside, wrapped

EXAMPLES = """\b
Examples:
  edgeproof devices scan
  edgeproof devices show local
  edgeproof devices check /dev/ttyUSB0?baud=921600
"""


@click.group("devices", invoke_without_command=True, epilog=EXAMPLES)
@common_options
@click.pass_context
def command(ctx: click.Context, as_json: bool, verbose: bool) -> None:
    """List the devices that are described in device files, or look for, ask and check one.

    DEVICE is a name, a TOML file, or a link: subprocess:, /dev/ttyUSB0, tcp://HOST:PORT, ssh://USER@HOST, adb:SERIAL.
    """
    del verbose
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


for each in (scan, show, check, setup):
    command.add_command(each)


def _list(*, as_json: bool) -> None:
    """Every device file that can be read; one that cannot is told on a line of its own and hides no other."""
    from pathlib import Path

    from kit.spec import list_devices

    specs, broken = list_devices()
    if as_json:
        devices = [
            {
                "name": Path(s.path).stem,
                "link": s.link,
                "emulated": list(s.emulated),
                "description": s.description,
                "path": s.path,
            }
            for s in specs
        ]
        unread = [{"where": e.where, "what": e.what, "next_step": e.next_step} for e in broken]
        print_json({"schema": "edgeproof/devices/1", "devices": devices, "broken": unread})
        return
    for spec in specs:
        mark = f"EMULATED: {', '.join(spec.emulated)}" if spec.emulated else ""
        rest = " " * 25
        for line in wrapped(f"{spec.link}  {mark}".strip(), first=f"{Path(spec.path).stem:<24} ", rest=rest):
            say(line)
        indented(spec.description)
    for error in broken:
        say_aside(f"not read: {error.where}: {error.what}")
