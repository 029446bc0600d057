"""``python -m kit.agent --stdio | --serial PORT | --tcp HOST:PORT``: serve hosts, one at a time, until asked to end."""

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from kit.agent.cache import DEFAULT_CACHE_BYTES, ModelCache
from kit.agent.desk import Desk
from kit.agent.server import Agent
from kit.agent.stdio import StdioChannel, take_streams, wake_when_the_host_dies
from kit.errors import EdgeproofError

LEASE_S = 30.0
"""How long a host over TCP may be silent before another one is let in."""


def main() -> None:
    """Read the arguments and serve; exit with status 4 and one line if that cannot be."""
    arguments = _parser().parse_args()
    streams = take_streams() if arguments.stdio else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what is open is closed
    try:
        agent = Agent(ModelCache(arguments.cache, arguments.cache_bytes))
        try:
            _serve(agent, arguments, streams)
        finally:
            agent.close()
    except EdgeproofError as error:
        sys.stderr.write(f"kit.agent: {error}" + (f" ({error.next_step})" if error.next_step else "") + "\n")
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
        if not (host and port.isdecimal()):
            raise EdgeproofError(f"{arguments.tcp!r} is no address", next_step="write --tcp 127.0.0.1:7431, say")
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kit.agent", description="The edgeproof agent: runs models on a device.")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--stdio", action="store_true", help="serve on standard input and output")
    way.add_argument("--serial", metavar="PORT", help="serve on a serial line")
    way.add_argument("--tcp", metavar="HOST:PORT", help="serve over TCP: on loopback, or anywhere with --key")
    parser.add_argument("--baud", type=int, default=115200, metavar="N", help="rate of the serial line")
    parser.add_argument("--key", type=Path, metavar="FILE", help="key that hosts over TCP must have")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where models are kept")
    parser.add_argument("--cache-bytes", type=int, default=DEFAULT_CACHE_BYTES, metavar="N", help="most that they take")
    parser.add_argument("--lease", type=float, default=LEASE_S, metavar="SECONDS", help="silence that ends a session")
    return parser


if __name__ == "__main__":
    main()
