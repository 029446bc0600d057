"""``python -m kit.device.line --baud 115200 --latency 1ms``: an emulated serial line, until its input ends.

Prints one line of JSON with the names of its two ports; at its end another, of what it carried and did.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import time

from kit.device.line.faults import LineFaults
from kit.device.line.uart import Line
from kit.errors import EdgeproofError
from kit.spec.types import LineSpec
from kit.spec.units import parse

_RATES = {
    "bit-error": "how often a data bit is flipped",
    "byte-loss": "how often a byte is lost",
    "duplication": "how often a byte arrives twice",
    "noise": "how often a byte arrives that nobody sent",
    "stall": "how often a direction pauses, per byte",
    "disconnect": "how often everything is lost for a while, per byte",
}
_TIMES = {"latency": "delay each way", "stall-time": "a stall's length", "disconnect-time": "a disconnect's length"}


def _seconds(text: str) -> float:
    try:
        return 0.0 if text.strip() in ("0", "0s", "0ms", "0.0s") else parse(text, "time")
    except EdgeproofError as error:
        raise argparse.ArgumentTypeError(f"{error.what}; {error.next_step}") from None


def _baud(text: str) -> int:
    value = int(text)
    if not 50 <= value <= 20_000_000:
        raise argparse.ArgumentTypeError("a baud rate is from 50 to 20000000")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 0.1:
        raise argparse.ArgumentTypeError("a rate is from 0 to 0.1")
    return value


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kit.device.line", description="An emulated serial line.")
    parser.add_argument("--baud", type=_baud, required=True, metavar="RATE", help="bits a second")
    for name, words in _TIMES.items():
        parser.add_argument(f"--{name}", type=_seconds, default=0.0, metavar="TIME", help=f"{words}, such as 1ms")
    for name, words in _RATES.items():
        parser.add_argument(f"--{name}-rate", type=_rate, default=0.0, metavar="P", help=f"{words}, from 0 to 0.1")
    parser.add_argument("--seed", type=int, default=0, help="the faults repeat, byte for byte, under the same seed")
    return parser.parse_args()


def main() -> None:
    """See the module."""
    given = _arguments()
    line = Line(
        LineSpec(given.baud, given.latency, given.bit_error_rate, given.byte_loss_rate),
        LineFaults(
            duplication_rate=given.duplication_rate, noise_rate=given.noise_rate,
            stall_rate=given.stall_rate, stall_s=given.stall_time,
            disconnect_rate=given.disconnect_rate, disconnect_s=given.disconnect_time,
        ),
        given.seed,
    )  # fmt: skip
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt at the terminal is for the program that uses the line
    with contextlib.suppress(OSError):
        os.nice(-10)  # hardware keeps its time on a busy machine; where that is not allowed, so be it
    _say({"host": line.host.name, "device": line.device.name})
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    line.run(sys.stdin.fileno())
    spent = {"duration_s": time.monotonic() - start_s, "cpu_s": time.process_time() - start_cpu_s}
    with contextlib.suppress(OSError):
        _say({**line.report(), **spent})


def _say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
