"""`edgeproof agent`: the program on the device, as one file for a board, and its key; or run here."""

from pathlib import Path
from typing import Any

import click

from kit.cli.options import common_options
from kit.cli.output import indented, print_json, say, tell
from kit.errors import UsageError

_FILE = click.Path(dir_okay=False, path_type=Path)
_EXAMPLES = """\b
Examples:
  edgeproof agent pack -o agent.pyz
  edgeproof agent key -o scanner.key
  edgeproof agent run --tcp 127.0.0.1:7431
"""
_RUN_EXAMPLES = """\b
Examples:
  edgeproof agent run --tcp 127.0.0.1:7431
  edgeproof agent run --serial /dev/ttyS0 --baud 921600
"""


@click.group("agent", epilog=_EXAMPLES)
def command() -> None:
    """Pack the agent for a board, make the key that guards it, or run it on this machine."""


@command.command(
    "pack",
    short_help="Write the agent as one file for a board.",
    epilog="\b\nExample:\n  edgeproof agent pack -o agent.pyz",
)
@click.option("-o", "--output", type=_FILE, default=Path("agent.pyz"), show_default=True, help="File to write.")
@common_options
def pack(output: Path, as_json: bool, verbose: bool) -> None:
    """Write the agent as one file for a board that has only Python, numpy and onnxruntime.

    The same release gives the same bytes on every machine, so its digest tells whether a board has this one.
    """
    from kit.device.pack import MINIMUM_PYTHON, NEEDS, pack_agent

    del verbose
    digest = pack_agent(output)
    size_bytes = output.stat().st_size
    python = ".".join(map(str, MINIMUM_PYTHON))
    if as_json:
        needs = {"python": python, "packages": list(NEEDS)}
        _print("agent-pack", path=str(output), digest=digest, size_bytes=size_bytes, needs=needs)
        return
    say(f"{output}  {size_bytes / 1e3:.0f} kB")
    indented(digest)
    tell(f"It needs Python {python} or newer with {' and '.join(NEEDS)}. Copy it to the board, and reach it by:")
    for way, start, link in _ways(output.name):
        say("")
        say(f"{way}:")
        indented(f"on the board: {start}")
        say("    device file:")
        for line in ("[device]", 'name = "board"', "[link]", *link):
            say(f"        {line}")


def _ways(name: str) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """How a board can be reached: in words, what is started on it, and [link] of its device file."""
    tcp = ('url = "tcp://HOST:7431"', 'key = "scanner.key"  # from: edgeproof agent key -o scanner.key')
    ssh = ('url = "ssh://USER@HOST"', f'command = ["python3", "{name}", "--stdio"]')
    adb = ('url = "adb:SERIAL"', f'command = ["python3", "/data/local/tmp/{name}", "--stdio"]')
    return (
        ("serial line", f"python3 {name} --serial /dev/ttyS0 --baud 115200", ('url = "/dev/ttyUSB0"', "baud = 115200")),
        ("TCP", f"python3 {name} --tcp 0.0.0.0:7431 --key scanner.key", tcp),
        ("SSH", "nothing, the host starts it", ssh),
        ("ADB", "nothing, the host starts it", adb),
    )


@command.command(
    "key",
    short_help="Make the key that a host and a TCP agent share.",
    epilog="\b\nExample:\n  edgeproof agent key -o scanner.key",
)
@click.option("-o", "--output", type=_FILE, required=True, help="File to write; one that exists is left alone.")
@common_options
def key(output: Path, as_json: bool, verbose: bool) -> None:
    """Make a key that a host and a TCP agent share: whoever has this file may use the device, and no one else.

    It has no end: a board without a clock must work too. To end it, delete it on the device.
    """
    from kit.device.keys import make_key

    del verbose
    make_key(output)
    if as_json:
        _print("agent-key", path=str(output))
        return
    say(f"{output}  (only you can read it)")
    tell("Copy it to the board over a channel that you trust, such as scp, and keep it from others: chmod 600.")
    tell(f"python3 agent.pyz --tcp 0.0.0.0:7431 --key {output.name}", "    on the board     ")
    tell(f'[link] url = "tcp://HOST:7431" and key = "{output.name}"', "    device file      ")


@command.command("run", short_help="Run the agent on this machine.", epilog=_RUN_EXAMPLES)
@click.option("--stdio", is_flag=True, help="Serve on standard input and output.")
@click.option("--serial", metavar="PORT", help="Serve on a serial line.")
@click.option("--tcp", metavar="HOST:PORT", help="Serve over TCP: on loopback, or anywhere with --key.")
@click.option("--baud", type=int, show_default="115200", metavar="N", help="Rate of the serial line.")
@click.option("--key", type=click.Path(path_type=Path), metavar="FILE", help="Key that hosts over TCP must have.")
@click.option(
    "--cache", type=click.Path(path_type=Path), show_default="~/.cache/edgeproof-agent", metavar="DIR",
    help="Where models are kept.",
)  # fmt: skip
@click.option("--cache-bytes", type=int, show_default="2 GiB", metavar="N", help="Most that they take.")
@click.option("--lease", type=float, show_default="30", metavar="SECONDS", help="Silence that ends a session over TCP.")
def run(stdio: bool, **options: Any) -> None:
    """Run the agent on this machine, in one of three ways: --stdio, --tcp or --serial.

    It serves until it is asked to end. Exit code: 130 after an interrupt, 143 after SIGTERM.
    """
    import os
    import sys

    from kit.agent.ending import kept_for_the_agent

    asked = {"--stdio": stdio, "--serial": options["serial"], "--tcp": options["tcp"]}
    ways = [name for name, value in asked.items() if value]
    if len(ways) != 1:
        what = f"{' and '.join(ways)} are two ways to serve" if ways else "how is it to be reached?"
        raise UsageError(what, next_step="give one of --tcp 127.0.0.1:7431, --serial /dev/ttyS0 or --stdio")
    words = [sys.executable, "-m", "kit.agent", *(["--stdio"] if stdio else [])]
    for name, value in options.items():
        words += [] if value is None else [f"--{name.replace('_', '-')}={value}"]
    with kept_for_the_agent():
        from kit.device.subprocess import agent_environment

        os.execve(sys.executable, words, os.environ | agent_environment())


def _print(schema: str, **fields: Any) -> None:
    print_json({"schema": f"edgeproof/{schema}/1", **fields})
