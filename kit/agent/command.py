"""The agent's arguments, and what they start: serving hosts, one at a time, until asked to end."""

import argparse
import contextlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from kit.agent.cache import DEFAULT_CACHE_BYTES, ModelCache, default_folder
from kit.agent.desk import Desk
from kit.agent.ending import end_when_asked
from kit.agent.server import Agent
from kit.agent.stdio import StdioChannel, take_streams, wake_when_the_host_dies
from kit.errors import EdgeproofError, UsageError

T = TypeVar("T", int, float)
LEASE_S = 30.0
"""How long a host over TCP may be silent before another one is let in."""
_LEASE_S, _CACHE_BYTES, _BAUD = (0.5, 86400.0), (1, 1 << 50), (50, 20_000_000)


def main() -> None:
    """Read the arguments and serve; exit with status 4, what is wrong and what to do, if that cannot be."""
    arguments = _parser().parse_args()
    streams = take_streams() if arguments.stdio else None
    try:
        end_when_asked()
        agent = Agent(ModelCache(arguments.cache, arguments.cache_bytes))
        try:
            _serve(agent, arguments, streams)
        finally:
            agent.close()
    except EdgeproofError as error:
        sys.stderr.write(f"edgeproof agent: {error}\n" + (f"fix: {error.next_step}\n" if error.next_step else ""))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _serve(agent: Agent, arguments: argparse.Namespace, streams: tuple[int, int] | None) -> None:
    if streams is not None:
        wake_when_the_host_dies()
        desk = Desk(agent, until_gone=True)
        desk.take(StdioChannel(*streams))
    elif arguments.serial:
        from kit.agent.serial import serve

        desk = Desk(agent)
        _in_background(desk, lambda: serve(desk, arguments.serial, arguments.baud))
    else:
        from kit.agent.tcp import listen

        host, _, port = arguments.tcp.rpartition(":")
        if not (host and port.isascii() and port.isdecimal()):
            raise UsageError(f"{arguments.tcp!a} is no address", next_step="write --tcp 127.0.0.1:7431, say")
        desk = Desk(agent, lease_s=arguments.lease)
        listen(desk, host.strip("[]"), int(port), arguments.key)
    desk.run()


def _in_background(desk: Desk, receive: Callable[[], None]) -> None:
    """Receive hosts in a thread of its own; what goes wrong there ends the desk."""

    def work() -> None:
        try:
            receive()
        except BaseException as error:
            desk.stop(error)
        else:
            desk.stop()

    threading.Thread(target=work, name="receive", daemon=True).start()


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def _within(least: float, most: float, kind: type[T], unit: str) -> Callable[[str], T]:
    """An argument that is a number in a range."""

    def read(text: str) -> T:
        with contextlib.suppress(ValueError):
            if least <= (value := kind(text)) <= most:
                return value
        raise argparse.ArgumentTypeError(f"{text!a} is not from {least:.10g} to {most:.10g}{unit}")

    return read


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="edgeproof agent",
        description="The edgeproof agent: runs models on a device.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28),
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--stdio", action="store_true", help="serve on standard input and output")
    way.add_argument("--serial", metavar="PORT", help="serve on a serial line")
    way.add_argument("--tcp", metavar="HOST:PORT", help="serve over TCP: on loopback, or anywhere with --key")
    add = parser.add_argument
    baud_help = "rate of the serial line (default: %(default)s)"
    add("--baud", type=_within(*_BAUD, int, ""), default=115200, metavar="N", help=baud_help)
    add("--key", type=Path, metavar="FILE", help="key that hosts over TCP must have (default: none)")
    add("--cache", type=Path, metavar="DIR", help=f"where models are kept (default: {_shown(default_folder())})")
    cache_help = f"most that they take (default: %(default)s, {DEFAULT_CACHE_BYTES >> 30} GiB)"
    size = _within(*_CACHE_BYTES, int, " bytes")
    add("--cache-bytes", type=size, default=DEFAULT_CACHE_BYTES, metavar="N", help=cache_help)
    lease_help = "silence that ends a host's session over TCP (default: %(default)g)"
    add("--lease", type=_within(*_LEASE_S, float, " s"), default=LEASE_S, metavar="SECONDS", help=lease_help)
    return parser


def _shown(folder: Path) -> str:
    """A path in argparse's help, where % means something."""
    return str(folder).replace("%", "%%")
