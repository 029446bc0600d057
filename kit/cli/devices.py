"""`edgeproof devices`: which devices are described, and who one is when it is asked."""

import click

from kit.cli.output import common_options, print_json, say


@click.group("devices", invoke_without_command=True, epilog="\b\nExample:\n  edgeproof devices show local")
@common_options
@click.pass_context
def command(ctx: click.Context, as_json: bool, verbose: bool) -> None:
    """List the devices that are described in device files; with `show`, ask one who it is."""
    del verbose
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    from kit.spec import list_devices

    specs = list_devices()
    if as_json:
        print_json(
            {
                "schema": "edgeproof/devices/1",
                "devices": [
                    {
                        "name": s.name,
                        "link": s.link,
                        "emulated": list(s.emulated),
                        "description": s.description,
                        "path": s.path,
                    }
                    for s in specs
                ],
            }
        )
        return
    for spec in specs:
        mark = f"  EMULATED: {', '.join(spec.emulated)}" if spec.emulated else ""
        say(f"{spec.name:<26} {spec.link:<13}{mark}")
        say(f"    {spec.description}")


@command.command("show")
@click.argument("device")
@common_options
@click.pass_context
def show(ctx: click.Context, /, device: str, as_json: bool, verbose: bool) -> None:
    """Ask DEVICE who it is: processor, instruction sets, memory, runtime."""
    from contextlib import closing
    from dataclasses import asdict

    from kit.device import open_device
    from kit.spec import load_device

    del verbose
    as_json = as_json or (ctx.parent is not None and ctx.parent.params["as_json"])
    with closing(open_device(load_device(device))) as opened:
        record = opened.identify()
    if as_json:
        print_json({"schema": "edgeproof/device/1", "device": asdict(record)})
        return
    for name, value in asdict(record).items():
        text = (", ".join(map(str, value)) or "none") if isinstance(value, tuple) else value
        say(f"{name:<18} {text if text not in (None, '') else '(not told)'}")
